"""Intervals that are as wide as it takes for as many to hold as is claimed."""

import random

import pytest

from clusterodm.libs.common.run_times import Range
from clusterodm.services.scheduler.placement.core.calibration import COUNTED, FEWEST, LEAST, MOST, Calibration

TOLD = Range(10.0, 20.0, 40.0)


def held_of(calibration: Calibration, errors: list[float], found: Range = TOLD) -> float:
    """Tell the same again and again, and see what part of what happens lies within."""
    held = 0
    for error in errors:
        told = calibration.widened(found)
        held += told.low <= found.likely + error <= told.high
        calibration.happened(told, found.likely + error)
    return held / len(errors)


@pytest.mark.parametrize(
    ("mean", "spread"),
    [
        pytest.param(0, 5, id="errors are smaller than was thought"),
        pytest.param(0, 20, id="they are larger"),
        pytest.param(15, 15, id="they are to one side"),
        pytest.param(-8, 5, id="to the other one"),
    ],
)
def test_as_many_hold_as_is_claimed_whatever_errors_are_like(mean: float, spread: float) -> None:
    chance = random.Random(7)
    assert held_of(Calibration(), [chance.gauss(mean, spread) for _ in range(3000)]) >= 0.78


def test_what_changes_is_followed() -> None:
    chance = random.Random(7)
    calibration = Calibration()
    held_of(calibration, [chance.gauss(0, 8) for _ in range(500)])
    held_of(calibration, [chance.gauss(25, 25) for _ in range(200)])
    assert held_of(calibration, [chance.gauss(25, 25) for _ in range(2000)]) >= 0.77


def test_a_miss_moves_its_own_end_alone() -> None:
    calibration = Calibration()
    before = calibration.widened(TOLD)
    calibration.happened(TOLD, 100)
    after = calibration.widened(TOLD)
    assert after.high > before.high
    assert after.likely == TOLD.likely
    assert after.low > before.low  # that end held


def test_intervals_are_wide_while_little_is_known() -> None:
    assert Calibration().widened(TOLD).high > TOLD.high


@pytest.mark.parametrize("value", [0.0, 20.0, 1000.0])
def test_no_row_of_luck_makes_intervals_useless(value: float) -> None:
    calibration = Calibration()
    for _ in range(1000):
        calibration.happened(TOLD, value)
    low, likely, high = calibration.widened(TOLD)
    assert likely - low >= LEAST * 10 * 0.99
    assert high - likely <= MOST * 20 * 1.01


def test_how_many_held_is_said_of_the_last_ones_once_there_are_enough() -> None:
    calibration = Calibration()
    for number in range(FEWEST - 1):
        calibration.happened(TOLD, 20 if number % 2 else 1000)
    assert calibration.held_percent is None
    for number in range(COUNTED):
        calibration.happened(TOLD, 1000 if number % 4 == 0 else 20)
    assert calibration.held_percent == 75
