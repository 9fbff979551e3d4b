"""Forwarding and mirrors over a bus that forgets, lags, changes the order and holds what cannot be read."""

import asyncio

import pytest

from clusterodm.libs.common.errors import NodeFailed, NotFound
from clusterodm.libs.common.messages.buckets import TASKS
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.placement import (
    PLACE_TASKS,
    PLACEMENT_POSSIBLE,
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    PlacementPossible,
)
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.testing.faults import the_last_first
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.adapters import mirrored
from clusterodm.services.proxy.spool.core.upload import Mark
from tests.forwarding import FILES, TASK, World
from tests.waiting import passed, until


@pytest.mark.parametrize("request_", [PLACE_TASKS, RENEW_ATTEMPT, REPORT_FORWARDED], ids=lambda request: request.name)
async def test_requests_that_are_lost_cost_time_and_nothing_else(
    world: World, request_: "Request[object, object]"
) -> None:
    world.bus.faults.lose(request_, 3)
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert list(world.nodes.datasets.values()) == [FILES]
    assert len(world.nodes.committed) == 1


async def test_a_lost_report_of_a_failure_is_told_again(world: World) -> None:
    world.bus.faults.lose(REPORT_FORWARD_FAILED, 3)
    world.nodes.trouble("send", NodeFailed("n1 did not answer"))
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert len(world.scheduler.failed) == 1
    assert world.nodes.committed == [f"{TASK}#2"]


async def test_a_report_whose_answer_is_lost_is_told_again_and_counts_once(world: World) -> None:
    world.bus.faults.lose_answers(REPORT_FORWARDED, 2)
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
        world.scheduler.change(state=TaskState.COMPLETED)
        await world.lets_go()
    assert len(world.nodes.committed) == 1
    assert len(world.scheduler.forwarded) == 1


async def test_a_placement_whose_answer_is_lost_is_picked_up_again(world: World) -> None:
    world.bus.faults.lose_answers(PLACE_TASKS)
    async with world.proxy() as forwarder:
        await world.forwarded(forwarder)
    assert world.nodes.begun == [f"{TASK}#1"]


async def test_a_restarted_proxy_asks_until_somebody_knows_its_tasks(world: World) -> None:
    async with world.proxy(start=False):
        await world.commit()
        world.scheduler.submit()
    world.bus.faults.lose(GET_TASK, 3)
    async with world.proxy():
        await world.reaches(TaskState.RUNNING)


@pytest.mark.parametrize("told", ["before it is noted", "while it is noted", "after it was noted"])
async def test_a_task_that_is_committed_while_a_restarted_proxy_hears_that_nobody_knew_it_is_sent(
    world: World, told: str
) -> None:
    asked, tell = asyncio.Event(), asyncio.Event()

    async def answer_late(ref: TaskRef) -> TaskRecord:
        known = world.scheduler.task(ref.task)
        if known is None:
            asked.set()
            await tell.wait()
            raise NotFound("no such task")
        return known

    async def mark_slowly(task: TaskId, mark: Mark) -> None:
        if told == "while it is noted":
            tell.set()
            await passed()
        await mark_at_once(task, mark)

    async with world.proxy(start=False):
        await world.commit()
    async with (
        world.bus.serve("scheduler", world.scheduler.handlers | {GET_TASK: answer_late}),
        world.proxy() as forwarder,
    ):
        mark_at_once = world.spool.mark
        world.spool.mark = mark_slowly  # type: ignore[method-assign]
        await until(asked.is_set, what="it asks about the task of its last run")
        world.scheduler.submit()
        if told == "before it is noted":
            tell.set()
            await passed()
        await forwarder.adopt(TASK)
        tell.set()
        await world.reaches(TaskState.RUNNING)
    assert len(world.nodes.committed) == 1


async def test_hints_of_leaders_that_come_late_and_out_of_order_cost_no_placement(world: World) -> None:
    world.scheduler.slots_count = 0
    async with world.proxy() as forwarder:
        await world.adopted(forwarder)
        await until(lambda: world.scheduler.asked[TASK] == 1, what="it has asked")
        world.bus.faults.hold_back()
        for epoch in (2, 3):
            await world.bus.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(), epoch=epoch))
        world.scheduler.epoch = 3
        await world.bus.faults.let_go(the_last_first)
        world.scheduler.slots_count = 1
        await until(lambda: world.nodes.committed, timeout_s=3, what="it was sent")


# --- mirrors -------------------------------------------------------------------------------------------------------


def a_task(name: str, state: TaskState = TaskState.WAITING) -> Task:
    return Task(
        id=TaskId(name),
        name=name,
        state=state,
        upload_owner=InstanceId("p"),
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
    )


async def test_a_mirror_that_hears_late_and_out_of_order_ends_with_the_newest() -> None:
    bus = MemoryBus()
    bucket = await bus.bucket(TASKS)
    async with mirrored(bus) as cluster:
        await until(lambda: cluster.ready, what="the mirror is loaded")
        bus.faults.hold_back()
        for state in (TaskState.WAITING, TaskState.FORWARDING, TaskState.RUNNING):
            await bucket.put("t", a_task("t", state))
        await bucket.put("last", a_task("last"))
        assert cluster.task(TaskId("t")) is None
        await bus.faults.let_go(lambda held: [*held[-2::-1], held[-1]])
        await until(lambda: cluster.task(TaskId("last")), what="everything has come")
        record = cluster.task(TaskId("t"))
        assert record is not None
        assert record.task.state is TaskState.RUNNING


async def test_a_record_that_cannot_be_read_hides_no_other() -> None:
    bus = MemoryBus()
    bucket = await bus.bucket(TASKS)
    bucket.write_raw("unreadable", b'{"id": 7}')
    async with mirrored(bus) as cluster:
        await until(lambda: cluster.ready, what="the mirror is loaded")
        bucket.write_raw("nonsense", b"<html>")
        await bucket.put("t", a_task("t"))
        await until(lambda: cluster.task(TaskId("t")), what="the next one is there")
        assert cluster.task(TaskId("unreadable")) is None
