"""Whether the records are those that this proxy knows, and what it does when they are not.

Records may be older than what was done, and only upload owners know that: an older store was restored, under its old incarnation. So each record is
held against what its upload owner knows (comparing.py), and a task that the scheduler does not know is asked for at the other proxies, for a while
after each new connection to NATS.

The spool keeps the incarnation of the store (libs/common/bus/incarnation.py) beside its uploads. Another one in NATS means that the records
were lost. Then all held tasks are looked at again, and submitted again by their loops (forwarding/handlers/forwarder.py), what is held is
announced again, the secret of the proxies is written again, and for a while "the scheduler does not know it" is no answer for clients: other proxies submit theirs again, too.
A task that lies here is known whatever the records say, to its owner.

There may be tasks whose photos should lie here and do not: an older store was restored, and they have been removed or completed since.
The scheduler cannot know: their upload owner is there, and nothing asks for them. So each record that names us is held against the spool as it
comes by, and what is missing is reported after a second look. Nothing is deleted by that.

A proxy announces itself with its spool (KV `proxies`): should it not come back, the scheduler can say which directory is missing.
The announcement outlives the proxy, by months and not for ever: each one that runs announces itself again when it is not there.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from clusterodm.libs.common.bus.incarnation import incarnation, log_not_read
from clusterodm.libs.common.clocks import Clock, Instant, read
from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.messages.buckets import PROXIES
from clusterodm.libs.common.messages.placement import REPORT_INPUTS_LOST, ReportInputsLost
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.process.loops import background, every
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.recovery.handlers.comparing import SETTLE_S, Holders, RecordComparison
from clusterodm.services.proxy.spool.core.upload import holding
from clusterodm.services.proxy.spool.ports import RecoveredSpool, Spool, WholeSpool

log = structlog.get_logger()

FRESH_S: Final = 1.0
"""How old what is known of the incarnation may be when a client is about to hear that a task does not exist."""

COMPARE_EVERY_S: Final = 5.0
PRESENT_EVERY_S: Final = 60.0
NEEDED_IN: Final = frozenset((TaskState.WAITING, TaskState.RUNNING))
"""The states in which a task may need its photos again. One that is being forwarded is not compared: a little later it is one of these."""

KEPT_S: Final = 90 * 24 * 3600


class Recovery:
    """Watches over the incarnation. `compare` is called every few seconds."""

    def __init__(  # noqa: PLR0913, PLR0917 all that may be another than this proxy knows
        self,
        bus: Bus,
        spool: RecoveredSpool,
        clock: Clock,
        on_records_lost: Callable[[], None],
        renew_secret: Callable[[], Awaitable[None]],
        comparison: RecordComparison,
    ) -> None:
        self._bus = bus
        self._spool = spool
        self._clock = clock
        self._on_records_lost = on_records_lost
        self._renew_secret = renew_secret
        self._compared_at: Instant | None = None
        self._said_not_read = False
        self._settled_at = clock.instant()
        self.comparison = comparison

    async def compare(self, wait_s: float = 0.0) -> None:
        """Compare the incarnation with the spool's. Raises BusFailed."""
        current, known = await incarnation(self._bus, self._clock.wall_ms, wait_s), self._spool.incarnation
        is_first = self._compared_at is None
        self._compared_at = self._clock.instant()
        if current is None:
            self._say_not_read()
            return
        self._said_not_read = False
        if known is not None and known.id == current.id:
            if is_first and self._spool.has_former_store:  # they may have been lost just before this start
                self._settled_at = read(self._clock).until(current.made_at_ms + int(SETTLE_S * 1000), SETTLE_S)
            return
        await self._spool.join(current)
        if known is None:
            log.info("spool.adopted", incarnation=current.id)
            return
        log.error("records.lost", was=known.id, incarnation=current.id)
        self._settled_at = self._clock.instant() + SETTLE_S
        self._on_records_lost()
        await self._renew_secret()
        await self._spool.announce()

    def _say_not_read(self) -> None:
        if not self._said_not_read:
            log_not_read()
        self._said_not_read = True

    async def is_sure(self, task: TaskId, owner: Owner) -> bool:
        """Whether a task that the scheduler does not know is sure not to exist, as far as a client may know. Raises BusFailed."""
        held = self._spool.find(task)
        if held is not None and holding(held, owner).is_submitted:
            return False
        now = self._clock.instant()
        if self._compared_at is None or now - self._compared_at > FRESH_S:
            await self.compare()
        if self._clock.instant() < self._settled_at:
            return False
        return not await self.comparison.may_be_held(task, owner)


