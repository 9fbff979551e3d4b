"""What every bucket promises: the one in memory and the one on NATS."""

import asyncio
import shutil
import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
import structlog.testing
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.store import open_bucket
from clusterodm.libs.common.errors import BusFailed, Conflict, Unreadable
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.ports import Bucket, Bus, Change, Reset, Seen, Step, Unread
from clusterodm.libs.common.telemetry import metrics
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from tests.nats import NatsServer
from tests.waiting import until

NODES = BucketName("contract_nodes", Node, writer="test")


def node(port: int, *, locked: bool = False) -> Node:
    return Node(id=NodeId(f"127.0.0.1-{port}"), hostname="127.0.0.1", port=port, locked=locked)


@pytest.fixture
async def bucket(bus: Bus) -> Bucket[Node]:
    return await bus.bucket(NODES)


async def write_raw(bus: Bus, key: str, payload: bytes) -> None:
    """Write what a later version may write."""
    if isinstance(bus, MemoryBus):
        (await bus.bucket(NODES)).write_raw(key, payload)
        return
    assert isinstance(bus, NatsBus)
    client = await nats.connect(bus.url)
    await client.jetstream().publish(f"$KV.{NODES.name}.{key}", payload, headers={"Clusterodm-Fields": "999"})
    await client.close()


UNREADABLE = b'{"id":"b","hostname":{"name":"as a later version has it"},"port":1}'


async def test_what_was_written_is_read_back(bucket: Bucket[Node]):
    revision = await bucket.create("a-1", node(1))
    entry = await bucket.get("a-1")
    assert entry is not None
    assert (entry.key, entry.value, entry.revision) == ("a-1", node(1), revision)


async def test_a_missing_key_reads_as_none(bucket: Bucket[Node]):
    assert await bucket.get("nobody") is None


async def test_creating_an_existing_key_conflicts(bucket: Bucket[Node]):
    await bucket.create("a", node(1))
    with pytest.raises(Conflict):
        await bucket.create("a", node(2))


async def test_an_update_needs_the_last_revision(bucket: Bucket[Node]):
    first = await bucket.create("a", node(1))
    second = await bucket.update("a", node(2), first)
    assert second > first
    with pytest.raises(Conflict):
        await bucket.update("a", node(3), first)
    entry = await bucket.get("a")
    assert entry is not None
    assert entry.value == node(2)


async def test_a_key_is_deleted_at_its_revision_only(bucket: Bucket[Node]):
    first = await bucket.create("a", node(1))
    second = await bucket.update("a", node(1), first)
    with pytest.raises(Conflict):
        await bucket.delete("a", first)
    assert await bucket.get("a") is not None
    await bucket.delete("a", second)
    assert await bucket.get("a") is None


async def test_a_deleted_key_is_missing_and_can_be_created_again(bucket: Bucket[Node]):
    await bucket.create("a", node(1))
    await bucket.delete("a")
    assert await bucket.get("a") is None
    await bucket.create("a", node(2))
    entry = await bucket.get("a")
    assert entry is not None
    assert entry.value == node(2)


async def test_deleting_a_missing_key_does_nothing(bucket: Bucket[Node]):
    await bucket.delete("nobody")
    assert await bucket.load() == {}


async def test_a_key_with_a_time_to_live_goes_by_itself(bucket: Bucket[Node]):
    await bucket.put("short", node(1), ttl_s=1)
    await bucket.put("long", node(2), ttl_s=600)
    await bucket.put("for-ever", node(3))
    assert await bucket.get("short") is not None

    async def gone() -> bool:
        return await bucket.get("short") is None

    await until(gone, what="the short one is gone")
    assert set(await bucket.load()) == {"long", "for-ever"}


async def test_load_reads_everything_that_is_there(bucket: Bucket[Node]):
    for port in range(1, 30):
        await bucket.put(f"n-{port}", node(port))
    await bucket.delete("n-7")
    found = await bucket.load()
    assert {entry.value.port for entry in found.values()} == set(range(1, 30)) - {7}


async def test_opening_a_bucket_twice_opens_the_same_one(bus: Bus, bucket: Bucket[Node]):
    await bucket.put("a", node(1))
    again = await bus.bucket(NODES)
    assert await again.get("a") is not None


async def test_a_watch_tells_what_is_there_then_none_then_changes(bucket: Bucket[Node]):
    await bucket.put("a", node(1))
    async with bucket.watch() as changes:
        first = await anext(changes)
        assert isinstance(first, Change)
        assert first.value == node(1)
        assert await anext(changes) is None
        await bucket.put("b", node(2))
        await bucket.delete("a")
        second, third = await anext(changes), await anext(changes)
        assert isinstance(second, Change)
        assert isinstance(third, Change)
        assert (second.key, second.value) == ("b", node(2))
        assert (third.key, third.value) == ("a", None)


async def test_what_is_compared_and_set_is_read_from_the_leader_and_never_from_a_replica(nats_bus: NatsBus):
    bucket, asked = await nats_bus.bucket(NODES), set()

    async def note(message: Msg) -> None:
        asked.add(message.subject.removeprefix("$JS.API."))

    listening = await nats.connect(nats_bus.url)
    await listening.subscribe("$JS.API.>", cb=note)
    await listening.flush()
    revision = await bucket.put("a", node(1))
    with pytest.raises(Conflict):
        await bucket.create("a", node(2))
    assert await bucket.get("a") is not None
    await bucket.update("a", node(2), revision)
    async with nats_bus.lead("contract", "first"), asyncio.TaskGroup() as group:
        second = group.create_task(enters(nats_bus.lead("contract", "second")))
        await until(lambda: any("MSG.GET.KV_leases" in each for each in asked), what="the lease to be looked at")
        second.cancel()
    assert "STREAM.MSG.GET.KV_contract_nodes" in asked
    assert [each for each in asked if each.startswith("DIRECT.GET")] == []
    await listening.close()


async def enters(context: AbstractAsyncContextManager[object]) -> None:
    async with context:
        pass


