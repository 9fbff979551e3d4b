"""What nodes say of running tasks is kept apart from the tasks' own records, and written seldom."""

import msgspec
import pytest

from clusterodm.libs.common.messages.buckets import OBSERVATIONS, TASKS
from clusterodm.libs.common.messages.tasks import ListTasks, ReadConsole, TaskRef
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import LastKnown, Observation, StatusCode, Task, TaskState
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.scheduler.tasks.core.observation import is_due, shortened
from clusterodm.services.scheduler.tasks.handlers.observing import ObservationStore
from tests.scheduling import FakeNode, Play, a_play, task_id

LINES = [f"line {number}" for number in range(300)]
KNOWN = LastKnown(code=StatusCode.RUNNING, progress=10, processing_time_ms=1_000, console_count=5, console_tail=("a",))


async def runs(play: Play) -> None:
    await play.commits("one", options=(OptionValue("dsm", True),))
    placed = await play.starts("one")
    play.node("a").console[placed.node_task_id] = list(LINES)
    play.node("a").says(placed.node_task_id, progress=40.0, options=(OptionValue("dsm", True),))
    await play.looks()


async def written(play: Play) -> Observation | None:
    entry = await (await play.bus.bucket(OBSERVATIONS)).get(task_id("one"))
    return entry.value if entry else None


async def recorded(play: Play) -> tuple[Task, int]:
    entry = await (await play.bus.bucket(TASKS)).get(task_id("one"))
    assert entry is not None
    return entry.value, entry.revision


async def test_a_look_writes_nothing_into_the_record_of_a_running_task():
    async with a_play(a=FakeNode()) as play:
        await runs(play)
        task, revision = await recorded(play)
        assert (task.state, task.known) == (TaskState.RUNNING, None)
        play.clock.pass_s(60)
        play.node("a").says(task.attempts[-1].node_task_id, progress=70.0)
        await play.looks()
        assert (await recorded(play))[1] == revision


async def test_an_observation_is_small_and_written_no_more_often_than_every_ten_seconds():
    async with a_play(a=FakeNode()) as play:
        await runs(play)
        seen = await written(play)
        assert seen is not None
        assert (seen.known.progress, seen.known.options, seen.known.console_tail[-1]) == (40.0, (), "line 299")
        assert len(msgspec.json.encode(seen)) < 600
        play.node("a").says(seen.node_task_id, progress=50.0)
        play.clock.pass_s(5)
        await play.looks()
        assert await written(play) == seen
        play.clock.pass_s(6)
        await play.looks()
        later = await written(play)
        assert later is not None
        assert later.known.progress == 50.0


async def test_what_was_seen_is_shown_also_by_a_successor():
    async with a_play(a=FakeNode()) as play:
        await runs(play)
        await play.starts_up()
        play.node("a").up = False
        record = await play.scheduler.tasks.reader.get(TaskRef(task=task_id("one")))
        assert record.task.known is not None
        assert record.task.known.progress == 40.0
        (summary,) = (await play.scheduler.tasks.reader.list_tasks(ListTasks())).tasks
        assert summary.progress == 40.0
        console = await play.scheduler.tasks.reader.read_console(ReadConsole(task=task_id("one")))
        assert console.lines[-1] == "line 299"


async def test_what_was_seen_of_another_run_is_not_shown():
    async with a_play(a=FakeNode()) as play:
        await runs(play)
        before = await written(play)
        assert before is not None
        await play.cancels("one")
        await play.restarts("one")
        assert play.task("one").known is None
        await (await play.bus.bucket(OBSERVATIONS)).put(task_id("one"), before)
        await play.starts_up()
        assert play.task("one").known is None


async def test_what_was_seen_goes_some_time_after_the_run():
    async with a_play(a=FakeNode()) as play:
        await runs(play)
        play.node("a").finishes(play.task("one").attempts[-1].node_task_id)
        await play.looks()
        await play.scheduler.tasks.observer.forget_over()
        assert await written(play) is not None
        play.clock.pass_s(61)
        await play.scheduler.tasks.observer.forget_over()
        assert await written(play) is None


async def test_a_task_that_is_given_up_or_canceled_keeps_what_was_seen_of_it():
    async with a_play(a=FakeNode()) as play:
        await runs(play)
        await play.goes_down("a")
        task = await play.cancels("one")
        assert task.known is not None
        assert (task.known.progress, task.known.console_tail, task.console_kept) == (40.0, (), True)
        console = await play.scheduler.tasks.reader.read_console(ReadConsole(task=task_id("one")))
        assert "line 299" in console.lines


async def test_a_store_that_is_away_does_not_keep_tasks_from_being_looked_at():
    async with a_play(MemoryBus(), a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        play.bus.connected = False
        await play.looks()
        assert play.task("one").known is not None


@pytest.mark.parametrize(
    ("after", "since_s", "due"),
    [
        pytest.param({"progress": 20}, 1, False, id="soon"),
        pytest.param({"progress": 20}, 10, True, id="after a while"),
        pytest.param({"seen_at_ms": 5, "looks_count": 9}, 60, False, id="nothing new"),
        pytest.param({"code": StatusCode.QUEUED}, 0, True, id="it stands differently"),
        pytest.param({"console_count": 0, "console_tail": ()}, 0, True, id="it began anew"),
    ],
)
def test_an_observation_is_due_when_there_is_news(after: dict[str, object], since_s: float, due: bool):
    assert is_due(KNOWN, msgspec.structs.replace(KNOWN, **after), since_s) is due


def test_a_short_tail_is_short_whatever_the_lines_are():
    long = msgspec.structs.replace(KNOWN, console_tail=("x" * 500,) * 50)
    assert shortened(long) == ("x" * 500,)
    assert shortened(msgspec.structs.replace(KNOWN, console_tail=("y" * 5_000,))) == ("y" * 800,)
    assert len(shortened(msgspec.structs.replace(KNOWN, console_tail=("z",) * 50))) == 10


async def test_a_scheduler_begins_without_what_was_seen_when_that_cannot_be_read():
    async with a_play(a=FakeNode()) as play:
        await runs(play)
        play.bus.connected = False
        observer = await ObservationStore.open(play.bus, play.scheduler.records)
        play.clock.pass_s(3600)
        await observer.forget_over()
