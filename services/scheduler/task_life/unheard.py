"""Looks in vain at what a node has, or may have: it is there and does not say how a task stands. When that has lasted too long.

The time between two looks counts only up to `LONGEST_S`: nobody is given up for a time in which we did not look. Pure.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.tasks import Attempt
from clusterodm.libs.common.model.values import TaskId

LEAST_COUNT: Final = 3
"""So many looks in vain at least."""
LONGEST_S: Final = 30.0
"""Between two looks no more counts: the rest is a time in which we did not look."""


@dataclass
class _Unheard:
    """Looks in vain at one run."""

    run: tuple[int, int | None]
    last_at: Instant
    count: int = 1
    lasted_s: float = 0.0


class UnheardTasks:
    """Looks in vain, one after another, at tasks that run, or may."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._unheard: dict[TaskId, _Unheard] = {}

    def __contains__(self, task: TaskId) -> bool:
        """Whether the last look at it was in vain."""
        return task in self._unheard

    def missed(self, task: TaskId, attempt: Attempt, now: Instant) -> bool:
        """Note a look in vain; whether there have been so many of this run, for so long, that it is to be given up."""
        run = (attempt.number, attempt.running_at_ms)
        unheard = self._unheard.get(task)
        if unheard is None or unheard.run != run:
            self._unheard[task] = _Unheard(run, now)
            return False
        unheard.count += 1
        unheard.lasted_s += min(now - unheard.last_at, LONGEST_S)
        unheard.last_at = now
        return unheard.count >= LEAST_COUNT and unheard.lasted_s > self._grace_s

    def forget(self, task: TaskId) -> None:
        """Begin anew: its node has spoken of it, or cannot be asked, or the task runs no more."""
        self._unheard.pop(task, None)

    def keep(self, tasks: AbstractSet[TaskId]) -> None:
        """Forget all but these."""
        for task in self._unheard.keys() - tasks:
            del self._unheard[task]
