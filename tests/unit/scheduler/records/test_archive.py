"""Tasks that have ended leave the active ones, and are found, listed, brought back and forgotten all the same."""

import json
from pathlib import Path

import msgspec
import pytest

from clusterodm.libs.common.errors import NotFound, Refused, Removed, Unreadable
from clusterodm.libs.common.messages.buckets import CONSOLES, ENDED, TASKS
from clusterodm.libs.common.messages.placement import NotWaiting
from clusterodm.libs.common.messages.tasks import ListTaskIds, ListTasks, ReadConsole, TaskRef
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Ended, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import Owner
from clusterodm.libs.common.testing.memory_bucket import MemoryBucket
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.scheduler.task_life.settled import compacted
from clusterodm.services.scheduler.tasks.core.observation import unpacked
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, settings, task_id

ALICE = Owner("alice")
OLD = Path(__file__).parents[3] / "records" / "with_what_was_seen.json"
"""Records as the version before wrote them: a completed task, a failed one, a running one and a waiting one."""


async def completes(play: Play, name: str, owner: Owner = ALICE) -> None:
    await play.commits(name, owner=owner)
    placed = await play.starts(name)
    play.api.reach(placed.node).finishes(placed.node_task_id)
    await play.looks()


async def kept(play: Play) -> tuple[set[str], set[str]]:
    """Say whose records are active, and whose are in the archive."""
    active, ended = await play.bus.bucket(TASKS), await play.bus.bucket(ENDED)
    return set(await active.load()), set(await ended.load())


async def shows(play: Play, name: str) -> Task:
    return (await play.scheduler.tasks.reader.get(TaskRef(task=task_id(name)))).task


async def lists(play: Play, **asked: object) -> list[str]:
    page = await play.scheduler.tasks.reader.list_tasks(ListTasks(**asked))
    return [summary.name for summary in page.tasks]


async def test_an_ended_task_leaves_the_active_ones_after_a_while():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await play.scheduler.tasks.archiver.put_away_due()
        assert await kept(play) == ({task_id("one")}, set())
        await play.archives()
        assert await kept(play) == (set(), {task_id("one")})
        assert not play.has("one")
        assert len(play.scheduler.state.index.all) == 0


async def test_an_archived_task_is_found_listed_and_read_also_after_a_restart():
    async with a_play(a=FakeNode(slots=2)) as play:
        await completes(play, "one")
        await play.commits("two", owner=ALICE)
        await play.archives()
        for _ in range(2):
            record = await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one"), owner=ALICE))
            assert (record.task.state, record.archived) == (TaskState.COMPLETED, True)
            console = await play.scheduler.tasks.reader.read_console(ReadConsole(task=task_id("one")))
            assert "started" in console.lines
            assert await lists(play) == await lists(play, owner=ALICE) == ["one", "two"]
            assert await lists(play, limit_count=1) == ["one"]
            assert await lists(play, after=task_id("one")) == ["two"]
            ids = await play.scheduler.tasks.reader.list_ids(ListTaskIds(owner=ALICE))
            assert (ids.tasks, ids.more) == ((task_id("one"), task_id("two")), False)
            assert await play.asks("one") == NotWaiting(state=TaskState.COMPLETED)
            await play.starts_up()


async def test_an_archived_task_is_another_owners_to_others():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        bob = Owner("bob")
        with pytest.raises(Refused, match="not found"):
            await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one"), owner=bob))
        assert (await play.scheduler.tasks.reader.list_ids(ListTaskIds(owner=bob))).tasks == ()


async def test_the_record_of_an_archived_task_is_not_read_for_others_so_that_no_time_tells_of_it():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await completes(play, "nobodys", Owner(""))
        await play.archives()
        ended = await play.bus.bucket(ENDED)
        assert isinstance(ended, MemoryBucket)
        ended.write_raw(task_id("one"), b"whoever reads this fails")
        with pytest.raises(NotFound, match="not found"):
            await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one"), owner=Owner("bob")))
        with pytest.raises(Unreadable):
            await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one"), owner=ALICE))
        found = await play.scheduler.tasks.reader.get(TaskRef(task=task_id("nobodys"), owner=Owner("bob")))
        assert found.task.state is TaskState.COMPLETED


async def test_a_second_commit_of_an_archived_task_changes_nothing():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        assert (await play.commits("one", owner=ALICE)).state is TaskState.COMPLETED
        with pytest.raises(Refused, match="Invalid set-uuid"):
            await play.commits("one", owner=Owner("bob"))
        assert await kept(play) == (set(), {task_id("one")})


