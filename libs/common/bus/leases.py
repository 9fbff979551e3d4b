"""Leadership: one holder of a lease at a time, by a key that expires (KV `leases`, key TTL, compare-and-set).

The holder writes the key again every third of its time to live, and soon again when there is no answer. When it stops (crash, freeze, no network), NATS removes
the key and the next candidate creates it. Two clocks are never compared: NATS counts from when it received the last
write, the holder from before it sent it, so the holder's term always ends first. A holder that was frozen finds its term
over as soon as it looks: `valid` is a comparison with the monotonic clock, to be asked before anything is decided.

NATS counts with its wall clock, which may step. Forward: the key expires although its holder is well; the next renewal finds
that, the term ends, and whoever asks first leads. Back: the key of a holder that died stays for as long as the step was. So
a candidate that has seen the same revision for longer than its time to live, by its own monotonic clock, writes over it at that
revision (as leader election in Kubernetes does): no clock but its own has a say in that, and of two who do so one fails. For this
the key says what its time to live is.

The epoch is the revision at which the key was created: it grows from term to term, and travels with commands, so that
whoever has seen a newer leader refuses an older one. What is left is the moment between looking and writing; there the
compare-and-set on every record and the epoch hold.

A write may be done although its answer is lost (NATS elects, the network stumbles). Whoever then finds its own name and nonce
at a later revision than it knows of goes on from there: no lease is given up for an answer that did not come.

Beside its name, the holder writes which process it is. A candidate in the same process namespace of the same boot sees
whether that process is still there; if not, it takes it over at once: a killed service that its keeper starts again
does not wait for the death of its predecessor to be noticed from afar.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import nats.errors
import nats.js.errors
import structlog
from nats.js import JetStreamContext, api
from nats.js.kv import KeyValue

from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.retrying import NATS_ERRORS, try_timeout
from clusterodm.libs.common.bus.rights import failure_of
from clusterodm.libs.common.bus.store import opened
from clusterodm.libs.common.bus.streams import why
from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.process.lifecycle import SystemClock, cancellable
from clusterodm.libs.common.process.loops import background, beat
from clusterodm.libs.common.process.moments import sleep_together

log = structlog.get_logger()

BUCKET: Final = "leases"
STREAM: Final = f"KV_{BUCKET}"
RETRY_S: Final = 0.5
RENEWALS_PER_TTL: Final = 3
TRIES_PER_TTL: Final = 4
"""So long does a renewal wait for its answer; the next follows soon, so that one lost answer costs no lease."""
AGAIN_S: Final = 0.1
LONGEST_TTL_S: Final = 60
"""Whoever does not say in the key how long it lives may mean so long (the highest that can be set)."""
TTL_WORD: Final = "ttl="
WRONG_REVISION: Final = 10071
"""NATS' code for a write to a subject whose last message is another than expected."""
GONE: Final = {"Z", "X"}
"""States in /proc/<pid>/stat of a process that has ended (proc(5))."""
STARTED_AT: Final = 18
"""Which field behind the state says when the process started (proc(5): the 22nd of all)."""


class LeadershipTaken(Exception):
    """The lease is no longer ours, and NATS has said so."""


class LeaseTerm:
    """A time of leading. `clusterodm.libs.common.ports.Term` says what each member promises."""

    def __init__(self, epoch: int, until: Instant, clock: Clock) -> None:
        self.epoch = epoch
        self._until = until
        self._clock = clock
        self._over = asyncio.Event()

    def __repr__(self) -> str:
        """Show the epoch and whether it still counts."""
        return f"LeaseTerm(epoch={self.epoch} {'valid' if self.valid else 'over'})"

    @property
    def valid(self) -> bool:
        """Whether the holder may decide at this moment."""
        return not self._over.is_set() and self._clock.instant() < self._until

    async def over(self) -> None:
        """Wait until the term has ended."""
        await self._over.wait()

    def prolong(self, until: Instant) -> None:
        """Count on from a renewal; a term that was over stays over."""
        if self.valid:
            self._until = until

    def end(self) -> None:
        """Stop leading."""
        self._over.set()


