"""Nodes that go: drained by an operator, silent for too long, or lost with their machine.

A node that is drained gets no new tasks, and is off the list when it has none. At its deadline, what waits for its turn on a draining node is moved. The node is asked first; only what it has not begun with is
taken, by removing it there under the task's lock and then ending the attempt. Should the write fail after that, the next look
finds that the node does not know the task, and it gets a new attempt in that way. What the node processes is left to end.

Attempts on nodes that have been silent for longer than their grace are given up. Silent means: neither a probe nor a look was answered. What is given up is written with a cleanup, so that a node which returns is
told to remove it. After a start of the scheduler the grace begins anew. When the autoscaler says that a node's machine goes,
nothing is waited for, whether the node is on the list or not.

Nobody was silent while nobody listened: when this process was frozen, or its computer slept, that time is taken off each node's silence.
"""

from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Instant, read
from clusterodm.libs.common.errors import ClusterError, NotFound
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.nodes import NODE_REMOVED, LoseNode
from clusterodm.libs.common.model.tasks import Attempt, Cleanup, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId, TaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.leadership import suppress_transient
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.nodes.ports import ReservedSlots, RunningAttempts
from clusterodm.services.scheduler.records.core import LONGEST_S
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import LOST, MOVED, AttemptPolicy, AttemptResult
from clusterodm.services.scheduler.task_life.life import with_attempt
from clusterodm.services.scheduler.task_life.transitions import tried

log = structlog.get_logger()

DRAINED = "the node is being drained"


class Drainer:
    """Sees draining nodes off."""

    def __init__(
        self, records: Records, api: NodeApi, events: EventPublisher, policy: AttemptPolicy, settings: SchedulerSettings
    ) -> None:
        self._tasks = records.tasks
        self._node_store = records.nodes
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._api = api
        self._events = events
        self._policy = policy
        self._timeout_s = settings.action_timeout_s
        self._under_way: set[NodeId] = set()
        self._due: dict[NodeId, tuple[int, Instant]] = {}
        """Deadlines as they are recorded, and the instants that they became when they were first seen."""

    async def check(self, limiter: TaskLimiter) -> None:
        """Take empty ones off the list; move what waits on those whose time is up."""
        for node in self._nodes.draining():
            if not node.ours_count:
                await self._let_go(node)
            elif self._is_due(node) and node.id not in self._under_way:
                self._under_way.add(node.id)
                await limiter.start(self._empty(node), name=f"drain {node.id}")

    async def _let_go(self, node: NodeState) -> None:
        await self._node_store.retire(node.id)
        self._due.pop(node.id, None)
        await self._events.publish_node(NODE_REMOVED, node.record, reason="drained")

    def _is_due(self, node: NodeState) -> bool:
        until_ms = node.record.drain_until_ms
        return until_ms is not None and self._deadline(node, until_ms) <= self._clock.instant() and node.online

    def _deadline(self, node: NodeState, until_ms: int) -> Instant:
        recorded_ms, due = self._due.get(node.id, (0, self._clock.instant()))
        if recorded_ms != until_ms:
            due = read(self._clock).until(until_ms, node.record.drain_s or LONGEST_S)
            self._due[node.id] = until_ms, due
        return due

    async def _empty(self, node: NodeState) -> None:
        try:
            for task in list(node.tasks):
                await suppress_transient(lambda task=task: self._move(task, node), "drain nodes")()  # type: ignore[misc]
        finally:
            self._under_way.discard(node.id)

    async def _move(self, task_id: TaskId, node: NodeState) -> None:
        async with self._tasks.holding(task_id):
            task = self._index.tasks.get(task_id)
            if task is None or task.state is not TaskState.RUNNING or task.attempts[-1].node != node.id:
                return
            if not await self._taken_back(task, task.attempts[-1], node):
                return
            record = await self._tasks.write(task_id, lambda now: self._moved(now, node))
        await self._events.publish_end(task, record.task, DRAINED)

    def _moved(self, task: Task, node: NodeState) -> Task:
        result = AttemptResult(DRAINED, MOVED)
        return tried(self._index.final(task), result, node.record.name, self._policy, self._clock.wall_ms())

    async def _taken_back(self, task: Task, attempt: Attempt, node: NodeState) -> bool:
        """Remove a task from its node if that has not begun with it; whether it is gone there."""
        try:
            observation = await self._api.observe(node.record, attempt.node_task_id, None, self._timeout_s)
            if observation is None or observation.code is not StatusCode.QUEUED:
                return False
            await self._api.remove(node.record, attempt.node_task_id, self._timeout_s)
        except ClusterError as error:
            log.info("task.move_failed", task=task.id, node=node.id, error=error.message)
            return False
        return True


