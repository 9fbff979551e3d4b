"""NATS loses its store while its clients run: buckets, objects and events begin anew, without anybody being restarted."""

import asyncio
import shutil
from collections.abc import AsyncIterator

import nats
import nats.errors
import nats.js.errors
import pytest
import structlog.testing

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import CONSOLES, TOMBSTONES
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM
from clusterodm.libs.common.model.tasks import Tombstone
from clusterodm.libs.common.model.values import TaskId
from tests.nats import NatsServer
from tests.waiting import until

pytestmark = pytest.mark.slow

TASK = TaskId("11111111-2222-4333-8444-555555555555")
TOMBSTONE = Tombstone(task=TASK, created_at_ms=1, at_ms=2, reason="removed")


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[NatsBus]:
    async with connect(nats_server.url, "test") as bus:
        yield bus


async def loses_its_store(bus: NatsBus, server: NatsServer) -> None:
    await asyncio.to_thread(server.stop)
    shutil.rmtree(server.store / "js")
    await asyncio.to_thread(server.start)
    await until(lambda: bus.connected, what="it is connected again")


async def test_a_bucket_is_empty_and_can_be_written(bus: NatsBus, nats_server: NatsServer):
    bucket = await bus.bucket(TOMBSTONES)
    await bucket.put(TASK, TOMBSTONE)
    await loses_its_store(bus, nats_server)

    async def is_missing() -> bool:
        try:
            return await bucket.get(TASK) is None
        except BusFailed:
            return False

    await until(is_missing, what="the bucket is there, and empty")
    await bucket.create(TASK, TOMBSTONE)
    assert await bucket.get(TASK) is not None


async def test_a_bucket_that_nobody_has_read_can_be_written_at_once(bus: NatsBus, nats_server: NatsServer):
    bucket = await bus.bucket(TOMBSTONES)
    await loses_its_store(bus, nats_server)

    async def is_written() -> bool:
        try:
            return bool(await bucket.put(TASK, TOMBSTONE, ttl_s=600))
        except BusFailed:
            return False

    await until(is_written, what="the bucket is written")
    assert await bucket.get(TASK) is not None


async def test_what_is_made_again_is_said_once_whoever_asks_for_it_at_the_same_time(nats_server: NatsServer):
    async with connect(nats_server.url, "maker") as bus:
        await bus.lay_out()
        with structlog.testing.capture_logs() as lines:  # whoever connects again asks for it too, by itself
            await loses_its_store(bus, nats_server)
            await asyncio.gather(bus.keep_laid_out(), bus.keep_laid_out())
        made = [line["stream"] for line in lines if line["event"] == "stream.recreated"]
        assert "KV_tasks" in made
        assert len(made) == len(set(made))


async def test_objects_can_be_written(bus: NatsBus, nats_server: NatsServer):
    objects = await bus.objects(CONSOLES, 3600.0)
    await objects.put("one", b"before")
    await loses_its_store(bus, nats_server)

    async def is_written() -> bool:
        try:
            await objects.put("one", b"after")
        except BusFailed:
            return False
        return await objects.get("one") == b"after"

    await until(is_written, what="the object is written")


async def test_events_are_kept_again(bus: NatsBus, nats_server: NatsServer):
    await loses_its_store(bus, nats_server)
    client = await nats.connect(nats_server.url)
    try:

        async def is_there() -> bool:
            try:
                return bool(await client.jetstream().stream_info(EVENTS_STREAM))
            except (nats.js.errors.Error, nats.errors.Error):
                return False

        await until(is_there, what="the stream of events is there")
    finally:
        await client.close()
