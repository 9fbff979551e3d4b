"""A node that is there, and does not say how a task stands, does not keep it for ever."""

from clusterodm.libs.common.model.tasks import TaskState
from tests.scheduling import FakeNode, Play, a_play, settings

GRACE_S = settings().node_grace_s


async def passes(play: Play, seconds: float) -> None:
    """Let time pass in four steps, in each of which the nodes and their tasks are looked at."""
    for _ in range(4):
        await play.passes(seconds / 4)
        await play.probes()
        await play.looks()


async def test_a_task_of_which_its_node_says_nothing_that_can_be_read_is_begun_elsewhere_after_the_grace():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").talks_nonsense = True
        await play.looks()
        await passes(play, GRACE_S - 1)
        assert play.task("one").state is TaskState.RUNNING
        await play.adds("b", FakeNode())
        await passes(play, 4)
        assert play.task("one").state is TaskState.WAITING
        assert "has not said for 120 s how it stands (a:3000 answered nonsense)" in play.task("one").attempts[-1].reason
        assert (await play.is_placed("one")).node.hostname == "b"
        assert ("remove", placed.node_task_id) in play.node("a").acts


async def test_a_word_in_between_begins_the_time_anew():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        for _ in range(3):
            play.node("a").talks_nonsense = True
            await play.looks()
            await passes(play, GRACE_S - 1)
            play.node("a").talks_nonsense = False
            await play.looks()
        assert play.task("one").state is TaskState.RUNNING
        assert len(play.task("one").attempts) == 1


async def test_one_that_runs_again_is_not_given_up_for_what_was_not_said_before():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").talks_nonsense = True
        await play.looks()
        play.node("a").talks_nonsense = False
        play.node("a").fails(placed.node_task_id, "it broke")
        await play.looks()
        await play.passes(10 * GRACE_S)
        await play.probes()
        await play.restarts("one")
        play.node("a").talks_nonsense = True
        await play.looks()
        await play.looks()
        assert play.task("one").state is TaskState.RUNNING


async def test_after_a_look_in_vain_the_console_is_not_asked_for_so_that_a_long_one_hides_no_end():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        play.node("a").console_is_too_long = True
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert play.task("one").state is TaskState.RUNNING
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED
