"""Whether the store knows what was done, task by task.

A store of NATS that was restored from an older backup looks like any other: the same incarnation, records that were once true. What was done since is
known to upload owners alone, who submit it again (forwarding/handlers/resubmit.py), a moment later. Until then no poll may be answered from such a
record, through whichever proxy: its client has seen a later state.

A store does not go back while a connection to it lasts. So a task is compared once for each connection, when somebody asks for it, and
again when KV `tasks` began anew under the connection. What lies here is compared here; of what another proxy holds, that one is asked.
Its word is about what it has done, and rests on its spool, not on NATS: it is right whatever it knows of the store by then.

Who does not answer may start at the same time, and is waited for; then it is away, and the record is all there is.
"""

from collections.abc import Collection, Sequence
from typing import Final, Protocol

import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import NotFound, Removed
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.ports import Cluster, Standing, StoreConnection
from clusterodm.services.proxy.spool.core.history import Holding, is_behind
from clusterodm.services.proxy.spool.core.upload import holding
from clusterodm.services.proxy.spool.ports import RecoveredSpool

log = structlog.get_logger()

MOST_COUNT: Final = 200_000
"""So many tasks are remembered; then they are compared once more."""

HOLDER_START_S: Final = 7.0
"""How long after a new connection to NATS an upload owner that does not answer is waited for: it may start as we do. Then it is away. Polls are held
for longer (cluster/handlers/confirming.HOLD_S), so none is cut off for this alone."""
SETTLE_S: Final = 60.0
"""How long the proxies of a cluster take to submit again what they hold, and to report what they do not have, at most."""


class Holders(Protocol):
    """The other proxies, asked what they have of tasks."""

    async def ask(self, proxy: InstanceId, task: TaskId, owner: Owner | None = None) -> Holding | None:
        """Ask what one has of a task; None: it does not answer within a second, or nobody knows where it is. `owner`: of another owner it has nothing."""

    async def others(self) -> Sequence[InstanceId]:
        """List the other proxies that have announced themselves. Raises BusFailed."""


class RecordComparison:
    """Holds records against what was done. Implements cluster/ports.StoreComparison."""

    def __init__(self, bus: Bus, cluster: Cluster, spool: RecoveredSpool, holders: Holders, clock: Clock) -> None:
        self._bus = bus
        self._cluster = cluster
        self._spool = spool
        self._holders = holders
        self._clock = clock
        self._compared: dict[TaskId, int] = {}
        """At which revision each was the last one."""
        self._connection = bus.connections_count, cluster.resets_count
        self._since: Instant = clock.instant()

    @property
    def connection(self) -> StoreConnection:
        """Say which one it is now; all are compared again over a new one."""
        now = self._bus.connections_count, self._cluster.resets_count
        if now != self._connection:
            self._connection, self._since = now, self._clock.instant()
            self._compared.clear()
        return now

    @property
    def is_new(self) -> bool:
        """Whether others may be starting as we do."""
        return self._lasts_s(self.connection) < HOLDER_START_S

    def _lasts_s(self, connection: StoreConnection) -> float:
        """Say how long a connection has lasted, as far as anybody has looked."""
        return self._clock.instant() - self._since if connection == self._connection else 0.0

    def is_compared(self, task: TaskId) -> bool:
        """Whether a record of this task has been the last one over this connection."""
        if (self._bus.connections_count, self._cluster.resets_count) != self._connection:
            return False  # what was compared over the one before is forgotten when the next is compared
        return task in self._compared

    def forget(self, task: TaskId) -> None:
        """Compare a task once more."""
        self._compared.pop(task, None)

    async def compare(self, record: TaskRecord, connection: StoreConnection) -> Standing:
        """Hold a record against what its upload owner knows."""
        task = record.task
        if not task.upload_owner or (self.connection == connection and self._is_later(record)):
            return Standing.LAST
        known = await self._known(task)
        if self.connection != connection:  # it was the last one in a store that may be another than this
            return Standing.UNSURE
        found = standing(task, known, self._lasts_s(connection))
        if found is Standing.LAST:
            if len(self._compared) >= MOST_COUNT:
                self._compared.clear()
            self._compared[task.id] = record.revision
        else:
            log.debug("record.compared", task=task.id, state=str(task.state), standing=found.name)
        return found

    def _is_later(self, record: TaskRecord) -> bool:
        """Whether a record is not from before the one that was compared: that may have been in a scheduler's memory alone, and another reads the store."""
        compared_at = self._compared.get(record.task.id)
        return compared_at is not None and record.revision >= compared_at

    async def _known(self, record: Task) -> Holding | None:
        if record.upload_owner == self._spool.instance:
            return holding(self._spool.find(record.id))
        return await self._holders.ask(record.upload_owner, record.id)

    async def may_be_held(self, task: TaskId, owner: Owner) -> bool:
        """Whether another proxy may hold a task that the scheduler does not know, and is about to submit it again. Raises BusFailed."""
        if (lasts_s := self._lasts_s(self.connection)) >= SETTLE_S:
            return False
        for proxy in await self._holders.others():
            known = await self._holders.ask(proxy, task, owner)
            if of_held(known is not None and known.is_submitted, lasts_s, answers=known is not None):
                return True
        return False

    async def lacks(self, owner: Owner, listed: Collection[TaskId]) -> bool:
        """Whether the scheduler's list of an owner's tasks lacks one that lies here, and that it does not know yet. Raises BusFailed."""
        if self._lasts_s(self.connection) >= SETTLE_S:
            return False
        known = frozenset(listed)
        held = (each.draft for each in self._spool.held() if holding(each).is_submitted)
        missing = [draft.task for draft in held if draft.owner == owner and draft.task not in known]
        for task in missing:
            if await self._is_unknown(task):
                return True
        return False

    async def _is_unknown(self, task: TaskId) -> bool:
        try:
            await self._bus.request(GET_TASK, TaskRef(task=task))
        except NotFound as error:
            return not isinstance(error, Removed)
        return False


def standing(record: Task, known: Holding | None, connected_s: float) -> Standing:
    """Say what a record is. `known`: what its upload owner has of it, None while that does not answer. `connected_s`: how old the connection to NATS is."""
    if known is None:
        return Standing.UNSURE if connected_s < HOLDER_START_S else Standing.LAST
    if known.is_replaced:
        return Standing.LAST
    if known.history is not None and is_behind(record, known.history):
        return Standing.OLDER
    if record.state.ended or known.is_held or record.from_url:
        return Standing.LAST
    # it should have it: either it has ended there since, or its files are lost, or it was started again where it had run
    is_to_be_decided = record.inputs_kept and record.state is not TaskState.RUNNING
    return Standing.UNSURE if is_to_be_decided or connected_s < SETTLE_S else Standing.LAST


def of_held(is_held: bool, connected_s: float, *, answers: bool) -> bool:
    """Whether a task that the scheduler does not know may be one that another proxy holds."""
    return is_held if answers else connected_s < HOLDER_START_S
