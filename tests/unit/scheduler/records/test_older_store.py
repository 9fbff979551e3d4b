"""An older store under a scheduler that leads is given what the scheduler knows: no task goes back."""

import asyncio
from collections.abc import Mapping

from clusterodm.libs.common.messages.buckets import ENDED, TASKS
from clusterodm.libs.common.model.tasks import Task, TaskState
from tests.scheduling import FakeNode, Play, a_play, task_id
from tests.waiting import until


async def backed_up(play: Play) -> Mapping[str, Task]:
    """Copy the records of tasks."""
    return {key: entry.value for key, entry in (await (await play.bus.bucket(TASKS)).load()).items()}


async def completes(play: Play, name: str) -> None:
    """Have a task run to its end."""
    placed = await play.starts(name)
    play.node(placed.node.hostname).finishes(placed.node_task_id)
    await play.looks()


async def test_what_has_ended_is_written_over_an_older_record_when_it_is_put_away():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        backup = await backed_up(play)
        await completes(play, "one")
        (await play.bus.bucket(TASKS)).begin_anew(backup)
        await play.archives()
        await play.archives()
        assert not play.has("one")
        ended = await (await play.bus.bucket(ENDED)).get(task_id("one"))
        assert ended is not None
        assert ended.value.task.state is TaskState.COMPLETED


async def test_a_decision_goes_on_from_what_was_known_and_not_from_an_older_record():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        backup = await backed_up(play)
        await play.starts("one")
        (await play.bus.bucket(TASKS)).begin_anew(backup)
        await play.cancels("one")
        assert play.task("one").attempt is not None, "the cancel is one of a task that runs"
        assert (await backed_up(play))[task_id("one")] == play.task("one")


async def test_all_is_written_again_at_once_when_the_store_has_begun_anew():
    async with a_play(a=FakeNode(slots=2)) as play:
        await play.commits("one")
        await play.commits("two")
        backup = await backed_up(play)
        await completes(play, "one")
        await play.cancels("two")
        await play.commits("three")
        tasks, records = await play.bus.bucket(TASKS), play.scheduler.records

        def restored() -> bool:
            tasks.begin_anew(backup)
            return len(records.tasks.doubtful) == 3

        async with asyncio.TaskGroup() as loops:
            following = loops.create_task(records.sync.watch_others())
            await until(restored, what="the scheduler to hear of it")
            following.cancel()
        await play.sweeps()
        written = await backed_up(play)
        assert {name: written[task_id(name)].state for name in ("one", "two", "three")} == {
            "one": TaskState.COMPLETED,
            "two": TaskState.CANCELED,
            "three": TaskState.WAITING,
        }
        await play.starts_up()
        assert play.task("one").state is TaskState.COMPLETED
