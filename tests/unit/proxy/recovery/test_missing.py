"""A record that names this proxy is held against its spool: photos that are not there are said to be lost, once, and by nobody else."""

import pytest

from clusterodm.libs.common.errors import BusFailed, Refused, Removed
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.placement import REPORT_INPUTS_LOST, ReportInputsLost
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.recovery.handlers.recovery import MissingInputs
from clusterodm.services.proxy.spool.core.upload import Draft
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster

HERE, AWAY = TaskId("11111111-2222-4333-8444-555555555555"), TaskId("22222222-2222-4333-8444-555555555555")


class Scene:
    """A proxy with one upload, and what the scheduler hears."""

    def __init__(self, spool: MemorySpool, bus: MemoryBus) -> None:
        self.spool, self.bus = spool, bus
        self.cluster = FakeCluster()
        self.missing = MissingInputs(bus, self.cluster, spool)
        self.records: dict[TaskId, Task] = {}
        self.lost: list[TaskId] = []
        self.undecided = False

    def writes(self, task: TaskId, **fields: object) -> None:
        made = Task(
            id=task,
            name="t",
            upload_owner=self.spool.instance,
            created_at_ms=1,
            committed_at_ms=2,
            images_count=1,
            inputs_kept=True,
        )
        self.records[task] = Task(**{**{name: getattr(made, name) for name in made.__struct_fields__}, **fields})
        self.cluster.put(self.records[task])

    async def get(self, ref: TaskRef) -> TaskRecord:
        if ref.task not in self.records:
            raise Removed("removed")
        return TaskRecord(task=self.records[ref.task], revision=1)

    async def hears(self, told: ReportInputsLost) -> TaskRecord:
        self.lost.append(told.task)
        if self.undecided:
            raise Refused("others may still join")
        return await self.get(TaskRef(task=told.task))

    async def reports(self) -> list[TaskId]:
        async with self.bus.serve("scheduler", {GET_TASK: self.get, REPORT_INPUTS_LOST: self.hears}):
            await self.missing.report()
        return self.lost


@pytest.fixture
async def scene() -> Scene:
    bus = MemoryBus()
    spool = MemorySpool(await bus.bucket(UPLOADS), FakeClock())
    await spool.create(Draft(task=HERE, name="t", created_at_ms=1))
    return Scene(spool, bus)


async def test_what_is_not_here_is_reported_once(scene: Scene):
    scene.missing.watch()
    scene.writes(HERE)
    scene.writes(AWAY)
    assert await scene.reports() == [AWAY]
    assert await scene.reports() == [AWAY]


async def test_what_may_still_be_found_on_a_node_is_reported_again(scene: Scene):
    scene.missing.watch()
    scene.writes(AWAY)
    scene.undecided = True
    assert await scene.reports() == [AWAY]
    scene.undecided = False
    assert await scene.reports() == [AWAY, AWAY]
    assert await scene.reports() == [AWAY, AWAY]


async def test_records_that_were_there_before_are_looked_at_too(scene: Scene):
    scene.writes(AWAY)
    scene.missing.watch()
    assert await scene.reports() == [AWAY]


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"upload_owner": InstanceId("another")}, id="another holds it"),
        pytest.param({"state": TaskState.COMPLETED}, id="it has ended"),
        pytest.param({"inputs_kept": False}, id="nobody expects them"),
        pytest.param({"removed": True}, id="it was removed"),
    ],
)
async def test_other_records_are_of_no_interest(scene: Scene, fields: dict[str, object]):
    scene.missing.watch()
    scene.writes(AWAY, **fields)
    assert await scene.reports() == []


async def test_what_was_removed_meanwhile_is_not_reported(scene: Scene):
    scene.missing.watch()
    scene.writes(AWAY)
    scene.records.clear()
    assert await scene.reports() == []


async def test_it_is_reported_as_soon_as_somebody_answers(scene: Scene):
    scene.missing.watch()
    scene.writes(AWAY)
    with pytest.raises(BusFailed):
        await scene.missing.report()
    assert await scene.reports() == [AWAY]
