"""When tasks should begin and end: the queue played ahead, and what is said of it."""

from itertools import chain

import msgspec
import pytest

from clusterodm.libs.common.clocks import Instant, Now, WallMs
from clusterodm.libs.common.messages.demand import MachineOutlook, SupplyChanged
from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, LastKnown, StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.run_times import Range, Workload
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.estimates import Estimates, clock_text, one_after_the_other
from clusterodm.services.scheduler.placement.core.forecast import QueueForecast
from clusterodm.services.scheduler.placement.core.slot_times import SlotTimes, held_of
from clusterodm.services.scheduler.registry.node_state import OurTasks
from clusterodm.services.scheduler.task_life.transitions import placed, started
from tests.scheduling import NOW, NOW_MS, UPLOAD_OWNER, FakeNode, a_play

MINUTE_MS = 60_000


def cluster(*nodes: str, minutes: float = 10.0, learned: int = 30, **facts: int | None) -> ClusterState:
    """Make a cluster whose tasks of a hundred images have taken so long each."""
    state = ClusterState()
    for name in nodes:
        node = state.nodes.put(Node(id=NodeId(name), hostname=name, port=3000), NOW.instant)
        state.nodes.hit(node, NodeInfo(**{"max_parallel_tasks": 1, **facts}), OurTasks(), NOW)  # type: ignore[arg-type]
    for _ in range(learned):
        state.slot_times.learn_time(Workload(images_count=100), "", round(minutes * MINUTE_MS))
    return state


def waits(state: ClusterState, name: str, number: int, **facts: object) -> Task:
    values = {
        "name": "n",
        "upload_owner": UPLOAD_OWNER,
        "created_at_ms": 1,
        "committed_at_ms": number,
        "images_count": 100,
    }
    task = Task(id=TaskId(name), **(values | facts))  # type: ignore[arg-type]
    state.index.put(task, 1, NOW)
    return task


def runs(state: ClusterState, name: str, node: str, since_min: float = 0.0) -> Task:
    at = Now(WallMs(NOW_MS - round(since_min * MINUTE_MS)), Instant(NOW.instant - 0.0) + -since_min * 60)
    task = waits(state, name, 0)
    found = state.nodes.get(NodeId(node))
    assert found
    sent = placed(task, found.record, NodeTaskId(name), at.wall_ms)
    state.index.put(sent, 1, at)
    run = started(sent, node, at.wall_ms)
    state.index.put(run, 1, at)
    return run


def forecasted(state: ClusterState, now: Now = NOW) -> Estimates:
    """Play the queue ahead, and make estimates of it."""
    forecast, estimates = QueueForecast(state, now.instant), Estimates(state)
    for _ in chain(forecast.walk(), estimates.take(forecast)):
        pass
    return estimates


def starts_min(state: ClusterState) -> dict[str, int]:
    """Play the queue ahead: in how many minutes each task should begin."""
    forecast = QueueForecast(state, NOW.instant)
    for _ in forecast.walk():
        pass
    return {str(task): round((found.start - NOW.instant) / 60) for task, found in forecast.found.items()}


def test_nothing_is_said_while_nothing_was_learned():
    state = cluster("a", learned=0)
    runs(state, "one", "a")
    waits(state, "two", 1)
    assert starts_min(state) == {}
    assert Estimates(state).of(state.index.tasks[TaskId("one")], NOW) is None


def test_nothing_is_said_before_as_many_were_completed_as_are_under_way():
    times = SlotTimes()
    load = Workload(images_count=100)
    for _ in range(9):
        times.learn_time(load, "", MINUTE_MS, under_way_count=10)
    assert not times.is_known
    times.learn_time(load, "", MINUTE_MS, under_way_count=10)
    assert times.is_known
    times.learn_time(load, "", MINUTE_MS, under_way_count=1000)
    assert times.is_known


