"""What proxies report while they send a task to its node.

An upload owner renews each attempt before it begins it, and again and again while it sends; then it reports how that has ended. What it reports of an
attempt that no longer counts is refused.

What this story needs of others stands here, beside its one user: who is there (`ProxyPresence`), and how nodes are (`NodeProbes`).
"""

from typing import Protocol

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.placement import (
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
    ReportInputsGone,
)
from clusterodm.libs.common.messages.tasks import TASK_STARTED, TaskRecord
from clusterodm.libs.common.model.tasks import AttemptState, Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.libs.common.statemachine import ImpossibleStep
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.forwarding.core import (
    failure_of,
    is_current,
    over,
)
from clusterodm.services.scheduler.records.core import site_of
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.records.handlers.task_store import TaskChange
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy, AttemptResult, to_clean
from clusterodm.services.scheduler.task_life.life import without_inputs
from clusterodm.services.scheduler.task_life.transitions import started, tried, uncertain

Report = RenewAttempt | ReportForwarded | ReportForwardFailed | ReportInputsGone


class ProxyPresence(Protocol):
    """Which proxies are there."""

    def heard(self, upload_owner: InstanceId) -> None:
        """Note that an upload owner is there."""


class NodeProbes(Protocol):
    """How nodes are."""

    def soon(self, node: NodeState) -> None:
        """Ask this node next."""


class Outcomes:
    """The next value of a task whose attempt has started on its node, or ended without a result."""

    def __init__(self, records: Records, policy: AttemptPolicy) -> None:
        self._nodes = records.registry
        self._clock = records.clock
        self._policy = policy

    def started(self, task: Task) -> Task:
        """Note that the node has it."""
        return started(task, self._nodes.name_of(task.attempts[-1].node), self._clock.wall_ms())

    def tried(self, task: Task, result: AttemptResult) -> Task:
        """End its attempt."""
        where = self._nodes.name_of(task.attempts[-1].node)
        return tried(task, result, where, self._policy, self._clock.wall_ms())


class ForwardingReports:
    """Takes in what upload owners report."""

    def __init__(
        self,
        records: Records,
        outcomes: Outcomes,
        events: EventPublisher,
        proxies: ProxyPresence,
        probes: NodeProbes,
    ) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._leadership = records.leadership
        self._outcomes = outcomes
        self._events = events
        self._proxies = proxies
        self._probes = probes

    async def renew(self, request: RenewAttempt) -> Done:
        """Note that the upload owner is at it. Refused when the attempt no longer counts."""
        self._proxies.heard(request.upload_owner)
        async with self._tasks.holding(request.task):  # what is being written of it counts already
            task = await self._reported(request)
            if not is_current(task, request.attempt, AttemptState.FORWARDING):
                raise Refused(f"attempt {request.attempt} of {request.task} no longer counts")
            forwarding = self._index.forwarding[task.id]
            forwarding.renew(self._clock.instant(), doubtful=request.doubtful)
            forwarding.progress(request.sent_count, request.sent_bytes)
        return Done()

    async def forwarded(self, request: ReportForwarded) -> TaskRecord:
        """Note that the node has taken the commit. One for an attempt that is over is cleaned up there."""
        self._proxies.heard(request.upload_owner)
        await self._reported(request)

        def decide(task: Task) -> Task:
            if is_current(task, request.attempt, AttemptState.FORWARDING, AttemptState.UNCERTAIN):
                return self._outcomes.started(task)
            if over(task, request.attempt):
                return to_clean(task, request.attempt, Cleanup.REMOVE)
            return task

        change = await self._tasks.change(request.task, decide)
        if over(change.task, request.attempt):
            raise Refused(f"attempt {request.attempt} of {request.task} no longer counts")
        if change.made and change.task.state is TaskState.RUNNING:
            await self._events.publish_task(TASK_STARTED, change.task)
        return change.record

    async def failed(self, request: ReportForwardFailed) -> TaskRecord:
        """Note that forwarding is over without success. An attempt that does not count any more changes nothing."""
        self._proxies.heard(request.upload_owner)
        before = await self._reported(request)
        forwarding = self._index.forwarding.get(request.task)
        if forwarding is not None and is_current(before, request.attempt, AttemptState.FORWARDING):
            forwarding.doubt(doubtful=request.doubtful)

        def decide(task: Task) -> Task:
            if not is_current(task, request.attempt, AttemptState.FORWARDING):
                return task
            if request.commit_uncertain:
                return uncertain(task, request.reason)
            return self._outcomes.tried(task, failure_of(request, site_of(self._nodes, task.attempts[-1].node)))

        change = await self._tasks.change(request.task, decide)
        if change.made:
            await self._after_failure(change, request.reason)
        return change.record

    async def _after_failure(self, change: TaskChange, reason: str) -> None:
        attempt = change.task.attempt
        if attempt and (node := self._nodes.get(attempt.node)):
            self._probes.soon(node)
        await self._events.publish_end(change.before, change.task, reason)

    async def _reported(self, request: Report) -> Task:
        if not isinstance(request, ReportInputsGone):
            self._leadership.check_epoch(request.epoch)
        found = await self._tasks.lookup(request.task)
        if found is None:
            raise await self._tasks.missing(request.task)
        task = found.task
        if task.upload_owner != request.upload_owner:
            raise Refused(f"{request.task} is held by another proxy")
        return task

    async def inputs_gone(self, request: ReportInputsGone) -> TaskRecord:
        """Note that no other attempt can follow. Refused when the task may still be sent to a node."""
        self._proxies.heard(request.upload_owner)
        await self._reported(request)
        try:
            change = await self._tasks.change(
                request.task, lambda task: without_inputs(task, request.reason, self._clock.wall_ms())
            )
        except ImpossibleStep as error:
            raise Refused(str(error)) from None
        return change.record
