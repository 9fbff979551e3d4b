"""Finds out what became of attempts that their upload owners do not report any more.

An upload owner renews each attempt before it begins it, unless its question about the task counts for that. Where even that does not come, nor anything else from it, the slot goes to others at once
(forwarding/core.py): nothing was begun, and the upload owner is refused should it come after all.

An upload owner that is silent for too long later on, or that sent the commit and did not see the answer, leaves an attempt *uncertain*. Then the node
is asked: it has the task, so it runs; it does not have it, so the attempt is over; it cannot be reached, so it is asked again until
the node's grace is over; for as long one may be there and say nothing of use. Nothing else happens to the task before that, or it could run twice. A task that is found with images that its
upload owner doubts (they may lie there twice, and the upload owner has not reported the proof) is removed from the node instead.

"It does not have it" counts only when the node has gone on saying so for a while (`--commit-settle-s`), counted from its
first denial and not from the doubt: a node that was frozen or cut off finds question and commit in its mailbox together when it comes
back. Nothing can be on its way to the mailbox any more by then: an upload owner sends a commit within `COMMIT_WITHIN_S` of having the
attempt confirmed (a question that counts for a renewal confirms, too), and is silent for longer before it is doubted.
"""

from contextlib import suppress
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.messages.tasks import TASK_STARTED
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.forwarding.core import (
    TAKE_UP_S,
    Denials,
    Silence,
    died_or_not,
    is_current,
    judge,
    longest_of,
)
from clusterodm.services.scheduler.forwarding.handlers.reports import Outcomes
from clusterodm.services.scheduler.leadership import suppress_transient
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import LOST, AttemptResult
from clusterodm.services.scheduler.task_life.transitions import uncertain
from clusterodm.services.scheduler.task_life.unheard import UnheardTasks

log = structlog.get_logger()

ABSENT_S: Final = 2.0
"""Longer between two checks: it was us who did not listen."""


