"""Polls are answered from a mirror only when the record's owner, or the store, says that it is not behind."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.errors import BusFailed, NotFound
from clusterodm.libs.common.messages.buckets import TASKS
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.tasks import (
    CONFIRM_TASKS,
    GET_TASK,
    ConfirmTasks,
    TaskRecord,
    TaskRef,
    TasksConfirmed,
)
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.ports import Handler
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.handlers.confirming import AWAY_S, FULL_COUNT, HOLD_S, Confirmer
from tests.waiting import until

TASK = Task(
    id=TaskId("t"),
    name="t",
    upload_owner=InstanceId("i"),
    created_at_ms=1,
    committed_at_ms=1,
    images_count=1,
    size_bytes=1,
)


class World:
    """A bus, a mirror that hears nothing by itself, and a scheduler that tests switch on and off."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.clock = FakeClock()
        self.learned: list[TaskRecord] = []
        self.questions: list[ConfirmTasks] = []
        self.answer = asyncio.Event()
        self.answer.set()
        self.tasks: MemoryBucket[Task]
        self.serving = AsyncExitStack()
        cluster: Any = self
        self.confirmer = Confirmer(self.bus, cluster, self.clock)

    def learn(self, record: TaskRecord) -> None:
        self.learned.append(record)

    async def write(self, state: TaskState, task: str = "t") -> TaskRecord:
        """Change a task; its record as the mirror would have it."""
        written = msgspec.structs.replace(TASK, id=TaskId(task), state=state)
        return TaskRecord(task=written, revision=await self.tasks.put(task, written))

    async def confirm(self, asked: ConfirmTasks) -> TasksConfirmed:
        self.questions.append(asked)
        await self.answer.wait()
        known = {seen.task: await self.tasks.get(seen.task) for seen in asked.seen}
        return TasksConfirmed(
            outdated=tuple(
                seen.task
                for seen in asked.seen
                if (entry := known[seen.task]) is None
                or (entry.revision, entry.value.state) != (seen.revision, seen.state)
            )
        )

    async def get(self, asked: TaskRef) -> TaskRecord:
        entry = await self.tasks.get(asked.task)
        if entry is None:
            raise NotFound("unknown")
        return TaskRecord(task=entry.value, revision=entry.revision)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.tasks = await world.bus.bucket(TASKS)
    handlers: Mapping[Request[Any, Any], Handler] = {CONFIRM_TASKS: world.confirm, GET_TASK: world.get}
    async with world.serving:
        await world.serving.enter_async_context(world.bus.serve("scheduler", handlers))
        yield world


async def test_a_record_that_is_the_last_one_is_confirmed(world: World):
    record = await world.write(TaskState.WAITING)
    assert await world.confirmer.confirm(record) is record
    assert world.learned == []


async def test_a_mirror_that_is_behind_learns_of_the_owner(world: World):
    old = await world.write(TaskState.WAITING)
    new = await world.write(TaskState.COMPLETED)
    assert await world.confirmer.confirm(old) == new
    assert world.learned == [new]


@pytest.mark.parametrize("is_served", [True, False], ids=["by the scheduler", "by the store"])
async def test_a_record_of_another_store_is_not_confirmed_at_the_same_revision(world: World, is_served: bool):
    now = await world.write(TaskState.RUNNING)
    of_before = msgspec.structs.replace(now, task=msgspec.structs.replace(now.task, state=TaskState.WAITING))
    if not is_served:
        await world.serving.aclose()
    assert await world.confirmer.confirm(of_before) == now


async def test_a_record_that_its_owner_does_not_know_is_not_confirmed(world: World):
    record = await world.write(TaskState.WAITING)
    await world.tasks.delete("t")
    with pytest.raises(NotFound):
        await world.confirmer.confirm(record)


async def test_who_asks_at_the_same_time_is_in_one_question(world: World):
    records = [await world.write(TaskState.WAITING, f"t{number}") for number in range(20)]
    world.answer.clear()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(world.confirmer.confirm(records[0]))
        await until(lambda: world.questions)
        others = [group.create_task(world.confirmer.confirm(record)) for record in records[1:]]
        await asyncio.sleep(0)
        world.answer.set()
    assert [task.result() for task in (first, *others)] == records
    assert [len(asked.seen) for asked in world.questions] == [1, 19]


async def test_who_asks_after_a_question_was_sent_waits_for_the_next(world: World):
    record = await world.write(TaskState.WAITING)
    world.answer.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.confirmer.confirm(record))
        await until(lambda: world.questions)
        second = group.create_task(world.confirmer.confirm(record))
        await asyncio.sleep(0)
        new = await world.write(TaskState.COMPLETED)
        world.answer.set()
    assert second.result() == new


def told_apart(world: World) -> Confirmer:
    """Make a confirmer that pauses for an hour between two questions."""
    cluster: Any = world
    return Confirmer(world.bus, cluster, world.clock, apart_s=3600.0)


