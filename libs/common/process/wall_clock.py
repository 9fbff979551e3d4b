"""What time it is, for programs that need nothing else of a process (`lifecycle` has the rest)."""

import time
from collections.abc import Callable
from typing import Final, cast

from clusterodm.libs.common.clocks import Instant, WallMs


def now_ms() -> WallMs:
    """Milliseconds since 1970 UTC."""
    return WallMs(int(time.time() * 1000))  # noqa: TID251 this is the clock


monotonic_s: Final = cast("Callable[[], Instant]", time.monotonic)
"""Says where the monotonic clock is, for time limits. Asked several times for each poll and probe: so nothing is around it."""
