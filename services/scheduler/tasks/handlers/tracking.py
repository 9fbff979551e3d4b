"""Looks at running tasks on their nodes until they end.

Each running task is due at its own time: first a while after its start (its node has nothing to tell before), often when it is fresh, ever less as it grows old, at once when a node or a proxy hints that
it has finished. A node is asked about few tasks at a time, so a hung one delays only its own; one that is offline is not asked
at all until it is back; one that is online and says nothing of use about a task for too long loses it. What a look brings is taken in
only if the attempt is still the one that was looked at: a look that was under way while the task was restarted must not end it.
"""

import asyncio
from collections import defaultdict
from typing import Final

import structlog

from clusterodm.libs.common.chosen import differences
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.delay_queue import DelayQueue
from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.messages.placement import FinishReported
from clusterodm.libs.common.model.tasks import Attempt, Cleanup, LastKnown, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loops import beat
from clusterodm.libs.common.process.moments import wait_until_woken
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.leadership import suppress_transient
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.core import site_of
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import LOST, AttemptPolicy, AttemptResult
from clusterodm.services.scheduler.task_life.transitions import observed, tried, with_console
from clusterodm.services.scheduler.task_life.unheard import UnheardTasks
from clusterodm.services.scheduler.tasks.core.observation import PollInterval, known_of
from clusterodm.services.scheduler.tasks.handlers.observing import ConsoleStore, ObservationStore

log = structlog.get_logger()

IDLE_S: Final = 1.0
OFFLINE_S: Final = 0.5
"""How soon to look whether an offline node is back; that costs no call."""