def test_what_was_told_at_first_is_compared_with_what_happens():
    state = cluster("a")
    runs(state, "now", "a", since_min=4)
    waiting = waits(state, "one", 1)
    estimates = forecasted(state)
    told = estimates.of(waiting, NOW)
    assert told
    assert told.start_at_ms
    assert told.start_held_percent is None
    node = state.nodes.get(NodeId("a"))
    assert node
    begun = started(placed(waiting, node.record, NodeTaskId("one"), NOW.wall_ms), "a", NOW.wall_ms)
    late = NOW.instant + 3600.0
    before = repr(estimates.starts)
    estimates.task_changed(waiting, begun, late)
    assert repr(estimates.starts) != before
    ended = msgspec.structs.replace(begun, state=TaskState.COMPLETED)
    before = repr(estimates.ends_of_waiting)
    estimates.task_changed(begun, ended, late + 60.0)
    assert repr(estimates.ends_of_waiting) != before
    assert estimates.of(ended, NOW) is None


def test_nothing_is_remembered_of_a_task_that_is_gone():
    state = cluster("a")
    tasks = [waits(state, f"t{number}", number) for number in range(3)]
    estimates = forecasted(state)
    for task in tasks:
        estimates.task_changed(task, None, NOW.instant)
    assert estimates.remembered_count == 0


def test_tasks_begin_one_after_the_other_on_one_slot():
    state = cluster("a")
    runs(state, "now", "a", since_min=4)
    for number in (1, 2, 3):
        waits(state, f"t{number}", number)
    found = starts_min(state)
    assert list(found) == ["t1", "t2", "t3"]
    assert 5 <= found["t1"] <= 8
    assert found["t2"] - found["t1"] == pytest.approx(10, abs=2)


def test_two_slots_take_two_at_a_time():
    state = cluster("a", "b")
    for number in range(4):
        waits(state, f"t{number}", number)
    found = starts_min(state)
    assert (found["t0"], found["t1"]) == (0, 0)
    assert found["t2"] == found["t3"] > 5


def test_a_task_that_is_too_large_for_every_node_has_no_estimate():
    state = cluster("a", max_images=50)
    waits(state, "large", 1)
    waits(state, "small", 2, images_count=20)
    assert list(starts_min(state)) == ["small"]


def test_a_task_whose_proxy_is_away_has_no_estimate():
    state = cluster("a")
    waits(state, "far", 1, upload_owner=InstanceId("gone"))
    waits(state, "near", 2)
    state.proxies.away.add(InstanceId("gone"))
    assert list(starts_min(state)) == ["near"]


def test_a_node_that_takes_no_tasks_has_no_room():
    state = cluster("a", "b")
    node = state.nodes.get(NodeId("a"))
    assert node
    node.online = False
    waits(state, "one", 1)
    waits(state, "two", 2)
    assert starts_min(state)["two"] > 5


def test_a_machine_on_its_way_is_a_slot_from_when_it_should_be_there():
    state = cluster()
    coming = MachineOutlook(machine=MachineId("m"), size="s", price_per_hour=0.6, ready_in_ms=3 * MINUTE_MS)
    state.supply.take(SupplyChanged(at_ms=1, outlook=(coming,)), NOW.instant)
    waits(state, "one", 1)
    estimates = forecasted(state)
    expected = estimates.of(state.index.tasks[TaskId("one")], NOW)
    assert expected
    assert expected.start_at_ms
    assert expected.cost
    assert expected.start_at_ms[1] == pytest.approx(NOW_MS + 3 * MINUTE_MS, abs=MINUTE_MS)
    assert expected.cost[1] == pytest.approx(0.1, rel=0.3)


def test_an_owner_that_may_have_one_at_a_time_waits_for_itself_and_nobody_waits_for_it():
    state = cluster("a", "b")
    state.set_shares([TenantShare(owner=Owner("narrow"), tasks_at_once_count=1), TenantShare(owner=Owner("wide"))])
    for number in range(2):
        waits(state, f"narrow{number}", number, owner=Owner("narrow"))
    waits(state, "wide", 5, owner=Owner("wide"))
    found = starts_min(state)
    assert (found["narrow0"], found["wide"]) == (0, 0)
    assert found["narrow1"] > 5