@asynccontextmanager
async def hold(
    js: JetStreamContext, replicas: Replicas | None, name: str, holder: str, ttl_s: int
) -> AsyncIterator[LeaseTerm]:
    """Wait until the lease is free, hold it while the context is open, and free it at the end.

    `holder`: no two candidates may have the same. `ttl_s`: whole seconds after which a silent holder has lost it.
    """
    lease = Lease(js, await open_store(js, replicas), name, holder, ttl_s)
    term = await lease.take()
    log.info("leadership.acquired", lease=name, epoch=term.epoch)
    async with background(lambda: lease.renew(term), name=f"renew {name}"):
        try:
            yield term
        finally:
            await lease.leave(term)


async def is_held(js: JetStreamContext, name: str) -> bool:
    """Whether somebody holds a lease. Raises BusFailed."""
    try:
        return bool((await cancellable(js.get_last_msg(STREAM, f"$KV.{BUCKET}.{name}"))).data)
    except nats.js.errors.NotFoundError:
        return False
    except NATS_ERRORS as error:
        raise failure_of(f"lease {name} not seen: {why(error)}", error) from None


async def open_store(js: JetStreamContext, replicas: Replicas | None) -> KeyValue:
    """Open the bucket of leases, waiting for NATS if need be. Without `replicas`: another process makes it, and is waited for."""
    config = api.KeyValueConfig(
        bucket=BUCKET, history=1, storage=api.StorageType.FILE, replicas=replicas.count if replicas else 1
    )
    tries_count = 0
    while True:
        try:
            async with try_timeout(tries_count):
                return await cancellable(opened(js, config, replicas))
        except NATS_ERRORS as error:
            tries_count += 1
            log.debug("leases.not_found", error=repr(error))
            await asyncio.sleep(RETRY_S)