class TaskTracker:
    """Follows running tasks."""

    def __init__(  # noqa: PLR0913, PLR0917 its collaborators
        self,
        records: Records,
        api: NodeApi,
        events: EventPublisher,
        consoles: ConsoleStore,
        observer: ObservationStore,
        policy: AttemptPolicy,
        settings: SchedulerSettings,
    ) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._signals = records.signals
        self._api = api
        self._consoles = consoles
        self._observer = observer
        self._events = events
        self._settings = settings
        self._policy = policy
        self._poll_interval = PollInterval(
            first_s=settings.poll_first_s, slow_s=settings.poll_slow_s, slow_after_s=settings.poll_slow_after_s
        )
        self._idle_s = min(IDLE_S, settings.poll_first_s)
        self._delay_queue: DelayQueue[TaskId] = DelayQueue()
        self._unregistered_since: dict[TaskId, Instant] = {}
        """For tasks that run on a node which is not registered: since when it has not been."""
        self._unheard = UnheardTasks(settings.node_grace_s)
        self._under_way: set[TaskId] = set()
        self._hinted: set[TaskId] = set()
        self._polls_free: defaultdict[NodeId, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(settings.polls_per_node_count)
        )
        self._woken = asyncio.Event()
        self._signals.task_listeners.append(self._task_changed)

    async def run(self) -> None:
        """Look for ever, beginning with everything that runs."""
        for task in self._index.running:
            self._delay_queue.set(task, self._clock.instant())
        async with TaskLimiter(self._settings.polls_at_once_count) as limiter:
            while True:
                beat()
                for task in self._delay_queue.take_due(self._clock.instant()):
                    await self._start_observing(limiter, task)
                left_s = self._delay_queue.left_s(self._clock.instant(), most_s=self._idle_s)
                await wait_until_woken(self._woken, left_s)

    async def hint(self, message: FinishReported) -> None:
        """Look at a task now. Nobody has proved that the hint is true, and nobody needs to."""
        task = self._index.by_node_task.get(message.node_task_id)
        if task is None or task not in self._index.running:
            return
        if task in self._under_way:
            self._hinted.add(task)
        self._delay_queue.set(task, self._clock.instant())
        self._woken.set()

    async def observe(self, task_id: TaskId) -> None:
        """Look at one task and take in what its node says."""
        task = self._index.tasks.get(task_id)
        if task is None or task.state is not TaskState.RUNNING:
            return
        attempt = task.attempts[-1]
        node = self._nodes.get(attempt.node)
        if node is None:
            await self._not_registered(task_id, attempt)
            return
        self._unregistered_since.pop(task_id, None)
        seen = self._index.observed.get(task_id)
        line: int | None = seen.console_count if seen else 0
        if task_id in self._unheard:
            line = None  # no console this time: one that is too long hides no end
        try:
            async with self._polls_free[node.id]:
                observation = await self._api.observe(
                    node.record, attempt.node_task_id, line, self._settings.poll_timeout_s
                )
        except ClusterError as error:
            log.debug("observation.failed", task=task_id, node=node.id, error=error.message)
            await self._missed(task_id, attempt, error)
            return
        self._unheard.forget(task_id)
        self._nodes.heard(node, self._clock.instant())
        if observation is None:
            await self._lost(task_id, attempt, "the node does not know the task any more")
        else:
            known = differences(known_of(seen, observation, self._clock.wall_ms()), task.options)
            await self._seen(task, known, node, seen)

    async def _not_registered(self, task_id: TaskId, attempt: Attempt) -> None:
        """Give the attempt up. One that its upload owner told of again waits for its node as for one that is silent."""
        reason = "its node is not registered"
        if not attempt.recovered:
            await self._lost(task_id, attempt, reason)
            return
        since = self._unregistered_since.setdefault(task_id, self._clock.instant())
        if self._clock.instant() - since > self._settings.node_grace_s:
            await self._end(task_id, attempt, AttemptResult(reason, LOST, counted=True, cleanup=Cleanup.REMOVE))

    async def _missed(self, task_id: TaskId, attempt: Attempt, error: ClusterError) -> None:
        """Give the attempt up when its node, which is there, does not say for too long how it stands: it would hold its slot for ever."""
        task = self._index.tasks.get(task_id)
        if task is None or not is_same_run(task, attempt):
            return
        if self._unheard.missed(task_id, attempt, self._clock.instant()):
            reason = f"its node has not said for {self._settings.node_grace_s:g} s how it stands ({error.message})"
            await self._end(task_id, attempt, AttemptResult(reason, LOST, counted=True, cleanup=Cleanup.REMOVE))

    async def give_up(self, task_id: TaskId, result: AttemptResult) -> None:
        """End the attempt of a running task whose node is lost."""
        task = self._index.tasks.get(task_id)
        if task is not None and task.state is TaskState.RUNNING:
            await self._end(task_id, task.attempts[-1], result)

    async def _seen(self, observed_task: Task, known: LastKnown, node: NodeState, before: LastKnown | None) -> None:
        attempt = observed_task.attempts[-1]

        def next_of(task: Task) -> Task:
            return observed(task, known, site_of(self._nodes, node.id), self._policy, self._clock.wall_ms())

        ends = next_of(observed_task).state.ended
        kept = ends and await self._keep_console(observed_task, known, node)

        def decide(task: Task) -> Task:
            if not is_same_run(task, attempt) or self._index.observed.get(task.id) is not before:
                return task
            after = next_of(task)
            return with_console(after, kept=kept) if after.state.ended else after

        change = await self._tasks.change(observed_task.id, decide)
        if change.made and change.task.state is not TaskState.RUNNING:
            await self._events.publish_end(change.before, change.task, known.error)
        elif is_same_run(change.task, attempt) and self._index.observed.get(change.task.id) is before:
            await self._observer.note(change.task, known)

    async def _keep_console(self, task: Task, known: LastKnown, node: NodeState) -> bool:
        """Keep all of a console, or at least what was seen of it; whether that worked."""
        node_task = task.attempts[-1].node_task_id
        return await self._consoles.keep(task.id, node.record, node_task) or await self._consoles.keep_seen(
            task.id, known
        )

    async def _lost(self, task_id: TaskId, attempt: Attempt, reason: str) -> None:
        fatal = self._clock.instant() - self._began(task_id) <= self._settings.killer_within_s
        await self._end(task_id, attempt, AttemptResult(reason, LOST, counted=True, fatal=fatal))

    async def _end(self, task_id: TaskId, attempt: Attempt, result: AttemptResult) -> None:
        where = self._nodes.name_of(attempt.node)

        def next_of(task: Task) -> Task:
            if not is_same_run(task, attempt):
                return task
            return tried(self._index.final(task), result, where, self._policy, self._clock.wall_ms())

        def decide(task: Task) -> Task:
            after = next_of(task)
            return with_console(after, kept=kept) if after.state.ended and not task.state.ended else after

        ends = next_of(self._tasks.record(task_id).task).state.ended
        kept = ends and await self._consoles.keep_seen(task_id, self._index.observed.get(task_id))
        change = await self._tasks.change(task_id, decide)
        if change.made:
            await self._events.publish_end(change.before, change.task, result.reason)

    async def _start_observing(self, limiter: TaskLimiter, task: TaskId) -> None:
        node = self._nodes.get(self._index.running[task]) if task in self._index.running else None
        if task not in self._index.running or task in self._under_way:
            return
        if node is not None and not node.online:
            self._unheard.forget(task)
            self._delay_queue.set(task, self._clock.instant() + OFFLINE_S)
            return
        self._under_way.add(task)
        await limiter.start(self._observe_and_come_back(task), name=f"look {task}")

    async def _observe_and_come_back(self, task: TaskId) -> None:
        try:
            await suppress_transient(lambda: self.observe(task), "track tasks")()
        finally:
            self._under_way.discard(task)
            if task in self._index.running:
                again_s = 0.0 if task in self._hinted else self._interval_s(task)
                self._delay_queue.set(task, self._clock.instant() + again_s)
                if task in self._hinted:
                    self._woken.set()
            self._hinted.discard(task)

    def _interval_s(self, task: TaskId) -> float:
        return self._poll_interval.interval_s(self._clock.instant() - self._began(task))

    def _began(self, task: TaskId) -> Instant:
        return self._index.began.get(task, self._clock.instant())

    def _task_changed(self, before: Task | None, after: Task | None) -> None:
        if after is not None and after.state is TaskState.RUNNING:
            if before is None or before.state is not TaskState.RUNNING:
                self._delay_queue.set(after.id, self._clock.instant() + self._poll_interval.first_s)
        elif before is not None:
            self._delay_queue.discard(before.id)
            self._unregistered_since.pop(before.id, None)
            self._unheard.forget(before.id)


def is_same_run(task: Task, attempt: Attempt) -> bool:
    """Whether this attempt is still running, and has not been restarted meanwhile."""
    return (
        task.state is TaskState.RUNNING
        and task.attempts[-1].number == attempt.number
        and task.attempts[-1].running_at_ms == attempt.running_at_ms
    )
