"""What can be read of tasks: one, a list, a console."""

from collections.abc import Iterator
from typing import Final

import structlog

from libs.common.errors import ClusterError
from libs.common.messages import Console, ListTasks, ReadConsole, TaskList, TaskRecord, TaskRef
from libs.common.model import Task
from services.scheduler.core.console import assembled, is_on_node, kept_lines, node_line
from services.scheduler.core.queue import key_of
from services.scheduler.core.views import task_summary
from services.scheduler.handlers.consoles import Consoles
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.ports import NodeApi
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

MOST_COUNT: Final = 1_000
"""Tasks in one answer: a message holds 1 MiB."""
CONSOLE_BYTES: Final = 700_000
"""Console in one answer, for the same reason; who wants the rest asks from there on."""


class ReadHandlers:
    """Reads from memory; only a console may need the node."""

    def __init__(self, ledger: Ledger, api: NodeApi, consoles: Consoles, settings: SchedulerSettings) -> None:
        self._consoles = consoles
        self._ledger = ledger
        self._board = ledger.board
        self._api = api
        self._timeout_s = settings.action_timeout_s

    async def get(self, asked: TaskRef) -> TaskRecord:
        """Show one task."""
        await self._find(asked)
        return self._ledger.record(asked.task)

    async def list_tasks(self, asked: ListTasks) -> TaskList:
        """Show tasks in the order of their commits, a page at a time."""
        limit = min(max(asked.limit_count, 1), MOST_COUNT)
        page: list[Task] = []
        for task in self._matching(asked):
            if len(page) == limit:
                return self._listed(page, more=True)
            page.append(task)
        return self._listed(page, more=False)

    async def read_console(self, asked: ReadConsole) -> Console:
        """Show the console: what was kept of an ended task, else the node's, else what was last seen of it."""
        task = await self._find(asked)
        from_line = node_line(task, asked.from_line)
        whole = await self._consoles.lines(task) if task.state.ended else None
        lines = await self._node_lines(task, from_line) if whole is None else whole[from_line:]
        if lines is None:
            lines = kept_lines(task.known, from_line)
        count = len(whole) if whole is not None else lines_count(task, from_line, lines)
        return Console(lines=cut(assembled(task, asked.from_line, lines, count), from_end=asked.from_line < 0))

    async def _node_lines(self, task: Task, from_line: int) -> tuple[str, ...] | None:
        attempt = task.attempt
        if attempt is None or not is_on_node(task):
            return ()
        node = self._board.nodes.get(attempt.node)
        if node is None or not node.online:
            return None
        try:
            return await self._api.output(node.record, attempt.node_task_id, from_line, self._timeout_s)
        except ClusterError as error:
            log.debug("console not read", task=task.id, node=node.id, error=error.message)
            return None

    async def _find(self, asked: TaskRef | ReadConsole) -> Task:
        task = self._board.visible(asked.task, asked.owner)
        if task is None:
            raise await self._ledger.missing(asked.task, asked.owner)
        return task

    def _matching(self, asked: ListTasks) -> Iterator[Task]:
        after = self._board.tasks.get(asked.after) if asked.after else None
        if asked.node is not None:
            order = self._board.on_node.get(asked.node)
        elif asked.owner is not None:
            order = self._board.of_owner.get(asked.owner)
        else:
            order = self._board.all
        for task_id in order.behind(key_of(after) if after else None) if order else ():
            task = self._board.visible(task_id, asked.owner)
            if task is not None:
                yield task

    def _listed(self, tasks: list[Task], *, more: bool) -> TaskList:
        now = self._ledger.instant()
        return TaskList(tasks=tuple(task_summary(self._board, task, now) for task in tasks), more=more)


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
