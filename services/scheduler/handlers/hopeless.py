"""Ends tasks that a node has refused and that no other takes (core/hopeless.py); all others of them wait for a node."""

from typing import Final

import structlog

from libs.common.clocks import Instant
from libs.common.model import Task, TaskId, TaskState
from services.scheduler.core.hopeless import Rental, has_prospect, was_refused, why_hopeless
from services.scheduler.core.wishes import abandoned
from services.scheduler.handlers.ledger import Ledger
from services.scheduler.handlers.voice import Voice

log = structlog.get_logger()

SILENCE_S: Final = 15.0
"""An autoscaler that starts again has spoken by then."""


class Hopeless:
    """Looks after tasks that were refused."""

    def __init__(self, ledger: Ledger, voice: Voice, silence_s: float = SILENCE_S) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._voice = voice
        self._silence_s = silence_s
        self._refused: dict[TaskId, Instant | None] = {}
        """Since when each has had no prospect but an autoscaler that is silent; None: it has one."""
        for task in ledger.board.tasks.values():
            self._noticed(None, task)
        ledger.noticed.append(self._noticed)

    def __repr__(self) -> str:
        """Show how many."""
        return f"Hopeless({len(self._refused)} refused)"

    async def check(self) -> None:
        """End those that have no prospect any more."""
        for task_id in list(self._refused):
            task = self._board.tasks.get(task_id)
            if task is not None and self._is_over(task):
                await self._end(task)

    def _is_over(self, task: Task) -> bool:
        now, nodes = self._ledger.instant(), self._board.nodes.listed()
        rental = self._board.supply.rental(task.id, now)
        if has_prospect(task, nodes, rental):
            self._refused[task.id] = None
            return False
        since = self._refused[task.id] or now
        self._refused[task.id] = since
        return rental is not Rental.SILENT or now - since >= self._silence_s

    async def _end(self, task: Task) -> None:
        reason, now_ms = why_hopeless(task, self._board.nodes.listed()), self._ledger.now_ms()

        def decide(now: Task) -> Task:
            return abandoned(now, reason, now_ms) if was_refused(now) else now

        record = await self._ledger.change(task.id, decide)
        if record.task.state is TaskState.FAILED:
            log.warning("no node takes a task", task=task.id, reason=reason)
            await self._voice.of_end(record.task, reason)

    def _noticed(self, before: Task | None, after: Task | None) -> None:
        if after is not None and was_refused(after):
            self._refused.setdefault(after.id, None)
        elif before is not None:
            self._refused.pop(before.id, None)
