"""uploads/handlers/expire.py: uploads that nobody commits."""

from collections.abc import Awaitable, Callable

import pytest

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.placement import PLACEMENT_POSSIBLE, PlacementPossible
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, NodeTaskId, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.spool.core.upload import Draft, Mark
from clusterodm.services.proxy.uploads.handlers.expire import HOUR_S, UploadExpiry
from tests.forwarding import TASK, World
from tests.memory_spool import MemorySpool

FORMER, LATER = TaskId("former"), TaskId("later")


async def send(spool: MemorySpool, task: TaskId) -> None:
    async with spool.receive(task) as receipt:
        (await receipt.open("a.jpg")).close()


async def commit(spool: MemorySpool, task: TaskId) -> None:
    await spool.commit(task, 1)


@pytest.mark.parametrize(
    ("limit_hours", "idle_hours", "stays"),
    [
        pytest.param(0, 47, True, id="within 48 hours"),
        pytest.param(0, 49, False, id="48 hours always"),
        pytest.param(2, 1, True, id="within the limit"),
        pytest.param(2, 3, False, id="beyond the limit"),
        pytest.param(100, 49, False, id="a longer limit does not help"),
    ],
)
async def test_an_upload_without_activity_is_swept(
    world: World, limit_hours: float, idle_hours: float, stays: bool
) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, limit_hours, world.clock)
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        world.clock.pass_s(idle_hours * HOUR_S)
        await sweeper.sweep()
        assert (world.spool.find(TASK) is not None) is stays


async def test_activity_and_open_requests_keep_an_upload(world: World) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, 1, world.clock)
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        async with world.spool.receive(TASK) as receipt:
            world.clock.pass_s(5 * HOUR_S)
            await sweeper.sweep()
            (await receipt.open("a.jpg")).close()
        await sweeper.sweep()
        assert world.spool.find(TASK) is not None


async def test_a_submitted_task_is_never_swept_and_an_unknown_commit_is(world: World) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, 1, world.clock)
        tasks = [TaskId("marked"), TaskId("known"), TaskId("unknown")]
        for task in tasks:
            await world.commit(task)
        await world.spool.mark(tasks[0], Mark.SUBMITTED)
        world.scheduler.submit(tasks[1])
        world.clock.pass_s(100 * HOUR_S)
        await sweeper.sweep()
        assert [held.draft.task for held in world.spool.held()] == tasks[:2]


@pytest.mark.parametrize(
    ("task", "goes_on"),
    [
        pytest.param(LATER, send, id="another file"),
        pytest.param(LATER, commit, id="its commit"),
        pytest.param(FORMER, commit, id="the commit again of the one that is asked about"),
    ],
)
async def test_whose_client_goes_on_while_the_scheduler_is_asked_stays(
    task: TaskId, goes_on: Callable[[MemorySpool, TaskId], Awaitable[None]]
) -> None:
    bus, clock = MemoryBus(), FakeClock()
    spool = MemorySpool(await bus.bucket(UPLOADS), clock)
    for each in (FORMER, LATER):
        await spool.create(Draft(task=each, name="t", created_at_ms=1))
        await send(spool, each)
    await commit(spool, FORMER)  # and was not submitted
    clock.pass_s(3 * HOUR_S)
    sweeper = UploadExpiry(bus, spool, 2, clock)
    clock.pass_s(3 * HOUR_S)

    async def get(asked: TaskRef) -> TaskRecord:
        await goes_on(spool, task)
        raise NotFound(f"{asked.task} not found")

    async with bus.serve("scheduler", {GET_TASK: get}):
        await sweeper.sweep()
    assert [held.draft.task for held in spool.held()] == [task]


async def test_announcements_of_a_lost_proxy_go_unless_the_task_is_known(world: World) -> None:
    uploads = await world.bus.bucket(UPLOADS)
    async with world.proxy(start=False):
        for name, age_h in (("lost", 200), ("known", 200), ("young", 100)):
            created_at_ms = world.now_ms - age_h * 3_600_000
            upload = Upload(task=TaskId(name), instance=InstanceId("gone"), url="http://x", created_at_ms=created_at_ms)
            await uploads.put(name, upload)
        world.scheduler.submit(TaskId("known"))

        sweeper = UploadExpiry(world.bus, world.spool, 0, world.clock)
        await sweeper.sweep()
        assert set(await uploads.load()) == {"lost", "known", "young"}  # this process has not seen them for an hour yet
        world.clock.pass_s(1.1 * HOUR_S)
        await sweeper.sweep()
        assert set(await uploads.load()) == {"known", "young"}


async def test_the_word_of_a_scheduler_that_leads_no_more_is_not_acted_on(world: World):
    world.scheduler.epoch = 8
    world.scheduler.epochs = [7, 7]
    async with world.proxy() as forwarder:
        await world.bus.publish(PLACEMENT_POSSIBLE, PlacementPossible(tasks=(), epoch=8))
        await world.forwarded(forwarder)
        assert world.scheduler.asked[TASK] >= 3
        assert world.nodes.begun == [NodeTaskId(f"{TASK}#1")]
        assert [report.epoch for report in world.scheduler.forwarded] == [8]
        assert {renewal.epoch for renewal in world.scheduler.renewed} == {8}


@pytest.mark.parametrize("step_s", [pytest.param(-1e9, id="back"), pytest.param(1e9, id="forward")])
async def test_no_upload_is_swept_because_the_wall_clock_stepped(world: World, step_s: float) -> None:
    async with world.proxy(start=False):
        sweeper = UploadExpiry(world.bus, world.spool, 2, world.clock)
        await world.spool.create(Draft(task=TASK, name="t", created_at_ms=1))
        world.clock.step_wall_s(step_s)
        world.clock.pass_s(1.9 * HOUR_S)
        await sweeper.sweep()
        assert world.spool.find(TASK) is not None
        world.clock.pass_s(0.2 * HOUR_S)
        await sweeper.sweep()
        assert world.spool.find(TASK) is None
