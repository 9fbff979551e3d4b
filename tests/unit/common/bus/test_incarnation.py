"""The incarnation of the cluster: made once in each store, whoever comes first."""

import asyncio
from typing import Any

import pytest

from clusterodm.libs.common.bus.incarnation import incarnation, read_or_made
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import CLUSTER, INCARNATION_KEY
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.values import IncarnationId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket
from clusterodm.libs.common.testing.memory_bus import MemoryBus


async def test_it_is_made_once_and_then_read():
    bus, clock = MemoryBus(), FakeClock()
    first = await incarnation(bus, clock.wall_ms)
    clock.pass_s(60)
    assert await incarnation(bus, clock.wall_ms) == first
    assert first.made_at_ms == clock.wall_ms() - 60_000


async def test_all_who_come_at_the_same_time_find_the_same():
    bus, clock = MemoryBus(), FakeClock()
    found = await asyncio.gather(*(incarnation(bus, clock.wall_ms, wait_s=5) for _ in range(5)))
    assert len(set(found)) == 1


class Overtaken:
    """A bucket in which somebody else is quicker."""

    def __init__(self, bucket: Any, other: Incarnation) -> None:
        self._bucket = bucket
        self._other = other
        self.get = bucket.get

    async def create(self, key: str, value: Incarnation) -> int:
        await self._bucket.create(key, self._other)
        return await self._bucket.create(key, value)


async def test_who_comes_second_takes_over_what_the_first_has_made_without_a_pause():
    bucket = await MemoryBus().bucket(CLUSTER)
    other = Incarnation(id=IncarnationId("first"), made_at_ms=FakeClock().wall_ms())
    assert await read_or_made(Overtaken(bucket, other), FakeClock().wall_ms) == other


async def test_a_store_that_begins_anew_has_another():
    bus, clock = MemoryBus(), FakeClock()
    first = await incarnation(bus, clock.wall_ms)
    await (await bus.bucket(CLUSTER)).delete(INCARNATION_KEY)
    assert (await incarnation(bus, clock.wall_ms)).id != first.id


@pytest.mark.parametrize("payload", [b"{", b'{"id":{"of":"a later version"},"made_at_ms":1}'])
async def test_one_that_cannot_be_read_is_never_replaced_nor_waited_for(payload: bytes):
    bus = MemoryBus()
    bucket = await bus.bucket(CLUSTER)
    assert isinstance(bucket, MemoryBucket)
    bucket.write_raw(INCARNATION_KEY, payload)
    assert await incarnation(bus, FakeClock().wall_ms, wait_s=60) is None
    assert bucket.read_raw(INCARNATION_KEY) == payload


async def test_without_nats_it_is_not_known():
    bus = MemoryBus()
    bus.connected = False
    with pytest.raises(BusFailed):
        await incarnation(bus, FakeClock().wall_ms)
