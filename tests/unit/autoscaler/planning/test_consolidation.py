"""Idle machines: what is paid for is used, and of those that are idle by turns some go."""

from typing import Any

import pytest

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.orders import Size
from clusterodm.services.autoscaler.planning.core.consolidation import IdleCounts, never_needed
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.plan import plan

HOUR = 3_600_000
NOW = 1_000_000_000
SMALL = Size(slug="small", max_images=50)
S = MachineState


def idle(name: str, age_ms: int = HOUR // 2, idle_ms: int = 0, state: MachineState = S.IDLE, **more: Any) -> Machine:
    return Machine(
        id=MachineId(name), state=state, provider="test", size="small", max_images=50,
        requested_at_ms=NOW - age_ms, called_at_ms=NOW - age_ms, state_at_ms=NOW - idle_ms, **more,
    )  # fmt: skip


def destroyed(*machines: Machine, counts: dict[str, int] | None = None, waiting: int = 0, **changes: Any) -> list[str]:
    limits = ScalingLimits(**{"sizes": (SMALL,), "tasks_per_machine_count": 0, **changes})
    seen = PlanInput(
        now_ms=WallMs(NOW), machines=machines, history=MachineHistory(machines), loads={}, never_needed=counts or {},
        waiting=[WaitingTask(task=TaskId(f"t{number}"), images_count=1) for number in range(waiting)],
    )  # fmt: skip
    return [each.machine for each in plan(limits, seen).destroy]


@pytest.mark.parametrize(
    ("billed", "age_ms", "goes"),
    [
        pytest.param({}, HOUR // 2, True, id="by the second: at once"),
        pytest.param({"billed_unit_ms": HOUR}, HOUR // 2, False, id="half of the hour is left"),
        pytest.param({"billed_unit_ms": HOUR}, HOUR - 60_000, True, id="the hour is nearly over"),
        pytest.param({"billed_unit_ms": HOUR}, HOUR + 60_000, False, id="the next hour has begun"),
        pytest.param({"billed_unit_ms": 60_000}, 30_000, False, id="half of the minute is left"),
        pytest.param({"billed_least_ms": 600_000}, 300_000, False, id="less than the least was used"),
    ],
)
def test_an_idle_machine_goes_when_what_is_paid_is_nearly_used(billed: dict[str, int], age_ms: int, goes: bool):
    assert destroyed(idle("a", age_ms, **billed)) == (["a"] if goes else [])


def test_a_machine_that_has_had_its_tasks_goes_whatever_is_paid():
    done = idle("a", billed_unit_ms=HOUR, done=(TaskId("x"),))
    assert destroyed(done, tasks_per_machine_count=1) == ["a"]


def test_a_paid_machine_serves_the_next_task_and_no_other_is_rented():
    assert destroyed(idle("a", billed_unit_ms=HOUR), waiting=1) == []


def test_at_the_end_of_the_hour_a_machine_stays_for_its_idle_timeout_as_before():
    assert destroyed(idle("a", HOUR - 60_000, idle_ms=10_000, billed_unit_ms=HOUR), idle_timeout_s=60) == []


def test_as_many_go_as_were_never_needed_those_with_the_least_paid_time_first():
    machines = [idle("a"), idle("b", HOUR - 60_000, billed_unit_ms=HOUR), idle("c", billed_unit_ms=HOUR)]
    assert never_needed(machines, {"small": 2}, WallMs(NOW)) == {"a", "b"}
    assert destroyed(*machines, counts={"small": 2}, idle_timeout_s=600) == ["a", "b"]


def test_a_machine_on_its_way_is_never_one_of_them():
    assert never_needed([idle("a", state=S.CREATING)], {"small": 1}, WallMs(NOW)) == set()


def noted(window_s: int, *counts: tuple[int, int]) -> IdleCounts:
    found = IdleCounts(window_s)
    for at_s, count in counts:
        found.note([idle(f"m{number}") for number in range(count)], clocks_at(NOW + at_s * 1000).instant)
    return found


@pytest.mark.parametrize(
    ("counts", "at_s", "never"),
    [
        pytest.param([(0, 9), (30, 9)], 59, None, id="not seen for long enough"),
        pytest.param([(0, 9), (30, 8), (60, 9)], 60, 8, id="one was needed by turns"),
        pytest.param([(0, 9), (10, 2), (20, 9), (80, 9)], 80, 9, id="what is long ago does not count"),
        pytest.param([(0, 9), (10, 2), (20, 9), (70, 9)], 70, 2, id="what was a moment ago does"),
        pytest.param([(0, 3), (60, 0)], 60, None, id="all are needed now"),
    ],
)
def test_the_least_number_of_free_machines_of_a_while_counts(
    counts: list[tuple[int, int]], at_s: int, never: int | None
):
    assert noted(60, *counts).never_needed(clocks_at(NOW + at_s * 1000).instant).get("small") == never


def test_without_an_idle_timeout_there_is_nothing_to_count():
    assert noted(0, (0, 5), (100, 5)).never_needed(clocks_at(NOW + 100_000).instant) == {}
