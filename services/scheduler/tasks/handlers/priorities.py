"""What operators want of a task's place in the queue: another priority, or to be moved up."""

from clusterodm.libs.common.messages.tasks import (
    TASK_MOVED_UP,
    TASK_PRIORITIZED,
    SetTaskPriority,
    TaskRecord,
    TaskRef,
)
from clusterodm.libs.common.model.tasks import Task
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.tasks.core.priorities import first_of_its_kind, moved_up, prioritized


class TaskPriorities:
    """Answers SET_TASK_PRIORITY and MOVE_TASK_UP."""

    def __init__(self, records: Records, events: EventPublisher) -> None:
        self._tasks = records.tasks
        self._index = records.index
        self._clock = records.clock
        self._signals = records.signals
        self._events = events

    async def set_priority(self, request: SetTaskPriority) -> TaskRecord:
        """Give a task a priority. Raises NotFound, Refused."""
        async with self._tasks.holding(request.task):
            before = await self._tasks.find(request.task)
            now_ms = self._clock.wall_ms()
            record = await self._tasks.write(request.task, lambda task: prioritized(task, request.priority, now_ms))
        if record.task.priority != before.task.priority:
            self._signals.capacity_freed.set()
            reason = f"from {before.task.priority:+} to {record.task.priority:+}"
            await self._events.publish_task(TASK_PRIORITIZED, record.task, reason=reason)
        return record

    async def move_up(self, request: TaskRef) -> TaskRecord:
        """Put a task in front of its owner's others. Raises NotFound, Refused."""
        async with self._tasks.holding(request.task):
            before = await self._tasks.find(request.task, request.owner)
            record = await self._tasks.write(request.task, self._moved_up)
        if record.task.queued_at_ms != before.task.queued_at_ms:
            self._signals.capacity_freed.set()
            await self._events.publish_task(TASK_MOVED_UP, record.task)
        return record

    def _moved_up(self, task: Task) -> Task:
        in_order = (self._index.tasks[each] for each in self._index.by_place)
        return moved_up(task, first_of_its_kind(task, in_order), self._clock.wall_ms())
