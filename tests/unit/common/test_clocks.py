import subprocess
import sys
from pathlib import Path

from libs.common.lifecycle import SystemClock
from libs.common.testing import FakeClock

MIXED = """
from libs.common.clocks import Instant, WallMs

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
