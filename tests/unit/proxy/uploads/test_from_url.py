"""uploads/handlers/from_url.py: what comes over the bus with an address is taken up by one proxy, whatever goes wrong in between."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.from_url import CLAIM_TASK, ClaimTask
from clusterodm.libs.common.messages.tasks import (
    TaskRecord,
)
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.spool.core.upload import Draft
from clusterodm.services.proxy.uploads.handlers.from_url import TasksFromUrls, taking_up
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster, FakeForwarding
from tests.waiting import until

TASK = TaskId("11111111-2222-4333-8444-555555555555")
NOBODY, OTHER = InstanceId(""), InstanceId("another")


def a_task(task: TaskId = TASK, **more: Any) -> Task:
    made = Task(
        id=task,
        owner=Owner("anne"),
        name="field",
        upload_owner=NOBODY,
        created_at_ms=5,
        committed_at_ms=7,
        images_count=None,
        zip_url="https://photos.example/a.zip",
        options=(OptionValue("dsm", True),),
        inputs_kept=True,
        from_url=True,
    )
    return msgspec.structs.replace(made, **more)


class Scene:
    """A proxy, and a scheduler that has what the test says."""

    def __init__(self, bus: MemoryBus, spool: MemorySpool) -> None:
        self.bus, self.spool = bus, spool
        self.cluster, self.forwarding = FakeCluster(), FakeForwarding()
        self.tasks = TasksFromUrls(bus, self.cluster, spool, self.forwarding)
        self.claims: list[ClaimTask] = []
        self.fails: Exception | None = None

    async def claim(self, asked: ClaimTask) -> TaskRecord:
        self.claims.append(asked)
        if self.fails:
            raise self.fails
        known = self.cluster.records[asked.task]
        return TaskRecord(
            task=msgspec.structs.replace(known.task, upload_owner=asked.upload_owner), revision=known.revision + 1
        )


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    bus = MemoryBus()
    made = Scene(bus, MemorySpool(await bus.bucket(UPLOADS), FakeClock()))
    async with bus.serve("scheduler", {CLAIM_TASK: made.claim}):
        yield made


async def test_a_task_that_nobody_holds_becomes_one_of_ours(scene: Scene):
    scene.tasks.watch()
    scene.cluster.put(a_task())
    await scene.tasks.take_all()
    held = scene.spool.find(TASK)
    assert held is not None
    assert held.committed
    assert (held.draft.zip_url, held.draft.owner, held.draft.created_at_ms) == (
        "https://photos.example/a.zip",
        "anne",
        5,
    )
    assert held.draft.options == (OptionValue("dsm", True),)
    assert scene.forwarding.adopted == [TASK]
    scene.cluster.put(a_task(upload_owner=scene.spool.instance))
    await scene.tasks.take_all()
    assert len(scene.claims) == 1


async def test_those_that_were_there_before_this_proxy_are_taken_up_too(scene: Scene):
    scene.cluster.put(a_task())
    scene.tasks.watch()
    await scene.tasks.take_all()
    assert scene.forwarding.adopted == [TASK]


async def test_what_was_claimed_and_is_not_in_the_spool_is_made_of_its_record(scene: Scene):
    """The proxy went away between the claim and the spool, or its spool was lost."""
    scene.cluster.put(a_task(upload_owner=scene.spool.instance, state=TaskState.RUNNING))
    scene.tasks.watch()
    await scene.tasks.take_all()
    assert scene.forwarding.adopted == [TASK]
    assert scene.spool.find(TASK) is not None


async def test_a_draft_that_was_not_closed_is_closed(scene: Scene):
    draft = Draft(task=TASK, name="field", created_at_ms=5, owner=Owner("anne"), zip_url="https://photos.example/a.zip")
    await scene.spool.create(draft)
    scene.cluster.put(a_task(upload_owner=scene.spool.instance))
    scene.tasks.watch()
    await scene.tasks.take_all()
    held = scene.spool.find(TASK)
    assert held is not None
    assert held.committed


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"upload_owner": OTHER}, id="another holds it"),
        pytest.param({"from_url": False}, id="it came as an upload"),
        pytest.param({"removed": True}, id="it was removed"),
        pytest.param({"state": TaskState.CANCELED}, id="it was canceled"),
        pytest.param({"inputs_kept": False}, id="it needs nobody"),
        pytest.param({"state": TaskState.RUNNING}, id="nobody holds it, and it runs"),
    ],
)
async def test_others_are_left_alone(scene: Scene, more: dict[str, Any]):
    scene.tasks.watch()
    scene.cluster.put(a_task(**more))
    await scene.tasks.take_all()
    assert scene.claims == []


async def test_when_another_was_first_it_is_forgotten(scene: Scene):
    scene.tasks.watch()
    scene.cluster.put(a_task())
    scene.fails = Refused("another was first")
    await scene.tasks.take_all()
    await scene.tasks.take_all()
    assert len(scene.claims) == 1
    assert scene.spool.find(TASK) is None


async def test_it_is_claimed_as_soon_as_somebody_answers(scene: Scene):
    scene.tasks.watch()
    scene.cluster.put(a_task())
    scene.fails = BusFailed("nobody answers")
    with pytest.raises(BusFailed):
        await scene.tasks.take_all()
    scene.fails = None
    await scene.tasks.take_all()
    assert scene.forwarding.adopted == [TASK]


async def test_a_proxy_without_room_claims_nothing(scene: Scene):
    scene.tasks.watch()
    scene.cluster.put(a_task())
    scene.spool.room = False
    await scene.tasks.take_all()
    assert scene.claims == []
    scene.spool.room = True
    await scene.tasks.take_all()
    assert scene.forwarding.adopted == [TASK]


async def test_an_upload_that_is_open_under_the_same_id_is_left_to_its_client(scene: Scene):
    await scene.spool.create(Draft(task=TASK, name="mine", created_at_ms=1, owner=Owner("anne")))
    scene.tasks.watch()
    scene.cluster.put(a_task())
    await scene.tasks.take_all()
    held = scene.spool.find(TASK)
    assert scene.claims == []
    assert held is not None
    assert (held.committed, held.draft.name) == (False, "mine")
    await scene.spool.discard(TASK)
    await scene.tasks.take_all()
    assert scene.forwarding.adopted == [TASK]


async def test_it_is_taken_up_as_soon_as_it_is_seen(scene: Scene):
    async with taking_up(scene.bus, scene.cluster, scene.spool, scene.forwarding):
        await asyncio.sleep(0)
        scene.cluster.put(a_task())
        await until(lambda: scene.forwarding.adopted == [TASK], what="the task to be taken up")
