"""The autoscaler's decisions over a whole burst of tasks: one hill of machines, no more than allowed, nothing for nothing."""

from itertools import pairwise
from math import ceil

import pytest

from benchmarks.simulate_autoscaler import SITUATIONS, Row, best_possible, turns
from benchmarks.simulation.fleet import Simulation, Situation, trace
from clusterodm.services.autoscaler.machine_life.history import DAY_MS, HOUR_MS

JOBS = trace(60, seed=3)
SMALL = (
    Situation(name="no limit, no failure"),
    Situation(name="8 machines", limits={"machines_count": 8}),
    Situation(name="8, used again", limits={"machines_count": 8, "tasks_per_machine_count": 0, "idle_timeout_s": 120}),
    Situation(name="8, 30 % fail, 5 % vanish", limits={"machines_count": 8}, failing_part=0.3, lost_part=0.05),
    Situation(name="quota of 10", quota=10),
    Situation(name="1 per hour to spend", limits={"max_hourly_cost": 1.0}),
    Situation(name="4 per day to spend", limits={"max_daily_cost": 4.0}),
)
PLAYED: dict[str, Row] = {}


def played(situation: Situation) -> Row:
    if situation.name not in PLAYED:
        done = Simulation(situation, JOBS, seed=3).run()
        PLAYED[situation.name] = Row(situation, done, best_possible(JOBS, situation))
    return PLAYED[situation.name]


every = pytest.mark.parametrize("situation", SMALL, ids=[each.name for each in SMALL])


@every
def test_the_number_of_machines_makes_one_hill_and_nothing_oscillates(situation: Situation):
    row = played(situation)
    hills_count = 1 if "day" not in situation.name else ceil(row.hours / 24)
    assert 1 <= row.turns_count <= 2 * hills_count - 1


@every
def test_waiting_tasks_only_become_fewer_but_for_those_whose_machine_vanished(situation: Situation):
    done = played(situation).done
    counts = [point.waiting_count for point in done.curve]
    assert sum(max(0, after - before) for before, after in pairwise(counts)) <= done.repeated_count


@every
def test_hardly_a_machine_is_created_for_nothing(situation: Situation):
    assert played(situation).done.unused_count <= 1


@every
def test_nothing_beats_the_best_possible_and_the_cost_stays_near_it(situation: Situation):
    row = played(situation)
    assert row.bound.hours <= row.hours
    assert 1.0 <= row.done.cost / row.bound.cost < (1.5 if situation.quota else 1.15)


def test_limits_of_machines_and_of_cost_per_hour_hold_at_every_moment():
    assert played(SMALL[1]).most_count == 8
    rates = []
    ended = played(SMALL[5]).done.ended
    for moment_ms in {machine.called_at_ms or 0 for machine in ended}:
        there = [each for each in ended if (each.called_at_ms or 0) <= moment_ms < (each.ended_at_ms or 0)]
        rates.append(sum(each.price_per_hour or 0 for each in there))
    assert 0.9 < max(rates) <= 1.0 + 1e-9


def test_the_cost_of_any_day_stays_within_the_budget():
    most = max(days(played(SMALL[6])))
    assert 3.5 < most < 4 * 1.1


def days(row: Row) -> list[float]:
    """What was spent in each stretch of 24 hours, one beginning every half hour."""
    found = []
    for ended_ms in range(row.done.begun_ms + DAY_MS, row.done.now_ms + DAY_MS, HOUR_MS // 2):
        begun_ms = ended_ms - DAY_MS
        spent = sum(
            (each.price_per_hour or 0)
            * max(0, min(each.ended_at_ms or 0, ended_ms) - max(each.called_at_ms or 0, begun_ms))
            for each in row.done.ended
        )
        found.append(spent / HOUR_MS)
    return found


@pytest.mark.parametrize(
    ("curve", "count"),
    [
        pytest.param([0, 5, 10, 10, 4, 0], 1, id="one hill"),
        pytest.param([0, 5, 10], 0, id="only up"),
        pytest.param([0, 10, 0, 10, 0], 3, id="two hills"),
        pytest.param([0, 10, 9, 10, 9, 10, 0], 1, id="noise"),
        pytest.param([10, 5, 0], 1, id="only down"),
    ],
)
def test_turns_of_a_curve_are_counted(curve: list[int], count: int):
    assert turns(curve, noise=2) == count


def test_the_table_has_every_situation_with_a_name_of_its_own():
    assert len({situation.name for situation in SITUATIONS}) == len(SITUATIONS) == 8
