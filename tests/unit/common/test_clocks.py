import subprocess
import sys
from pathlib import Path

import pytest

from clusterodm.libs.common.clocks import InstantCache, read, seen_s
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.testing.clock import FakeClock

MIXED = """
from clusterodm.libs.common.clocks import Instant, WallMs

def mixed(wall: WallMs, instant: Instant) -> None:
    wall < instant
    instant < wall
    instant - 5.0
    instant - wall
    takes(wall)
    takes(5.0)
    later: Instant = instant + 5.0
    seconds: float = later - instant

def takes(instant: Instant) -> None: ...
"""


def test_the_monotonic_clock_of_the_system_never_goes_back():
    clock = SystemClock()
    first = clock.instant()
    assert clock.instant() - first >= 0


def test_a_step_of_the_wall_clock_moves_no_instant():
    clock = FakeClock()
    wall_ms, instant = clock.wall_ms(), clock.instant()
    clock.step_wall_s(-7200)
    assert clock.wall_ms() == wall_ms - 7_200_000
    assert clock.instant() == instant
    clock.pass_s(1.5)
    assert clock.wall_ms() == wall_ms - 7_198_500
    assert clock.instant() - instant == 1.5


def test_wall_times_and_instants_do_not_mix(tmp_path: Path):
    """Six lines of the example are type errors, and the two that are right are none."""
    path = tmp_path / "mixed.py"
    path.write_text(MIXED)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "--config-file=", "--explicit-package-bases", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    wrong = {int(line.split(":")[1]) for line in checked.stdout.splitlines() if ": error:" in line}
    assert wrong == {5, 6, 7, 8, 9, 10}, checked.stdout


HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("age_ms", "most_s", "seconds"),
    [
        pytest.param(5_000, 60, 5, id="as the record says"),
        pytest.param(-7_200_000, 60, 0, id="never in the future"),
        pytest.param(7_200_000, 60, 60, id="never more than it can be"),
    ],
)
def test_a_records_time_becomes_an_instant_within_bounds(age_ms: int, most_s: float, seconds: float):
    now = read(FakeClock())
    assert now.instant - now.since(now.wall_ms - age_ms, most_s) == seconds
    assert now.until(now.wall_ms + age_ms, most_s) - now.instant == seconds


def test_a_records_time_is_one_instant_for_as_long_as_it_stays_whatever_the_wall_clock_does():
    clock, cache = FakeClock(), InstantCache[str]()
    at_ms = clock.wall_ms() - 10_000
    first = cache.since("a", at_ms, read(clock), most_s=100)
    clock.step_wall_s(2 * HOUR_S)
    assert cache.since("a", at_ms, read(clock), most_s=100) == first
    assert cache.since("a", at_ms + 1, read(clock), most_s=100) == clock.instant() + -100
    cache.keep({"b"})
    assert repr(cache) == "InstantCache(0)"


@pytest.mark.parametrize(
    ("limit_s", "seconds"), [pytest.param(48 * HOUR_S, HOUR_S, id="long"), pytest.param(60.0, 30.0, id="short")]
)
def test_whoever_deletes_has_seen_the_last_part_of_the_limit_itself(limit_s: float, seconds: float):
    assert seen_s(limit_s) == seconds