def test_shares_say_whose_turn_it_is_and_thinking_ahead_changes_no_clock():
    state = cluster("a")
    state.set_shares([TenantShare(owner=Owner("heavy"), weight=3), TenantShare(owner=Owner("light"), weight=1)])
    for number in range(4):
        waits(state, f"light{number}", number, owner=Owner("light"))
    for number in range(4):
        waits(state, f"heavy{number}", 10 + number, owner=Owner("heavy"))
    before = repr(state.shares)
    found = starts_min(state)
    assert [name[:-1] for name in list(found)[:5]].count("heavy") >= 3
    assert repr(state.shares) == before
    assert starts_min(state) == found


def test_the_interval_holds_what_is_likely_and_ends_come_after_starts():
    state = cluster("a")
    runs(state, "now", "a", since_min=4)
    waits(state, "one", 1)
    estimates = forecasted(state)
    expected = estimates.of(state.index.tasks[TaskId("one")], NOW)
    assert expected
    assert expected.start_at_ms
    assert expected.end_at_ms
    assert list(expected.start_at_ms) == sorted(expected.start_at_ms)
    assert list(expected.end_at_ms) == sorted(expected.end_at_ms)
    assert all(start < end for start, end in zip(expected.start_at_ms, expected.end_at_ms, strict=True))
    assert expected.cost is None


def test_a_task_that_runs_for_longer_than_any_did_is_expected_to_go_on():
    state = cluster("a")
    task = runs(state, "one", "a", since_min=300)
    expected = Estimates(state).of(task, NOW)
    assert expected
    assert expected.end_at_ms
    assert expected.start_at_ms is None
    assert expected.end_at_ms[1] > NOW_MS + 30 * MINUTE_MS


@pytest.mark.parametrize("step_ms", [-86_400_000, 86_400_000])
def test_a_clock_that_is_set_changes_what_is_shown_and_nothing_that_is_learned(step_ms: int):
    state = cluster("a")
    task = runs(state, "one", "a", since_min=4)
    estimates = Estimates(state)
    later = Now(WallMs(NOW.wall_ms + step_ms), NOW.instant)
    before, after = estimates.of(task, NOW), estimates.of(task, later)
    assert before
    assert after
    assert before.end_at_ms
    assert after.end_at_ms
    assert [end - step_ms for end in after.end_at_ms] == list(before.end_at_ms)


@pytest.mark.parametrize(
    ("started_ms", "running_ms", "known_ms", "held_ms"),
    [
        pytest.param(1_000, 61_000, 600_000, 660_000, id="sent and run"),
        pytest.param(61_000, 1_000, 600_000, 600_000, id="the clock went back while it was sent"),
        pytest.param(1_000, 10**12, 600_000, 600_000 + 6 * 3_600_000, id="it went forward"),
        pytest.param(1_000, 61_000, -1, 139_000 + 60_000, id="its node does not say"),
        pytest.param(1_000, None, -1, 0, id="nobody knows"),
    ],
)
def test_how_long_a_slot_was_held(started_ms: int, running_ms: int | None, known_ms: int, held_ms: int):
    attempt = Attempt(
        number=1,
        node=NodeId("a"),
        node_task_id=NodeTaskId("x"),
        state=AttemptState.ENDED,
        started_at_ms=started_ms,
        running_at_ms=running_ms,
    )
    task = Task(
        id=TaskId("x"),
        name="",
        upload_owner=UPLOAD_OWNER,
        created_at_ms=0,
        committed_at_ms=0,
        images_count=1,
        ended_at_ms=200_000,
        known=LastKnown(code=StatusCode.COMPLETED, processing_time_ms=known_ms),
        attempts=(attempt,),
    )
    assert held_of(task, attempt) == held_ms


