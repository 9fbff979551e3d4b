"""What became of a committed task while nobody looked after it, or while its record was lost: it is asked for, and told again.

A task is submitted again when the scheduler's records do not know it, or not all of it: the store of NATS was lost, or an older one was
restored. What is told is what lies in the spool: the upload as it was committed, its place in the queue, each attempt with how far it
came, and how the task had ended. The scheduler finds out what of that still runs, so a task is never sent to a second node by this.

An attempt that was under way when the last run ended is reported as failed and uncertain: whether its commit reached the node is
known to the node alone.
"""

import asyncio
from typing import Final

import structlog

from clusterodm.libs.common.errors import ClusterError, NotFound, Removed
from clusterodm.libs.common.messages.tasks import ADOPT_TASK, GET_TASK, AdoptTask, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.ports import ClusterView
from clusterodm.services.proxy.forwarding.core.decisions import NextStep
from clusterodm.services.proxy.forwarding.handlers.attempt import ForwardingIntervals
from clusterodm.services.proxy.forwarding.handlers.attempts import AttemptRunner
from clusterodm.services.proxy.spool.core.history import History, is_behind, recorded
from clusterodm.services.proxy.spool.core.upload import Mark, submission_of
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()

AT_ONCE_COUNT: Final = 64


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
        record = await self._bus.request(ADOPT_TASK, asked)
        log.warning("task.resubmitted", task=task, state=str(record.task.state), attempts=len(history.attempts))
        return record

    async def is_end_forgotten(self, task: TaskId) -> bool:
        """Whether a task that is placed has ended here, which its record does not know: an older one, that a new leader has read. Raises ClusterError."""
        held = self._spool.find(task)
        has_ended = held is not None and held.history is not None and held.history.end is not None
        return has_ended and await self._is_older(task)

    def is_in_doubt(self, task: TaskId) -> bool:
        """Whether the mirror shows a record that is older than what has been done, whatever the scheduler says from its memory."""
        held, seen = self._spool.find(task), self._cluster.task(task)
        return held is not None and held.history is not None and seen is not None and is_behind(seen.task, held.history)

    async def is_forgotten(self, task: TaskId) -> bool:
        """Whether the record of a task is older than what has been done; the mirror is asked first, and may lag."""
        if not self.is_in_doubt(task):
            return False
        try:
            return await self._is_older(task)
        except ClusterError:
            return False

    async def _is_older(self, task: TaskId) -> bool:
        """Ask for the record, and hold it against what has been done by then. Raises ClusterError."""
        record = await self._bus.request(GET_TASK, TaskRef(task=task))
        now = self._spool.find(task)
        return now is not None and now.history is not None and is_behind(record.task, now.history)


class Resumer:
    """Asks about the tasks of the last run."""

    def __init__(self, bus: Bus, spool: Spool, attempts: AttemptRunner, intervals: ForwardingIntervals) -> None:
        self._bus = bus
        self._spool = spool
        self._attempts = attempts
        self._intervals = intervals
        self.semaphore = asyncio.Semaphore(AT_ONCE_COUNT)
        """For what is asked and told of all tasks after a start, or after a store was lost."""

    async def resume(self, task: TaskId) -> NextStep | None:
        """Say what is to be done with it; None: nothing, it was never submitted. Raises ClusterError."""
        try:
            record = await self._known(task)
        except Removed:
            return NextStep.WATCH  # the answer to a question says whether its nodes have been told
        held = self._spool.find(task)
        if record is None or held is None:
            return NextStep.WATCH if held is not None and Mark.SUBMITTED in held.marks else None
        if record.upload_owner != self._spool.instance:
            return NextStep.WATCH  # a copy: the scheduler says so when it is asked
        if held.history is None:
            await self._spool.remember(task, recorded(record))
        elif is_behind(record, held.history):
            return NextStep.ADOPT
        if record.state is TaskState.FORWARDING and record.attempt is not None:
            reason = "the proxy was restarted while it sent the files"
            await self._attempts.give_up(task, record.attempt.number, reason)
        return NextStep.WATCH

    async def _known(self, task: TaskId) -> Task | None:
        """Ask for the task until there is an answer; None: it is unknown. Raises Removed."""
        while True:
            try:
                async with self.semaphore:
                    return (await self._bus.request(GET_TASK, TaskRef(task=task))).task
            except Removed:
                raise
            except NotFound:
                return None
            except ClusterError as error:
                log.warning("placement.request_failed", task=task, reason=error.message)
                await asyncio.sleep(self._intervals.bus_retry_s)
