"""What time it is, for programs that need nothing else of a process (`lifecycle` has the rest)."""

import time

from clusterodm.libs.common.clocks import Instant, WallMs


def now_ms() -> WallMs:
    """Milliseconds since 1970 UTC."""
    return WallMs(int(time.time() * 1000))  # noqa: TID251 this is the clock


def monotonic_s() -> Instant:
    """Say where the monotonic clock is, for time limits."""
    return Instant(time.monotonic())
