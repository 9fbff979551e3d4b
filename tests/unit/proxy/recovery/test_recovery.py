"""A proxy that finds other records than it knows looks at everything again, and says of nothing that it does not exist."""

import pytest
import structlog.testing

from clusterodm.libs.common.bus.incarnation import incarnation
from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import BusFailed, NotFound, Removed
from clusterodm.libs.common.messages.buckets import CLUSTER, INCARNATION_KEY, UPLOADS
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.tasks import REMOVE_TASK, TaskRef
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.actions import ClientActions
from clusterodm.services.proxy.exchange.nodeodm_api import Caller
from clusterodm.services.proxy.peers.adapters import SharedSecret, shared_secret
from clusterodm.services.proxy.peers.handlers import PeerHolders
from clusterodm.services.proxy.recovery.handlers.comparing import SETTLE_S, RecordComparison
from clusterodm.services.proxy.recovery.handlers.recovery import Recovery
from clusterodm.services.proxy.spool.core.history import History, removed
from clusterodm.services.proxy.spool.core.upload import Draft, holding
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster, FakePeers

TASK = TaskId("11111111-2222-4333-8444-555555555555")
OTHER = TaskId("22222222-2222-4333-8444-555555555555")


class Scene:
    """A proxy with one task, and the store of its cluster."""

    def __init__(self, spool: MemorySpool, bus: MemoryBus, clock: FakeClock) -> None:
        self.spool, self.bus, self.clock = spool, bus, clock
        self.looks_count = 0
        self.secret = SharedSecret(bus, "ours")
        self.recovery = self.started()

    def started(self) -> Recovery:
        holders = PeerHolders(self.bus, FakePeers(), self.spool.instance, self.clock, lambda: self.secret.value)
        comparison = RecordComparison(self.bus, FakeCluster(), self.spool, holders, self.clock)
        return Recovery(self.bus, self.spool, self.clock, self.on_records_lost, self.secret.renew, comparison)

    def on_records_lost(self) -> None:
        self.looks_count += 1

    async def loses_its_store(self) -> None:
        await (await self.bus.bucket(CLUSTER)).delete(INCARNATION_KEY)
        for key in await (await self.bus.bucket(UPLOADS)).load():
            await (await self.bus.bucket(UPLOADS)).delete(key)


NOBODY = Owner("")


@pytest.fixture
async def scene() -> Scene:
    bus, clock = MemoryBus(), FakeClock()
    spool = MemorySpool(await bus.bucket(UPLOADS), clock)
    await spool.create(Draft(task=TASK, name="t", created_at_ms=1, zip_url="http://x/a.zip"))
    await spool.commit(TASK, 2)
    await spool.remember(TASK, History())
    return Scene(spool, bus, clock)


async def test_a_spool_that_knows_no_store_belongs_to_the_one_that_is_there(scene: Scene):
    await scene.recovery.compare()
    assert scene.spool.incarnation == await incarnation(scene.bus, scene.clock.wall_ms)
    assert (scene.looks_count, await scene.recovery.is_sure(OTHER, NOBODY)) == (0, True)


async def test_another_store_makes_it_look_at_everything_again_and_announce_it(scene: Scene):
    await scene.recovery.compare()
    await scene.loses_its_store()
    await scene.recovery.compare()
    await scene.recovery.compare()
    assert scene.looks_count == 1
    assert set(await (await scene.bus.bucket(UPLOADS)).load()) == {TASK}


async def test_proxies_that_were_there_before_the_loss_and_those_that_come_later_know_each_other(scene: Scene):
    await scene.recovery.compare()
    await scene.loses_its_store()
    await scene.recovery.compare()
    assert await shared_secret(scene.bus) == scene.secret.value == "ours"


async def test_of_two_proxies_with_different_secrets_one_takes_over_the_others(scene: Scene):
    await scene.recovery.compare()
    await scene.loses_its_store()
    later = await shared_secret(scene.bus)
    await scene.recovery.compare()
    assert scene.secret.value == later


async def test_for_a_while_nothing_is_said_not_to_exist(scene: Scene):
    await scene.recovery.compare()
    await scene.loses_its_store()
    scene.clock.pass_s(2)
    assert not await scene.recovery.is_sure(OTHER, NOBODY)
    scene.clock.pass_s(SETTLE_S + 1)
    assert await scene.recovery.is_sure(OTHER, NOBODY)


@pytest.mark.parametrize("step_s", [0, -7_200, 7_200], ids=["", "the clock steps back", "the clock steps forward"])
async def test_nothing_is_said_not_to_exist_either_after_a_restart_soon_after_the_loss(scene: Scene, step_s: int):
    await scene.recovery.compare()
    await scene.loses_its_store()
    await scene.recovery.compare()
    again = scene.started()
    await again.compare()
    assert not await again.is_sure(OTHER, NOBODY)
    scene.clock.step_wall_s(step_s)
    scene.clock.pass_s(SETTLE_S + 1)
    assert await again.is_sure(OTHER, NOBODY)
    later = scene.started()
    await later.compare()
    scene.clock.pass_s(0 if step_s >= 0 else SETTLE_S)
    assert await later.is_sure(OTHER, NOBODY)


async def test_an_incarnation_that_cannot_be_read_stops_nothing_and_is_said_once(scene: Scene):
    bucket = await scene.bus.bucket(CLUSTER)
    known = scene.spool.incarnation
    bucket.write_raw(INCARNATION_KEY, b"{")
    with structlog.testing.capture_logs() as lines:
        for recovery in (scene.recovery, scene.recovery, scene.started()):
            await recovery.compare()
            scene.clock.pass_s(SETTLE_S + 1)
            assert await recovery.is_sure(OTHER, NOBODY)
    assert (scene.spool.incarnation, scene.looks_count) == (known, 0)
    said = [line["remedy"] for line in lines if line["event"] == "incarnation.not_read"]
    assert len(said) == 2
    assert "nats kv del cluster incarnation" in said[0]


async def test_a_task_that_lies_here_is_never_said_not_to_exist(scene: Scene):
    await scene.recovery.compare()
    assert not await scene.recovery.is_sure(TASK, NOBODY)


async def test_a_task_that_was_removed_here_is_said_not_to_exist_though_its_nodes_have_still_to_be_told(scene: Scene):
    await scene.recovery.compare()
    await scene.spool.remember(TASK, removed(History(), WallMs(1)))
    assert await scene.recovery.is_sure(TASK, NOBODY)
    assert holding(scene.spool.find(TASK)).is_submitted is False


async def test_a_task_of_another_that_lies_here_is_like_one_that_nobody_has(scene: Scene):
    await scene.recovery.compare()
    theirs, anne, bert = TaskId("theirs"), Owner("anne"), Owner("bert")
    await scene.spool.create(Draft(task=theirs, name="t", created_at_ms=1, zip_url="http://x/a.zip", owner=anne))
    await scene.spool.commit(theirs, 2)
    await scene.spool.remember(theirs, History())
    assert not await scene.recovery.is_sure(theirs, anne)
    assert await scene.recovery.is_sure(theirs, bert)
    assert await scene.recovery.is_sure(OTHER, bert)


@pytest.mark.parametrize(
    ("error", "raised"), [(NotFound("unknown"), BusFailed), (Removed("removed"), NotFound)], ids=["unknown", "removed"]
)
async def test_an_action_on_a_task_whose_record_is_lost_is_to_be_tried_again(
    scene: Scene, error: Exception, raised: type[Exception]
):
    async def remove(_asked: TaskRef) -> Done:
        raise error

    actions = ClientActions(scene.bus, FakeCluster(), splitmerge=False, is_sure=scene.recovery.is_sure)
    async with scene.bus.serve("scheduler", {REMOVE_TASK: remove}):
        with pytest.raises(raised):
            await actions.act("remove", {"uuid": TASK}, Caller(Owner(""), "", ""))