async def test_a_restart_brings_a_task_back_from_the_archive():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        assert (await play.restarts("one")).state is TaskState.RUNNING
        assert await kept(play) == ({task_id("one")}, set())
        assert await lists(play) == ["one"]
        play.node("a").finishes(play.task("one").attempts[-1].node_task_id)
        await play.looks()
        await play.archives()
        assert await kept(play) == (set(), {task_id("one")})


async def test_an_archived_task_that_is_canceled_comes_back_and_is_archived_again():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        assert (await play.cancels("one", ALICE)).state is TaskState.CANCELED
        assert await kept(play) == ({task_id("one")}, set())
        await play.archives()
        assert await kept(play) == (set(), {task_id("one")})
        await play.cancels("one", ALICE)
        assert await kept(play) == (set(), {task_id("one")})


async def test_what_a_later_version_wrote_of_a_task_goes_to_the_archive_and_comes_back():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        tasks, ended = await play.bus.bucket(TASKS), await play.bus.bucket(ENDED)
        assert isinstance(tasks, MemoryBucket)
        assert isinstance(ended, MemoryBucket)
        key = task_id("one")
        written = json.loads(tasks.read_raw(key)) | {"colour": "red"}
        written["attempts"][0]["rack"] = 7
        tasks.write_raw(key, json.dumps(written).encode())
        await play.starts_up()
        await play.archives()
        assert await kept(play) == (set(), {key})
        archived = json.loads(ended.read_raw(key))["task"]
        assert (archived["colour"], archived["attempts"][0]["rack"]) == ("red", 7)
        await play.starts_up()
        await play.restarts("one")
        back = json.loads(tasks.read_raw(key))
        assert (back["colour"], back["attempts"][0]["rack"]) == ("red", 7)


async def test_a_removed_task_goes_from_the_archive_too():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        await play.removes("one", ALICE)
        assert await kept(play) == (set(), set())
        assert play.node("a").tasks == {}
        assert await (await play.bus.objects(CONSOLES, 1)).get(task_id("one")) is None
        with pytest.raises(Removed):
            await shows(play, "one")
        assert await lists(play) == []


