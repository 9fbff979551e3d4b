"""Moves tasks that have ended from the active ones to the archive, some time after their end and off everybody's way.

What the version before this one wrote is written anew by that too: there, ended tasks lay among the active ones with the tail of their
console. The tail goes to where consoles are kept, unless the whole is there. Nothing waits for it: a scheduler leads and places
first, and this goes on beside it, some tasks at a time.
"""

import asyncio
from typing import Final

import structlog

from libs.common.clocks import Instant
from libs.common.errors import ClusterError
from libs.common.loops import beat
from libs.common.model import Task, TaskId
from services.scheduler.core.ended import SETTLED_S, is_settled
from services.scheduler.core.rota import Rota
from services.scheduler.core.tasks import with_console
from services.scheduler.handlers.consoles import Consoles
from services.scheduler.handlers.ledger import Ledger

log = structlog.get_logger()

MOVES_COUNT: Final = 16
"""At the same time."""
PAUSE_S: Final = 1.0
AGAIN_S: Final = 10.0
"""After NATS did not answer."""


class Archivist:
    """Puts ended tasks away."""

    def __init__(self, ledger: Ledger, consoles: Consoles) -> None:
        self._ledger = ledger
        self._consoles = consoles
        self._rota: Rota[TaskId] = Rota()
        for task in ledger.board.tasks.values():
            self._noticed(None, task)
        ledger.noticed.append(self._noticed)

    def __repr__(self) -> str:
        """Show what it works on."""
        return f"Archivist({self._ledger.archive!r})"

    async def run(self) -> None:
        """Read what is there and renew what is old, once; then put away for ever what has ended. Raises BusFailed."""
        if not self._ledger.archive.is_loaded:
            await self.read()
        await self.renew()
        while True:
            beat()
            await self.put_away_due()
            await asyncio.sleep(PAUSE_S)

    async def read(self) -> None:
        """Read what is in the archive, and put right what a predecessor left half done. Raises BusFailed."""
        for task in await self._ledger.archive.load():
            await self._ledger.drop_twin(task)

    async def renew(self) -> None:
        """Write anew what an older version wrote, and remove what it left of deleted records. Raises BusFailed."""
        while self._ledger.outdated:
            await self._ledger.renew(self._ledger.outdated[-1])
            self._ledger.outdated.pop()
        if count := await self._ledger.forget_deleted():
            log.info("deleted records forgotten", records=count)

    async def put_away_due(self) -> None:
        """Put away all that is due."""
        due = self._rota.take_due(self._ledger.instant())
        for first in range(0, len(due), MOVES_COUNT):
            async with asyncio.TaskGroup() as moves:
                for task in due[first : first + MOVES_COUNT]:
                    moves.create_task(self._put_away(task), name=f"archive {task}")

    async def _put_away(self, task_id: TaskId) -> None:
        try:
            async with self._ledger.holding(task_id):
                task = self._ledger.board.tasks.get(task_id)
                if task is not None and is_settled(task):
                    await self._keep_tail(task)
                    await self._ledger.put_away(task_id)
        except ClusterError as error:
            log.info("task not archived", task=task_id, reason=error.message)
            self._rota.set(task_id, self._ledger.instant() + AGAIN_S)

    async def _keep_tail(self, task: Task) -> None:
        """Keep what the record alone has of a console. Raises BusFailed."""
        if task.console_kept or task.known is None or not task.known.console_tail:
            return
        await self._consoles.keep_tail(task.id, task.known)
        await self._ledger.write(task.id, lambda now: with_console(now, kept=True) if is_settled(now) else now)

    def _noticed(self, _before: Task | None, after: Task | None) -> None:
        if after is not None and is_settled(after):
            self._rota.set(after.id, self._settled_at(after))
        elif after is not None:
            self._rota.discard(after.id)

    def _settled_at(self, task: Task) -> Instant:
        now = self._ledger.now()
        return now.since(task.ended_at_ms or 0, SETTLED_S) + SETTLED_S
