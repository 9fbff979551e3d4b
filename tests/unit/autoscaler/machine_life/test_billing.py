"""How much of a machine's time is billed: by what it used, by started units, and at least so much."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.machine_life.life import billed_ms, leaves_paid_time, paid_ms

BEGUN = 1_000_000
HOUR = 3_600_000


def machine(**facts: Any) -> Machine:
    return Machine(
        **{"id": MachineId("m"), "provider": "test", "requested_at_ms": BEGUN, "called_at_ms": BEGUN} | facts
    )


@pytest.mark.parametrize(
    ("facts", "used_ms", "billed"),
    [
        pytest.param({}, 61_500, 61_500, id="what it used"),
        pytest.param({"billed_least_ms": 60_000}, 1000, 60_000, id="less than the least"),
        pytest.param({"billed_least_ms": 60_000}, 61_000, 61_000, id="more than the least"),
        pytest.param({"billed_unit_ms": 60_000}, 0, 60_000, id="the first minute from its first moment on"),
        pytest.param({"billed_unit_ms": 60_000}, 60_000, 60_000, id="a whole minute"),
        pytest.param({"billed_unit_ms": 60_000}, 60_001, 120_000, id="a minute that has begun"),
        pytest.param({"billed_unit_ms": HOUR}, HOUR + 1, 2 * HOUR, id="an hour that has begun"),
        pytest.param({"billed_unit_ms": 60_000, "billed_least_ms": 600_000}, 1, 600_000, id="both"),
        pytest.param({"billed_unit_ms": HOUR, "never_was": True}, 9, 0, id="nothing came of it"),
        pytest.param({"billed_unit_ms": HOUR, "called_at_ms": None}, 9, 0, id="nobody was called"),
        pytest.param({"billed_unit_ms": HOUR}, -HOUR, HOUR, id="the clock went back"),
    ],
)
def test_time_is_billed_as_the_size_says(facts: dict[str, Any], used_ms: int, billed: int):
    assert billed_ms(machine(**facts), BEGUN + used_ms) == billed
    ended = machine(**{"state": MachineState.GONE, "ended_at_ms": BEGUN + used_ms} | facts)
    assert billed_ms(ended, BEGUN + used_ms + 99 * HOUR) == billed, "what has ended costs no more"


@pytest.mark.parametrize(
    ("unit_ms", "used_ms", "stays"),
    [
        pytest.param(0, 10, False, id="every moment costs"),
        pytest.param(HOUR, 10 * 60_000, True, id="most of the hour is left"),
        pytest.param(HOUR, HOUR - 120_001, True, id="more than it takes to go"),
        pytest.param(HOUR, HOUR - 120_000, False, id="no more than it takes to go"),
        pytest.param(HOUR, HOUR + 1, True, id="the next hour has begun"),
        pytest.param(60_000, 49_999, True, id="a minute, most of it left"),
        pytest.param(60_000, 50_000, False, id="a minute, its last sixth"),
    ],
)
def test_a_machine_may_stay_while_what_is_paid_lasts(unit_ms: int, used_ms: int, stays: bool):
    assert leaves_paid_time(machine(billed_unit_ms=unit_ms), WallMs(BEGUN + used_ms)) is stays


@given(
    unit_ms=st.sampled_from([0, 60_000, HOUR]),
    least_ms=st.integers(0, 2 * HOUR),
    used_ms=st.integers(0, 5 * HOUR),
    more_ms=st.integers(0, 5 * HOUR),
)
def test_a_bill_covers_what_was_used_and_never_shrinks(unit_ms: int, least_ms: int, used_ms: int, more_ms: int):
    known = machine(billed_unit_ms=unit_ms, billed_least_ms=least_ms)
    now, later = WallMs(BEGUN + used_ms), WallMs(BEGUN + used_ms + more_ms)
    billed = billed_ms(known, now)
    assert max(used_ms, least_ms) <= billed < max(used_ms, least_ms, 1) + max(unit_ms, 1)
    assert billed % (unit_ms or 1) == 0
    assert billed <= billed_ms(known, later)
    assert used_ms + paid_ms(known, now) == billed
    assert billed_ms(msgspec.structs.replace(known, ended_at_ms=now), later) == billed
