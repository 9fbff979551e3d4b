"""Lists of tasks that are searched, filtered, sorted and paged, for operators.

They are read from the table of ended tasks (records/adapters.py), which has a row for each active task, too. Which of those have changed
is noted as they change, and written into the table when somebody asks: who never asks pays for a set of ids. An active task that is shown is
described as it is at that moment.

Nothing here holds up the loop: rows are written and searched some at a time. A list without text is read by its index; where text or
anything else has to be looked for, all rows are gone through, and those found are sorted when they are few. Many are found soon by walking along the
index of the order that is wanted.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from msgspec.structs import replace

from clusterodm.libs.common.bus.retrying import Slices
from clusterodm.libs.common.messages.tasks import SearchTasks, TaskOrder, TaskPage, TaskSummary
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.records.ports import EndedRow, row_of
from clusterodm.services.scheduler.tasks.handlers.reading import TaskReader
from clusterodm.services.scheduler.tasks.ports import TaskQueue

MOST_COUNT: Final = 500
"""Tasks in a page: a message holds 1 MiB, and a task in a list may take more than a kilobyte."""
WRITTEN_COUNT: Final = 100
SEARCHED_COUNT: Final = 4_000
FEW_COUNT: Final = 2_000
"""So many rows are sorted without an index in a millisecond or two."""
TEXT_LENGTH: Final = 200


class TaskSearch:
    """Searches all tasks."""

    def __init__(self, records: Records, reader: TaskReader, queue: TaskQueue) -> None:
        self._queue = queue
        self._archive = records.archive
        self._index = records.index
        self._reader = reader
        self._changed: set[TaskId] = set(records.index.tasks)
        records.signals.task_listeners.append(self._task_changed)

    async def search(self, asked: SearchTasks) -> TaskPage:
        """Show one page of what is like this. Raises BusFailed while the ended tasks are being read."""
        await self._archive.until_loaded()
        await self._take_in()
        asked = bounded(asked)
        states = self._archive.table.states()
        if is_queue(asked):
            return self._queue_page(asked, states)
        if is_plain(asked):
            total_count = sum(states.get(state, 0) for state in asked.states or TaskState)
            found = self._archive.table.page(asked)
        else:
            total_count, rows = await self._matches(asked)
            found = self._archive.table.page(asked, rows) if total_count else []
        return TaskPage(
            tasks=tuple(self._summaries(found)),
            total_count=total_count,
            states={state.value: count for state, count in states.items()},
        )

    def _queue_page(self, asked: SearchTasks, states: Mapping[TaskState, int]) -> TaskPage:
        waiting = self._queue.page(asked.offset_count, asked.limit_count)
        return TaskPage(
            tasks=tuple(self._summaries([(task, None) for task in waiting])),
            total_count=len(self._index.by_place),
            states={state.value: count for state, count in states.items()},
        )

    async def _take_in(self) -> None:
        """Bring the rows of active tasks up to date."""
        slices = Slices()
        while self._changed:
            some = [self._changed.pop() for _ in range(min(WRITTEN_COUNT, len(self._changed)))]
            rows = [self._row(task) for each in some if (task := self._index.visible(each, None)) is not None]
            self._archive.table.list_active(rows)
            self._archive.table.unlist_active(set(some) - {row.task for row in rows})
            await slices.turn()

    def _row(self, task: Task) -> EndedRow:
        return row_of(task, self._reader.listed(task))

    async def _matches(self, asked: SearchTasks) -> tuple[int, list[int] | None]:
        """Count what is like this; its rows, unless they are many."""
        slices, after, count = Slices(), 0, 0
        rows: list[int] | None = []
        while True:
            found = self._archive.table.matches(asked, after, SEARCHED_COUNT)
            count, after = count + len(found.rows), found.last
            rows = [*rows, *found.rows] if rows is not None and count <= FEW_COUNT else None
            if not found.more:
                return count, rows
            await slices.turn()

    def _summaries(self, found: Iterable[tuple[TaskId, TaskSummary | None]]) -> Iterator[TaskSummary]:
        """Describe what was found; what has left the active ones this moment is left out."""
        for task, summary in found:
            active = self._index.visible(task, None) if summary is None else None
            if active is not None:
                yield self._reader.summary(active)
            elif summary is not None:
                yield replace(summary, tenant=self._queue.tenant_of(Owner(summary.tenant)) or summary.tenant)

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        changed = after or before
        if changed is not None:
            self._changed.add(changed.id)


def bounded(asked: SearchTasks) -> SearchTasks:
    """Keep to what one answer holds."""
    in_queue = asked.order is TaskOrder.QUEUE
    return SearchTasks(
        text=asked.text[:TEXT_LENGTH],
        states=(TaskState.WAITING,) if in_queue else tuple(dict.fromkeys(asked.states)),
        node=asked.node,
        owner=asked.owner,
        since_ms=min(max(asked.since_ms, 0), LARGEST),
        order=TaskOrder.COMMITTED if in_queue and not is_queue(asked) else asked.order,
        descending=asked.descending and not in_queue,
        offset_count=min(max(asked.offset_count, 0), LARGEST),
        limit_count=min(max(asked.limit_count, 1), MOST_COUNT),
    )


LARGEST: Final = 2**62
"""SQLite's numbers end a little later."""


def is_queue(asked: SearchTasks) -> bool:
    """Whether the queue is asked for as it stands: what is searched in it is listed by commits."""
    return asked.order is TaskOrder.QUEUE and not (asked.text.strip() or asked.node or asked.owner is not None)


def is_plain(asked: SearchTasks) -> bool:
    """Whether an index says by itself what is like this, and how many there are."""
    return not (asked.text.strip() or asked.node or asked.owner is not None or asked.since_ms) and (
        len(asked.states) <= 1
    )
