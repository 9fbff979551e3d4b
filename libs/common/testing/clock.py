"""A clock that is turned by hand."""

from clusterodm.libs.common.clocks import Instant, Now, WallMs


class FakeClock:
    """Both clocks of a process, turned by hand: `pass_s` moves both, `step_wall_s` the wall clock alone, in either direction."""

    def __init__(self, wall_ms: int = 1_700_000_000_000, instant_s: float = 1_000.0) -> None:
        self._wall_ms = wall_ms
        self._instant_s = instant_s

    def wall_ms(self) -> WallMs:
        """Say what time it is."""
        return WallMs(self._wall_ms)

    def instant(self) -> Instant:
        """Say where the monotonic clock is."""
        return Instant(self._instant_s)

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self._wall_ms += round(seconds * 1000)
        self._instant_s += seconds

    def step_wall_s(self, seconds: float) -> None:
        """Set the wall clock: somebody corrects it, or the computer has slept."""
        self._wall_ms += round(seconds * 1000)


def clocks_at(ms: int) -> Now:
    """Give both clocks so many milliseconds after their beginning."""
    return Now(WallMs(ms), Instant(ms / 1000))
