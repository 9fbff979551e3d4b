"""The providers of the file by their names, and what makes snapshots with the node's image in it, so that machines start in half the time.

A machine is created, looked up and destroyed by its own provider, and by no other.

A snapshot leaves nothing behind that costs unseen. In this order: a machine is made that pulls the image (core/snapshots.py), it is asked whether it is ready, turned off, and a snapshot is
taken. Whatever happens from the first call on, Ctrl-C too, the machine is destroyed in the end, and what a failed snapshot has left is deleted.
What not even that could do is said with its name. Older snapshots of the name go only when the new one can be used.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import ProviderFailed, Refused, Trouble
from clusterodm.services.autoscaler.orders import Order, ProviderMachine
from clusterodm.services.autoscaler.providers.core.snapshots import (
    BUILDERS,
    OURS,
    READY,
    DiskSnapshot,
    left_behind,
    line_of,
    lines_of,
    named,
    outdated,
)
from clusterodm.services.autoscaler.providers.ports import Provider, Sleep, SnapshotStore

DESTROY_TRIES_COUNT: Final = 60
DESTROY_PAUSE_S: Final = 15.0
SKEW_MS: Final = 300_000
"""By so much may the cloud's clock be behind ours."""


class ProviderRegistry(dict[str, Provider]):
    """All providers of the file by their names, in its order."""

    def of(self, provider: str) -> Provider:
        """Give the provider of a machine. Raises ProviderFailed where the file has it no more.

        No other answers for it, not even one that is alone: it would say of machines elsewhere that they are not there.
        """
        found = self.get(provider)
        if found is None:
            raise ProviderFailed(
                f"the file has no provider {provider!r} any more: it has to stay until its machines are gone"
            )
        return found


class SnapshotProbe(Protocol):
    """Hears what a machine says that is to become a snapshot."""

    async def told(self, machine: ProviderMachine) -> str:
        """Ask it: `ready`, or why it is not. Raises ProviderFailed."""


class Snapshots:
    """What can be done with them."""

    def __init__(  # noqa: PLR0913 the world, piece by piece
        self,
        *,
        provider: Provider,
        store: SnapshotStore,
        probe: SnapshotProbe,
        clock: Clock,
        say: Callable[[str], None],
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._provider = provider
        self._store = store
        self._probe = probe
        self._clock = clock
        self._say = say
        self._sleep = sleep

    async def show(self) -> None:
        """List all that costs, and say what."""
        snapshots, price = await self._store.starting(OURS), await self._store.price()
        machines = await self._provider.list(BUILDERS)
        for line in lines_of(snapshots, price, machines):
            self._say(line)

    async def delete(self, ref: str) -> None:
        """Delete one of ours. Raises Refused where there is none."""
        if ref not in {each.ref for each in await self._store.starting(OURS)}:
            raise Refused(f"there is no snapshot {ref!r} whose name begins with {OURS!r}")
        await self._store.delete(ref)
        self._say(f"deleted {ref}")

    async def create(self, order: Order, name: str, keep_count: int) -> DiskSnapshot:
        """Make one, and delete what it replaces. Raises ProviderFailed when it came to nothing; then nothing is left of it."""
        await self._clear()
        since_ms = self._clock.wall_ms() - SKEW_MS
        try:
            snapshot = await self._made(order, name)
        except BaseException as failure:
            await self._undo(order, name, since_ms, failure)
            raise
        await self._destroyed(order)
        self._say(line_of(snapshot, await self._store.price()))
        for old in outdated(await self._store.starting(OURS), name, keep_count):
            await self._store.delete(old.ref)
            self._say(f"deleted the older {old.ref}")
        return snapshot

    async def _made(self, order: Order, name: str) -> DiskSnapshot:
        self._say(f"creating {order.name} ({order.offer})")
        machine = await self._provider.create(order)
        self._say(f"waiting until it has {order.launch.image}")
        machine = await self._provider.set_up(order, machine)
        told = await self._probe.told(machine)
        if told != READY:
            raise ProviderFailed(f"the image could not be put onto the machine: {told}")
        self._say("turning it off")
        await self._store.switch_off(machine.ref)
        self._say(f"taking the snapshot {name}")
        return await self._store.take(machine.ref, name)

    async def _undo(self, order: Order, name: str, since_ms: int, failure: BaseException) -> None:
        """Destroy the machine, and delete what is left of the snapshot; `failure` is told first, so that it is seen in any case."""
        self._say(f"failed: {failure}" if str(failure) else f"ended by {type(failure).__name__}")
        await self._destroyed(order)
        left = [each for each in named(await self._store.starting(OURS), name) if each.created_at_ms >= since_ms]
        for each in left:
            if each.available:
                self._say(f"{each.ref} was made all the same, its answer was lost: it can be used, and costs")
            else:
                await self._store.delete(each.ref)
                self._say(f"deleted the unfinished {each.ref}")

    async def _destroyed(self, order: Order) -> None:
        """Destroy the machine, again and again: while a snapshot is under way a cloud does not let it go."""
        for number in range(1, DESTROY_TRIES_COUNT + 1):
            try:
                await self._provider.destroy(order.name, "")
            except ProviderFailed as error:
                if number == DESTROY_TRIES_COUNT or error.trouble not in (Trouble.RETRYABLE, Trouble.UNKNOWN_OUTCOME):
                    words = f"the machine {order.name} could not be destroyed and COSTS: {error.message}"
                    raise ProviderFailed(words, error.trouble) from error
                await self._sleep(DESTROY_PAUSE_S)
            else:
                self._say(f"destroyed {order.name}")
                return

    async def _clear(self) -> None:
        """Destroy machines that an attempt has left behind which was killed, and name those that are young."""
        machines: Sequence[ProviderMachine] = await self._provider.list(BUILDERS)
        old = left_behind(machines, self._clock.wall_ms())
        for each in machines:
            if each in old:
                await self._provider.destroy(each.name, each.ref)
                self._say(f"destroyed {each.name}, which was left behind")
            else:
                self._say(
                    f"{each.name} is becoming a snapshot, too; if nobody is at it, it goes after two hours by the next attempt"
                )
