"""`/task/list`: as the scheduler says, or as was last known."""

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.tasks import LIST_TASK_IDS, ListTaskIds, TaskIds, TaskRecord
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.adapters import mirrored
from clusterodm.services.proxy.polling.handlers.read import TaskLists
from tests.waiting import until

ALICE = Owner("alice")


async def told(asked: ListTaskIds) -> TaskIds:
    """Two pages."""
    if asked.owner != ALICE:
        return TaskIds(tasks=())
    return TaskIds(tasks=(TaskId("c"),)) if asked.after else TaskIds(tasks=(TaskId("a"), TaskId("b")), more=True)


def active(task: str, *, removed: bool = False) -> Task:
    """A task of Alice's."""
    return Task(
        id=TaskId(task),
        owner=ALICE,
        name=task,
        upload_owner=InstanceId("i"),
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
        removed=removed,
    )


async def test_a_list_has_all_pages_and_is_remembered_for_when_nobody_can_be_asked():
    bus = MemoryBus()
    async with bus.serve("scheduler", {LIST_TASK_IDS: told}), mirrored(bus) as cluster:
        await until(lambda: cluster.ready)
        lists = TaskLists(bus, cluster)
        assert await lists.of(ALICE) == ["a", "b", "c"]
        assert await lists.of(Owner("bob")) == []
        bus.connected = False
        cluster.learn(TaskRecord(task=active("b", removed=True), revision=1))
        cluster.learn(TaskRecord(task=active("d"), revision=2))
        assert await lists.of(ALICE) == ["a", "c", "d"]
        with pytest.raises(BusFailed):
            await lists.of(Owner("carol"))
