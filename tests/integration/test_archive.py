"""Ended tasks on a real NATS: they move, nothing is left behind, and nothing is lost when NATS or a scheduler goes away between."""

import json
from pathlib import Path
from typing import Any, cast

import msgspec
import nats
import pytest
from nats.js import JetStreamContext

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.bus.layout import BUCKETS
from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.store import open_bucket
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.merging import fields_count
from clusterodm.libs.common.messages.buckets import CONSOLES, ENDED, TASKS, TOMBSTONES, USAGE
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM
from clusterodm.libs.common.messages.tasks import ListTaskIds, ListTasks
from clusterodm.libs.common.model.tasks import Ended, Task, TaskState
from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.scheduler.tasks.core.observation import unpacked
from tests.nats import NatsServer
from tests.scheduling import FakeNode, Play, a_play, task_id
from tests.waiting import until

pytestmark = pytest.mark.slow
ACCOUNT = f"KV_{USAGE.name}"
"""One record for each tenant and month, however many tasks: what was used is known when they are gone."""
OLD = Path(__file__).parents[1] / "records" / "with_what_was_seen.json"


def on(bus: NatsBus) -> MemoryBus:
    """Play on a real bus: a play asks nothing of it that only the fake has."""
    return cast("MemoryBus", bus)


async def completes(play: Play, name: str) -> None:
    await play.commits(name)
    placed = await play.starts(name)
    play.api.reach(placed.node).finishes(placed.node_task_id)
    await play.looks()


async def kept(bus: NatsBus) -> tuple[set[str], set[str]]:
    active, ended = await bus.bucket(TASKS), await bus.bucket(ENDED)
    return set(await active.load()), set(await ended.load())


async def lists(play: Play) -> list[str]:
    return [summary.name for summary in (await play.scheduler.tasks.reader.list_tasks(ListTasks())).tasks]


