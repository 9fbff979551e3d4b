"""Finding a task for its owner: in the mirror, else where ended ones are kept, else the scheduler is asked.

What is found is answered when it is the last record (confirming.py) of a store that knows what was done. A store that was restored
from an older backup does not: the first record of each task that is looked at over a new connection to NATS is held against what its upload
owner knows (`StoreComparison`), and who polls it waits until the record has been put right. That a task goes on, as its node says, needs
no such proof, where its upload owner says nothing against it. That it has ended there may have been told of a later record: while the
connection is new, the scheduler looks first.
"""

from collections import OrderedDict
from typing import Final

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, NotFound, Removed
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.handlers.confirming import HOLD_S, Confirmer, retried
from clusterodm.services.proxy.cluster.ports import (
    Cluster,
    IsSure,
    Standing,
    StoreComparison,
    Trust,
    always,
    require_sure,
)
from clusterodm.services.proxy.exchange.nodeodm_api import no_task

NO_TASK: Final = TaskId("none")
"""No task can have this id: ids are UUIDs."""
OWNERS_COUNT: Final = 50_000


class TaskFinder:
    """Finds tasks for their owners."""

    def __init__(
        self,
        bus: Bus,
        cluster: Cluster,
        clock: Clock,
        *,
        is_sure: IsSure = always,
        comparison: StoreComparison | None = None,
    ) -> None:
        self._bus = bus
        self._cluster = cluster
        self._clock = clock
        self._is_sure = is_sure
        self.comparison = comparison or Trust()
        self.confirmer = Confirmer(bus, cluster, clock)
        self._owners: OrderedDict[TaskId, Owner] = OrderedDict()

    async def find(self, task: TaskId, owner: Owner, action: str) -> TaskRecord:
        """Find a task of this owner. Raises NotFound in the original's words, BusFailed when nobody can tell."""
        record = self._cluster.task(task)
        if record is None or not may_touch(owner, record.task.owner):
            # another's goes the whole way of one that is unknown: its time must not tell
            record = await self._ended(task, owner)
        if record is None or not may_touch(owner, record.task.owner):
            record = await self._request_task(task, owner, action)
        if record.task.removed:
            raise NotFound(no_task(task, action))
        if not self.is_in_doubt(task):
            return record
        # such a poll has not been held yet (polling/handlers/coalesce.py): it is held for as long as others are by two attempts
        return await self.confirmed(record, seen_on_node=True, hold_s=2 * HOLD_S)

    def is_in_doubt(self, task: TaskId) -> bool:
        """Whether the record of a task that was found may be older than what was done, though NATS is there."""
        return self._bus.connected and not self.comparison.is_compared(task)

    async def find_result(self, task: TaskId, owner: Owner, action: str) -> Task:
        """Find a task of which somebody wants the result. Raises as `find`.

        Another proxy may have said that it is complete, of this run or of one after a restart. One that has ended here may be fetched
        while nobody can say whether that was its last end.
        """
        record = await self.find(task, owner, action)
        if record.task.state.ended and not self._bus.connected:
            return record.task
        try:
            return (await self.confirmed(record)).task
        except BusFailed:
            if record.task.state.ended:
                return record.task
            raise

    async def confirmed(
        self, record: TaskRecord, *, seen_on_node: bool = False, ended_on_node: bool = False, hold_s: float = HOLD_S
    ) -> TaskRecord:
        """Find the last record of a task. Raises NotFound when it was removed, BusFailed when nobody can tell.

        `seen_on_node`: its node is asked before anything is answered, and nothing but the word of its upload owner speaks against one that goes on.
        `ended_on_node`: its node says that what runs in the record has ended.
        """
        try:
            latest = await retried(lambda: self._compared(record, seen_on_node, ended_on_node), self._clock, hold_s)
        except Removed:
            raise NotFound(no_task(record.task.id, "info")) from None
        except NotFound:
            raise BusFailed(f"{record.task.id} is known here, and its owner does not know it") from None
        if latest.task.removed:
            raise NotFound(no_task(record.task.id, "info"))
        return latest

    async def _compared(self, record: TaskRecord, seen_on_node: bool, ended_on_node: bool) -> TaskRecord:
        connection = self.comparison.connection
        latest = await self.confirmer.confirm_now(record)
        if latest.revision < record.revision:
            self.comparison.forget(record.task.id)
        standing = Standing.LAST if latest.task.removed else await self.comparison.compare(latest, connection)
        if standing is Standing.OLDER or (standing is Standing.UNSURE and not seen_on_node):
            raise BusFailed(f"the record of {record.task.id} may be older than what was done")
        if ended_on_node and self.comparison.is_new and goes_on(record.task, latest.task):
            raise BusFailed(f"the node of {record.task.id} is ahead of its record, and the scheduler is to look first")
        return latest

    async def _ended(self, task: TaskId, owner: Owner) -> TaskRecord | None:
        """Look for a task among the ended ones; None: it is not there or another's, or that cannot be said now."""
        known = self._cluster.task(task)
        anothers = known.task.owner if known else self._owners.get(task, owner)
        try:
            if not may_touch(owner, anothers):
                return await self._cluster.recall(NO_TASK)  # the same question as about an unknown one
            record = await self._cluster.recall(task)
        except BusFailed:
            return None
        if record is not None:
            self._remember(record.task)
        return record

    def _remember(self, task: Task) -> None:
        """Keep whose it is for longer than its record: so that it is read for its owner only. The scheduler has the last word."""
        self._owners[task.id] = task.owner
        self._owners.move_to_end(task.id)
        while len(self._owners) > OWNERS_COUNT:
            self._owners.popitem(last=False)

    async def _request_task(self, task: TaskId, owner: Owner, action: str) -> TaskRecord:
        asked = TaskRef(task=task, owner=owner)
        try:
            record = await retried(lambda: self._bus.request(GET_TASK, asked, timeout_s=0.9), self._clock)
        except NotFound as error:
            if not isinstance(error, Removed):
                await require_sure(self._is_sure, task, owner)
            raise NotFound(no_task(task, action)) from None
        self._cluster.learn(record)
        return record


def goes_on(before: Task, now: Task) -> bool:
    """Whether a task is still in the attempt in which its record had it before."""
    attempts = [task.attempt.node_task_id if task.attempt else None for task in (before, now)]
    return now.state is before.state and attempts[0] == attempts[1]
