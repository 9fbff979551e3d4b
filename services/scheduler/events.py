"""What happened: told to the log and the bus (`EventPublisher`), and to this scheduler's own loops (`Signals`)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.messages.nodes import NodeEvent
from clusterodm.libs.common.messages.tasks import TASK_ATTEMPT_ENDED, TASK_FINISHED, TASK_PLACED, TaskEvent
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.telemetry.tracing import Spans, TraceSpan, emit
from clusterodm.services.scheduler import spans
from clusterodm.services.scheduler.metrics import ATTEMPTS_ENDED, NODE_EVENTS, RUN_SECONDS, TASK_EVENTS, TASKS_ENDED

log = structlog.get_logger()

OUTCOMES: Final = {"was lost": "lost", "was moved away": "moved"}
"""Words of records (task_life/attempts.py), and those of metrics."""


TaskListener = Callable[[Task | None, Task | None], None]
"""Hears of a task's value before a change and after it, when that is in memory."""


class Signals:
    """What the loops of this scheduler wait for, and who hears at once of every task's old and new value."""

    def __init__(self) -> None:
        self.capacity_freed = asyncio.Event()
        """A slot may have become free, or a task may want one."""
        self.changed = asyncio.Event()
        """Totals may have changed."""
        self.node_online = asyncio.Event()
        """A node has come online."""
        self.task_listeners: list[TaskListener] = []
        self.node_listeners: list[Callable[[NodeId], None]] = []
        """Hear of a node that was not known."""
        self.archive_listeners: list[Callable[[Task], None]] = []
        """Hear of a task that has left the active ones for the archive."""
        self.departures: list[Callable[[TaskId], Awaitable[None]]] = []
        """What is to be done before a task that has ended is archived, forgotten, or runs again. Raises BusFailed."""

    async def before_end_is_left(self, task: TaskId) -> None:
        """Have done what is to be done first. Raises BusFailed."""
        for depart in self.departures:
            await depart(task)


class EventPublisher:
    """Tells the bus and the log: one line and one event, each with ids and the reason."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def publish_task(self, event: Event[TaskEvent], task: Task, reason: str = "") -> None:
        """Say what happened to a task."""
        count_event(event, task)
        export_spans(event, task)
        last = task.attempt
        number, node = (last.number, last.node) if last else (0, None)
        log.info(
            event.name,
            task=task.id,
            state=str(task.state),
            attempt=number,
            node=node,
            tenant=task.owner,
            reason=reason,
        )
        payload = TaskEvent(
            at_ms=self._clock.wall_ms(), task=task.id, state=task.state, attempt=number, node=node, reason=reason
        )
        await self._bus.publish(event, payload)

    async def publish_end(self, before: Task | None, task: Task, reason: str) -> None:
        """Say that an attempt is over: another will follow, or the task has ended by that. A task may end between attempts, too.

        Every way to an end comes here, and each end once: so what counts ends agrees with the usage of tenants, which counts by the records.
        """
        if has_ended_last(before, task):
            count_end(task)
            if Spans.export is not None:
                export_all(spans.attempt_ended(task))
        if task.state is TaskState.WAITING:
            await self.publish_task(TASK_ATTEMPT_ENDED, task, reason=reason)
        if task.state.ended and not (before and before.state.ended):
            await self.publish_task(TASK_FINISHED, task, reason=task.error or reason)

    async def publish_node(self, event: Event[NodeEvent], node: Node, reason: str = "") -> None:
        """Say what happened to a node."""
        NODE_EVENTS.inc(event.name)
        log.info(event.name, node=node.id, machine=node.machine, reason=reason)
        await self._bus.publish(event, NodeEvent(at_ms=self._clock.wall_ms(), node=node.id, reason=reason))


def export_spans(event: Event[TaskEvent], task: Task) -> None:
    """Tell the long spans that end with an event, where somebody traces."""
    if Spans.export is None:
        return
    if event is TASK_PLACED:
        export_all(spans.placed(task))
    elif event is TASK_FINISHED:
        export_all(spans.task_ended(task))


def export_all(found: Iterable[TraceSpan]) -> None:
    """Tell spans."""
    for each in found:
        emit(each)


def count_event(event: Event[TaskEvent], task: Task) -> None:
    """Count what happened to a task."""
    TASK_EVENTS.inc(event.name)
    if event is TASK_FINISHED:
        TASKS_ENDED.inc(str(task.state))


def has_ended_last(before: Task | None, after: Task) -> bool:
    """Whether the last attempt of a task has ended by a change, and not earlier."""
    last = after.attempt
    if last is None or last.ended_at_ms is None:
        return False
    return before is None or all(each.number != last.number or each.ended_at_ms is None for each in before.attempts)


def count_end(task: Task) -> None:
    """Count the end of its last attempt."""
    last = task.attempts[-1]
    outcome = outcome_of(last, task.state)
    ATTEMPTS_ENDED.inc(outcome)
    if last.running_at_ms is not None and last.ended_at_ms is not None:
        took_s = max(0, last.ended_at_ms - last.running_at_ms) / 1000
        RUN_SECONDS.observe(took_s, outcome, trace_id=spans.exemplar(task))


def outcome_of(attempt: Attempt, state: TaskState) -> str:
    """Name what became of an attempt, for who counts. `state`: what its task has become by its end."""
    if state is TaskState.CANCELED:
        return str(state)
    if attempt.unfit:
        return "refused"
    if attempt.outcome:
        return OUTCOMES.get(attempt.outcome, "failed")
    return str(state) if state.ended else "failed"
