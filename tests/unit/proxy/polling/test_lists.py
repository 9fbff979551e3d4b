"""`/task/list`: as the scheduler says, or as was last known."""

import asyncio
from collections.abc import Awaitable, Collection
from contextlib import suppress
from random import Random

import msgspec
import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.tasks import LIST_TASK_IDS, ListTaskIds, TaskIds, TaskRecord
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.adapters import mirrored
from clusterodm.services.proxy.cluster.ports import Trust
from clusterodm.services.proxy.polling.handlers.lists import ListReading, TaskLists
from tests.crowds import come_and_go
from tests.proxy_ports import FakeCluster
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


class Lacking(Trust):
    """A store that lacks a task for a while. Implements StoreComparison."""

    def __init__(self) -> None:
        self.is_lacking = True

    async def lacks(self, owner: Owner, listed: Collection[TaskId]) -> bool:
        return self.is_lacking and owner == ALICE and "d" not in listed


async def test_a_list_that_lacks_a_task_is_not_told():
    bus, comparison = MemoryBus(), Lacking()
    async with bus.serve("scheduler", {LIST_TASK_IDS: told}):
        lists = TaskLists(bus, FakeCluster(), comparison)
        with pytest.raises(BusFailed):
            await lists.of(ALICE)
        assert await lists.of(Owner("bob")) == []
        comparison.is_lacking = False
        assert await lists.of(ALICE) == ["a", "b", "c"]


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


class Listed:
    """Reads a list, each time when the test lets it, or fails."""

    def __init__(self) -> None:
        self.begun: list[asyncio.Future[bytes | BusFailed]] = []

    async def read(self) -> bytes | BusFailed:
        self.begun.append(asyncio.get_running_loop().create_future())
        return await self.begun[-1]


async def turns() -> None:
    """Let tasks go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def outcome(asking: Awaitable[bytes]) -> bytes | Exception:
    """Wait for an answer, or for why there is none."""
    try:
        return await asking
    except ZeroDivisionError as error:
        return error


async def test_when_who_reads_a_list_fails_or_is_cut_off_the_next_one_reads_it():
    listed = Listed()
    reading = ListReading(listed.read)
    async with asyncio.TaskGroup() as group:
        joined = [group.create_task(outcome(reading.join())) for _ in range(4)]
        await turns()
        joined[0].cancel()
        await turns()
        listed.begun[1].set_exception(ZeroDivisionError())
        await turns()
        joined[3].cancel()
        listed.begun[2].set_result(b"[]")

    assert [each.cancelled() for each in joined] == [True, False, False, True]
    assert (type(joined[1].result()), joined[2].result()) == (ZeroDivisionError, b"[]")
    assert (len(listed.begun), reading.waiting_count) == (3, 0)


class Fickle:
    """A scheduler that answers late, or not at all; what it says is the number of the question."""

    def __init__(self) -> None:
        self.by_chance = Random(153)
        self.asked_count = 0

    async def answer(self, question: ListTaskIds) -> TaskIds:
        del question
        self.asked_count += 1
        said = f"{self.asked_count}"
        for _ in range(self.by_chance.randrange(4)):
            await asyncio.sleep(0)
        if self.by_chance.random() < 0.2:
            raise BusFailed("nobody leads")
        return TaskIds(tasks=(TaskId(said),))


async def test_whoever_asks_gets_what_was_read_since_and_of_a_list_that_nobody_waits_for_nothing_is_kept():
    bus, scheduler, cluster = MemoryBus(), Fickle(), FakeCluster()
    cluster.ready = False  # nothing is known but what the scheduler says
    lists = TaskLists(bus, cluster)
    told_count = 0

    async def asks() -> None:
        nonlocal told_count
        before_count = scheduler.asked_count
        with suppress(BusFailed):
            (said,) = msgspec.json.decode(await lists.json_of(ALICE))
            assert int(said["uuid"]) > before_count
            told_count += 1

    async with bus.serve("scheduler", {LIST_TASK_IDS: scheduler.answer}):
        await come_and_go(asks, scheduler.by_chance, 20, cut_share=0.2)
    assert lists._readings == {}
    assert told_count > scheduler.asked_count > 0
