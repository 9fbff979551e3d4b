"""The wall clock steps while the scheduler runs: nothing that is a matter of time notices it."""

import pytest

from clusterodm.libs.common.console import own_lines
from clusterodm.libs.common.messages.placement import Placed, Waiting
from clusterodm.libs.common.model.tasks import Cleanup, StatusCode, TaskState
from clusterodm.libs.common.process.loops import background
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from tests.scheduling import FakeNode, Play, a_play
from tests.waiting import until

HOUR_S = 3600.0
STEPS = [pytest.param(-2 * HOUR_S, id="back"), pytest.param(2 * HOUR_S, id="forward")]


@pytest.mark.parametrize("step_s", STEPS)
async def test_nodes_are_probed_whatever_the_wall_clock_does(step_s: float):
    async with a_play(a=FakeNode()) as play, background(play.scheduler.nodes.prober.run, "probe"):
        node = play.node("a")
        asked_count = node.asked_count
        await until(lambda: node.asked_count > asked_count)
        play.clock.step_wall_s(step_s)
        asked_again_count = node.asked_count
        play.clock.pass_s(play.settings.probe_every_s * 1.3)
        await until(lambda: node.asked_count > asked_again_count)


@pytest.mark.parametrize("step_s", STEPS)
async def test_running_tasks_are_looked_at_whatever_the_wall_clock_does(step_s: float):
    async with a_play(a=FakeNode()) as play, background(play.scheduler.tasks.tracker.run, "track"):
        await play.commits("one")
        placed = await play.starts("one")
        play.clock.pass_s(play.settings.poll_first_s)
        await until(lambda: play.task("one").known is not None)
        play.clock.step_wall_s(step_s)
        play.node("a").finishes(placed.node_task_id)
        play.clock.pass_s(play.settings.poll_slow_s)
        await until(lambda: play.task("one").state is TaskState.COMPLETED)


@pytest.mark.parametrize("step_s", STEPS)
async def test_no_node_is_silent_because_the_wall_clock_stepped(step_s: float):
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.goes_down(placed.node.hostname)
        play.clock.step_wall_s(step_s)
        await play.passes(play.settings.node_grace_s - 1)
        assert play.task("one").state is TaskState.RUNNING
        await play.passes(2)
        assert play.task("one").state is TaskState.WAITING


@pytest.mark.parametrize("step_s", STEPS)
async def test_an_upload_owner_has_its_time_whatever_the_wall_clock_does(step_s: float):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.is_placed("one")
        await play.renews("one", 1)
        play.clock.step_wall_s(step_s)
        await play.passes(play.settings.forward_silence_s - 1)
        assert play.scheduler.state.index.forwarding[play.task("one").id].uncertain_since is None
        await play.passes(2)
        assert "silent" in play.task("one").attempts[-1].reason


@pytest.mark.parametrize("step_s", STEPS)
async def test_a_drain_ends_when_its_time_has_passed_and_not_when_a_clock_says_so(step_s: float):
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        waits_on(play, placed.node.hostname)
        await play.drains(placed.node.hostname, deadline_s=100)
        await play.sweeps()
        play.clock.step_wall_s(step_s)
        await play.passes(98)
        assert play.task("one").state is TaskState.RUNNING
        await play.passes(3)
        assert play.task("one").attempts[-1].reason == "the node is being drained"


async def test_a_drain_that_is_read_with_a_clock_of_long_ago_takes_no_longer_than_it_was_given():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        waits_on(play, placed.node.hostname)
        await play.drains(placed.node.hostname, deadline_s=100)
        play.clock.step_wall_s(-10 * 365 * 24 * HOUR_S)
        await play.starts_up()
        await play.probes()
        await play.sweeps()
        await play.passes(101)
        assert play.task("one").attempts[-1].reason == "the node is being drained"


def waits_on(play: Play, node: str) -> None:
    """Let the node's tasks wait for their turn there."""
    for task in play.node(node).tasks:
        play.node(node).says(task, code=StatusCode.QUEUED)


def test_commits_stay_in_order_when_the_clock_goes_back():
    state = ClusterState()
    play_ms = [1_000, 2_000, 500, 501, 3_000]
    given = [state.index.next_commit_ms(now) for now in play_ms]
    assert given == sorted(set(given))


async def test_commits_stay_in_order_across_a_take_over_by_a_host_whose_clock_is_behind():
    async with a_play(a=FakeNode(up=False)) as play:
        first = await play.commits("first")
        play.clock.step_wall_s(-2 * HOUR_S)
        await play.starts_up()
        second = await play.commits("second")
        assert second.committed_at_ms > first.committed_at_ms
        assert list(play.scheduler.state.index.waiting) == [first.id, second.id]


@pytest.mark.parametrize("step_s", STEPS)
async def test_a_node_is_not_forgotten_by_a_clock_while_an_upload_owner_may_still_commit_there(step_s: float):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.is_placed("one")
        await play.cancels("one")
        await play.sweeps()
        play.clock.step_wall_s(step_s)
        await play.passes(play.settings.forward_silence_s - 1)
        assert play.task("one").attempts[-1].cleanup is Cleanup.REMOVE
        await play.passes(2)
        assert play.task("one").attempts[-1].cleanup is Cleanup.NONE


@pytest.mark.parametrize(
    ("step_s", "kept_s"),
    [
        pytest.param(10 * 365 * 24 * HOUR_S, 120 * HOUR_S, id="forward: no sooner"),
        pytest.param(-2 * HOUR_S, 122 * HOUR_S, id="back: later, by the step"),
    ],
)
async def test_records_of_ended_tasks_never_go_early_because_the_wall_clock_stepped(step_s: float, kept_s: float):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.cancels("one")
        play.clock.step_wall_s(step_s)
        await play.passes(kept_s - 1)
        assert play.has("one")
        await play.passes(2)
        assert not play.has("one")


async def test_a_task_waits_no_longer_for_its_next_attempt_when_the_clock_goes_back():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.is_placed("one")
        await play.reports_failed("one", placed.attempt)
        play.clock.step_wall_s(-2 * HOUR_S)
        assert isinstance(await play.asks("one"), Waiting)
        await play.passes(1.1)
        assert isinstance(await play.asks("one"), Placed)


async def test_why_a_task_waits_is_told_again_when_the_clock_has_gone_back():
    async with a_play(a=FakeNode(up=False)) as play:
        await play.commits("one")
        play.clock.step_wall_s(-2 * HOUR_S)
        await play.asks("one")
        play.state_of("a").trouble = "refused"
        lines = len(play.task("one").timeline)
        await play.comes_back("a")
        await play.locks("a")
        await play.passes(31)
        await play.asks("one")
        assert len(play.task("one").timeline) > lines


@pytest.mark.parametrize("step_s", STEPS)
async def test_no_line_of_a_console_moves_when_the_wall_clock_steps_between_two_of_them(step_s: float):
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.reports_failed("one", (await play.is_placed("one")).attempt)
        play.clock.step_wall_s(step_s)
        await play.passes(2)
        placed = await play.starts("one")
        before, after = own_lines(play.task("one"))
        assert before == tuple(moment.text for moment in play.task("one").timeline)
        play.clock.step_wall_s(step_s)
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert own_lines(play.task("one")) == (before, ("Completed on a:3000",))
        assert not after