async def test_ended_tasks_move_and_come_back(nats_bus: NatsBus) -> None:
    async with a_play(on(nats_bus), a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        assert await kept(nats_bus) == (set(), {task_id("one")})
        await play.starts_up()
        assert await lists(play) == ["one"]
        assert (await play.scheduler.tasks.reader.list_ids(ListTaskIds(owner=Owner("")))).tasks == (task_id("one"),)
        assert (await play.restarts("one")).state is TaskState.RUNNING
        assert await kept(nats_bus) == ({task_id("one")}, set())
        await play.removes("one")
        await play.probes()
        await play.sweeps()
        assert await kept(nats_bus) == (set(), set())


async def test_what_a_later_version_wrote_of_a_task_goes_to_the_archive_and_comes_back(nats_server: NatsServer) -> None:
    client, key = await nats.connect(nats_server.url), task_id("one")
    js = client.jetstream()

    async def stored(bucket: str) -> tuple[dict[str, Any], int]:
        found = await js.get_last_msg(f"KV_{bucket}", f"$KV.{bucket}.{key}")
        return json.loads(found.data or b""), int((found.headers or {})["Clusterodm-Fields"])

    async with connect(nats_server.url, "test") as bus, a_play(on(bus), a=FakeNode()) as play:
        await completes(play, "one")
        written, count = await stored("tasks")
        later = json.dumps(written | {"colour": "red"}).encode()
        await js.publish(f"$KV.tasks.{key}", later, headers={"Clusterodm-Fields": str(count + 5)})
        await play.starts_up()
        await play.archives()
        archived, archived_count = await stored("ended")
        assert archived["task"]["colour"] == "red"
        assert archived_count == fields_count(Ended) + 5
        await play.starts_up()
        assert (await play.restarts("one")).state is TaskState.RUNNING
        back, back_count = await stored("tasks")
        assert (back["colour"], back_count) == ("red", count + 5)
        play.node("a").finishes(play.task("one").attempts[-1].node_task_id)
        await play.looks()
        await play.archives()
        assert (await stored("ended"))[0]["task"]["colour"] == "red"
    await client.close()


async def test_a_store_of_the_version_before_is_read_and_written_anew(nats_bus: NatsBus) -> None:
    tasks = await nats_bus.bucket(TASKS)
    for record in json.loads(OLD.read_text(encoding="utf-8")).values():
        await tasks.put(record["id"], msgspec.convert(record, Task))
    async with a_play(on(nats_bus), a=FakeNode(slots=3), b=FakeNode()) as play:
        await play.scheduler.tasks.archiver.renew()
        await play.archives()
        ended = {task_id("completed"), task_id("failed")}
        assert await kept(nats_bus) == ({task_id("running"), task_id("waiting-1")}, ended)
        assert sorted(await lists(play)) == ["completed", "failed", "running", "waiting-1"]
        tail = unpacked(await (await nats_bus.objects(CONSOLES, 3600)).get(task_id("failed")) or b"")
        assert tail.lines[-1] == "[INFO]    line 29 of failed"


@pytest.mark.parametrize("came_back", [False, True], ids=["it was about to leave", "it was coming back"])
async def test_a_scheduler_that_died_between_two_writes_loses_and_doubles_nothing(
    nats_bus: NatsBus, came_back: bool
) -> None:
    async with a_play(on(nats_bus), a=FakeNode()) as play:
        await completes(play, "one")
        task, revision = play.task("one"), play.scheduler.state.index.revisions[task_id("one")]
        if came_back:
            await play.restarts("one")
        await (await nats_bus.bucket(ENDED)).put(task.id, Ended(task=task, revision=revision))
        await play.starts_up()
        assert await lists(play) == ["one"]
        assert await kept(nats_bus) == ({task.id}, set())
        assert play.task("one").state is (TaskState.RUNNING if came_back else TaskState.COMPLETED)


async def test_a_nats_that_goes_away_while_a_task_moves_loses_nothing(nats_server: NatsServer) -> None:
    async with connect(nats_server.url, "test") as bus, a_play(on(bus), a=FakeNode()) as play:
        await completes(play, "one")
        play.clock.pass_s(60)
        nats_server.stop()
        with pytest.raises(BusFailed):
            await play.scheduler.records.tasks.put_away(task_id("one"))
        nats_server.start()
        await until(lambda: bus.connected)

        async def moved() -> bool:
            await play.scheduler.records.sync.settle_doubts()
            return await play.scheduler.records.tasks.put_away(task_id("one"))

        await until(moved)
        assert await kept(bus) == (set(), {task_id("one")})
        assert await lists(play) == ["one"]


async def test_a_removed_task_leaves_nothing_in_the_store(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    js = client.jetstream()
    async with connect(nats_server.url, "test") as bus:
        await bus.lay_out()
        for name in BUCKETS:
            bus._buckets[name.name] = await open_bucket(client, js, name, Replicas(1), marker_ttl_s=1)
        bus._buckets[TOMBSTONES.name] = await open_bucket(
            client, js, msgspec.structs.replace(TOMBSTONES, expires_s=1.0), Replicas(1)
        )
        async with a_play(on(bus), a=FakeNode()) as play:
            before = await stored_bytes(js)
            await completes(play, "one")
            await play.archives()
            await play.removes("one")
            play.clock.pass_s(120)
            await play.scheduler.tasks.observer.forget_over()
            assert (await stored_bytes(js))[EVENTS_STREAM] > before[EVENTS_STREAM]
        await shorten(js, EVENTS_STREAM)

        async def left() -> dict[str, int]:
            grown = {stream: held - before[stream] for stream, held in (await stored_bytes(js)).items()}
            return {stream: more for stream, more in grown.items() if more > 0 and stream != ACCOUNT}

        assert f"OBJ_{CONSOLES.name}" not in await left()

        async def nothing_left() -> bool:
            return await left() == {}

        await until(nothing_left, what="all times to live to be over")
    await client.close()


async def stored_bytes(js: JetStreamContext) -> dict[str, int]:
    """Say how much each stream holds: buckets, objects, events."""
    return {info.config.name or "": info.state.bytes for info in await js.streams_info()}


async def shorten(js: JetStreamContext, stream: str) -> None:
    """Let what a stream holds expire at once."""
    config = (await js.stream_info(stream)).config
    await js.update_stream(config.evolve(max_age=1.0, duplicate_window=1.0))
