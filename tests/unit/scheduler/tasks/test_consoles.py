"""The console of an ended task outlives its node."""

from clusterodm.libs.common.messages.buckets import CONSOLES
from clusterodm.libs.common.messages.tasks import ReadConsole
from clusterodm.libs.common.model.tasks import StatusCode, TaskState
from clusterodm.services.scheduler.tasks.core.observation import TAIL_COUNT, KeptConsole, packed, unpacked
from tests.scheduling import FakeNode, Play, a_play, task_id

LONG = TAIL_COUNT * 3


async def completes(play: Play, node: str = "a") -> None:
    """Run a task to its end, with a console that is longer than the kept tail."""
    await play.commits("one")
    placed = await play.starts("one")
    play.node(node).console[placed.node_task_id] = [f"line {number}" for number in range(LONG)]
    await play.looks()
    play.clock.pass_s(0.005)
    play.node(node).finishes(placed.node_task_id)
    await play.looks()


async def console(play: Play, from_line: int = 0) -> tuple[str, ...]:
    answer = await play.scheduler.tasks.reader.read_console(ReadConsole(task=task_id("one"), from_line=from_line))
    return answer.lines


async def test_the_whole_console_is_there_when_the_node_is_gone():
    async with a_play(a=FakeNode()) as play:
        await completes(play)
        with_node = await console(play)
        await play.goes_down("a")
        lines = await console(play)
        assert lines == with_node
        before = lines.index("line 0")
        assert lines[before : before + LONG + 2] == (*(f"line {number}" for number in range(LONG)), "done", lines[-1])
        assert await console(play, before + LONG - 1) == lines[-3:]
        assert await console(play, -2) == lines[-2:]
        assert await console(play, 100_000) == ()


async def test_it_survives_a_restart_of_the_scheduler():
    async with a_play(a=FakeNode()) as play:
        await completes(play)
        lines = await console(play)
        await play.starts_up()
        play.node("a").up = False
        assert await console(play) == lines


async def test_a_canceled_task_keeps_its_console():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").console[placed.node_task_id] = ["first", "second"]
        play.clock.pass_s(0.005)
        await play.cancels("one")
        await play.goes_down("a")
        lines = await console(play)
        assert lines[-3:] == ("first", "second", "Canceled")


async def test_without_the_store_the_tail_has_to_do_and_the_task_ends_all_the_same():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").console[placed.node_task_id] = [f"line {number}" for number in range(LONG)]
        await play.looks()
        play.clock.pass_s(0.005)
        play.node("a").finishes(placed.node_task_id)
        play.node("a").refuses_output = True
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED
        assert play.task("one").console_kept
        await play.goes_down("a")
        assert (await console(play, -2))[0] == "done"


async def test_a_restarted_task_shows_its_new_console():
    async with a_play(a=FakeNode()) as play:
        await completes(play)
        await console(play)
        await play.restarts("one")
        assert not play.task("one").console_kept
        placed = play.task("one").attempts[-1]
        play.node("a").console[placed.node_task_id] = ["anew"]
        play.clock.pass_s(0.005)
        play.node("a").says(placed.node_task_id, code=StatusCode.COMPLETED)
        await play.looks()
        await play.goes_down("a")
        assert "anew" in await console(play)
        assert "line 0" not in await console(play)


async def test_a_console_goes_with_its_task():
    async with a_play(a=FakeNode()) as play:
        await completes(play)
        consoles = await play.bus.objects(CONSOLES, 1)
        assert unpacked(await consoles.get(task_id("one")) or b"").lines[0] == "line 0"
        await play.removes("one")
        assert not play.has("one")
        assert await consoles.get(task_id("one")) is None


def test_a_packed_console_is_small_and_whole():
    lines = tuple(f"[INFO]    image {number} of 10000 has 8000 features ✓" for number in range(10_000))
    whole = KeptConsole(lines)
    assert unpacked(packed(whole)) == whole
    assert len(packed(whole)) < len("".join(lines)) / 5


def test_a_tail_knows_which_lines_are_missing_before_it():
    tail = KeptConsole(("8", "9"), before_count=8)
    assert unpacked(packed(tail)) == tail
    assert (tail.count, tail.is_whole) == (10, False)
    assert (tail.behind(0), tail.behind(9), tail.behind(10), tail.behind(-1)) == (("8", "9"), ("9",), (), ("9",))
