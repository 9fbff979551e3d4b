"""Where ended tasks are kept: KV `ended`, and an index of it in memory.

Nobody loads these records to begin work: a scheduler that takes over leads at once and reads them in the background, for the index
and for what can be learned from them. Until that is done a task is looked up in the bucket itself, and lists wait.

A task may be in both buckets when a scheduler died between the two writes that move it. `tasks` counts then: whoever moves a task
writes where it goes before deleting where it was, and reads `tasks` first. What such a death has left here is dropped as soon as
it is seen.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from clusterodm.libs.common.bus.retrying import Slices
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.merging import LaterRecord
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.libs.common.model.tasks import Ended, LastKnown, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.libs.common.process.moments import wait_for_event
from clusterodm.services.scheduler.records.core import TaskIndex
from clusterodm.services.scheduler.records.ports import EndedIndex, EndedRow, row_of
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.nodes import NodeRegistry

log = structlog.get_logger()

NO_TASK: Final = TaskId("none")
"""No task can have this id: ids are UUIDs."""
TASK_FIELD: Final = "task"
"""Of `Ended`."""
ROWS_COUNT: Final = 20
"""Taken into the index at once."""
LOADED_WITHIN_S: Final = 4.0
"""Shorter than whoever asks for a list waits."""


class Archive:
    """Ended tasks. All writes of one task come from the task store, under the task's lock."""

    def __init__(
        self,
        ended: Bucket[Ended],
        index: EndedIndex,
        tasks: TaskIndex,
        nodes: NodeRegistry,
        learn: Callable[[Task], None],
    ) -> None:
        self._ended = ended
        self.table = index
        """What lists ask, and searches."""
        self._tasks = tasks
        self._nodes = nodes
        self._learn_from = learn
        self._loaded = asyncio.Event()
        self._written: set[TaskId] = set()
        """Put or deleted while the index is being loaded: what the load says of them may be old."""

    @property
    def is_loaded(self) -> bool:
        """Whether the index knows all of them."""
        return self._loaded.is_set()

    # --- one task --------------------------------------------------------------------------------------------------

    async def find(self, task: TaskId) -> Ended | None:
        """Look a task up, whatever the index says: it is for lists, and no reason to take a task for unknown. Raises BusFailed."""
        entry = await self._ended.get(task)
        return entry.value if entry else None

    async def read_nothing(self) -> None:
        """Take as long as for a task that is not here. Raises BusFailed."""
        await self._ended.get(NO_TASK)

    async def put(self, ended: Ended, later: LaterRecord | None) -> None:
        """Write a task's record, and what only a later version knows of it. It is not in the index before it has left the active ones. Raises BusFailed."""
        self._note(ended.task.id)
        await self._ended.put(ended.task.id, ended, later=later and later.within(TASK_FIELD))

    async def later(self, task: TaskId) -> LaterRecord | None:
        """Say how a task that was found here is written, if by a later version: for its record among the active ones. Raises BusFailed."""
        later = await self._ended.later(task)
        return later and later.inside(TASK_FIELD)

    def take_in(self, task: Task) -> None:
        """Take a task into the index: it has left the active ones."""
        self.table.add([self._row(task)])

    async def drop(self, task: TaskId) -> None:
        """Delete a task's record, if there may be one. Raises BusFailed."""
        self._note(task)
        if not self.is_loaded or self.table.key_of(task) is not None:
            await self._ended.delete(task)
            self.table.drop(task)

    async def drop_surely(self, task: TaskId) -> None:
        """Delete a record that the index may not know. Raises BusFailed."""
        self._note(task)
        await self._ended.delete(task)
        self.table.drop(task)

    def leave_out(self, task: TaskId) -> None:
        """Take a task out of the index whose record cannot be read: it stays, as one does that could not be read when the index was loaded."""
        self.table.drop(task)

    def _note(self, task: TaskId) -> None:
        if not self.is_loaded:
            self._written.add(task)

    # --- all of them -----------------------------------------------------------------------------------------------

    async def load(self) -> list[TaskId]:
        """Read all records for the index, letting others have their turn; those that are active, and so should not be here."""
        stale: list[TaskId] = []
        slices = Slices()
        async for page in self._ended.pages():
            for first in range(0, len(page), ROWS_COUNT):
                await slices.turn()
                tasks = [entry.value.task for entry in page[first : first + ROWS_COUNT]]
                stale.extend(task.id for task in tasks if task.id in self._tasks.tasks)
                self._learn(tasks)
        self._loaded.set()
        self._written.clear()
        log.info("ended_tasks.read", tasks=len(self.table), stale=len(stale))
        return stale

    def _learn(self, tasks: Sequence[Task]) -> None:
        """Take tasks into the index; one that is active, or has been written since it was read, stays out."""
        kept = [task for task in tasks if task.id not in self._tasks.tasks and task.id not in self._written]
        self.table.add([self._row(task) for task in kept])
        for task in kept:
            if task.state is TaskState.COMPLETED:
                self._learn_from(task)

    def _row(self, task: Task) -> EndedRow:
        last = task.attempt
        return row_of(task, task_summary(task, task.known, self._nodes.get(last.node) if last else None))

    async def until_loaded(self) -> None:
        """Wait until the index knows all of them. Raises BusFailed when that takes too long."""
        if not await wait_for_event(self._loaded, LOADED_WITHIN_S):
            raise BusFailed("the ended tasks are still being read")

    def may_hold(self, node: NodeId) -> bool:
        """Whether the last attempt of any of them was on this node, as far as that is known yet."""
        return not self.is_loaded or self.table.holds(node)


SHOWN_LENGTH: Final = 300
"""Longest text of a task in a list; a page of them has to fit a message."""


def task_summary(  # noqa: PLR0913 what it is put together from, by name
    task: Task,
    known: LastKnown | None,
    node: NodeState | None,
    *,
    position: int | None = None,
    because: str | None = None,
    sent: tuple[int, int] = (0, 0),
    expected: Expected | None = None,
) -> TaskSummary:
    """Show a task in a list. `because`: why it waits, if it does; `sent`: files and bytes that its node has while it is forwarded."""
    last = task.attempt
    return TaskSummary(
        id=task.id,
        name=task.name[:SHOWN_LENGTH],
        state=task.state,
        images_count=task.images_count,
        created_at_ms=task.created_at_ms,
        committed_at_ms=task.committed_at_ms,
        progress=known.progress if known else 0.0,
        processing_time_ms=known.processing_time_ms if known else -1,
        node=last.node if last else None,
        node_name=node.record.name if node else (last.node_name if last else ""),
        attempts_count=len(task.attempts),
        position=position,
        reason=task.error[:SHOWN_LENGTH] if because is None else because,
        has_owner=bool(task.owner),
        seen_at_ms=known.seen_at_ms if known else None,
        size_bytes=task.size_bytes,
        ended_at_ms=task.ended_at_ms,
        sent_count=sent[0],
        sent_bytes=sent[1],
        expected=expected,
        priority=task.priority,
        tenant=task.owner,
    )