async def test_an_archived_task_is_forgotten_after_its_time():
    async with a_play(chosen=settings(task_retention_h=1), a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        await play.passes(3590)
        assert await kept(play) == (set(), set())
        assert await (await play.bus.objects(CONSOLES, 1)).get(task_id("one")) is None
        with pytest.raises(Removed):
            await shows(play, "one")


async def test_an_archived_record_that_cannot_be_read_stays_and_keeps_no_other_one_from_being_forgotten():
    async with a_play(chosen=settings(task_retention_h=1), a=FakeNode()) as play:
        for name in ("one", "two"):
            await completes(play, name)
        await play.archives()
        bucket = await play.bus.bucket(ENDED)
        assert isinstance(bucket, MemoryBucket)
        bucket.write_raw(task_id("one"), b"whoever reads this fails")
        await play.passes(3590)
        assert await lists(play) == []
        assert set((await bucket.load()).unreadable) == {task_id("one")}
        assert await kept(play) == (set(), set())


async def test_an_active_record_that_cannot_be_read_any_more_keeps_no_other_one_from_being_forgotten():
    async with a_play(chosen=settings(task_retention_h=1), a=FakeNode()) as play:
        for name in ("one", "two"):
            await completes(play, name)
        bucket = await play.bus.bucket(TASKS)
        assert isinstance(bucket, MemoryBucket)
        bucket.write_raw(task_id("one"), b"whoever reads this fails")
        play.clock.pass_s(3 * 3600)
        await play.scheduler.tasks.collector.forget_old()
        assert (play.has("one"), play.has("two")) == (True, False)
        assert set((await bucket.load()).unreadable) == {task_id("one")}


async def test_a_node_is_remembered_while_an_archived_task_lies_there():
    async with a_play(chosen=settings(task_retention_h=1), a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        assert await lists(play, node="a-3000") == ["one"]
        await play.takes_off("a")
        await play.sweeps()
        assert set(await play.recorded_nodes()) == {"a-3000"}
        await play.starts_up()
        await play.sweeps()
        assert set(await play.recorded_nodes()) == {"a-3000"}
        await play.passes(3600)
        await play.sweeps()
        assert await play.recorded_nodes() == {}


async def test_a_task_stays_active_until_its_nodes_have_been_told():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.goes_down("a")
        await play.cancels("one")
        await play.archives()
        assert await kept(play) == ({task_id("one")}, set())
        await play.comes_back("a")
        await play.sweeps()
        await play.archives()
        assert await kept(play) == (set(), {task_id("one")})


async def test_the_inputs_of_an_archived_task_may_go():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").fails(placed.node_task_id, "Cannot process dataset")
        await play.looks()
        await play.archives()
        assert (await shows(play, "one")).inputs_kept
        await play.loses_inputs("one")
        assert not (await shows(play, "one")).inputs_kept


async def test_a_scheduler_that_died_while_it_archived_a_task_has_lost_and_doubled_nothing():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        task, revision = play.task("one"), play.scheduler.state.index.revisions[task_id("one")]
        await (await play.bus.bucket(ENDED)).put(task.id, Ended(task=task, revision=revision))
        await play.starts_up()
        assert await lists(play) == ["one"]
        assert await kept(play) == ({task.id}, set())
        await play.archives()
        assert await kept(play) == (set(), {task.id})
        assert await lists(play) == ["one"]


async def test_a_scheduler_that_died_while_it_brought_a_task_back_shows_what_it_became():
    async with a_play(a=FakeNode()) as play:
        await completes(play, "one")
        await play.archives()
        ended = await (await play.bus.bucket(ENDED)).get(task_id("one"))
        assert ended is not None
        await play.restarts("one")
        await (await play.bus.bucket(ENDED)).put(task_id("one"), ended.value)
        await play.starts_up()
        assert (await shows(play, "one")).state is TaskState.RUNNING
        assert await lists(play) == ["one"]
        assert await kept(play) == ({task_id("one")}, set())


async def test_what_a_predecessor_archived_late_is_found_in_the_archive():
    bus = MemoryBus()
    async with a_play(bus, a=FakeNode()) as play:
        await completes(play, "one")
        predecessor = play.scheduler
        await play.starts_up()
        play.clock.pass_s(60)
        await predecessor.records.tasks.put_away(task_id("one"))
        await play.scheduler.records.tasks.read_again(task_id("one"))
        assert not play.has("one")
        assert await lists(play) == ["one"]
        assert await kept(play) == (set(), {task_id("one")})


async def test_a_console_that_could_not_be_fetched_keeps_its_tail_in_the_archive():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.looks()
        play.node("a").finishes(placed.node_task_id)
        play.node("a").refuses_output = True
        await play.looks()
        await play.archives()
        play.node("a").up = False
        task = await shows(play, "one")
        assert task.known is not None
        assert task.known.console_tail == ()
        console = await play.scheduler.tasks.reader.read_console(ReadConsole(task=task_id("one")))
        assert "done" in console.lines


def test_an_ended_record_repeats_neither_its_options_nor_its_console():
    options = (OptionValue("dsm", True),)
    known = LastKnown(code=StatusCode.COMPLETED, options=options, console_count=9, console_tail=("a",) * 9)
    task = Task(
        id=task_id("one"),
        name="one",
        state=TaskState.COMPLETED,
        upload_owner=UPLOAD_OWNER,
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
        options=options,
        known=known,
    )
    assert compacted(task).known == LastKnown(code=StatusCode.COMPLETED, console_count=9)
    other = msgspec.structs.replace(known, options=(OptionValue("dsm", False),))
    kept = msgspec.structs.replace(other, console_tail=(), options=(), options_changed=other.options)
    assert compacted(msgspec.structs.replace(task, known=other)).known == kept


async def test_records_of_the_version_before_are_read_and_written_anew():
    bus = MemoryBus()
    tasks = await bus.bucket(TASKS)
    for record in json.loads(OLD.read_text(encoding="utf-8")).values():
        await tasks.put(record["id"], msgspec.convert(record, Task))
    async with a_play(bus, a=FakeNode(slots=3), b=FakeNode()) as play:
        assert sorted(await lists(play)) == ["completed", "failed", "running", "waiting-1"]
        assert (await shows(play, "running")).known is not None
        await play.scheduler.tasks.archiver.renew()
        await play.archives()
        running = await tasks.get(task_id("running"))
        assert running is not None
        assert running.value.known is None
        assert running.revision == play.scheduler.state.index.revisions[running.value.id]
        assert (await shows(play, "running")).known is not None
        ended = {task_id("completed"), task_id("failed")}
        active, archived = await kept(play)
        assert archived == ended
        assert active == {task_id("running"), task_id("waiting-1")}
        for entry in (await (await bus.bucket(ENDED)).load()).values():
            assert entry.value.task.known is not None
            assert entry.value.task.known.console_tail == ()
        tail = unpacked(await (await bus.objects(CONSOLES, 1)).get(task_id("failed")) or b"")
        assert tail.lines[-1].startswith("[INFO]    line 29 of failed")
