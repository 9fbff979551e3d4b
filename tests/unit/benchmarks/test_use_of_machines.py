"""Small tasks by billing and by use of machines: what is counted is what the provider bills, and waiting saves what it should."""

import pytest

from benchmarks.simulate_use import BURST, HOUR, MIXED, SECOND, USES, Row, Use, least_cost, play

PLAYED: dict[str, Row] = {}
SEEDS = (5,)
SAVED = 0.6
"""At least so much less has to be paid."""


def fewer(use: Use) -> Use:
    """Make the same row with a fifth of its tasks."""
    return Use(
        use.tasks, lambda seed: use.jobs(seed)[:: 5], use.billing, use.used, use.limits, use.sizes, use.lost_part,
        {name: count // 5 for name, count in use.quotas.items()} if use.quotas else None,
    )  # fmt: skip


SMALL = tuple(fewer(use) for use in USES)
every = pytest.mark.parametrize("use", SMALL, ids=[f"{use.tasks}, {use.billing}, {use.used}" for use in SMALL])


def played(use: Use) -> Row:
    name = f"{use.tasks} {use.billing} {use.used}"
    if name not in PLAYED:
        PLAYED[name] = play(use, SEEDS)
    return PLAYED[name]


@every
def test_the_cost_that_is_counted_is_what_the_provider_bills(use: Use):
    (done,) = played(use).done
    assert done.cost == pytest.approx(done.caused)


@every
def test_every_task_ends_and_no_machine_is_left(use: Use):
    (done,) = played(use).done
    assert len(done.waits_s) == len(use.jobs(5))
    assert all(machine.state.ended for machine in done.ended)


@every
def test_nobody_falls_below_what_is_best(use: Use):
    row = played(use)
    assert row.best == least_cost(use.jobs(5), use)
    assert row.cost >= row.best


def found(tasks: str, billing: str, used: str) -> Row:
    return played(next(use for use in SMALL if (use.tasks, use.billing) == (tasks, billing) and used in use.used))


@pytest.mark.parametrize("billing", [SECOND, HOUR])
def test_waiting_for_machines_that_get_free_saves_most_of_what_short_tasks_cost(billing: str):
    each, waiting = found(BURST, billing, "for each"), found(BURST, billing, "600")
    assert waiting.cost < each.cost * (1 - SAVED / 2)
    assert max(waiting.done[0].waits_s) < 600 + 300, "a start after the wait is over"


def test_interrupted_spot_machines_cost_less_than_others():
    assert found(MIXED, SECOND, "spot").cost < found(MIXED, SECOND, "for each").cost / 2


def test_whoever_was_interrupted_once_ends_on_a_machine_that_stays():
    (done,) = found(MIXED, SECOND, "then on demand").done
    stay = [machine for machine in done.ended if not machine.spot and machine.created_at_ms is not None]
    assert len(stay) == done.repeated_count > 0


def test_what_the_cheaper_of_two_clouds_has_no_room_for_is_rented_at_the_other():
    (done,) = found(MIXED, SECOND, "two clouds, the cheaper has 20").done
    came = [machine.provider for machine in done.ended if machine.created_at_ms is not None]
    assert {*came} == {"first", "second"}