ABSENT_S: Final = 1.5
"""Three times as long as `watch` pauses, which ends at half seconds: one of these may be missed."""


class NodeFailureDetector:
    """Watches the silence of nodes."""

    def __init__(
        self,
        records: Records,
        attempts: RunningAttempts,
        events: EventPublisher,
        reserved: ReservedSlots,
        settings: SchedulerSettings,
    ) -> None:
        self._tasks = records.tasks
        self._node_store = records.nodes
        self._index = records.index
        self._nodes = records.registry
        self._clock = records.clock
        self._reserved = reserved
        self._attempts = attempts
        self._events = events
        self._grace_s = settings.node_grace_s
        self._killer_within_s = settings.killer_within_s
        self._watched_at: Instant | None = None

    async def watch(self) -> None:
        """Check, again and again. A time in which we did not look ourselves counts as nobody's silence."""
        now = self._clock.instant()
        away_s = 0.0 if self._watched_at is None else now - self._watched_at
        self._watched_at = now
        if away_s > ABSENT_S:
            log.warning("scheduler.suspended", away_s=round(away_s, 3))
            self._nodes.excuse_silence(away_s, now)
        await self.check()

    async def check(self) -> None:
        """Give up what runs on nodes that are silent for too long."""
        for node in self._nodes.offline():
            if node.online or not node.tasks:
                continue
            silent_s = self._clock.instant() - node.seen_at
            if silent_s > self._grace_s:
                await self._give_up_on(node, silent_s)

    async def _give_up_on(self, node: NodeState, silent_s: float) -> None:
        reason = f"the node has been silent for {silent_s:.0f} s"
        for task_id in list(node.tasks):
            task = self._index.tasks[task_id]
            if task.state is TaskState.RUNNING:
                await self._attempts.give_up(task_id, self._lost(task, node, reason))

    def _lost(self, task: Task, node: NodeState, reason: str) -> AttemptResult:
        fatal = node.seen_at - self._index.began.get(task.id, node.seen_at) <= self._killer_within_s
        interrupted = node.record.spot
        return AttemptResult(reason, LOST, counted=True, fatal=fatal, cleanup=Cleanup.REMOVE, interrupted=interrupted)

    async def lose(self, request: LoseNode) -> Done:
        """Take a node off the list whose machine goes, and give up at once what runs on either. Raises NotFound."""
        node = self._node_of(request)
        if node is None and request.machine is None:
            raise NotFound(f"There is no node {request.node}")
        held = self._on_machine(request.machine)
        if node is not None:
            held |= node.tasks
            self._reserved.release_on(node.id)
            await self._node_store.retire(node.id)
            await self._events.publish_node(NODE_REMOVED, node.record, reason=request.reason)
        for task_id in held:
            await self._give_up_at_once(task_id, request)
        return Done()

    def _node_of(self, request: LoseNode) -> NodeState | None:
        """Find the node on the list; at an address that has been given to another machine it is that one's."""
        node = self._nodes.get(request.node) if request.node else None
        if node is None or node.record.retired:
            return None
        return node if request.machine is None or node.record.machine in {None, request.machine} else None

    def _on_machine(self, machine: MachineId | None) -> set[TaskId]:
        """Find what is on a machine by the tasks' own records: its node may be registered no more, or not yet."""
        under_way = (
            (self._index.tasks[task] for task in (*self._index.running, *self._index.forwarding)) if machine else ()
        )
        return {task.id for task in under_way if task.attempt and task.attempt.machine == machine}

    async def _give_up_at_once(self, task_id: TaskId, request: LoseNode) -> None:
        task = self._index.tasks.get(task_id)
        if task is None:
            return
        if task.state is TaskState.RUNNING:
            await self._attempts.give_up(
                task_id, AttemptResult(request.reason, LOST, counted=True, interrupted=request.interrupted)
            )
        elif task.state is TaskState.FORWARDING:
            await self._tasks.change(task_id, waits_for_no_node)


def waits_for_no_node(task: Task) -> Task:
    """Let an attempt that its upload owner has told of again wait for its node no longer: that does not come."""
    if task.state is not TaskState.FORWARDING:
        return task
    return msgspec.structs.replace(task, attempts=with_attempt(task, recovered=False))