async def test_a_value_that_cannot_be_read_is_there(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", UNREADABLE)
    with pytest.raises(Unreadable):
        await bucket.get("b")
    with pytest.raises(Conflict):
        await bucket.create("b", node(2))


async def test_a_value_that_cannot_be_read_is_said_once_with_its_key_and_counted(nats_bus: NatsBus):
    bucket = await nats_bus.bucket(NODES)
    await write_raw(nats_bus, "b", UNREADABLE)
    counted = metrics.UNREADABLE.values.get((NODES.name,), 0)
    with structlog.testing.capture_logs() as lines:
        await bucket.load()
        await bucket.load()
    said = [(line["bucket"], line["key"]) for line in lines if line["event"] == "value.not_decoded"]
    assert said == [(NODES.name, "b")]
    assert metrics.UNREADABLE.values[NODES.name,] == counted + 2


async def test_a_value_that_cannot_be_read_hides_no_other(bus: Bus, bucket: Bucket[Node]):
    await bucket.put("a", node(1))
    await write_raw(bus, "b", UNREADABLE)
    await bucket.put("c", node(3))
    found = await bucket.load()
    assert {key: entry.value for key, entry in found.items()} == {"a": node(1), "c": node(3)}
    assert list(found.unreadable) == ["b"]


async def test_a_watch_says_what_it_cannot_read_and_goes_on(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", UNREADABLE)
    async with bucket.watch() as changes:
        assert isinstance(await anext(changes), Unread)
        assert await anext(changes) is None
        await write_raw(bus, "b", b"{")
        assert isinstance(await anext(changes), Unread)
        await bucket.put("b", node(2))
        change = await anext(changes)
        assert isinstance(change, Change)
        assert change.value == node(2)


async def test_an_unreadable_value_that_is_deleted_is_told_as_gone(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", UNREADABLE)
    async with bucket.watch() as changes:
        assert isinstance(await anext(changes), Unread)
        assert await anext(changes) is None
        await bucket.delete("b")
        change = await anext(changes)
        assert isinstance(change, Change)
        assert (change.key, change.value) == ("b", None)


async def test_fields_of_a_later_version_survive_an_update(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", b'{"id":"b","hostname":"h","port":1,"locked":true,"rack":{"row":7}}')
    for locked in (False, True, False):
        entry = await bucket.get("b")
        assert entry is not None
        await bucket.update("b", msgspec.structs.replace(entry.value, locked=locked), entry.revision)
    assert msgspec.json.decode(await read_raw(bus, "b")) == {"id": "b", "hostname": "h", "port": 1, "rack": {"row": 7}}


async def test_fields_of_a_later_version_that_a_watch_has_seen_survive_too(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", b'{"id":"b","hostname":"h","port":1,"rack":{"row":7}}')
    entry = (await bucket.load())["b"]
    revision = await bucket.update("b", msgspec.structs.replace(entry.value, port=2), entry.revision)
    await bucket.update("b", msgspec.structs.replace(entry.value, port=3), revision)
    assert msgspec.json.decode(await read_raw(bus, "b")) == {"id": "b", "hostname": "h", "port": 3, "rack": {"row": 7}}


async def test_fields_of_a_later_version_survive_being_put_over_what_was_read(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", b'{"id":"b","hostname":"h","port":1,"locked":true,"rack":{"row":7}}')
    for port in (2, 3):
        entry = await bucket.get("b")
        assert entry is not None
        await bucket.put("b", msgspec.structs.replace(entry.value, port=port, locked=False))
    assert msgspec.json.decode(await read_raw(bus, "b")) == {"id": "b", "hostname": "h", "port": 3, "rack": {"row": 7}}


async def test_fields_of_a_later_version_survive_a_move_to_another_key(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", b'{"id":"b","hostname":"h","port":1,"locked":true,"rack":{"row":7}}')
    entry = await bucket.get("b")
    assert entry is not None
    for write, key in ((bucket.put, "c"), (bucket.create, "d")):
        moved = msgspec.structs.replace(entry.value, locked=False)
        revision = await write(key, moved, later=await bucket.later("b"))
        expected = {"id": "b", "hostname": "h", "port": 1, "rack": {"row": 7}}
        assert msgspec.json.decode(await read_raw(bus, key)) == expected
        await bucket.update(key, msgspec.structs.replace(moved, port=2), revision)
        assert msgspec.json.decode(await read_raw(bus, key))["rack"] == {"row": 7}


async def test_what_is_put_over_a_value_that_cannot_be_read_counts(bus: Bus, bucket: Bucket[Node]):
    await write_raw(bus, "b", b"{")
    with pytest.raises(Unreadable):
        await bucket.get("b")
    await bucket.put("b", node(2))
    entry = await bucket.get("b")
    assert entry is not None
    assert entry.value == node(2)


async def read_raw(bus: Bus, key: str) -> bytes:
    """Read what is written."""
    if isinstance(bus, MemoryBus):
        return (await bus.bucket(NODES)).read_raw(key)
    assert isinstance(bus, NatsBus)
    client = await nats.connect(bus.url)
    found = await client.jetstream().get_last_msg(f"KV_{NODES.name}", f"$KV.{NODES.name}.{key}")
    await client.close()
    return found.data or b""


@pytest.mark.parametrize("key", ["a b", "*", ">", "a.*", ".a", "a.", ""])
async def test_what_is_no_key_is_never_found_nor_written(bucket: Bucket[Node], key: str):
    await bucket.put("a.b", node(1))
    assert await bucket.get(key) is None
    for change in (
        bucket.put(key, node(1)),
        bucket.create(key, node(1)),
        bucket.update(key, node(1), 1),
        bucket.delete(key),
    ):
        with pytest.raises(BusFailed, match="not a key"):
            await change


async def test_a_watch_of_nothing_says_so_at_once(bucket: Bucket[Node]):
    async with bucket.watch() as changes:
        async with asyncio.timeout(15):
            assert await anext(changes) is None


@pytest.mark.slow
async def test_a_watch_goes_on_soon_after_a_restart_of_nats(nats_server: NatsServer):
    async with connect(nats_server.url, "watcher") as bus:
        bucket = await bus.bucket(NODES)
        await bucket.put("a", node(1))
        await bucket.put("b", node(1))
        seen: dict[str, Any] = {}

        async def follow() -> None:
            async with bucket.watch() as changes:
                async for change in changes:
                    if isinstance(change, Change):
                        seen[change.key] = change.value

        async with asyncio.TaskGroup() as loops:
            following = loops.create_task(follow())
            await until(lambda: len(seen) == 2)
            nats_server.stop()
            await until(lambda: not bus.connected)
            nats_server.start()
            await until(lambda: bus.connected)
            began_s = time.monotonic()
            await bucket.put("a", node(2, locked=True))
            await bucket.delete("b")
            await until(lambda: seen == {"a": node(2, locked=True), "b": None})
            assert time.monotonic() - began_s < 10
            following.cancel()


class Mirror:
    """What somebody knows who follows a bucket."""

    def __init__(self) -> None:
        self.values: dict[str, Node] = {}
        self.revisions: dict[str, int] = {}
        self.resets_count = 0

    def take(self, step: Step[Node]) -> None:
        if isinstance(step, Reset):
            self.resets_count += 1
            self.revisions = dict.fromkeys(self.revisions, 0)
        elif isinstance(step, Change):
            assert step.revision > self.revisions.get(step.key, 0), "a step that a mirror drops"
            self.revisions[step.key] = step.revision
            if step.value is None:
                self.values.pop(step.key, None)
            else:
                self.values[step.key] = step.value

    async def follow(self, bucket: Bucket[Node]) -> None:
        async with bucket.watch() as changes:
            async for change in changes:
                self.take(change)


def test_a_bucket_in_memory_that_began_anew_is_told_whole():
    async def play() -> None:
        bucket = await MemoryBus().bucket(NODES)
        mirror = Mirror()
        for port in range(1, 5):
            await bucket.put(f"n-{port}", node(port))
        async with bucket.watch() as changes, asyncio.timeout(15):
            bucket.begin_anew({"n-1": node(7)})
            while mirror.values != {"n-1": node(7)}:
                mirror.take(await anext(changes))
        assert mirror.resets_count == 1

    asyncio.run(play())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a new store", "an older one"])
async def test_a_bucket_that_began_anew_is_told_whole(nats_server: NatsServer, tmp_path: Path, how: str):
    mirror = Mirror()
    async with connect(nats_server.url, "watcher") as bus, asyncio.TaskGroup() as loops:
        bucket = await bus.bucket(NODES)
        await bucket.put("old", node(1))
        await bucket.put("both", node(1))
        following = loops.create_task(mirror.follow(bucket))
        await until(lambda: len(mirror.values) == 2)
        nats_server.stop()
        shutil.copytree(nats_server.store / "js", tmp_path / "backup")
        nats_server.start()
        await until(lambda: bus.connected)
        for port in range(2, 12):
            await until(lambda: written(bucket, "both", node(port)))  # noqa: B023 awaited within this turn
        await bucket.put("young", node(3))
        await until(lambda: "young" in mirror.values)
        nats_server.stop()
        shutil.rmtree(nats_server.store / "js")
        if how == "an older one":
            shutil.move(tmp_path / "backup", nats_server.store / "js")
        nats_server.start()
        await until(lambda: bus.connected)
        await until(lambda: written(bucket, "other", node(5)))
        expected = {"other": node(5)} | ({"old": node(1), "both": node(1)} if how == "an older one" else {})
        await until(lambda: mirror.values == expected, what=f"{expected}")
        assert mirror.resets_count == 1
        following.cancel()


async def written(bucket: Bucket[Node], key: str, value: Node) -> bool:
    try:
        return bool(await bucket.put(key, value))
    except BusFailed:
        return False


async def test_a_watch_that_is_written_to_all_the_time_still_says_when_all_was_told(nats_bus: NatsBus):
    bucket = await nats_bus.bucket(NODES)
    for port in range(1, 200):
        await bucket.put(f"n-{port}", node(port))

    async def write() -> None:
        while True:
            for port in range(1, 200):
                await bucket.put(f"n-{port}", node(port))

    async with asyncio.TaskGroup() as loops:
        writing = [loops.create_task(write()) for _ in range(4)]
        for _ in range(5):
            async with asyncio.timeout(15):
                assert len(await bucket.load()) == 199
        for each in writing:
            each.cancel()


async def test_reading_everything_leaves_nothing_behind_on_the_server(nats_bus: NatsBus):
    found = await nats_bus.bucket(NODES)
    await found.put("a-1", node(1))
    client = await nats.connect(nats_bus.url)
    for _ in range(20):
        assert list(await found.load()) == ["a-1"]

    async def all_forgotten() -> bool:
        return not await client.jetstream().consumers_info(f"KV_{NODES.name}")

    await until(all_forgotten, what="the server to forget those who have read")
    await client.close()


async def test_a_watch_of_revisions_tells_what_was_deleted(bucket: Bucket[Node]):
    first = await bucket.put("a", node(1))
    async with bucket.watch_revisions() as changes:
        assert await anext(changes) == Seen("a", first, gone=False)
        await bucket.delete("a")
        seen = await anext(changes)
        assert (seen.key, seen.gone, seen.revision > first) == ("a", True, True)


def test_a_watch_of_revisions_in_memory_tells_that_the_bucket_began_anew():
    async def play() -> None:
        bucket = await MemoryBus().bucket(NODES)
        await bucket.put("a", node(1))
        await bucket.put("a", node(2))
        async with bucket.watch_revisions() as changes, asyncio.timeout(15):
            assert await anext(changes) == Seen("a", 2, gone=False)
            bucket.begin_anew({"a": node(1)})
            assert await anext(changes) == Reset()
            assert await anext(changes) == Seen("a", 1, gone=False)

    asyncio.run(play())


@pytest.mark.slow
async def test_a_watch_of_revisions_tells_that_an_older_store_was_restored(nats_server: NatsServer, tmp_path: Path):
    async with connect(nats_server.url, "watcher") as bus:
        bucket = await bus.bucket(NODES)
        first = await bucket.put("a", node(1))
        async with bucket.watch_revisions() as changes, asyncio.timeout(60):
            assert await anext(changes) == Seen("a", first, gone=False)
            nats_server.stop()
            shutil.copytree(nats_server.store / "js", tmp_path / "backup")
            nats_server.start()
            await until(lambda: bus.connected)
            await until(lambda: written(bucket, "a", node(2)))
            while (seen := await anext(changes)) == Seen("a", first, gone=False):
                pass
            assert isinstance(seen, Seen)
            assert seen.revision > first
            nats_server.stop()
            shutil.rmtree(nats_server.store / "js")
            shutil.copytree(tmp_path / "backup", nats_server.store / "js")
            nats_server.start()
            assert await anext(changes) == Reset()
            assert await anext(changes) == Seen("a", first, gone=False)


@pytest.mark.slow
async def test_a_deleted_key_leaves_nothing_behind_after_a_while(nats_server: NatsServer):
    client = await nats.connect(nats_server.url)
    js = client.jetstream()
    found = await open_bucket(client, js, NODES, Replicas(1), marker_ttl_s=1)
    for number in range(10):
        await found.delete(f"a-{number}", await found.put(f"a-{number}", node(number)))
    assert await stored(js) > 0
    await until(lambda: is_empty(js), what="the markers to expire")
    await client.close()


@pytest.mark.slow
async def test_what_older_versions_left_of_deleted_keys_is_removed(nats_server: NatsServer):
    client = await nats.connect(nats_server.url)
    js = client.jetstream()
    found = await open_bucket(client, js, NODES, Replicas(1), marker_ttl_s=0)
    await (await js.key_value(NODES.name)).delete("old")
    await found.put("present", node(1))

    async def forgotten() -> bool:
        return await found.forget_deleted() == 1

    await until(forgotten, what="the marker to be old enough")
    assert list(await found.load()) == ["present"]
    assert await found.forget_deleted() == 0
    await client.close()


@pytest.mark.slow
async def test_a_bucket_that_need_not_last_is_written_later_and_expires(nats_server: NatsServer):
    name = BucketName("contract_passing", Node, writer="test", durable=False, expires_s=1.0)
    client = await nats.connect(nats_server.url)
    js = client.jetstream()
    found = await open_bucket(client, js, name, Replicas(1))
    await found.put("a", node(1))
    config = (await js.stream_info("KV_contract_passing")).config
    assert (config.persist_mode, config.max_age) == (api.PersistMode.ASYNC, 1.0)

    async def gone() -> bool:
        return await found.get("a") is None

    await until(gone, what="the key to expire")
    await client.close()


async def stored(js: JetStreamContext) -> int:
    state = (await js.stream_info(f"KV_{NODES.name}")).state
    return state.bytes


async def is_empty(js: JetStreamContext) -> bool:
    return await stored(js) == 0


async def test_a_bucket_is_read_in_pages(bucket: Bucket[Node]):
    assert [page async for page in bucket.pages()] == []
    for number in range(450):
        await bucket.put(f"a-{number}", node(number))
    await bucket.delete("a-7")
    await bucket.put("a-8", node(8, locked=True))
    entries = [entry async for page in bucket.pages() for entry in page]
    assert {entry.key: entry.value.port for entry in entries} == {f"a-{n}": n for n in range(450) if n != 7}
    assert len(entries) == 449
    assert [entry.value.locked for entry in entries if entry.key == "a-8"] == [True]


async def test_what_is_read_in_pages_leaves_nothing_behind_on_the_server(nats_bus: NatsBus):
    found = await nats_bus.bucket(NODES)
    await found.put("a-1", node(1))
    for _ in range(5):
        assert [entry.key async for page in found.pages() for entry in page] == ["a-1"]

    async def all_forgotten() -> bool:
        return not await nats_bus._js.consumers_info(f"KV_{NODES.name}")

    await until(all_forgotten, what="the server to forget those who have read")
