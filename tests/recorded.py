"""The records of tasks as NATS holds them, active ones and those that have ended."""

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.messages.buckets import ENDED, TASKS
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import TaskId


async def recorded_tasks(bus: NatsBus) -> dict[TaskId, Task]:
    """All tasks by id. One that moves at this moment is in both buckets and counted once."""
    active = await (await bus.bucket(TASKS)).load()
    ended = await (await bus.bucket(ENDED)).load()
    tasks = {entry.value.task.id: entry.value.task for entry in ended.values()}
    return tasks | {entry.value.id: entry.value for entry in active.values() if entry.value.id not in tasks}


async def recorded_task(bus: NatsBus, task: TaskId) -> Task | None:
    """One task; None when nothing is known of it."""
    if (active := await (await bus.bucket(TASKS)).get(task)) is not None:
        return active.value
    ended = await (await bus.bucket(ENDED)).get(task)
    return None if ended is None else ended.value.task
