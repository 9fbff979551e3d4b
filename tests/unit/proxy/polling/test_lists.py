"""`/task/list`: as the scheduler says, or as was last known."""

import asyncio

import msgspec
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


async def test_who_asks_while_a_list_is_read_gets_the_next_one_which_is_read_once_for_all():
    bus, asked, gate = MemoryBus(), list[ListTaskIds](), asyncio.Event()

    async def counts(question: ListTaskIds) -> TaskIds:
        asked.append(question)
        number = len(asked)
        await gate.wait()
        return TaskIds(tasks=tuple(TaskId(f"t{each}") for each in range(number)))

    async with bus.serve("scheduler", {LIST_TASK_IDS: counts}), mirrored(bus) as cluster:
        lists = TaskLists(bus, cluster)
        async with asyncio.TaskGroup() as group:
            first = group.create_task(lists.json_of(ALICE))
            await until(lambda: len(asked) == 1)
            later = [group.create_task(lists.json_of(ALICE)) for _ in range(50)]
            other = group.create_task(lists.json_of(Owner("bob")))
            await until(lambda: len(asked) == 2)
            gate.set()
    assert first.result() == b'[{"uuid":"t0"}]'
    assert len(msgspec.json.decode(other.result())) == 2
    assert {each.result() for each in later} == {b'[{"uuid":"t0"},{"uuid":"t1"},{"uuid":"t2"}]'}
    assert len(asked) == 3


async def test_a_list_that_cannot_be_read_is_not_read_again_for_each_who_waits():
    bus = MemoryBus()
    async with mirrored(bus) as cluster:
        bus.connected = False
        lists = TaskLists(bus, cluster)
        failed = await asyncio.gather(*(lists.json_of(ALICE) for _ in range(3)), return_exceptions=True)
    assert [type(each) for each in failed] == [BusFailed] * 3
