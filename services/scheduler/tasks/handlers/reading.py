"""What can be read of tasks: one, a list, a console."""

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import Final

import structlog
from msgspec.structs import replace

from clusterodm.libs.common.console import attempt_on_node, kept_lines, own_lines
from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.messages.tasks import (
    ConfirmTasks,
    Console,
    ListTaskIds,
    ListTasks,
    ReadConsole,
    TaskDescription,
    TaskIds,
    TaskList,
    TaskRecord,
    TaskRef,
    TasksConfirmed,
    TaskSummary,
)
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.core import Key, Ordered, key_of
from clusterodm.services.scheduler.records.handlers.archive import task_summary
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.records.handlers.task_lookup import TaskLookup
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.tasks.core.masking import masked_lines, without_secrets
from clusterodm.services.scheduler.tasks.handlers.observing import ConsoleStore
from clusterodm.services.scheduler.tasks.ports import TaskQueue

log = structlog.get_logger()

MOST_COUNT: Final = 1_000
"""Tasks in one answer: a message holds 1 MiB."""
MOST_IDS_COUNT: Final = 10_000
"""Ids in one answer, for the same reason."""
CONSOLE_BYTES: Final = 700_000
"""Console in one answer, for the same reason; who wants the rest asks from there on."""


class TaskReader:
    """Reads from memory; an ended task from the archive; only a console may need the node."""

    def __init__(
        self, records: Records, api: NodeApi, consoles: ConsoleStore, queue: TaskQueue, settings: SchedulerSettings
    ) -> None:
        self._consoles = consoles
        self._queue = queue
        self._tasks: TaskLookup = records.tasks
        self._sync = records.sync
        self._archive = records.archive
        self._index = records.index
        self._nodes = records.registry
        self._api = api
        self._clock = records.clock
        self._timeout_s = settings.action_timeout_s

    async def get(self, request: TaskRef) -> TaskRecord:
        """Show one task."""
        await self._sync.settle(request.task)
        record = await self._tasks.find(request.task, request.owner)
        return replace(record, task=self._index.shown(record.task))

    async def describe(self, request: TaskRef) -> TaskDescription:
        """Show one task without its secrets, and how it stands."""
        task = (await self.get(request)).task
        return TaskDescription(task=without_secrets(task), summary=self.summary(task))

    async def confirm(self, request: ConfirmTasks) -> TasksConfirmed:
        """Say which of these records have changed since they were seen. Raises BusFailed when that cannot be said."""
        current = [await self._sync.is_current(seen.task, seen.revision, seen.state) for seen in request.seen]
        return TasksConfirmed(
            outdated=tuple(seen.task for seen, same in zip(request.seen, current, strict=True) if not same)
        )

    async def list_tasks(self, request: ListTasks) -> TaskList:
        """Show tasks in the order of their commits, a page at a time. Raises BusFailed while the ended ones are being read."""
        await self._archive.until_loaded()
        limit = min(max(request.limit_count, 1), MOST_COUNT)
        after = self._place(request.after)
        ended = self._archive.table.summaries(request.owner, request.node, after, limit + 1)
        page = list(islice(merge(self._active(request, after), ended, key=in_order), limit + 1))
        return TaskList(tasks=tuple(page[:limit]), more=len(page) > limit)

    async def list_ids(self, request: ListTaskIds) -> TaskIds:
        """Name an owner's tasks in the order of their commits. Raises BusFailed while the ended ones are being read."""
        await self._archive.until_loaded()
        after = self._place(request.after)
        active = (key_of(task) for task in self._behind(self._index.of_owner.get(request.owner), request.owner, after))
        ended = self._archive.table.ids(request.owner, after, MOST_IDS_COUNT + 1)
        page = [task for _, task in islice(merge(active, ended), MOST_IDS_COUNT + 1)]
        return TaskIds(tasks=tuple(page[:MOST_IDS_COUNT]), more=len(page) > MOST_IDS_COUNT)

    async def read_console(self, request: ReadConsole) -> Console:
        """Show the console: what was kept of an ended task, else the node's, else what was last seen of it."""
        task = self._index.shown((await self._tasks.find(request.task, request.owner)).task)
        own = own_lines(task)
        node_lines, node_count = await self._lines(task, own.node_line(request.from_line))
        lines = own.around(node_lines, node_count, request.from_line)
        return Console(lines=masked_lines(task, cut(tuple(lines), from_end=request.from_line < 0)))

    async def _lines(self, task: Task, from_line: int) -> tuple[tuple[str, ...], int]:
        """Find the node's lines, and how many it has."""
        kept = await self._consoles.read(task) if task.state.ended else None
        if not (kept and kept.is_whole):
            said = await self._node_lines(task, from_line)
            if said is not None:
                return said, lines_count(task, from_line, said)
        if kept:
            return kept.behind(from_line), kept.count
        seen = kept_lines(task.known, from_line)
        return seen, lines_count(task, from_line, seen)

    async def _node_lines(self, task: Task, from_line: int) -> tuple[str, ...] | None:
        attempt = attempt_on_node(task)
        if attempt is None:
            return ()
        node = self._nodes.get(attempt.node)
        if node is None or not node.online:
            return None
        try:
            return await self._api.output(node.record, attempt.node_task_id, from_line, self._timeout_s)
        except ClusterError as error:
            log.debug("console.read_failed", task=task.id, node=node.id, error=error.message)
            return None

    def _active(self, request: ListTasks, after: Key | None) -> Iterator[TaskSummary]:
        if request.node is not None:
            order = self._index.on_node.get(request.node)
        elif request.owner is not None:
            order = self._index.of_owner.get(request.owner)
        else:
            order = self._index.all
        for task in self._behind(order, request.owner, after):
            yield self.summary(task)

    def summary(self, task: Task) -> TaskSummary:
        """Show an active task in a list."""
        last, known = task.attempt, self._index.observed.get(task.id, task.known)
        node = self._nodes.get(last.node) if last else None
        expected, tenant = self._queue.expected(task), self._queue.tenant_of(task.owner) or task.owner
        if task.state is not TaskState.WAITING:
            sending = self._index.forwarding.get(task.id)
            sent = (sending.sent_count, sending.sent_bytes) if sending else (0, 0)
            rate = sending.sent_bytes / max(1.0, self._clock.instant() - sending.began) if sending else 0.0
            shown = task_summary(task, known, node, sent=sent, expected=expected)
            return replace(shown, tenant=tenant, sent_bytes_per_s=round(rate, 1))
        waits = task_summary(
            task,
            known,
            node,
            position=self._queue.position(task),
            because=self._queue.why_waiting(task),
            expected=expected,
        )
        return replace(waits, tenant=tenant, order=self._queue.why_here(task))

    def listed(self, task: Task) -> TaskSummary:
        """Show an active task without what changes by itself: for what it is searched and sorted by."""
        return task_summary(task, task.known, None)

    def _behind(self, order: Ordered | None, owner: Owner | None, after: Key | None) -> Iterator[Task]:
        for task_id in order.behind(after) if order else ():
            if (task := self._index.visible(task_id, owner)) is not None:
                yield task

    def _place(self, after: TaskId | None) -> Key | None:
        """Find where a page begins."""
        if after is None:
            return None
        task = self._index.tasks.get(after)
        return key_of(task) if task else self._archive.table.key_of(after)


def in_order(summary: TaskSummary) -> Key:
    """Say what orders a list."""
    return summary.committed_at_ms, summary.id


def lines_count(task: Task, from_line: int, lines: tuple[str, ...]) -> int:
    """Say how many lines the node has, as far as that is known."""
    return from_line + len(lines) if lines else (task.known.console_count if task.known else 0)


def cut(lines: tuple[str, ...], *, from_end: bool) -> tuple[str, ...]:
    """Keep as many lines as one message holds."""
    left = CONSOLE_BYTES
    for count, line in enumerate(reversed(lines) if from_end else lines):
        left -= len(line) + 3
        if left < 0:
            return lines[len(lines) - count :] if from_end else lines[:count]
    return lines
