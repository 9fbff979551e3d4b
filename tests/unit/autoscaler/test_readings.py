"""What is counted, and what a scrape reads, of machines."""

from collections.abc import Iterable
from typing import Any

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.telemetry.metrics import Gauge, Reading
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.metrics import (
    BUDGET,
    BUDGET_LEFT,
    COST_DAY,
    COST_HOUR,
    FAILURES,
    MACHINES,
    MACHINES_LIMIT,
    OLDEST,
    READY_SECONDS,
    STATE_AGE,
    STEP_SECONDS,
    UNREMOVABLE,
)
from clusterodm.services.autoscaler.readings import Observed, readings
from clusterodm.services.autoscaler.records import count_step

NOW_MS = WallMs(1_700_000_000_000)
MINUTE_MS = 60_000


def machine(name: str, state: MachineState, **more: Any) -> Machine:
    given = {"requested_at_ms": NOW_MS - 30 * MINUTE_MS, "price_per_hour": 2.0, "provider": "hetzner"}
    return Machine(id=MachineId(name), state=state, **given | more)


def seen(*machines: Machine, **more: Any) -> list[Reading]:
    known = {"demand": None, "unmet_count": 0, "paused": False, "trouble": False, "limits": ScalingLimits(sizes=())}
    return list(
        readings(
            Observed(providers=("hetzner",), machines=machines, history=MachineHistory(machines), **known | more),
            NOW_MS,
        )
    )


def said(found: Iterable[Reading], metric: Gauge) -> dict[str, float]:
    return {"/".join(reading.of): float(reading.value) for reading in found if reading.metric is metric}


def test_every_state_is_told_also_where_no_machine_is_in_it():
    counts = said(seen(machine("a", MachineState.BUSY)), MACHINES)
    assert counts.pop("busy/hetzner") == 1
    assert "creating/hetzner" in counts
    assert "gone/hetzner" not in counts
    assert set(counts.values()) == {0}


def test_ages_are_since_the_call_and_since_the_state():
    found = seen(
        machine("a", MachineState.SETTING_UP, called_at_ms=NOW_MS - 20 * MINUTE_MS, state_at_ms=NOW_MS - 5 * MINUTE_MS),
        machine("b", MachineState.SETTING_UP, called_at_ms=NOW_MS - 9 * MINUTE_MS, state_at_ms=NOW_MS - 8 * MINUTE_MS),
    )
    assert said(found, OLDEST)["setting-up"] == 20 * 60
    assert said(found, STATE_AGE)["setting-up"] == 8 * 60
    assert said(found, STATE_AGE)["busy"] == 0


def test_cost_is_told_by_provider_and_budgets_where_there_are_any():
    limits = ScalingLimits(sizes=(), max_hourly_cost=10.0, max_daily_cost=20.0, machines_count=4)
    found = seen(
        machine("a", MachineState.BUSY, called_at_ms=NOW_MS - 60 * MINUTE_MS),
        machine("b", MachineState.IDLE, called_at_ms=NOW_MS - 30 * MINUTE_MS, provider="aws", price_per_hour=4.0),
        limits=limits,
    )
    assert said(found, COST_HOUR) == {"hetzner": 2.0, "aws": 4.0}
    assert said(found, COST_DAY) == {"": 4.0}
    assert said(found, BUDGET) == {"hour": 10.0, "day": 20.0}
    assert said(found, BUDGET_LEFT) == {"hour": 4.0, "day": 10.0}, "of a day each machine has an hour to come"
    assert said(found, MACHINES_LIMIT) == {"": 4}
    assert not said(seen(), BUDGET_LEFT)


def test_what_cannot_be_destroyed_is_counted():
    stuck = machine("a", MachineState.DESTROYING, removal_failure="403")
    assert said(seen(stuck, machine("b", MachineState.DESTROYING)), UNREMOVABLE) == {"": 1}


@pytest.mark.parametrize("trouble", ["out-of-capacity", ""])
def test_steps_and_failures_are_counted_as_they_happen(trouble: str):
    creating = machine("a", MachineState.CREATING, state_at_ms=NOW_MS - MINUTE_MS)
    failed = machine("a", MachineState.DESTROYING, state_at_ms=NOW_MS, failure="no room", trouble=trouble)
    steps, failures = STEP_SECONDS.of("creating"), ("hetzner", trouble or "unknown")
    total, before = steps.total, FAILURES.values.get(failures, 0)
    count_step(creating, failed)
    count_step(failed, machine("a", MachineState.FAILED, state_at_ms=NOW_MS, failure="no room", trouble=trouble))
    assert steps.total == total + 60
    assert FAILURES.values[failures] == before + 1, "its end is no second failure"


def test_the_time_to_ready_is_from_the_decision_on():
    total = READY_SECONDS.of().total
    before = machine("a", MachineState.SETTING_UP, state_at_ms=NOW_MS - MINUTE_MS)
    count_step(before, machine("a", MachineState.ONLINE, state_at_ms=NOW_MS))
    assert READY_SECONDS.of().total == total + 30 * 60