class MissingInputs:
    """Holds records against the spool. `report` is called every few seconds."""

    def __init__(self, bus: Bus, cluster: Cluster, spool: Spool) -> None:
        self._bus = bus
        self._cluster = cluster
        self._spool = spool
        self._suspects: set[TaskId] = set()
        self._named: set[TaskId] = set()
        """Of each the log has said once that its photos are not here."""

    def watch(self) -> None:
        """Look at each record, those that are there and each one that changes."""
        self._cluster.on_task(self._on_change)
        self._suspects.update(task.id for task in self._cluster.tasks() if self._is_missing(task))

    def _on_change(self, task: TaskId) -> None:
        record = self._cluster.task(task)
        if record is not None and self._is_missing(record.task):
            self._suspects.add(task)

    def _is_missing(self, task: Task) -> bool:
        ours = (
            task.upload_owner == self._spool.instance
            and task.state in NEEDED_IN
            and task.inputs_kept
            and not task.removed
            and not task.from_url  # its record is enough to take it up again
        )
        return ours and self._spool.find(task.id) is None

    async def report(self) -> None:
        """Report what is missing, whatever the mirror says by now. Raises BusFailed."""
        for task in list(self._suspects):
            try:
                await self._report(task)
            except BusFailed:
                raise
            except NotFound as error:
                log.debug("inputs.loss_not_reported", task=task, reason=error.message)
            except Refused as error:  # it may still be found on a node: said again
                log.debug("inputs.loss_not_taken", task=task, reason=error.message)
                continue
            self._suspects.discard(task)

    async def _report(self, task: TaskId) -> None:
        record = (await self._bus.request(GET_TASK, TaskRef(task=task))).task
        if self._is_missing(record):
            if task not in self._named:
                self._named.add(task)
                log.error("inputs.not_found", task=task, state=str(record.state))
            await self._bus.request(REPORT_INPUTS_LOST, ReportInputsLost(task=task, upload_owner=self._spool.instance))


class Presence:
    """The announcement of one proxy. `announce` is called every now and then."""

    def __init__(self, bus: Bus, proxy: Proxy) -> None:
        self._bus = bus
        self._proxy = proxy

    async def announce(self) -> None:
        """Put it up if it is not there. Raises BusFailed."""
        bucket = await self._bus.bucket(PROXIES)
        found = await bucket.get(self._proxy.instance)
        if found is None or found.value != self._proxy:
            await bucket.put(self._proxy.instance, self._proxy, ttl_s=KEPT_S)


@asynccontextmanager
async def open_recovery(  # noqa: PLR0913 all that may be another than this proxy knows
    bus: Bus,
    cluster: Cluster,
    spool: WholeSpool,
    proxy: Proxy,
    *,
    on_records_lost: Callable[[], None],
    renew_secret: Callable[[], Awaitable[None]],
    holders: Holders,
    wait_s: float,
) -> AsyncIterator[Recovery]:
    """Notice when records are lost, older than what was done, or speak of photos that are not here, while the context is open."""
    clock, missing, presence = SystemClock(), MissingInputs(bus, cluster, spool), Presence(bus, proxy)

    async def make_known() -> None:
        await renew_secret()
        await presence.announce()

    comparison = RecordComparison(bus, cluster, spool, holders, clock)
    recovery = Recovery(bus, spool, clock, on_records_lost, make_known, comparison)
    await recovery.compare(wait_s)
    missing.watch()
    async with (
        background(lambda: every(COMPARE_EVERY_S, recovery.compare, "compare incarnations"), "compare incarnations"),
        background(lambda: every(PRESENT_EVERY_S, presence.announce, "announce proxy"), "announce proxy"),
        background(lambda: every(COMPARE_EVERY_S, missing.report, "report missing inputs"), "report missing inputs"),
    ):
        yield recovery
