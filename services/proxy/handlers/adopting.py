"""Tells the scheduler again of a task that it has acknowledged once, when its records do not know it, or not all of it.

Why that may be: the store of NATS was lost, or an older one was restored. What is told is what lies in the spool: the upload as it was
committed, its place in the queue, each attempt with how far it came, and how the task had ended. The scheduler
finds out what of that still runs, so a task is never sent to a second node by this.
"""

import structlog

from libs.common.errors import ClusterError, NotFound
from libs.common.messages import ADOPT_TASK, GET_TASK, AdoptTask, TaskRecord, TaskRef
from libs.common.model import TaskId
from libs.common.ports import Bus
from services.proxy.core.history import History, is_behind
from services.proxy.handlers.submission import submission_of
from services.proxy.ports import ClusterView, Mark, Spool

log = structlog.get_logger()


class Adopter:
    """Submits tasks again."""

    def __init__(self, bus: Bus, spool: Spool, cluster: ClusterView) -> None:
        self._bus = bus
        self._spool = spool
        self._cluster = cluster

    async def submit_again(self, task: TaskId) -> TaskRecord:
        """Tell all that is known of a task. Raises Removed when a tombstone speaks against it, Refused, BusFailed."""
        held, manifest = self._spool.find(task), await self._spool.manifest(task)
        if held is None:
            raise NotFound(f"{task} is not here")
        history = held.history or History()
        asked = AdoptTask(
            submission=submission_of(held.draft, manifest, self._spool.instance),
            committed_at_ms=history.committed_at_ms or manifest.committed_at_ms or 0,
            attempts=history.attempts,
            end=history.end,
            inputs_kept=Mark.INPUTS_GONE not in held.marks,
        )
        record = await self._bus.ask(ADOPT_TASK, asked)
        log.warning("task submitted again", task=task, state=str(record.task.state), attempts=len(history.attempts))
        return record

    async def is_forgotten(self, task: TaskId) -> bool:
        """Whether the record of a task is older than what has been done; the mirror is asked first, and may lag."""
        held, seen = self._spool.find(task), self._cluster.task(task)
        if held is None or held.history is None or seen is None or not is_behind(seen.task, held.history):
            return False
        try:
            record = await self._bus.ask(GET_TASK, TaskRef(task=task))
        except ClusterError:
            return False
        now = self._spool.find(task)
        return now is not None and now.history is not None and is_behind(record.task, now.history)