async def test_a_question_for_which_enough_wait_is_asked_without_a_pause(world: World):
    records = [await world.write(TaskState.RUNNING, f"t{number}") for number in range(FULL_COUNT)]
    confirmer, heard = told_apart(world), list[bool]()
    await confirmer.confirm(records[0])
    work = confirmer.notify(records[0], heard.append)
    assert work is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(work)
        assert [confirmer.notify(record, heard.append) for record in records[1:-1]] == [None] * (FULL_COUNT - 2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(world.questions) == 1
        await world.write(TaskState.COMPLETED, "t1")
        assert confirmer.notify(records[-1], heard.append) is None
    assert [len(asked.seen) for asked in world.questions] == [1, FULL_COUNT]
    assert heard == [True, False, *[True] * (FULL_COUNT - 2)]


async def test_a_question_that_filled_while_another_was_under_way_is_asked_behind_it(world: World):
    record = await world.write(TaskState.RUNNING)
    confirmer, heard = told_apart(world), list[bool]()
    world.answer.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(confirmer.confirm(record))
        await until(lambda: world.questions)
        work = confirmer.notify(record, heard.append)
        assert work is not None
        group.create_task(work)
        for _ in range(FULL_COUNT):
            confirmer.notify(record, heard.append)
        await asyncio.sleep(0)
        assert len(world.questions) == 1
        world.answer.set()
    assert heard == [True] * (FULL_COUNT + 1)
    assert [len(asked.seen) for asked in world.questions] == [1, 1]


async def test_who_waits_for_a_question_to_fill_is_sent_away_when_nobody_asks_it(world: World):
    record = await world.write(TaskState.RUNNING)
    confirmer, heard = told_apart(world), list[bool]()
    await confirmer.confirm(record)
    work = confirmer.notify(record, heard.append)
    assert work is not None
    asking = asyncio.get_running_loop().create_task(work)
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert heard == [False]
    again = confirmer.notify(record, heard.append)
    assert again is not None
    again.close()


async def test_who_joins_others_that_do_without_waits_no_longer_than_they_do(world: World):
    record = await world.write(TaskState.RUNNING)
    confirmer, heard = told_apart(world), list[bool]()
    await confirmer.confirm(record)
    work = confirmer.notify(record, heard.append)
    assert work is not None
    asking = asyncio.get_running_loop().create_task(work)
    world.bus.connected = False
    assert confirmer.is_prompt
    assert confirmer.notify(record, heard.append) is None
    await until(lambda: heard)
    assert heard == [False, False]
    assert not confirmer.is_prompt
    asking.cancel()
    await asyncio.wait([asking])


async def test_a_client_that_goes_away_takes_nobody_else_with_it(world: World):
    record = await world.write(TaskState.WAITING)
    world.answer.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(world.confirmer.confirm(record))
        await until(lambda: world.questions)
        leaver = group.create_task(world.confirmer.confirm(record))
        await asyncio.sleep(0)
        stayer = group.create_task(world.confirmer.confirm(record))
        await asyncio.sleep(0)
        leaver.cancel()
        world.answer.set()
    assert stayer.result() is record


async def test_without_a_scheduler_the_store_says_whether_it_is_the_last_one(world: World):
    old = await world.write(TaskState.WAITING)
    await world.serving.aclose()
    assert await world.confirmer.confirm(old) is old
    new = await world.write(TaskState.COMPLETED)
    assert await world.confirmer.confirm(old) == new


async def test_the_store_says_of_each_of_two_records_of_a_task_whether_it_is_the_last_one(world: World):
    old = await world.write(TaskState.WAITING)
    new = await world.write(TaskState.COMPLETED)
    await world.serving.aclose()
    for _ in range(5):
        found = await asyncio.gather(*(world.confirmer.confirm(record) for record in (new, old, new, old)))
        assert [record.revision for record in found] == [new.revision] * 4


async def test_a_record_that_is_gone_from_the_store_is_not_taken_for_removed(world: World):
    record = await world.write(TaskState.WAITING)
    await world.tasks.delete("t")
    await world.serving.aclose()
    assert isinstance(await held_out(world, record), BusFailed)


async def test_a_record_is_not_confirmed_while_nats_is_away_however_long_nothing_was_heard(world: World):
    record = await world.write(TaskState.WAITING)
    world.bus.connected = False
    assert isinstance(await held_out(world, record, 3600.0), BusFailed)


async def test_the_mirror_is_believed_when_tries_to_reach_the_only_server_have_failed_for_long(world: World):
    record = await world.write(TaskState.WAITING)
    world.bus.connected = False
    world.bus.away_s = AWAY_S
    assert isinstance(await held_out(world, record), BusFailed)
    world.bus.away_s = AWAY_S + 1
    assert await world.confirmer.confirm(record) is record


async def test_the_mirror_is_never_believed_where_another_server_may_tell_another_proxy_more(world: World):
    record = await world.write(TaskState.WAITING)
    world.bus.connected = False
    world.bus.servers_count, world.bus.away_s = 3, 3600.0
    assert isinstance(await held_out(world, record), BusFailed)


async def test_a_poll_is_held_until_nats_is_back(world: World):
    old, new = await world.write(TaskState.WAITING), await world.write(TaskState.COMPLETED)
    world.bus.connected = False
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(world.confirmer.confirm(old))
        await asyncio.sleep(0)
        world.clock.pass_s(HOLD_S - 1)
        world.bus.connected = True
    assert asking.result() == new


async def test_a_poll_is_held_until_somebody_knows_the_record(world: World):
    old = await world.write(TaskState.WAITING)
    await world.tasks.delete("t")
    await world.serving.aclose()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(world.confirmer.confirm(old))
        await asyncio.sleep(0)
        world.clock.pass_s(HOLD_S - 1)
        new = await world.write(TaskState.COMPLETED)
    assert asking.result() == new


async def held_out(world: World, record: TaskRecord, for_s: float = HOLD_S) -> Exception | None:
    """Ask, and let so much time pass; how that failed."""
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(failure(world, record))
        await asyncio.sleep(0)
        world.clock.pass_s(for_s)
    return asking.result()


async def failure(world: World, record: TaskRecord) -> Exception | None:
    try:
        await world.confirmer.confirm(record)
    except BusFailed as error:
        return error
    return None
