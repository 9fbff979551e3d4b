"""`BootedProvider`: a Provider whose machines boot by user data, over the few things that differ from vendor to vendor.

All that makes it safe to call again is here, once:

- **create** first looks for the name, and goes on with what is there; when it cannot look, the outcome of a call before a
  crash is unknown, and where there was none (`Order.asked_before`) nothing has come about. When the answer to a creation is
  lost, it looks once more: found is found; not found is UNKNOWN_OUTCOME, because it may still appear.
- **set_up** waits until something listens on the node's port: by then docker is installed, the image pulled and the
  container started, which is what takes minutes. One that the provider is about to take away meanwhile, or that it says will not
  come up, is not waited for; nor is one that it shows no more, or that it has not shown a minute after its creation.
- **destroy** looks for the name and the id, removes every machine that has it (two after a lost answer that came late), and
  looks again until there is none. What turns up meanwhile (a disk that its machine has left behind) is removed too, and what is still
  there a minute later is removed again: a call may succeed and do nothing. A list may be behind: where nothing was found to remove, a
  second look some time later has to say the same.
- A creation that failed half-way says so with the id of what is there (`ProviderFailed.ref`); whoever asked for it destroys it, so
  that its record is written before, and the trouble stays that of the creation.
- **list** and **inspect** answer what the vendor answers; a machine is ours by its name alone.
- What a machine says while it boots is read at each look of **set_up**, where the vendor can read it (`LoggedVendor`).
- A vendor that stumbles over an answer (a page of HTML, a field that is not there) or over itself has failed like any other: what
  is then unknown stays unknown, and no loop dies of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Self

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ClusterError, ProviderFailed, Refused, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.services.autoscaler.orders import BootOutput, Order, ProviderMachine, Removal, RemovalFailed
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.core.removal_trace import RemovalTrace
from clusterodm.services.autoscaler.providers.ports import CatalogueVendor, LoggedVendor, Provider, Sleep, Vendor

log = structlog.get_logger()

POLL_S: Final = 3.0
CONNECT_TIMEOUT_S: Final = 5.0
SET_UP_WAIT_S: Final = 900.0
REMOVAL_WAIT_S: Final = 240.0
REMOVE_AGAIN_POLLS: Final = 20
"""After so many looks what is still there is removed again: a minute, since going may take that long."""
RECHECK_POLLS: Final = 5.0
"""How many times longer than between two looks at what is there it is to the second look at what is not: a list may be behind."""
UNLISTED_POLLS: Final = 20
"""A machine that the provider has just said to have may be missing in its list for so many looks: a minute."""
HOPELESS: Final = (Trouble.UNAUTHORISED, Trouble.REFUSED)


class BootedProvider(Provider):
    """A Provider over a vendor."""

    def __init__(  # noqa: PLR0913 how long each thing is waited for
        self,
        vendor: Vendor,
        *,
        poll_s: float = POLL_S,
        set_up_wait_s: float = SET_UP_WAIT_S,
        removal_wait_s: float = REMOVAL_WAIT_S,
        recheck_s: float = RECHECK_POLLS * POLL_S,
        listens: Callable[[str, int], Awaitable[bool]] | None = None,
        sleep: Sleep = asyncio.sleep,
        instant: Callable[[], Instant] = monotonic_s,
    ) -> None:
        self._vendor = vendor
        self._poll_s = poll_s
        self._set_up_wait_s = set_up_wait_s
        self._removal_wait_s = removal_wait_s
        self._recheck_s = recheck_s
        self._remove_again_s = REMOVE_AGAIN_POLLS * poll_s
        self._unlisted_s = UNLISTED_POLLS * poll_s
        self._sleep = sleep
        self._instant = instant
        self._listens = listens or answering

    async def __aenter__(self) -> Self:
        await self._vendor.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._vendor.__aexit__(*error)

    async def ask(self) -> None:
        """Ask for something that needs the keys, and for what the file names. Raises ProviderFailed."""
        with understood():
            await self._vendor.check()

    async def catalogue(self) -> Catalogue | None:
        """Say which regions and sizes there are; None: the vendor does not say. Raises ProviderFailed."""
        if not isinstance(self._vendor, CatalogueVendor):
            return None
        with understood():
            return await self._vendor.catalogue()

    async def check(self) -> None:
        """See ports.Provider; a provider that is only out of reach now is no reason not to start."""
        try:
            await self.ask()
        except ProviderFailed as error:
            if error.trouble in HOPELESS:
                raise Refused(error.message) from None
            log.warning("provider.not_reached", reason=error.message)

    async def create(self, order: Order) -> ProviderMachine:
        if found := await self._left_before(order):
            return await self._resumed(order, found)
        try:
            with understood(Trouble.UNKNOWN_OUTCOME):
                return await self._vendor.begin(order)
        except ProviderFailed as error:
            if error.trouble is not Trouble.UNKNOWN_OUTCOME or error.ref:
                raise
            return await self._after_lost_answer(order, error)

    async def set_up(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """See ports.Provider: the machine sets itself up, that is waited for."""
        deadline_s, told = self._instant() + self._set_up_wait_s, BootLogReading(self._vendor, order.boot)
        unlisted_until = self._instant() + self._unlisted_s
        while not (found.address and await self._listens(found.address, found.port)):
            await told.read(found)
            if self._instant() > deadline_s:
                what = f"nothing listens at {found.address}:{found.port}" if found.address else "it has no address"
                raise ProviderFailed(f"{order.name}: {what} after {self._set_up_wait_s:g} s")
            await self._sleep(self._poll_s)
            found = await self._still_there(order.name, found.ref, unlisted_until)
            unlisted_until = self._instant()
            if found.leaving:
                await told.read(found)
                raise ProviderFailed(f"{order.name}: {found.leaving}")
        await told.read(found)
        return found

    async def inspect(self, name: MachineId, ref: str = "") -> ProviderMachine | None:
        return next(iter(await self._named(name, ref)), None)

    async def list(self, prefix: str) -> Sequence[ProviderMachine]:
        with understood():
            return await self._vendor.starting(prefix)

    async def destroy(self, name: MachineId, ref: str) -> Removal:
        trace = RemovalTrace()
        try:
            return await self._destroyed(name, ref, trace)
        except ProviderFailed as error:
            raise RemovalFailed(error, trace.so_far(self._instant()), trace.seen_ref) from None

    async def _destroyed(self, name: MachineId, ref: str, trace: RemovalTrace) -> Removal:
        deadline_s = self._instant() + self._removal_wait_s
        checked_before = False
        while True:
            left = await self._named(name, ref)
            trace.shown(left, self._instant())
            if not left and (trace.asked or checked_before):
                return trace.so_far(self._instant())
            if self._instant() > deadline_s:
                raise ProviderFailed(f"{name} is still there after {self._removal_wait_s:g} s")
            checked_before = not left
            for found in left:
                await self._have_removed(found, trace)
            await self._sleep(self._poll_s if left else self._recheck_s)

    async def _have_removed(self, found: ProviderMachine, trace: RemovalTrace) -> None:
        """Ask for a removal for the first time, or again where that is long ago."""
        if (asked_at := trace.asked.get(found.ref)) is None:
            is_taken = await self._remove(found)
        elif self._instant() - asked_at < self._remove_again_s:
            return
        else:
            is_taken = await self._remove_again(found)
        trace.removed(found, self._instant(), is_taken=is_taken)

    async def _remove(self, found: ProviderMachine) -> bool:
        """Ask for a removal; it is taken. A failure says what was there: the removal may have been carried out all the same."""
        try:
            with understood():
                await self._vendor.remove(found)
        except ProviderFailed as error:
            raise ProviderFailed(error.message, error.trouble, ref=found.ref) from None
        return True

    async def _remove_again(self, found: ProviderMachine) -> bool:
        """Ask once more for a removal that was taken and has had no effect so far; whether this one is taken.

        A refusal says nothing: it may be going just now.
        """
        log.info("machine.removal_repeated", machine=found.name, ref=found.ref)
        try:
            return await self._remove(found)
        except ProviderFailed as error:
            log.debug("machine.removal_refused", machine=found.name, ref=found.ref, reason=error.message)
            return False

    async def discard(self, found: ProviderMachine) -> None:
        with understood():
            await self._vendor.remove(found)

    async def command(self, order: Order) -> str:
        return self._vendor.described(order)

    async def _named(self, name: MachineId, ref: str) -> Sequence[ProviderMachine]:
        with understood():
            return await self._vendor.named(name, ref)

    async def _still_there(self, name: MachineId, ref: str, unlisted_until: Instant) -> ProviderMachine:
        """Look a machine up that the provider said to have. Raises ProviderFailed after two looks that show none, and not before it must be listed."""
        looks_count = 0
        while (found := await self.inspect(name, ref)) is None:
            looks_count += 1
            if looks_count > 1 and self._instant() >= unlisted_until:
                raise ProviderFailed(f"{name} has vanished while it was starting")
            await self._sleep(self._recheck_s)
        return found

    async def _left_before(self, order: Order) -> ProviderMachine | None:
        try:
            return await self.inspect(order.name)
        except ProviderFailed as error:
            if error.trouble is not Trouble.RETRYABLE or not order.asked_before:
                raise
            raise ProviderFailed(error.message, Trouble.UNKNOWN_OUTCOME) from None

    async def _resumed(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        try:
            with understood(Trouble.UNKNOWN_OUTCOME):
                return await self._vendor.resume(order, found)
        except ProviderFailed as error:
            raise ProviderFailed(error.message, error.trouble, ref=found.ref) from None

    async def _after_lost_answer(self, order: Order, lost: ProviderFailed) -> ProviderMachine:
        try:
            found = await self.inspect(order.name)
        except ProviderFailed:
            found = None
        if found is None:
            raise lost
        log.info("machine.found_after_lost_answer", machine=order.name, ref=found.ref)
        return await self._resumed(order, found)


class BootLogReading:
    """Reads what a machine says, where its vendor can, and passes it on: however that fails, the machine comes up without it."""

    def __init__(self, vendor: Vendor, boot: BootOutput) -> None:
        self._vendor = vendor if isinstance(vendor, LoggedVendor) else None
        self._boot = boot
        self._complained = False

    async def read(self, found: ProviderMachine) -> None:
        """Read it once. A log that is not to be had says so itself, once."""
        if self._vendor is None:
            return
        try:
            with understood():
                self._boot.shows(await self._vendor.boot_log(found))
        except ProviderFailed as error:
            log.debug("boot_log.not_read", machine=found.name, reason=error.message)
            if error.trouble in HOPELESS and not self._complained:
                self._boot.said(f"What it says cannot be read: {error.message}")
                self._complained = True


@contextmanager
def understood(otherwise: Trouble = Trouble.RETRYABLE) -> Iterator[None]:
    """Make a failure of whatever else a vendor raises; its words are not shown, since they may hold what must not be."""
    try:
        yield
    except ClusterError:
        raise
    except Exception as error:
        raise ProviderFailed(f"its answer was not understood ({type(error).__name__})", otherwise) from error


async def answering(address: str, port: int) -> bool:
    """Whether somebody answers HTTP there. A connection alone says nothing: Docker accepts it before the node in the container does."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(b"GET /info HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")
                return bool(await reader.read(1))
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
