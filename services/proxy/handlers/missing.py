"""Tasks whose photos should lie here and do not: an older store was restored, and they have been removed or completed since.

The scheduler cannot know: their holder is there, and nothing asks for them. So each record that names us is held against the spool as it
comes by, and what is missing is reported after a second look. Nothing is deleted by that.
"""

from typing import Final

import structlog

from libs.common.errors import BusFailed, NotFound, Refused
from libs.common.messages import GET_TASK, REPORT_INPUTS_LOST, ReportInputsLost, TaskRef
from libs.common.model import Task, TaskId, TaskState
from libs.common.ports import Bus
from services.proxy.ports import Cluster, Spool

log = structlog.get_logger()

NEEDED_IN: Final = frozenset((TaskState.WAITING, TaskState.RUNNING))
"""A task that is being forwarded is either, a little later."""


class Missing:
    """Holds records against the spool. `report` is called every few seconds."""

    def __init__(self, bus: Bus, cluster: Cluster, spool: Spool) -> None:
        self._bus = bus
        self._cluster = cluster
        self._spool = spool
        self._suspects: set[TaskId] = set()

    def __repr__(self) -> str:
        """Show how many are looked at."""
        return f"Missing(suspects={len(self._suspects)})"

    def follow(self) -> None:
        """Look at each record, those that are there and each one that changes."""
        self._cluster.on_task(self._noticed)
        self._suspects.update(task.id for task in self._cluster.tasks() if self._is_missing(task))

    def _noticed(self, task: TaskId) -> None:
        record = self._cluster.task(task)
        if record is not None and self._is_missing(record.task):
            self._suspects.add(task)

    def _is_missing(self, task: Task) -> bool:
        ours = task.holder == self._spool.instance and task.state in NEEDED_IN and task.inputs_kept and not task.removed
        return ours and self._spool.find(task.id) is None

    async def report(self) -> None:
        """Report what is missing, whatever the mirror says by now. Raises BusFailed."""
        for task in list(self._suspects):
            try:
                await self._report(task)
            except BusFailed:
                raise
            except (NotFound, Refused) as error:
                log.debug("missing inputs not reported", task=task, reason=error.message)
            self._suspects.discard(task)

    async def _report(self, task: TaskId) -> None:
        record = (await self._bus.ask(GET_TASK, TaskRef(task=task))).task
        if self._is_missing(record):
            log.error("inputs of a task are not here", task=task, state=str(record.state))
            await self._bus.ask(REPORT_INPUTS_LOST, ReportInputsLost(task=task, holder=self._spool.instance))
