"""The search for the shortest makespan, its bounds, and traces played in simulated time."""

import itertools
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulation.deciders import Core, Foresight
from benchmarks.simulation.optimum import Best, Slot, best, bound, greedy, mean_flow_bound, slots_of
from benchmarks.simulation.outcome import middle, outcome
from benchmarks.simulation.trace import SYNTHETIC, Trace, TraceNode, TraceTask, read, written
from benchmarks.simulation.world import GRACE_S, play

works = st.integers(1, 9).map(float)
tasks_of = st.lists(
    st.builds(TraceTask, st.integers(0, 6).map(float), works, st.integers(1, 3)), min_size=1, max_size=5
)
nodes_of = st.lists(
    st.builds(TraceNode, st.just("n"), st.sampled_from([0.5, 1.0, 2.0]), st.just(1), st.sampled_from([None, 2])),
    min_size=0,
    max_size=2,
)


def a_trace(nodes: list[TraceNode], tasks: list[TraceTask]) -> Trace:
    """A trace that has a node for everything."""
    named = [TraceNode(f"n{at}", node.speed, 1, node.max_images) for at, node in enumerate(nodes)]
    return Trace("x", (TraceNode("all"), *named), tuple(sorted(tasks, key=lambda task: task.at_s)))


def by_hand(trace: Trace) -> float:
    """Try every choice of slots without any cleverness."""
    slots, shortest = slots_of(trace), math.inf
    for choice in itertools.product(range(len(slots)), repeat=len(trace.tasks)):
        ready = [slot.from_s for slot in slots]
        for at, task in zip(choice, trace.tasks, strict=True):
            ready[at] = slots[at].end_s(ready[at], task)
        shortest = min(shortest, max(ready))
    return shortest


@given(nodes_of, tasks_of)
def test_the_search_finds_what_trying_everything_finds(nodes: list[TraceNode], tasks: list[TraceTask]):
    trace = a_trace(nodes, tasks)
    found = best(trace)
    assert found.exact
    assert found.found_s == pytest.approx(by_hand(trace))


@given(nodes_of, tasks_of)
def test_no_bound_is_above_the_optimum_and_no_schedule_below(nodes: list[TraceNode], tasks: list[TraceTask]):
    trace = a_trace(nodes, tasks)
    shortest = by_hand(trace)
    assert bound(slots_of(trace), trace.tasks) <= shortest + 1e-6
    assert greedy(slots_of(trace), trace.tasks) >= shortest - 1e-6


@given(nodes_of, tasks_of)
def test_nobody_beats_the_optimum(nodes: list[TraceNode], tasks: list[TraceTask]):
    trace = a_trace(nodes, tasks)
    shortest = by_hand(trace) - 0.01
    for decider in (Core(), Foresight(), Foresight(longest_first=True)):
        assert play(trace, decider).makespan_s >= shortest


def test_a_slow_slot_is_left_empty_when_that_is_shorter():
    trace = Trace("x", (TraceNode("slow", 0.1), TraceNode("fast")), (TraceTask(0, 10), TraceTask(0, 10)))
    assert best(trace).found_s == 20


def test_a_task_does_not_run_where_it_has_too_many_images_or_not_enough_time():
    task = TraceTask(5, 10, images=100)
    assert Slot(1, limit=99).end_s(0, task) == math.inf
    assert Slot(1, until_s=14).end_s(0, task) == math.inf
    assert Slot(2).end_s(0, task) == 10


def test_a_schedule_of_somebody_else_narrows_what_is_known_but_never_below_the_bound():
    assert Best(8, 12).but_not_above(9) == Best(8, 9)
    assert Best(8, 12).but_not_above(7) == Best(8, 8)
    assert Best(8, 8).exact
    assert not Best(8, 9).exact


def test_the_mean_time_to_a_result_has_a_bound():
    trace = Trace("x", (TraceNode("n"),), (TraceTask(0, 2), TraceTask(0, 4)))
    assert mean_flow_bound(trace) == 4


def test_a_task_of_a_lost_node_begins_again_when_the_grace_is_over():
    trace = Trace("x", (TraceNode("first", until_s=50), TraceNode("other", from_s=60)), (TraceTask(0, 100),))
    played = play(trace, Core())
    assert played.attempts_count == 2
    assert played.node == {0: "other"}
    assert played.began_s[0] >= 50 + GRACE_S


def test_one_with_foresight_waits_for_the_fast_node_where_the_core_takes_the_slow_one():
    trace = Trace("x", (TraceNode("fast"), TraceNode("slow", 0.1)), (TraceTask(0, 100), TraceTask(0, 100)))
    assert play(trace, Core()).makespan_s == 1000
    assert play(trace, Foresight(spread=0)).makespan_s == 200


@pytest.mark.parametrize("make", [pytest.param(make, id=make.__name__) for make in SYNTHETIC[:-1]])
def test_a_synthetic_trace_is_the_same_for_the_same_seed_and_can_be_played(make: Callable[[random.Random], Trace]):
    trace = make(random.Random(3))
    assert trace == make(random.Random(3))
    assert len(play(trace, Core()).ended_s) == len(trace.tasks)


def test_a_trace_survives_being_written():
    trace = SYNTHETIC[0](random.Random(1))
    assert read(written(trace)) == trace


def test_a_trace_without_work_is_refused():
    with pytest.raises(ValueError, match="larger than 0"):
        read(written(Trace("x", (TraceNode("n"),), (TraceTask(0, 0),))))


def test_waiting_is_compared_between_owners_and_sizes():
    tasks = (TraceTask(0, 10, 1, "a"), TraceTask(0, 30, 1, "b"))
    one = outcome(play(Trace("x", (TraceNode("n"),), tasks), Core()), Best(40, 40))
    assert one.to_bound == 1
    assert one.wait_mean_s == 5
    assert one.by_owner == 2
    assert middle([one, one, one]) == one
