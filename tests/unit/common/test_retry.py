"""libs/common/retry.py: when something is tried again."""

import pytest

from clusterodm.libs.common.retry import RetryPolicy

POLICY = RetryPolicy(tries_count=5, within_s=100.0, first_s=1.0, longest_s=5.0)


def test_the_pause_doubles_up_to_the_longest() -> None:
    assert [POLICY.pause_s(failures, 0.0, chance=0.0) for failures in range(1, 5)] == [1.0, 2.0, 4.0, 5.0]


def test_chance_takes_off_a_part_of_the_pause() -> None:
    assert POLICY.pause_s(1, 0.0, chance=1.0) == 0.5
    assert RetryPolicy(tries_count=2, within_s=9.0, first_s=1.0, longest_s=1.0, jitter=0.0).pause_s(1, 0.0, 1.0) == 1.0


def test_after_so_many_failures_it_is_given_up() -> None:
    assert POLICY.pause_s(5, 0.0, chance=0.0) is None


@pytest.mark.parametrize(("elapsed_s", "pause_s"), [(99.0, 1.0), (99.5, None), (500.0, None)])
def test_no_try_begins_after_the_time_is_over(elapsed_s: float, pause_s: float | None) -> None:
    assert POLICY.pause_s(1, elapsed_s, chance=0.0) == pause_s


def test_a_pause_that_the_other_side_asks_for_is_kept() -> None:
    assert POLICY.pause_s(1, 0.0, chance=0.0, at_least_s=30.0) == 30.0


def test_very_many_failures_do_not_overflow() -> None:
    patient = RetryPolicy(tries_count=10**6, within_s=1e9, first_s=1.0, longest_s=5.0)
    assert patient.pause_s(10**5, 0.0, chance=0.0) == 5.0
