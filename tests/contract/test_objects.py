"""What a store of large things promises: the one in memory and the one on NATS."""

import os

import pytest

from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import CONSOLES
from clusterodm.libs.common.ports import Bus, Objects
from tests.nats import NatsServer
from tests.waiting import until

HOUR_S = 3600.0


@pytest.fixture
async def objects(bus: Bus) -> Objects:
    return await bus.objects(CONSOLES, HOUR_S)


@pytest.mark.parametrize("size_bytes", [0, 1, 128 * 1024, 3_000_001])
async def test_what_was_written_is_read_back(objects: Objects, size_bytes: int):
    content = os.urandom(size_bytes)
    await objects.put("one", content)
    assert await objects.get("one") == content


async def test_a_missing_key_reads_as_none(objects: Objects):
    assert await objects.get("nobody") is None


async def test_the_last_write_counts(objects: Objects):
    await objects.put("one", b"first")
    await objects.put("one", b"second")
    assert await objects.get("one") == b"second"


async def test_what_is_deleted_is_missing_and_can_be_written_again(objects: Objects):
    await objects.delete("nobody")
    await objects.put("one", b"first")
    await objects.delete("one")
    assert await objects.get("one") is None
    await objects.delete("one")
    await objects.put("one", b"again")
    assert await objects.get("one") == b"again"


async def test_a_store_opened_again_holds_what_it_held(bus: Bus, objects: Objects):
    await objects.put("one", b"content")
    assert await (await bus.objects(CONSOLES, 2 * HOUR_S)).get("one") == b"content"


@pytest.mark.slow
async def test_nothing_stays_longer_than_its_time(nats_server: NatsServer):
    async with connect(nats_server.url, "test") as bus:
        await (await bus.objects(CONSOLES, HOUR_S)).put("one", b"content")
        objects = await bus.objects(CONSOLES, 1)

        async def gone() -> bool:
            try:
                return await objects.get("one") is None
            except BusFailed:  # its parts do not go in the same moment
                return False

        await until(gone, timeout_s=30)


@pytest.mark.slow
async def test_without_nats_it_fails_in_time(nats_server: NatsServer):
    async with connect(nats_server.url, "test") as bus:
        objects = await bus.objects(CONSOLES, HOUR_S)
        nats_server.stop()
        with pytest.raises(BusFailed):
            await objects.put("one", b"content")
        with pytest.raises(BusFailed):
            await objects.get("one")
