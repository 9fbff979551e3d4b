"""What nodes last said of running tasks: in memory after each look, in KV `observations` now and then.

Nothing is decided by it. It is there so that a poll whose node is silent is answered with something, by whichever proxy, also when a
scheduler has just taken over. So it is cheap: a short tail of the console, no options that the task has itself, not on disk before
it is answered, and no more often than every ten seconds of a task.
"""

import asyncio
from typing import Final

import msgspec
import structlog

from libs.common.chosen import differences
from libs.common.clocks import Instant
from libs.common.errors import BusFailed
from libs.common.messages import OBSERVATIONS
from libs.common.model import LastKnown, Observation, Task, TaskId, TaskState
from libs.common.ports import Bucket, Bus
from services.scheduler.core.console import shortened
from services.scheduler.core.looks import is_due
from services.scheduler.core.rota import Rota
from services.scheduler.handlers.ledger import Ledger

log = structlog.get_logger()

READ_S: Final = 3.0
"""So long is waited for what may be lost, with nobody in office."""
LINGER_S: Final = 60.0
"""So long after a run what was seen of it stays: whoever reads it must have heard first that the run is over."""


class Observer:
    """Keeps what was seen."""

    def __init__(self, ledger: Ledger, bucket: Bucket[Observation]) -> None:
        self._ledger = ledger
        self._board = ledger.board
        self._bucket = bucket
        self._written: dict[TaskId, tuple[LastKnown, Instant]] = {}
        self._over: Rota[TaskId] = Rota()
        ledger.noticed.append(self._noticed)

    def __repr__(self) -> str:
        """Show how many tasks are observed."""
        return f"Observer({len(self._board.observed)})"

    @classmethod
    async def open(cls, bus: Bus, ledger: Ledger) -> "Observer":
        """Read what was seen last of the tasks that run, if it is there. What is of an earlier run goes. Raises BusFailed."""
        observer = cls(ledger, await bus.bucket(OBSERVATIONS))
        try:
            async with asyncio.timeout(READ_S):
                found = await observer._bucket.load()
        except (BusFailed, TimeoutError) as error:
            log.warning("observations not read", reason=str(error) or type(error).__name__)
            return observer
        for key, entry in found.items():
            observer._remember(TaskId(key), entry.value)
        return observer

    def _remember(self, task_id: TaskId, seen: Observation) -> None:
        task = self._board.tasks.get(task_id)
        shown = self._board.shown(task).with_seen(seen) if task else None
        if shown is not None and shown.known is seen.known:
            self._board.observed[task_id] = seen.known
        elif task is None or task.state is not TaskState.RUNNING:
            self._over.set(task_id, self._ledger.instant() + LINGER_S)

    async def note(self, task: Task, known: LastKnown) -> None:
        """Take in what was seen of a running task, and write it if that is due."""
        self._board.observed[task.id] = known
        now = self._ledger.instant()
        written, at = self._written.get(task.id, (None, now))
        if not is_due(written, known, now - at):
            return
        self._written[task.id] = known, now
        try:
            await self._bucket.put(task.id, observation_of(task, known))
        except BusFailed as error:
            log.debug("observation not written", task=task.id, error=error.message)

    async def forget_over(self) -> None:
        """Delete what was seen of runs that are over; what cannot be deleted goes by itself, some days later."""
        try:
            for task in self._over.take_due(self._ledger.instant()):
                await self._bucket.delete(task)
        except BusFailed as error:
            log.debug("observations not deleted", error=error.message)

    def _noticed(self, before: Task | None, after: Task | None) -> None:
        if after is not None and after.state is TaskState.RUNNING:
            self._over.discard(after.id)
        elif before is not None and before.state is TaskState.RUNNING:
            self._written.pop(before.id, None)
            self._over.set(before.id, self._ledger.instant() + LINGER_S)


def observation_of(task: Task, known: LastKnown) -> Observation:
    """Say what is written of what was seen of a running task."""
    last = task.attempts[-1]
    short = msgspec.structs.replace(differences(known, task.options), console_tail=shortened(known))
    return Observation(node_task_id=last.node_task_id, running_at_ms=last.running_at_ms or 0, known=short)
