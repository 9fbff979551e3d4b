"""The warm pool: how many machines are to stand ready at a moment of the week, and which are missing. Times are UTC."""

from collections.abc import Sequence
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits, WarmPool

MINUTE_MS: Final = 60_000
MINUTES_PER_DAY: Final = 24 * 60
DAYS_PER_WEEK: Final = 7
FIRST_DAY: Final = 3
"""1970-01-01 was a Thursday; Monday is 0."""


def open_now(window: WarmPool, now_ms: WallMs) -> bool:
    """Whether a window is open. One that ends before it begins goes over midnight and belongs to the day it began."""
    day, minute = divmod(now_ms // MINUTE_MS, MINUTES_PER_DAY)
    today = (day + FIRST_DAY) % DAYS_PER_WEEK
    if window.from_minute < window.to_minute:
        return today in window.days and window.from_minute <= minute < window.to_minute
    yesterday = (today - 1) % DAYS_PER_WEEK
    return (today in window.days and minute >= window.from_minute) or (
        yesterday in window.days and minute < window.to_minute
    )


def wanted(limits: ScalingLimits, now_ms: WallMs) -> tuple[int, ...]:
    """For how many images each machine of the pool is to be, one number per machine, the largest first."""
    found = [
        window.max_images for window in limits.warm if open_now(window, now_ms) for _ in range(window.machines_count)
    ]
    return tuple(sorted(found, reverse=True))


def against_pool(limits: ScalingLimits, now_ms: WallMs, spare: Sequence[Machine]) -> tuple[list[int], set[MachineId]]:
    """Set free machines against the warm pool: for how many images machines are missing, and which belong to it."""
    missing: list[int] = []
    kept: set[MachineId] = set()
    for images in wanted(limits, now_ms):
        found = next((each for each in spare if each.id not in kept and (each.max_images or images) >= images), None)
        if found:
            kept.add(found.id)
        else:
            missing.append(images)
    return missing, kept