class UncertainAttempts:
    """Watches the silence of upload owners, and asks nodes."""

    def __init__(
        self, records: Records, outcomes: Outcomes, api: NodeApi, events: EventPublisher, settings: SchedulerSettings
    ) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._outcomes = outcomes
        self._api = api
        self._events = events
        self._settings = settings
        self._asking: set[TaskId] = set()
        self._checked_at: Instant | None = None
        self._denials = Denials(settings.commit_settle_s)
        self._unheard = UnheardTasks(settings.node_grace_s)

    async def watch(self, limiter: TaskLimiter) -> None:
        """Check, again and again. A time in which we did not look ourselves is nobody's silence: what came is still to be read."""
        now = self._clock.instant()
        absent_s = 0.0 if self._checked_at is None else now - self._checked_at
        self._checked_at = now
        if absent_s > ABSENT_S:
            for forwarding in self._index.forwarding.values():
                forwarding.excuse(now)
        await self.check(limiter)

    async def check(self, limiter: TaskLimiter) -> None:
        """Look for upload owners that are silent, and ask nodes about what is uncertain."""
        now = self._clock.instant()
        self._denials.keep(self._index.forwarding.keys())
        self._unheard.keep(self._index.forwarding.keys())
        longest_s = self._settings.forward_silence_s
        for task_id, forwarding in list(self._index.forwarding.items()):
            if forwarding.uncertain_since is not None:
                await self._ask_once(limiter, task_id)
                continue
            match judge(forwarding, now, longest_s):
                case Silence.NOT_TAKEN_UP:
                    await self._free(task_id)
                case Silence.SUSPECT:
                    await self._suspect(task_id, longest_of(forwarding, longest_s))

    async def _free(self, task_id: TaskId) -> None:
        """Give the slot of an attempt to others that its upload owner has not taken up; its node has heard nothing of it."""
        reason = f"its proxy has not taken it up within {TAKE_UP_S:g} s"

        def decide(task: Task) -> Task:
            forwarding = self._index.forwarding.get(task_id)
            if forwarding is None or forwarding.unheard_since is None or forwarding.uncertain_since is not None:
                return task
            return self._outcomes.tried(task, AttemptResult(reason))

        change = await self._tasks.change(task_id, decide)
        if change.made:
            log.warning("slot.released", task=task_id, attempt=change.task.attempts[-1].number, reason=reason)
            await self._events.publish_end(change.before, change.task, reason)

    async def _suspect(self, task_id: TaskId, silent_s: float) -> None:
        reason = f"its proxy has been silent for {silent_s:g} s"

        def decide(task: Task) -> Task:
            forwarding = task.attempt and task.attempt.state is AttemptState.FORWARDING
            return uncertain(task, reason) if forwarding and task.state is TaskState.FORWARDING else task

        change = await self._tasks.change(task_id, decide)
        if change.made:
            log.warning("attempt.uncertain", task=task_id, attempt=change.task.attempts[-1].number, reason=reason)

    async def _ask_once(self, limiter: TaskLimiter, task_id: TaskId) -> None:
        if task_id not in self._asking:
            self._asking.add(task_id)
            await limiter.start(self._resolve(task_id), name=f"resolve {task_id}")

    async def _resolve(self, task_id: TaskId) -> None:
        try:
            task = self._index.tasks.get(task_id)
            if task is not None and task.state is TaskState.FORWARDING:
                await suppress_transient(lambda: self._ask_node(task), "check forwarding")()
        finally:
            self._asking.discard(task_id)

    async def _ask_node(self, task: Task) -> None:
        attempt = task.attempts[-1]
        node = self._nodes.get(attempt.node)
        if node is None:
            await self._missed(task, attempt)
            return
        try:
            observation = await self._api.observe(
                node.record, attempt.node_task_id, None, self._settings.poll_timeout_s
            )
        except ClusterError as error:
            self._denials.forget(task.id)
            await self._unanswered(task, attempt, node, error)
            return
        self._unheard.forget(task.id)
        forwarding = self._index.forwarding.get(task.id)
        if forwarding is None or self._index.tasks[task.id].attempts[-1].number != attempt.number:
            return  # it was reported, or ended, meanwhile
        if observation is not None and forwarding.doubtful:
            await self._take_back(task, node)
        elif observation is not None:
            await self._found(task)
        elif self._denials.is_final(task.id, attempt.number, self._clock.instant()):
            reason = attempt.reason or "the node does not have the task"
            await self._end(task, died_or_not(self._index.forwarding.get(task.id), reason, node))

    async def _unanswered(self, task: Task, attempt: Attempt, node: NodeState, error: ClusterError) -> None:
        """End an attempt whose node has been silent for too long, or is there and does not say for as long whether it has it."""
        now, grace_s = self._clock.instant(), self._settings.node_grace_s
        self._nodes.unreachable(node, now)
        if now - node.seen_at > grace_s:
            reason = f"the node cannot be asked whether it has the task: {error.message}"
            await self._end(task, died_or_not(self._index.forwarding.get(task.id), reason, node))
        elif not node.online:
            self._unheard.forget(task.id)
        elif self._unheard.missed(task.id, attempt, now):
            reason = f"its node has not said for {grace_s:g} s whether it has the task ({error.message})"
            await self._end(task, AttemptResult(reason, LOST, counted=True, cleanup=Cleanup.REMOVE))

    async def _missed(self, task: Task, attempt: Attempt) -> None:
        """End an attempt whose node is not registered; one that was told of again waits for its node as for one that is silent."""
        since = self._index.forwarding[task.id].uncertain_since if task.id in self._index.forwarding else None
        now = self._clock.instant()
        if attempt.recovered and since is not None and now - since <= self._settings.node_grace_s:
            return
        await self._end(task, AttemptResult("its node is not registered", cleanup=Cleanup.REMOVE))

    async def _found(self, asked: Task) -> None:
        number = asked.attempts[-1].number

        def decide(task: Task) -> Task:
            return self._outcomes.started(task) if is_current(task, number, AttemptState.UNCERTAIN) else task

        change = await self._tasks.change(asked.id, decide)
        if change.made:
            await self._events.publish_task(TASK_STARTED, change.task, reason="the node has it")

    async def _take_back(self, task: Task, node: NodeState) -> None:
        """Remove from its node a task of which nobody has proven that each image lies there once; asked again when that fails."""
        attempt = task.attempts[-1]
        with suppress(ClusterError):
            await self._api.remove(node.record, attempt.node_task_id, self._settings.action_timeout_s)
            reason = (
                f"{attempt.reason or 'its proxy is silent'}; images may lie on the node twice, so it is removed there"
            )
            await self._end(task, AttemptResult(reason, cleanup=Cleanup.REMOVE))

    async def _end(self, asked: Task, result: AttemptResult) -> None:
        number = asked.attempts[-1].number

        def decide(task: Task) -> Task:
            if not is_current(task, number, AttemptState.UNCERTAIN):
                return task
            return self._outcomes.tried(task, result)

        change = await self._tasks.change(asked.id, decide)
        if change.made:
            await self._events.publish_end(change.before, change.task, result.reason)
