"""When a task should begin and end, and what it should cost, as it is told: from the last forecast of the queue, and what is known of tasks under way.

What was told of a task at first, of its start and of its end, is remembered until that happens: so it is learned how far off it was (placement/core/slot_times.py), and
how much wider intervals have to be (placement/core/calibration.py). All of it is counted
from the monotonic clock of this moment and told as wall time, so an estimate is as right as the clock of who reads it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from math import hypot
from typing import Final, NamedTuple

from clusterodm.libs.common.clocks import Instant, Now, WallMs
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.run_times import Range, workload_of
from clusterodm.services.scheduler.placement.core.calibration import Calibration
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.forecast import (
    PIECE_COUNT,
    QueueForecast,
    WaitEstimate,
    held_range_s,
    kind_of,
)
from clusterodm.services.scheduler.records.core import place_of
from clusterodm.services.scheduler.task_life.life import ExpectedStart

TOLD_FROM_S: Final = 60.0
"""Who begins sooner is not told when."""
MOVED_S: Final = 300.0
MOVED_PART: Final = 0.25
"""A start is told again when it has moved by so much, and by so much of what is left until then."""
HOUR_S: Final = 3_600


class Told(NamedTuple):
    """What was told at a moment: between how many seconds from then on it should happen."""

    at: Instant
    in_s: Range


class FirstStart(NamedTuple):
    """What was told of a start at first, and what it was reckoned from."""

    found: WaitEstimate
    told: Told


class Estimates:
    """The last forecast, and what was told at first of each task that is active, to learn how right it was."""

    def __init__(self, state: ClusterState) -> None:
        self.starts, self.ends_of_waiting, self.ends_of_begun = Calibration(), Calibration(), Calibration()
        self._state = state
        self._found: dict[TaskId, WaitEstimate] = {}
        self._starts: dict[TaskId, FirstStart] = {}
        self._ends_of_waiting: dict[TaskId, Told] = {}
        self._ends_of_begun: dict[TaskId, Told] = {}

    def __repr__(self) -> str:
        """Show for how many there is one."""
        return f"Estimates({len(self._found)} of {len(self._state.index.waiting)} remembered={self.remembered_count} starts={self.starts!r})"

    @property
    def remembered_count(self) -> int:
        """Count what is kept of tasks."""
        return len(self._found) + len(self._starts) + len(self._ends_of_waiting) + len(self._ends_of_begun)

    # --- what is learned -------------------------------------------------------------------------------------------

    def take(self, forecast: QueueForecast) -> Iterator[None]:
        """Take in a new forecast, piece by piece."""
        waiting = self._state.queue
        self._found = {task: found for task, found in forecast.found.items() if task in waiting}
        for number, (task_id, found) in enumerate(list(self._found.items())):
            if number % PIECE_COUNT == 0:
                yield
            if task_id not in self._ends_of_waiting and task_id in waiting:
                start, end, _ = self._ranges_s(self._state.index.tasks[task_id], found, forecast.now)
                self._starts[task_id] = FirstStart(found, Told(forecast.now, start))
                self._ends_of_waiting[task_id] = Told(forecast.now, end)

    def task_changed(self, before: Task | None, after: Task | None, now: Instant) -> None:
        """Learn of a task that begins or ends, and forget who is not active any more."""
        if before is None:
            return
        if after is None or after.state.ended:
            self._task_ended(before.id, now, completed=after is not None and after.state is TaskState.COMPLETED)
        elif after.state is TaskState.WAITING:
            self._ends_of_begun.pop(before.id, None)
        elif before.state is TaskState.WAITING:
            self._task_begun(before, after, now)

    def _task_begun(self, before: Task, after: Task, now: Instant) -> None:
        """Learn how far off the first estimate was, if this is the first attempt: what is tried again has waited for that as well."""
        first = self._starts.pop(before.id, None)
        self._found.pop(before.id, None)
        if first is not None and not before.attempts:
            self._state.slot_times.learn_start(first.found.start, first.found.deviation_s, now)
            self.starts.happened(first.told.in_s, now - first.told.at)
        if left := self._left_s(after, now):
            self._ends_of_begun[after.id] = Told(now, left)

    def _task_ended(self, task_id: TaskId, now: Instant, *, completed: bool) -> None:
        self._found.pop(task_id, None)
        self._starts.pop(task_id, None)
        for calibration, told in (
            (self.ends_of_waiting, self._ends_of_waiting.pop(task_id, None)),
            (self.ends_of_begun, self._ends_of_begun.pop(task_id, None)),
        ):
            if told is not None and completed:
                calibration.happened(told.in_s, now - told.at)

    # --- what is told ----------------------------------------------------------------------------------------------

    def of(self, task: Task, now: Now) -> Expected | None:
        """Say what is expected of a task; None: it has ended, or nobody knows."""
        if task.state is TaskState.WAITING:
            found = self._found.get(task.id)
            return self._of_waiting(task, found, now) if found else None
        return None if task.state.ended else self._of_begun(task, now)

    def start_of(self, task: Task, now: Now) -> ExpectedStart | None:
        """Say when a waiting task should begin, where that is worth telling its user: it is far away, and not what was told last."""
        expected = self.of(task, now)
        if expected is None or expected.start_at_ms is None:
            return None
        low_ms, likely_ms, high_ms = expected.start_at_ms
        wait_s, moved_s = start_in_s(likely_ms, now), abs(likely_ms - task.start_told_ms) / 1000
        if wait_s < TOLD_FROM_S or moved_s < max(MOVED_S, wait_s * MOVED_PART):
            return None
        position = self._state.index.by_place.position(place_of(task))
        between = f"between {clock_text(low_ms, now.wall_ms)} and {clock_text(high_ms, now.wall_ms)}"
        return ExpectedStart(
            likely_ms,
            f"place {position}, expected to start at about {clock_text(likely_ms, now.wall_ms)} UTC ({between})",
        )

    def _of_waiting(self, task: Task, found: WaitEstimate, now: Now) -> Expected:
        start, end, held = self._ranges_s(task, found, now.instant)
        return Expected(
            start_at_ms=at(now, start),
            end_at_ms=at(now, end),
            cost=cost_of(held, found.kind.price_per_hour),
            told_at_ms=now.wall_ms,
            start_held_percent=self.starts.held_percent,
            end_held_percent=self.ends_of_waiting.held_percent,
        )

    def _of_begun(self, task: Task, now: Now) -> Expected | None:
        node = self._state.nodes.get(task.attempt.node) if task.attempt else None
        left = self._left_s(task, now.instant)
        if node is None or left is None:
            return None
        held_s, held = held_range_s(self._state, task, node, now.instant)
        return Expected(
            end_at_ms=at(now, left),
            cost=cost_of(
                longer_than(held_s, self.ends_of_begun.widened(held)), kind_of(self._state, node).price_per_hour
            ),
            told_at_ms=now.wall_ms,
            end_held_percent=self.ends_of_begun.held_percent,
        )

    def _ranges_s(self, task: Task, found: WaitEstimate, now: Instant) -> tuple[Range, Range, Range]:
        """Say when a waiting task should begin and end, from now on, and for how long it should hold its slot."""
        kind, times = found.kind, self._state.slot_times
        start = times.start_range_s(found.start - now, found.deviation_s)
        held = Range(*(each / 1000 for each in times.range_ms(workload_of(task), kind.pace, kind.size)))
        end = self.ends_of_waiting.widened(one_after_the_other(start, held))
        return self.starts.widened(start), end, longer_than(0.0, self.ends_of_begun.widened(held))

    def _left_s(self, task: Task, now: Instant) -> Range | None:
        """Say for how much longer a task should hold its slot; None: nobody knows."""
        node = self._state.nodes.get(task.attempt.node) if task.attempt else None
        if node is None or not self._state.slot_times.is_known:
            return None
        held_s, held = held_range_s(self._state, task, node, now)
        return self.ends_of_begun.widened(Range(*(each - held_s for each in held)))


def longer_than(held_s: float, held: Range) -> Range:
    """Cut off what is not possible any more."""
    return Range(*(max(held_s, each) for each in held))


def start_in_s(start_at_ms: int, now: Now) -> float:
    """Say in how many seconds a start is that was made of an instant a moment ago."""
    return (start_at_ms - now.wall_ms) / 1000


def at(now: Now, in_s: Range) -> tuple[int, int, int]:
    """Say which wall times those will be; what has not happened yet lies ahead."""
    low, likely, high = (round(now.wall_ms + max(0.0, each) * 1000) for each in in_s)
    return low, likely, high


def one_after_the_other(first: Range, second: Range) -> Range:
    """Add two figures that are off independently of each other."""
    likely = first.likely + second.likely
    below = hypot(first.likely - first.low, second.likely - second.low)
    above = hypot(first.high - first.likely, second.high - second.likely)
    return Range(likely - below, likely, likely + above)


def cost_of(held: Range, price_per_hour: float) -> tuple[float, float, float] | None:
    """Say what a slot costs for so many seconds; None: nobody pays for it."""
    if not price_per_hour:
        return None
    low, likely, high = (round(each / HOUR_S * price_per_hour, 4) for each in held)
    return low, likely, high


def clock_text(at_ms: int, now_ms: WallMs) -> str:
    """Write a time of the day, UTC; with its date when that is not today."""
    when, now = (datetime.fromtimestamp(each / 1000, UTC) for each in (at_ms, now_ms))
    return f"{when:%H:%M}" if when.date() == now.date() else f"{when:%Y-%m-%d %H:%M}"
