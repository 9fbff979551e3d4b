"""What is written while NATS is away is written when it is back, or never: nothing is carried out that was said to have failed."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import TOMBSTONES
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, DemandChanged
from clusterodm.libs.common.model.tasks import Tombstone
from clusterodm.libs.common.model.values import TaskId
from tests.chaos.relay import Relay
from tests.nats import NatsServer
from tests.waiting import until

pytestmark = pytest.mark.slow

KNOWN, NEW, LAST = (TaskId(f"{number}1111111-2222-4333-8444-555555555555") for number in range(3))
TOMBSTONE = Tombstone(task=KNOWN, created_at_ms=1, at_ms=2, reason="removed")
OTHER = msgspec.structs.replace(TOMBSTONE, reason="another")


@pytest.fixture
async def network(nats_server: NatsServer) -> AsyncIterator[Relay]:
    """What lies between us and NATS, which stays as it is: it could carry out at once what comes late."""
    async with Relay(nats_server.port) as network:
        yield network


@pytest.fixture
async def bus(network: Relay) -> AsyncIterator[NatsBus]:
    async with connect(f"nats://127.0.0.1:{network.port}", "scheduler") as bus:
        yield bus


async def without_nats(bus: NatsBus, network: Relay) -> None:
    network.cut()
    await until(lambda: not bus.connected, what="the connection is lost")


async def test_what_was_written_in_vain_while_nats_was_away_is_not_written_when_it_is_back(
    bus: NatsBus, network: Relay
):
    bucket = await bus.bucket(TOMBSTONES)
    revision = await bucket.create(KNOWN, TOMBSTONE)
    await without_nats(bus, network)
    outcomes = await asyncio.gather(
        bucket.create(NEW, OTHER),
        bucket.update(KNOWN, OTHER, revision),
        bucket.put(KNOWN, OTHER),
        bucket.delete(KNOWN),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [BusFailed] * 4
    network.mend()
    await until(lambda: bus.connected, what="NATS is back")
    assert await bucket.create(LAST, OTHER) == revision + 1


async def test_what_waits_for_nats_is_written_once_when_it_is_back(bus: NatsBus, network: Relay):
    bucket = await bus.bucket(TOMBSTONES)
    revision = await bucket.create(KNOWN, TOMBSTONE)
    await without_nats(bus, network)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(bucket.update(KNOWN, OTHER, revision))
        network.mend()
    assert writing.result() == revision + 1


async def test_a_snapshot_that_could_not_be_stored_is_not_stored_later(bus: NatsBus, network: Relay):
    await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=0, epoch=1))
    await without_nats(bus, network)
    with pytest.raises(BusFailed, match="snapshot"):
        await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=0, epoch=2))
    network.mend()
    await until(lambda: bus.connected, what="NATS is back")
    await bus.publish_snapshot(DEMAND_CHANGED, DemandChanged(at_ms=0, epoch=3))
    info = await bus._js.stream_info(DEMAND_CHANGED.stream)
    assert info.state.last_seq == 2
