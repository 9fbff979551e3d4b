"""How much of the disk stays free, and what goes when it gets scarce. Pure.

free < 2 x minimum   kept inputs go, as far as needed: first those of tasks that have failed or were canceled (they are kept
                     for a restart only), then those of running tasks, each the oldest first. Tasks that wait, or are
                     being sent, need theirs
free < minimum       new uploads are refused, and files of open ones
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from libs.common.model import TaskId, TaskState

UNITS: Final = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(%|[kmgt]b)?", re.IGNORECASE)
EASE: Final = 2
"""Kept inputs begin to go at so many times the minimum."""
KEPT_FOR_RESTART: Final = frozenset((TaskState.FAILED, TaskState.CANCELED))
MAY_GO: Final = KEPT_FOR_RESTART | {TaskState.RUNNING}


def minimum_bytes(text: str, disk_bytes: int) -> int:
    """Read `5GB`, `500MB`, `10%` (of the disk); 0 is 0. Raises ValueError."""
    match = SIZE.fullmatch(text.strip())
    if match is None or (match[2] is None and float(match[1])):
        raise ValueError("must be a size with its unit: 5GB, 500MB, or 10% of the disk")
    amount, unit = float(match[1]), (match[2] or "kb").lower()
    return int(disk_bytes * min(amount, 100) / 100) if unit == "%" else int(amount * UNITS[unit])


def wanted_bytes(free_bytes: int, min_bytes: int) -> int:
    """Say how much should be freed."""
    return max(0, EASE * min_bytes - free_bytes)


@dataclass(frozen=True, slots=True)
class Kept:
    """The kept inputs of one committed task."""

    task: TaskId
    state: TaskState
    received_at_ms: int
    size_bytes: int


def to_give_up(kept: Iterable[Kept], wanted: int) -> list[TaskId]:
    """Choose whose inputs go so that `wanted` bytes get free, or as many as possible."""
    chosen: list[TaskId] = []
    may_go = (each for each in kept if each.state in MAY_GO and each.size_bytes)
    for each in sorted(may_go, key=lambda each: (each.state not in KEPT_FOR_RESTART, each.received_at_ms)):
        if wanted <= 0:
            break
        chosen.append(each.task)
        wanted -= each.size_bytes
    return chosen
