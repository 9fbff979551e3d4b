"""peers/handlers.py: requests about an upload that another proxy holds."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.errors import UploadOwnerUnavailable
from clusterodm.services.proxy.peers.adapters import known_locations
from clusterodm.services.proxy.peers.handlers import RequestForwarding
from clusterodm.services.proxy.peers.ports import ForwardedRequest, PeerAnswer
from clusterodm.services.proxy.spool.core.upload import Draft
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster, FakeLocations, FakePeers, a_task

TASK = TaskId("t")
ANNE, BERT = Owner("anne"), Owner("bert")
UPLOAD_OWNER = Upload(task=TASK, instance=InstanceId("q"), url="http://q", created_at_ms=1)


@pytest.fixture
async def forwarding(bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool) -> AsyncIterator[RequestForwarding]:
    upload_owners, peers = FakeLocations(), FakePeers()
    upload_owners.uploads[TASK] = UPLOAD_OWNER
    peers.answers["http://q"] = PeerAnswer(200, (), b"{}")

    async def get(asked: TaskRef) -> TaskRecord:
        record = cluster.task(asked.task)
        if record is None or asked.owner != record.task.owner:
            raise NotFound("no such task")
        return record

    async with bus.serve("scheduler", {GET_TASK: get}):
        yield RequestForwarding(bus, cluster, spool, upload_owners, peers)


async def nothing() -> AsyncIterator[bytes]:
    yield b""


def request() -> ForwardedRequest:
    return ForwardedRequest(b"/task/new/upload/t", (), nothing())


async def test_an_upload_of_another_proxy_is_passed_on(forwarding: RequestForwarding) -> None:
    upload_owner = await forwarding.locate(TASK, ANNE)
    assert upload_owner == UPLOAD_OWNER
    assert (await forwarding.forward(UPLOAD_OWNER, request())).status == 200


async def test_what_is_ours_is_not_passed_on(forwarding: RequestForwarding, spool: MemorySpool) -> None:
    await spool.create(Draft(task=TASK, name="t", created_at_ms=1))
    assert await forwarding.locate(TASK, ANNE) is None


async def test_an_upload_owner_that_is_away_is_said_to_be(forwarding: RequestForwarding) -> None:
    away = Upload(task=TASK, instance=InstanceId("r"), url="http://r", created_at_ms=1)
    with pytest.raises(UploadOwnerUnavailable):
        await forwarding.forward(away, request())


async def test_a_commit_is_held_against_what_is_known(forwarding: RequestForwarding, cluster: FakeCluster) -> None:
    assert not forwarding.knows_committed(TASK, ANNE)
    assert not await forwarding.is_committed(TASK, ANNE)
    cluster.put(a_task(TASK, ANNE))
    assert forwarding.knows_committed(TASK, ANNE)
    assert await forwarding.is_committed(TASK, ANNE)
    assert not forwarding.knows_committed(TASK, BERT)
    assert not await forwarding.is_committed(TASK, BERT)
    cluster.put(a_task(TASK, ANNE, removed=True))
    assert not forwarding.knows_committed(TASK, ANNE)


async def test_an_upload_of_another_owner_is_nobodys(bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool) -> None:
    locations = FakeLocations()
    locations.uploads[TASK] = msgspec.structs.replace(UPLOAD_OWNER, owner=ANNE)
    forwarding = RequestForwarding(bus, cluster, spool, locations, FakePeers())
    assert await forwarding.locate(TASK, ANNE) is not None
    assert await forwarding.locate(TASK, BERT) is None


async def test_another_owners_upload_here_costs_the_look_ups_of_an_unknown_one(
    bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool
) -> None:
    locations = FakeLocations()
    forwarding = RequestForwarding(bus, cluster, spool, locations, FakePeers())
    await spool.create(Draft(task=TASK, name="t", created_at_ms=1, owner=ANNE))
    assert [await forwarding.locate(task, BERT) for task in (TASK, TaskId("unknown"))] == [None, None]
    assert locations.asked == [TASK, "unknown"]
    assert await forwarding.locate(TASK, ANNE) is None
    assert len(locations.asked) == 2


@pytest.mark.parametrize(
    ("owner", "client", "found"),
    [
        pytest.param(ANNE, ANNE, True, id="its owner"),
        pytest.param(ANNE, BERT, False, id="another"),
        pytest.param(None, BERT, True, id="announced by an earlier version"),
        pytest.param(Owner(""), BERT, True, id="of nobody in particular"),
    ],
)
async def test_an_announcement_is_found_by_its_owner(
    bus: MemoryBus, owner: Owner | None, client: Owner, *, found: bool
) -> None:
    bucket = await bus.bucket(UPLOADS)
    await bucket.put(TASK, msgspec.structs.replace(UPLOAD_OWNER, owner=owner))
    async with known_locations(bus, InstanceId("p")) as locations:
        assert (await locations.elsewhere(TASK, client) is not None) is found
    async with known_locations(bus, InstanceId("q")) as locations:
        assert await locations.elsewhere(TASK, client) is None, "it is ours"
