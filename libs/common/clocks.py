"""Two clocks, as two types that mypy keeps apart: what time it is, and how much time has passed.

    WallMs    milliseconds since 1970 UTC: for records, consoles and people. It may jump, in both directions, at any moment.
    Instant   a point on the monotonic clock of this process: for time limits, silences, leases, promises and back-off. It never
              jumps and means nothing to another process, to another computer, or after a restart.

The difference of two instants is a number of seconds (float), and an instant plus seconds is an instant. An instant and a wall
time, or an instant and a bare number, do not mix: that is a type error.

Where a limit has to survive a restart, its record holds a wall time, and that becomes an instant once, when it is read or
learned (`Now.since`, `Now.until`, `InstantCache`), never outside the bounds that the limit can have. From then on no step of the wall
clock changes it; a step between two runs shortens or lengthens it by no more than those bounds. What is deleted or destroyed at
the end of a limit must have been seen by this process for the last part of it (`seen_s`), so that a clock that was put forward
between two runs deletes nothing at once.

The real clock is `lifecycle.SystemClock`, the one of tests
`testing.FakeClock`.
"""

from collections.abc import Container, Hashable
from typing import TYPE_CHECKING, Final, Generic, NewType, Protocol, TypeVar

import msgspec

WallMs = NewType("WallMs", int)
"""Milliseconds since 1970 UTC."""

if TYPE_CHECKING:

    class Instant:
        """A point on the monotonic clock. At run time it is a float: seconds since some moment."""

        def __init__(self, seconds: float) -> None:
            """Make one, for tests."""

        def __add__(self, seconds: float) -> "Instant":
            """Count on."""

        def __sub__(self, earlier: "Instant") -> float:
            """Say how many seconds lie between."""

        def __lt__(self, other: "Instant") -> bool:
            """Whether it is earlier."""

        def __le__(self, other: "Instant") -> bool:
            """Whether it is not later."""

        def __gt__(self, other: "Instant") -> bool:
            """Whether it is later."""

        def __ge__(self, other: "Instant") -> bool:
            """Whether it is not earlier."""

else:
    Instant = float


class Now(msgspec.Struct, frozen=True):
    """Both clocks, read at one moment."""

    wall_ms: WallMs
    instant: Instant

    def since(self, at_ms: int, most_s: float) -> Instant:
        """Find the instant of a record's time that has been: not in the future, and no longer ago than `most_s`."""
        return self.instant + -clamped_s(self.wall_ms - at_ms, most_s)

    def until(self, at_ms: int, most_s: float) -> Instant:
        """Find the instant of a record's time that will be: not in the past, and no further away than `most_s`."""
        return self.instant + clamped_s(at_ms - self.wall_ms, most_s)


def clamped_s(ms: int, most_s: float) -> float:
    """Say how many seconds lie between two wall times, as far as that can be believed."""
    return min(max(ms / 1000, 0.0), most_s)


Key = TypeVar("Key", bound=Hashable)

SEEN_S: Final = 3600.0


def seen_s(limit_s: float) -> float:
    """Say for how much of a limit a process must have been there itself before it deletes: an hour, or half of a short limit."""
    return min(SEEN_S, limit_s / 2)


class InstantCache(Generic[Key]):
    """The instants that the wall times of records became when this process first saw them."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[int, Instant]] = {}

    def __repr__(self) -> str:
        """Show how many."""
        return f"InstantCache({len(self._known)})"

    def since(self, key: Key, at_ms: int, now: Now, most_s: float) -> Instant:
        """Find the instant of a time that has been; when it is seen first, no longer ago than `most_s`."""
        known_ms, instant = self._known.get(key, (-1, now.instant))
        if known_ms != at_ms:
            instant = now.since(at_ms, most_s)
            self._known[key] = at_ms, instant
        return instant

    def until(self, key: Key, at_ms: int, now: Now, most_s: float) -> Instant:
        """Find the instant of a time that will be; when it is seen first, no further away than `most_s`."""
        known_ms, instant = self._known.get(key, (-1, now.instant))
        if known_ms != at_ms:
            instant = now.until(at_ms, most_s)
            self._known[key] = at_ms, instant
        return instant

    def forget(self, key: Key) -> None:
        """Forget one; nothing happens when it is not known."""
        self._known.pop(key, None)

    def keep(self, keys: Container[Key]) -> None:
        """Forget all others."""
        for key in [key for key in self._known if key not in keys]:
            del self._known[key]


class Clock(Protocol):
    """Both clocks of a process."""

    def wall_ms(self) -> WallMs:
        """Say what time it is: milliseconds since 1970 UTC."""

    def instant(self) -> Instant:
        """Say where the monotonic clock is."""


def read(clock: Clock) -> Now:
    """Read both clocks."""
    return Now(clock.wall_ms(), clock.instant())
