"""How long machines take to come up, and how many were requested in the last minute."""

from typing import Any

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.machine_life.starts import USUAL_START_MS, StartHistory

NOW = WallMs(1_000_000_000)


def came(name: str, took_s: int, size: str = "small", age_s: int = 0, **more: Any) -> Machine:
    online_ms = NOW - age_s * 1000
    called_ms = online_ms - took_s * 1000
    return Machine(
        id=MachineId(name), provider="test", size=size, requested_at_ms=called_ms, called_at_ms=called_ms,
        online_at_ms=online_ms, **more,
    )  # fmt: skip


def starts(*machines: Machine) -> StartHistory:
    found = StartHistory()
    for machine in machines:
        found.take(machine)
        found.take(machine)
    return found


def test_without_any_machine_the_usual_counts():
    assert StartHistory().start_ms("small") == USUAL_START_MS


def test_the_median_of_a_size_counts_and_one_that_hung_says_nothing():
    assert starts(came("a", 60), came("b", 70), came("c", 900)).start_ms("small") == 70_000


def test_a_size_of_which_nothing_is_known_starts_like_all():
    assert starts(came("a", 60)).start_ms("large") == 60_000


def test_the_latest_nine_count():
    old = [came(f"o{number}", 300, age_s=1000 + number) for number in range(20)]
    assert starts(*old, *(came(f"n{number}", 30) for number in range(9))).start_ms("small") == 30_000


def test_a_machine_that_was_found_at_the_provider_tells_nothing_of_starts():
    assert starts(came("a", 5000, seen_at_ms=NOW)).start_ms("small") == USUAL_START_MS


def test_requests_of_the_last_minute_are_counted_each_once():
    known = starts(came("a", 10), came("b", 59), came("c", 61), came("d", 20, age_s=30))
    assert known.requested_count(NOW) == 3
    assert known.requested_count(WallMs(NOW + 45_000)) == 1
    assert known.requested_count(WallMs(NOW - 3_600_000)) == 0, "the clock was set back"


def test_requests_count_although_the_clock_was_set_back_before_them():
    known, now = starts(came("before", 1)), WallMs(NOW - 3_600_000)
    assert known.requested_count(now) == 0
    for name in ("a", "b"):
        known.take(Machine(id=MachineId(name), provider="test", requested_at_ms=now))
    assert known.requested_count(now) == 2