def test_starts_that_were_too_early_move_the_next_estimates():
    times = SlotTimes()
    before = times.start_range_s(600, 60)
    for _ in range(50):
        times.learn_start(Instant(0), 60, Instant(120))
    after = times.start_range_s(600, 60)
    assert after.likely == pytest.approx(720, abs=10)
    assert before.low < before.likely == pytest.approx(600, abs=30)


def test_what_is_late_is_expected_soon_and_not_in_the_past():
    found = SlotTimes().start_range_s(-1000, 10)
    assert found == Range(0, 0, 0) or found.low >= 0


def test_two_figures_one_after_the_other_are_less_wide_than_both_widths():
    both = one_after_the_other(Range(0, 10, 20), Range(0, 10, 20))
    assert both.likely == 20
    assert 0 < both.low < 10
    assert 30 < both.high < 40


def test_a_time_of_another_day_has_its_date():
    noon_ms = 1_700_000_000_000
    assert clock_text(noon_ms, WallMs(noon_ms)) == "22:13"
    assert clock_text(noon_ms + 86_400_000, WallMs(noon_ms)) == "2023-11-15 22:13"


async def test_a_user_is_told_when_to_expect_the_start_and_again_only_when_it_has_moved_by_much():
    async with a_play(a=FakeNode()) as play:
        state, story = play.scheduler.state, play.scheduler.placement
        for _ in range(30):
            state.slot_times.learn_time(Workload(images_count=100), "", 30 * MINUTE_MS)
        await play.commits("one", images=100)
        await play.asks("one")
        await play.commits("two", images=100)
        await story.forecaster.refresh()
        play.clock.pass_s(2)
        await story.explainer.explain()
        lines = [moment.text for moment in play.task("two").timeline]
        told = [line for line in lines if "expected to start at about" in line]
        assert len(told) == 1
        assert "lace 1, expected" in told[0]
        assert told[0].count(" UTC") == 1
        play.clock.pass_s(120)
        await story.forecaster.refresh()
        await story.explainer.explain()
        assert sum("expected to start" in moment.text for moment in play.task("two").timeline) == 1
        play.clock.pass_s(45 * 60)
        await story.forecaster.refresh()
        await story.explainer.explain()
        assert sum("xpected to start" in moment.text for moment in play.task("two").timeline) == 2


async def test_a_list_shows_what_is_expected_and_an_ended_task_nothing():
    async with a_play(a=FakeNode()) as play:
        state = play.scheduler.state
        for _ in range(30):
            state.slot_times.learn_time(Workload(images_count=100), "", 30 * MINUTE_MS)
        await play.commits("one", images=100)
        await play.asks("one")
        await play.commits("two", images=100)
        await play.scheduler.placement.forecaster.refresh()
        reader = play.scheduler.tasks.reader
        one, two = (reader.summary(play.task(name)) for name in ("one", "two"))
        assert one.expected
        assert one.expected.start_at_ms is None
        assert one.expected.end_at_ms
        assert two.expected
        assert two.expected.start_at_ms
        assert two.expected.end_at_ms
        ended = msgspec.structs.replace(play.task("one"), state=TaskState.COMPLETED)
        assert state
        assert play.scheduler.placement.placement_loop.expected(ended) is None


def test_a_long_queue_is_walked_in_pieces():
    state = cluster("a", "b", "c")
    for number in range(2_000):
        waits(state, f"t{number:05}", number)
    forecast = QueueForecast(state, NOW.instant)
    pieces = sum(1 for _ in forecast.walk())
    assert len(forecast.found) == 2_000
    assert pieces >= 2_000 // 20


def test_what_leaves_while_the_queue_is_walked_is_passed_over():
    state = cluster("a")
    for number in range(200):
        waits(state, f"t{number:03}", number)
    forecast = QueueForecast(state, NOW.instant)
    for number, _ in enumerate(forecast.walk()):
        if number == 4:
            for gone in range(150, 200):
                state.index.drop(TaskId(f"t{gone:03}"))
    assert len(forecast.found) == 150
