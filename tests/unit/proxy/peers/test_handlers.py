"""peers/handlers.py, callbacks/handlers.py and server/health.py: other proxies, rented machines, and how this proxy is."""

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common.errors import BusFailed, NotFound
from libs.common.messages import FINISH_REPORTED, GET_TASK, UPLOADS, TaskRecord, TaskRef
from libs.common.model import (
    Attempt,
    InstanceId,
    Machine,
    MachineId,
    MachineState,
    NodeId,
    NodeTaskId,
    Owner,
    Task,
    TaskId,
    Upload,
)
from libs.common.testing import FakeClock, MemoryBus
from services.proxy.callbacks.core import CallbackDecision
from services.proxy.callbacks.handlers import MachineCallbacks
from services.proxy.errors import UploadOwnerAway
from services.proxy.peers.handlers import PeerForwarding
from services.proxy.peers.ports import ForwardedRequest, PeerAnswer
from services.proxy.server.health import ProxyHealth
from services.proxy.spool.core.upload import Draft
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster, FakeLocations, FakePeers

TASK = TaskId("t")
ANNE, BERT = Owner("anne"), Owner("bert")
HOLDER = Upload(task=TASK, instance=InstanceId("q"), url="http://q", created_at_ms=1)


def a_task(machine: MachineId | None = None, **more: Any) -> Task:
    attempt = Attempt(number=1, node=NodeId("n"), node_task_id=NodeTaskId("on-node"), machine=machine)
    return Task(
        id=TASK,
        name="field",
        holder=InstanceId("p"),
        owner=ANNE,
        created_at_ms=5,
        committed_at_ms=8,
        images_count=2,
        attempts=(attempt,),
        **more,
    )


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


# --- other proxies -------------------------------------------------------------------------------------------------


@pytest.fixture
async def spool(bus: MemoryBus) -> MemorySpool:
    return MemorySpool(await bus.bucket(UPLOADS), FakeClock())


@pytest.fixture
async def forwarding(bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool) -> AsyncIterator[PeerForwarding]:
    holders, peers = FakeLocations(), FakePeers()
    holders.uploads[TASK] = HOLDER
    peers.answers["http://q"] = PeerAnswer(200, (), b"{}")

    async def get(asked: TaskRef) -> TaskRecord:
        record = cluster.task(asked.task)
        if record is None or asked.owner != record.task.owner:
            raise NotFound("no such task")
        return record

    async with bus.serve("scheduler", {GET_TASK: get}):
        yield PeerForwarding(bus, cluster, spool, holders, peers)


async def nothing() -> AsyncIterator[bytes]:
    yield b""


def request() -> ForwardedRequest:
    return ForwardedRequest(b"/task/new/upload/t", (), nothing())


async def test_an_upload_of_another_proxy_is_passed_on(forwarding: PeerForwarding) -> None:
    holder = await forwarding.locate(TASK)
    assert holder == HOLDER
    assert (await forwarding.forward(HOLDER, request())).status == 200


async def test_what_is_ours_is_not_passed_on(forwarding: PeerForwarding, spool: MemorySpool) -> None:
    await spool.create(Draft(task=TASK, name="t", created_at_ms=1))
    assert await forwarding.locate(TASK) is None


async def test_a_holder_that_is_away_is_said_to_be(forwarding: PeerForwarding) -> None:
    away = Upload(task=TASK, instance=InstanceId("r"), url="http://r", created_at_ms=1)
    with pytest.raises(UploadOwnerAway):
        await forwarding.forward(away, request())


async def test_a_commit_is_held_against_what_is_known(forwarding: PeerForwarding, cluster: FakeCluster) -> None:
    assert not forwarding.knows_committed(TASK, ANNE)
    assert not await forwarding.is_committed(TASK, ANNE)
    cluster.put(a_task())
    assert forwarding.knows_committed(TASK, ANNE)
    assert await forwarding.is_committed(TASK, ANNE)
    assert not forwarding.knows_committed(TASK, BERT)
    assert not await forwarding.is_committed(TASK, BERT)
    cluster.put(a_task(removed=True))
    assert not forwarding.knows_committed(TASK, ANNE)


# --- machines ------------------------------------------------------------------------------------------------------


def rent(cluster: FakeCluster, state: MachineState = MachineState.ONLINE) -> None:
    digest = hashlib.sha256(b"s3cret").hexdigest()
    machine = Machine(id=MachineId("m"), state=state, provider="docker", requested_at_ms=1, webhook_digest=digest)
    cluster.rented[machine.id] = machine
    cluster.put(a_task(machine.id))


@pytest.mark.parametrize(
    ("secret", "decision", "told_count"),
    [
        pytest.param("s3cret", CallbackDecision.WELCOME, 1, id="its own"),
        pytest.param("another", CallbackDecision.WRONG, 0, id="wrong"),
        pytest.param("", CallbackDecision.NAMELESS, 0, id="none"),
    ],
)
async def test_a_machine_reports_with_its_secret(
    bus: MemoryBus, cluster: FakeCluster, secret: str, decision: CallbackDecision, told_count: int
) -> None:
    rent(cluster)
    assert await MachineCallbacks(bus, cluster).finished(NodeTaskId("on-node"), secret) is decision
    assert [name for name, _ in bus.told] == [FINISH_REPORTED.name] * told_count


async def test_a_node_of_its_own_reports_without(bus: MemoryBus, cluster: FakeCluster) -> None:
    cluster.put(a_task())
    assert await MachineCallbacks(bus, cluster).finished(NodeTaskId("on-node"), "") is CallbackDecision.WELCOME
    assert await MachineCallbacks(bus, cluster).finished(NodeTaskId("unknown"), "") is CallbackDecision.WELCOME


def test_a_machine_hears_whether_it_is_wanted(bus: MemoryBus, cluster: FakeCluster) -> None:
    machines = MachineCallbacks(bus, cluster)
    rent(cluster)
    assert [machines.wanted(secret) for secret in ("s3cret", "another", "")] == [
        CallbackDecision.WELCOME,
        CallbackDecision.WRONG,
        CallbackDecision.NAMELESS,
    ]
    rent(cluster, MachineState.DESTROYING)
    assert machines.wanted("s3cret") is CallbackDecision.OVER


async def test_before_the_mirror_is_loaded_nothing_is_said(bus: MemoryBus, cluster: FakeCluster) -> None:
    cluster.ready = False
    with pytest.raises(BusFailed):
        MachineCallbacks(bus, cluster).wanted("s3cret")
    with pytest.raises(BusFailed):
        await MachineCallbacks(bus, cluster).finished(NodeTaskId("on-node"), "")


# --- health --------------------------------------------------------------------------------------------------------


async def test_a_proxy_without_its_mirrors_is_not_to_be_asked(
    bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool
) -> None:
    health = ProxyHealth(bus, cluster, spool)
    found = health.page("/healthz")
    assert found is not None
    assert (found[0], found[1]["stopping"]) == (True, False)
    cluster.ready = False
    found = health.page("/healthz")
    assert found is not None
    assert not found[0]
    assert health.page("/elsewhere") is None


@pytest.mark.parametrize("lacks", ["bus", "disk", "mirrors"])
async def test_what_it_lacks_makes_it_less_useful(
    bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool, lacks: str
) -> None:
    bus.connected, spool.room, cluster.ready = lacks != "bus", lacks != "disk", lacks != "mirrors"
    found = ProxyHealth(bus, cluster, spool).page("/readyz")
    assert found is not None
    assert not found[0]
