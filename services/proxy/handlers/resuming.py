"""What became of a committed task in the spool while no proxy looked after it.

An attempt that was under way when the last run ended is reported as failed and uncertain: whether its commit reached the node is
known to the node alone.
"""

import asyncio
from typing import Final

import structlog

from libs.common.errors import ClusterError, NotFound, Removed
from libs.common.messages import GET_TASK, TaskRef
from libs.common.model import Task, TaskId, TaskState
from libs.common.ports import Bus
from services.proxy.core.forwarding import Move
from services.proxy.core.history import is_behind, recorded
from services.proxy.handlers.attempt import Pace
from services.proxy.handlers.attempts import Attempts
from services.proxy.ports import Mark, Spool

log = structlog.get_logger()

AT_ONCE_COUNT: Final = 64


class Resumer:
    """Asks about the tasks of the last run."""

    def __init__(self, bus: Bus, spool: Spool, attempts: Attempts, pace: Pace) -> None:
        self._bus = bus
        self._spool = spool
        self._attempts = attempts
        self._pace = pace
        self.room = asyncio.Semaphore(AT_ONCE_COUNT)
        """For what is asked and told of all tasks after a start, or after a store was lost."""

    async def resume(self, task: TaskId) -> Move | None:
        """Say what is to be done with it; None: nothing, it was never submitted. Raises ClusterError."""
        try:
            record = await self._known(task)
        except Removed:
            return Move.DROP
        held = self._spool.find(task)
        if record is None or held is None:
            return Move.WATCH if held is not None and Mark.SUBMITTED in held.marks else None
        if held.history is None:
            await self._spool.remember(task, recorded(record))
        elif is_behind(record, held.history):
            return Move.ADOPT
        if record.state is TaskState.FORWARDING and record.attempt is not None:
            reason = "the proxy was restarted while it sent the files"
            await self._attempts.give_up(task, record.attempt.number, reason)
        return Move.WATCH

    async def _known(self, task: TaskId) -> Task | None:
        """Ask for the task until there is an answer; None: it is unknown. Raises Removed."""
        while True:
            try:
                async with self.room:
                    return (await self._bus.ask(GET_TASK, TaskRef(task=task))).task
            except Removed:
                raise
            except NotFound:
                return None
            except ClusterError as error:
                log.warning("cannot ask for a held task", task=task, reason=error.message)
                await asyncio.sleep(self._pace.bus_retry_s)
