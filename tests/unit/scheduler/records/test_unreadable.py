"""What a later version wrote and this one cannot read is there: nothing is made of it, and nothing follows from it."""

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import TASKS
from clusterodm.libs.common.messages.tasks import ConfirmTasks, SeenTask, TaskRef
from clusterodm.libs.common.model.tasks import TaskState
from tests.scheduling import FakeNode, Play, a_play, task_id

LATER = b'{"id":"x","state":"as a later version calls it"}'


async def write_later(play: Play, name: str) -> None:
    """Have a later version write a task."""
    (await play.bus.bucket(TASKS)).write_raw(task_id(name), LATER)


async def test_one_record_that_cannot_be_read_keeps_no_scheduler_from_starting():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await write_later(play, "two")
        await play.starts_up()
        assert play.has("one")
        assert not play.has("two")


async def test_a_task_that_cannot_be_read_is_not_said_to_be_unknown():
    async with a_play(a=FakeNode()) as play:
        await write_later(play, "two")
        await play.starts_up()
        with pytest.raises(BusFailed, match="later version"):
            await play.asks("two")
        with pytest.raises(BusFailed, match="later version"):
            await play.scheduler.tasks.reader.get(TaskRef(task=task_id("two")))


async def test_a_task_that_cannot_be_read_is_not_made_anew():
    async with a_play(a=FakeNode()) as play:
        await write_later(play, "two")
        await play.starts_up()
        with pytest.raises(BusFailed, match="later version"):
            await play.commits("two")
        assert (await play.bus.bucket(TASKS)).read_raw(task_id("two")) == LATER


async def test_a_record_is_confirmed_only_at_its_last_revision():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        records = play.scheduler.records
        revision = records.tasks.record(task_id("one")).revision
        asked = ConfirmTasks(
            seen=(
                SeenTask(task=task_id("one"), revision=revision),
                SeenTask(task=task_id("none"), revision=7),
            )
        )
        confirm = play.scheduler.tasks.reader.confirm
        assert (await confirm(asked)).outdated == (task_id("none"),)
        of_before = SeenTask(task=task_id("one"), revision=revision, state=TaskState.RUNNING)
        assert (await confirm(ConfirmTasks(seen=(of_before,)))).outdated == (task_id("one"),)
        await play.cancels("one")
        assert (await confirm(asked)).outdated == (task_id("one"), task_id("none"))


async def test_a_write_whose_answer_was_lost_counts_when_a_record_is_confirmed():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        records, tasks = play.scheduler.records, await play.bus.bucket(TASKS)
        old = records.tasks.record(task_id("one"))
        entry = await tasks.get(task_id("one"))
        assert entry is not None
        new = await tasks.update(task_id("one"), entry.value, entry.revision)
        records.tasks.doubtful.add(task_id("one"))
        assert not await records.sync.is_current(task_id("one"), old.revision)
        assert await records.sync.is_current(task_id("one"), new)
        record = await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one")))
        assert (record.revision, record.task.state) == (new, TaskState.WAITING)
