"""How long tasks hold their slots, and how far estimates of starts are off. Learned from what was completed; nothing is kept of a task.

What is usual for so many images, bytes and options comes from `libs/common/run_times.py`; by how much a node differs from others from
placement/core/pace.py, or on a rented machine from the times of its size. A task holds its slot from the choice of its node to its end: its files
are sent, and it runs.

Starts are reckoned from what is before them (placement/core/forecast.py), with the deviation that comes of it. Whether that was wide enough, and to
which side it errs, shows when tasks begin: the last `ERRORS_COUNT` errors, in deviations, make the interval of the next estimates. So
whatever the reckoning leaves out (tasks that come later and go first, nodes that come and go, proxies that are busy) widens it.

Nothing is told before as many tasks were completed as are under way: until then the small ones on fast nodes have ended and the others have not, and
what is learned of those alone is too short.

Only durations are learned: by the node's own account, or of the monotonic clock. A wall clock that is set back or forward changes none of them by more than `SENDING_MOST_MS`.
"""

from typing import Final, NamedTuple

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.tasks import Attempt, Task
from clusterodm.libs.common.run_times import (
    HIGH,
    LEARNED_COUNT,
    LIKELY,
    LOW,
    Errors,
    Range,
    RunTimes,
    Workload,
    workload_of,
)
from clusterodm.services.scheduler.placement.core.pace import STEP
from clusterodm.services.scheduler.registry.admissions import ANYBODY, NodeAdmission

SENDING_MOST_MS: Final = 6 * 3_600_000
"""Sending the files counts no longer than that, which is read from two wall times."""
NORMAL: Final = (-1.4, -0.67, -0.2, 0.2, 0.67, 1.4)
"""Errors of starts that are taken for granted while few are known, in deviations."""

LARGEST: Final = 20.0
"""No start says more than that it was so many deviations off."""


class SlotKind(NamedTuple):
    """What a slot takes, how long a task takes there, and what it costs; of equal ones any will do."""

    limit: float
    memory_bytes: int
    size: str
    pace: int
    price_per_hour: float
    """Of one slot; 0: nobody pays for it."""
    admission: NodeAdmission = ANYBODY
    """Whose tasks it takes."""

    @property
    def shared(self) -> bool:
        """Whether it is not reserved: what is goes first, for those who have it."""
        return not self.admission.reserved_for

    def takes(self, task: Task) -> bool:
        """Whether a task fits, as far as its images and its owner are concerned."""
        return (task.needed_count or 0) <= self.limit and self.admission.admits(task.owner)


class SlotRoom(NamedTuple):
    """When a slot should have room, seconds from the beginning of the walk, and how far that may be off."""

    free_s: float
    variance: float


class SlotTimes:
    """What is learned."""

    def __init__(self) -> None:
        self.times = RunTimes()
        self.start_errors = Errors(prior=NORMAL, largest=LARGEST)
        """Of starts, in deviations (not logarithms)."""
        self.is_known = False
        """Whether enough was learned to tell."""
        self._learned_count = 0

    def learn(self, task: Task, pace: int, size: str, under_way_count: int) -> None:
        """Take in a task that was completed on a node of a pace, or on a machine of a size; so many others are under way."""
        last = task.attempt
        held_ms = held_of(task, last) if last else 0
        if held_ms:
            self.learn_time(workload_of(task), size, round(held_ms / speed_factor(pace, size)), under_way_count)

    def learn_time(self, load: Workload, size: str, usual_ms: int, under_way_count: int = 0) -> None:
        """Take in for how long a task has held its slot, or would have on a node of the usual pace."""
        self.times.learn(load, size, usual_ms)
        self._learned_count += 1
        self.is_known = self.is_known or self._learned_count >= max(LEARNED_COUNT, under_way_count)

    def learn_start(self, expected: Instant, deviation_s: float, began: Instant) -> None:
        """Take in that a task began for which an estimate had been made."""
        self.start_errors.add((began - expected) / deviation_s)

    def expected_ms(self, load: Workload, pace: int, size: str) -> float:
        """Say how long a task should hold a slot, as a mean of many."""
        return self.times.expected_ms(load, size) * speed_factor(pace, size) * self.times.errors.mean_factor()

    def range_ms(self, load: Workload, pace: int, size: str, held_ms: float = 0.0) -> Range:
        """Say between which times it should hold one, from its beginning on; `held_ms`: so long it has held it."""
        factor = speed_factor(pace, size)
        return Range(*(each * factor for each in self.times.range_ms(load, size, held_ms / factor)))

    def start_range_s(self, wait_s: float, deviation_s: float) -> Range:
        """Say between which times from now a task should begin that is reckoned to begin after so long; it has not begun yet."""
        errors, late = self.start_errors, -wait_s / deviation_s
        low, likely, high = (wait_s + errors.quantile(part, late) * deviation_s for part in (LOW, LIKELY, HIGH))
        return Range(max(0.0, low), max(0.0, likely), max(0.0, high))


def speed_factor(pace: int, size: str) -> float:
    """Say how much longer tasks take on nodes of a pace than is usual; what a size takes is learned by itself."""
    return 1.0 if size else STEP**pace


def held_of(task: Task, last: Attempt) -> int:
    """Say for how many milliseconds a completed task has held its slot; 0: nobody knows."""
    ended_ms, running_ms = task.ended_at_ms or 0, last.running_at_ms or 0
    ran_ms = task.known.processing_time_ms if task.known else -1
    if ran_ms <= 0:
        ran_ms = max(0, ended_ms - running_ms) if running_ms else 0
    return ran_ms + sending_ms(last) if ran_ms else 0


def sending_ms(attempt: Attempt) -> int:
    """Say how long the files of an attempt took, as far as two wall times can be believed."""
    if not attempt.running_at_ms or not attempt.started_at_ms:
        return 0
    return min(max(0, attempt.running_at_ms - attempt.started_at_ms), SENDING_MOST_MS)
