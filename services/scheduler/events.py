"""What happened: told to the log and the bus (`EventPublisher`), and to this scheduler's own loops (`Signals`)."""

import asyncio
from collections.abc import Callable

import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.messages.nodes import NodeEvent
from clusterodm.libs.common.messages.tasks import TASK_ATTEMPT_ENDED, TASK_FINISHED, TaskEvent
from clusterodm.libs.common.model import Node, Task, TaskState
from clusterodm.libs.common.ports import Bus

log = structlog.get_logger()


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

    def __repr__(self) -> str:
        """Show how many listen."""
        return f"Signals(listeners={len(self.task_listeners)})"


class EventPublisher:
    """Tells the bus and the log: one line and one event, each with ids and the reason."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def publish_task(self, event: Event[TaskEvent], task: Task, reason: str = "") -> None:
        """Say what happened to a task."""
        last = task.attempt
        number, node = (last.number, last.node) if last else (0, None)
        log.info(event.name, task=task.id, state=str(task.state), attempt=number, node=node, reason=reason)
        payload = TaskEvent(
            at_ms=self._clock.wall_ms(), task=task.id, state=task.state, attempt=number, node=node, reason=reason
        )
        await self._bus.publish(event, payload)

    async def publish_end(self, task: Task, reason: str) -> None:
        """Say that an attempt is over: another will follow, or the task has ended by that."""
        if task.state is TaskState.WAITING:
            await self.publish_task(TASK_ATTEMPT_ENDED, task, reason=reason)
        if task.state.ended:
            await self.publish_task(TASK_FINISHED, task, reason=task.error)

    async def publish_node(self, event: Event[NodeEvent], node: Node, reason: str = "") -> None:
        """Say what happened to a node."""
        log.info(event.name, node=node.id, reason=reason)
        await self._bus.publish(event, NodeEvent(at_ms=self._clock.wall_ms(), node=node.id, reason=reason))
