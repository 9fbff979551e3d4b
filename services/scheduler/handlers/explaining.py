"""Tells users why their tasks wait: a line in the timeline when the reason is another, some tasks at a time, round and round.

What it costs does not grow with the queue; the further back a task waits, the later it hears of a change.
"""

from itertools import islice
from typing import Final

import structlog

from libs.common.clocks import Instant, Now
from libs.common.model import Task, TaskState
from libs.common.ports import Bus
from services.scheduler.core.board import HOLDER_BUSY
from services.scheduler.core.placement import need_of
from services.scheduler.core.queue import Key, key_of
from services.scheduler.core.submodels import gone_beyond, patience_s
from services.scheduler.core.tasks import HOLDER_AWAY, waiting_because, waiting_for_holder
from services.scheduler.handlers.absence import line_about
from services.scheduler.handlers.ledger import Ledger

log = structlog.get_logger()

LOOKED_AT_COUNT: Final = 100
WRITTEN_COUNT: Final = 25
"""So many in a round at most: looking is cheap, a record is a durable write."""


class Explainer:
    """Keeps the reasons in the records of waiting tasks."""

    def __init__(self, ledger: Ledger, bus: Bus) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._bus = bus
        self._last: Key | None = None

    async def explain(self) -> None:
        """Look at the next waiting tasks; after the last begin with the first."""
        page = tuple(islice(self._board.waiting.behind(self._last), LOOKED_AT_COUNT))
        self._last = key_of(self._board.tasks[page[-1]]) if len(page) == LOOKED_AT_COUNT else None
        written_count = 0
        for task in [self._board.tasks[task] for task in page if task in self._board.lanes]:
            written_count += await self._explain(task)
            if written_count == WRITTEN_COUNT:
                self._last = key_of(task)
                return

    async def _explain(self, task: Task) -> bool:
        """Say why a task waits; whether that was news."""
        if task.holder in self._board.holders.away:
            if task.waiting_because == HOLDER_AWAY:
                return False
            await self._say_holder_is_away(task)
            return True
        now = self._ledger.now()
        if self._has_lost_patience(task, now):
            await self._ledger.change(task.id, gone_beyond)
            return True
        because, word = self._board.why_waiting(task, now.instant), self._board.supply.word(task.id, now.instant)
        if (
            self._is_about_to_begin(task, because, now.instant)
            or waiting_because(task, because, now.wall_ms, word) == task
        ):
            return False
        await self._ledger.change(task.id, lambda known: waiting_because(known, because, now.wall_ms, word))
        return True

    def _has_lost_patience(self, task: Task, now: Now) -> bool:
        """Whether a sub-model has waited for as long as it counts as running. One that was tried is under way somehow."""
        if task.id not in self._board.submodels or task.attempts or self._board.supply.helps((task.id,), now.instant):
            return False
        longest_s = patience_s(task)
        return now.instant - now.since(task.committed_at_ms, 2 * longest_s) > longest_s

    def _is_about_to_begin(self, task: Task, because: str, now: Instant) -> bool:
        """Whether it waits only because its holder is just about to ask."""
        return because != HOLDER_BUSY and self._board.not_before.get(task.id, now) <= now and self._has_slot(task)

    def _has_slot(self, task: Task) -> bool:
        held_back = self._board.foresight.why_held(task.id) is not None or not self._board.allowance.left_count(
            task.owner
        )
        return not held_back and self._board.nodes.has_room and self._board.nodes.free_for(need_of(task)) is not None

    async def _say_holder_is_away(self, task: Task) -> None:
        """Tell whose photos lie with a proxy that does not answer what its task waits for."""
        line, now_ms = await line_about(self._bus, task), self._ledger.now_ms()
        record = await self._ledger.change(task.id, lambda now: waiting_for_holder(now, line, now_ms))
        if record.task.state is TaskState.WAITING:
            log.warning("task waits for its proxy", task=task.id, holder=task.holder, told=line)
