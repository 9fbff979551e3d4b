"""What a proxy reads of a task to find it: of another's no more than of one that nobody has."""

import pytest

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.handlers.finding import NO_TASK, TaskFinder
from tests.proxy_ports import FakeCluster, a_task

TASK, UNKNOWN = TaskId("6f9619ff-8b86-4011-b42d-00c04fc964ff"), TaskId("11111111-2222-4333-8444-555555555555")
ANNE, BERT = Owner("anne"), Owner("bert")


class Reading(FakeCluster):
    """Notes which records are read, and remembers none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[TaskId] = []

    async def recall(self, task: TaskId) -> TaskRecord | None:
        """Read one."""
        self.read.append(task)
        return await super().recall(task)


async def not_found(asked: TaskRef) -> TaskRecord:
    """Play a scheduler that has nothing for whoever asks."""
    raise NotFound(f"{asked.task} not found")


async def test_anothers_ended_task_is_read_once_and_then_asked_about_as_an_unknown_one():
    bus, cluster = MemoryBus(), Reading()
    cluster.ended[TASK] = TaskRecord(task=a_task(TASK, ANNE), revision=1, archived=True)
    finder = TaskFinder(bus, cluster, FakeClock())
    async with bus.serve("scheduler", {GET_TASK: not_found}):
        for task in (TASK, TASK, UNKNOWN, TASK):
            with pytest.raises(NotFound):
                await finder.find(task, BERT, "info")
        assert cluster.read == [TASK, NO_TASK, UNKNOWN, NO_TASK]
        cluster.read.clear()
        assert (await finder.find(TASK, ANNE, "info")).task.id == TASK
        assert cluster.read == [TASK]