class Lease:
    """The key of one lease, as one candidate sees it."""

    def __init__(  # noqa: PLR0913, PLR0917 where it lies, whose it is, and how its time is counted
        self, js: JetStreamContext, store: KeyValue, name: str, holder: str, ttl_s: int, clock: Clock | None = None
    ) -> None:
        self._js = js
        self._store = store
        self._name = name
        self._holder = f"{holder} {TTL_WORD}{ttl_s} {this_process()}".encode()
        self._ttl_s = ttl_s
        self._revision = 0
        self._clock = clock or SystemClock()
        self._seen: tuple[int, Instant] = 0, self._clock.instant()
        """The last revision of another's that was seen, and since when."""

    async def take(self) -> LeaseTerm:
        """Wait until the lease is free and take it."""
        while True:
            began = self._clock.instant()
            try:
                async with try_timeout():
                    await cancellable(self._create_or_inherit())
            except NATS_ERRORS:
                await asyncio.sleep(RETRY_S)
            else:
                return LeaseTerm(self._revision, began + self._ttl_s, self._clock)

    async def _create_or_inherit(self) -> None:
        try:
            self._revision = await self._store.create(self._name, self._holder, msg_ttl=self._ttl_s)
        except nats.js.errors.KeyWrongLastSequenceError:
            entry = await self._store.get(self._name)
            if entry.value != self._holder and not self._is_left(entry):
                raise
            self._revision = (await self._write(entry.revision or 0)).seq

    def _is_left(self, entry: KeyValue.Entry) -> bool:
        """Whether the holder is sure to be gone: its process is dead, or it has written nothing for a time to live."""
        words = (entry.value or b"").decode(errors="replace")
        if is_dead(words.rpartition(" ")[2]):
            log.info("leader.died", lease=self._name)
            return True
        revision, since = self._seen
        if revision != (entry.revision or 0):
            self._seen = revision, since = entry.revision or 0, self._clock.instant()
        silent_s = self._clock.instant() - since
        if silent_s <= ttl_of(words):
            return False
        log.warning("lease.overstayed", lease=self._name, silent_s=round(silent_s, 1))
        return True

    async def renew(self, term: LeaseTerm) -> None:
        """Write the key again and again; end the term when that fails, for whatever reason: then this process stands by again."""
        try:
            await self._write_in_time(term)
        except Exception:
            log.exception("lease.renewal_crashed", lease=self._name, epoch=term.epoch)
        term.end()
        log.warning("leadership.term_ended", lease=self._name, epoch=term.epoch)
        await asyncio.Event().wait()

    async def _write_in_time(self, term: LeaseTerm) -> None:
        """Write the key until it is not written in time or is somebody else's."""
        pause_s = self._ttl_s / RENEWALS_PER_TTL
        while term.valid:
            await sleep_together(pause_s)
            try:
                async with asyncio.timeout(self._ttl_s / TRIES_PER_TTL):
                    await cancellable(self._write_again(term))
                beat()
                pause_s = self._ttl_s / RENEWALS_PER_TTL
            except LeadershipTaken as error:
                log.warning("leadership.lost", lease=self._name, epoch=term.epoch, reason=str(error))
                return
            except NATS_ERRORS as error:
                pause_s = AGAIN_S
                log.debug("lease.renewal_failed", lease=self._name, error=type(error).__name__)

    async def leave(self, term: LeaseTerm) -> None:
        """End the term, and free the lease at once if it is still ours."""
        was_valid = term.valid
        term.end()
        if was_valid:
            with contextlib.suppress(LeadershipTaken, *NATS_ERRORS):
                await cancellable(self._at_own_revision(partial(self._store.delete, self._name)))

    async def _write_again(self, term: LeaseTerm) -> None:
        began = self._clock.instant()
        self._revision = (await self._at_own_revision(self._write)).seq
        term.prolong(began + self._ttl_s)

    async def _at_own_revision(self, write: Callable[[int], Awaitable[Any]]) -> Any:
        """Write where we have written last, and nowhere else: what NATS hears late may come when another holds the lease. Raises LeadershipTaken."""
        try:
            return await write(self._revision)
        except nats.js.errors.APIError as error:
            if error.err_code != WRONG_REVISION:
                raise
            return await write(await self._own_revision())

    async def _own_revision(self) -> int:
        """Find the write of ours whose answer was lost. Raises LeadershipTaken when the last one is another's."""
        try:
            entry = await cancellable(self._store.get(self._name))
        except nats.js.errors.KeyNotFoundError:
            raise LeadershipTaken("the lease has expired") from None
        if entry.value != self._holder:
            raise LeadershipTaken("another holds it")
        return entry.revision or 0

    async def _write(self, revision: int) -> api.PubAck:
        return await cancellable(
            self._js.publish(
                f"$KV.{BUCKET}.{self._name}",
                self._holder,
                headers={api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(revision)},
                msg_ttl=self._ttl_s,
            )
        )


def ttl_of(words: str) -> int:
    """Read from a key how long it lives, in seconds."""
    said = next((word.removeprefix(TTL_WORD) for word in words.split() if word.startswith(TTL_WORD)), "")
    return int(said) if said.isdecimal() else LONGEST_TTL_S


def this_process() -> str:
    """Say which process this is: boot, process namespace, id, time of start. Empty where there is no /proc."""
    return process_name(os.getpid())


def process_name(pid: int) -> str:
    """Name a process of this namespace so that no other ever has that name; empty when it is not alive."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in GONE else f"{boot}/{namespace}/{pid}/{fields[STARTED_AT]}"


def is_dead(process: str) -> bool:
    """Whether a named process is sure to have ended: only one of this boot and namespace can be."""
    here = this_process()
    if not here or process.count("/") != here.count("/") or process.split("/")[:2] != here.split("/")[:2]:
        return False
    return process_name(int(process.split("/")[2])) != process
