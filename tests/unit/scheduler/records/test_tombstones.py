"""Removal is said, never inferred: what the scheduler answers of tasks that it does not, or no longer, know."""

import pytest

from clusterodm.libs.common.errors import NotFound, Refused, Removed
from clusterodm.libs.common.messages.buckets import TASKS, TOMBSTONES
from clusterodm.libs.common.messages.placement import NotWaiting
from clusterodm.libs.common.messages.tasks import TaskRef
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import Owner
from tests.scheduling import FakeNode, Play, a_play, settings, task_id

ALICE, BOB = Owner("alice"), Owner("bob")


async def asks_for(play: Play, name: str, owner: Owner | None = None) -> None:
    await play.scheduler.tasks.reader.get(TaskRef(task=task_id(name), owner=owner))


async def test_a_task_that_nobody_knows_is_unknown_and_not_removed():
    async with a_play() as play:
        with pytest.raises(NotFound) as error:
            await asks_for(play, "one")
        assert type(error.value) is NotFound
        assert await play.asks("one") == NotWaiting(state=None, removed=False)


async def test_a_removed_task_is_said_to_be_removed_after_its_record_is_gone():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.removes("one")
        assert not play.has("one")
        await play.starts_up()
        with pytest.raises(Removed):
            await asks_for(play, "one")
        with pytest.raises(Removed):
            await play.loses_inputs("one")
        assert await play.asks("one") == NotWaiting(state=None, removed=True)


async def test_a_removed_task_is_said_to_be_removed_while_its_node_has_still_to_be_told():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.goes_down("a")
        await play.removes("one")
        assert play.has("one")
        with pytest.raises(Removed):
            await asks_for(play, "one")
        assert await play.asks("one") == NotWaiting(state=None, removed=True, untold=True)
        await play.comes_back("a")
        await play.passes(1)
        assert await play.asks("one") == NotWaiting(state=None, removed=True)


async def test_the_end_of_its_retention_is_said_too():
    async with a_play(chosen=settings(task_retention_h=1), a=FakeNode()) as play:
        await play.commits("one")
        await play.cancels("one")
        await play.passes(3601)
        assert not play.has("one")
        with pytest.raises(Removed):
            await asks_for(play, "one")


async def test_another_owner_does_not_learn_that_a_task_was_removed():
    async with a_play() as play:
        await play.commits("one", owner=ALICE)
        await play.removes("one")
        with pytest.raises(NotFound) as error:
            await asks_for(play, "one", BOB)
        assert type(error.value) is NotFound
        with pytest.raises(Removed):
            await asks_for(play, "one", ALICE)


async def test_a_tombstone_is_there_before_the_record_is_gone():
    async with a_play() as play:
        await play.commits("one")
        tasks, tombstones = await play.bus.bucket(TASKS), await play.bus.bucket(TOMBSTONES)
        async with tasks.watch() as changes:
            assert (await anext(changes)) is not None
            await play.removes("one")
            async for change in changes:
                if change is not None and change.value is None:
                    break
        told = await tombstones.get(task_id("one"))
        assert told is not None
        assert told.value.reason == "removed"


async def test_a_record_that_disappears_without_a_tombstone_is_written_again():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await (await play.bus.bucket(TASKS)).delete(task_id("one"))
        await play.starts("one")
        assert play.task("one").state is TaskState.RUNNING
        await play.starts_up()
        assert play.task("one").state is TaskState.RUNNING


async def test_a_record_that_another_scheduler_deleted_with_a_tombstone_stays_away():
    async with a_play() as play:
        await play.commits("one")
        old = play.scheduler
        await play.starts_up()
        await play.removes("one")
        play.scheduler = old
        with pytest.raises((NotFound, Refused)):
            await play.cancels("one")
        assert not play.has("one")
        assert await (await play.bus.bucket(TASKS)).load() == {}
