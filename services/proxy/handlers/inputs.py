"""Kept inputs that go before their task is finished with: under disk pressure, by `--keep-inputs`, or after their time.

The scheduler is told first: once it has answered, it makes no new attempt of the task and says why in its timeline, and only
then the files are deleted. Where it refuses (the task has just lost its node and needs them), does not know the task, or
cannot be asked, they stay.
The rest of the spool entry stays until the task has ended: the client's webhook is still to be called.
"""

import structlog

from libs.common.errors import BusFailed, Refused, Removed
from libs.common.messages import REPORT_INPUTS_GONE, ReportInputsGone
from libs.common.model import TaskId
from libs.common.ports import Bus
from services.proxy.core.room import Kept, to_give_up
from services.proxy.ports import ClusterView, Mark, Spool

log = structlog.get_logger()

DISK_IS_FULL = "the disk of the server that kept them is full"


class Inputs:
    """Gives kept inputs up."""

    def __init__(self, bus: Bus, spool: Spool, cluster: ClusterView) -> None:
        self._bus = bus
        self._spool = spool
        self._cluster = cluster

    async def relieve(self) -> None:
        """Free what should be free on the disk, as far as kept inputs can do it."""
        if wanted := self._spool.wanted_bytes():
            for task in to_give_up(await self._kept(), wanted):
                await self.give_up(task, DISK_IS_FULL)

    async def give_up(self, task: TaskId, reason: str) -> bool:
        """Delete the inputs of a task with the scheduler's consent; whether they are gone."""
        try:
            if not await self.allowed(task, reason):
                return False
        except BusFailed as error:
            log.info("inputs stay", task=task, reason=error.message)
            return False
        await self._spool.give_up(task)
        log.warning("inputs given up", task=task, reason=reason)
        return True

    async def allowed(self, task: TaskId, reason: str) -> bool:
        """Tell the scheduler that the inputs are about to go; whether they may. Raises BusFailed."""
        message = ReportInputsGone(task=task, holder=self._spool.instance, reason=reason)
        try:
            await self._bus.ask(REPORT_INPUTS_GONE, message)
        except Removed:
            return True
        except Refused as error:
            log.info("inputs stay", task=task, reason=error.message)
            return False
        return True

    async def _kept(self) -> list[Kept]:
        found = []
        for held in self._spool.held():
            if not held.committed or Mark.INPUTS_GONE in held.marks:
                continue
            record = self._cluster.task(held.draft.task) or await self._cluster.recall(held.draft.task)
            if record is not None:
                task = record.task
                found.append(Kept(task.id, task.state, held.draft.received_at_ms, held.size_bytes))
        return found
