"""How far off estimates of starts and ends are, in traces that the scheduler's core plays. Pure.

What is looked at is the first estimate that each task gets: the one that waits by the forecast of the queue at that moment, the one that has begun by what is known of
tasks like it. What became of it is in what was played. Nothing is on record when a trace begins, so nothing is told until enough tasks are completed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from benchmarks.figures import percentile
from benchmarks.simulation.deciders import Core, ms, task_id
from benchmarks.simulation.trace import Trace, TraceTask
from benchmarks.simulation.world import play
from clusterodm.libs.common.clocks import Now
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.placement.core.estimates import Estimates
from clusterodm.services.scheduler.placement.core.forecast import QueueForecast

FORECAST_S = 5.0
"""The queue is played ahead so often, while tasks come."""


class Estimating(Core):
    """The real core, and the estimates that it tells."""

    def __init__(self) -> None:
        super().__init__()
        self._estimates = Estimates(self._state)
        self._untold: dict[int, None] = {}
        """Tasks of which nothing was told yet, and that have not ended."""
        self._forecast_s = -FORECAST_S
        self.told: dict[int, Expected] = {}

    def task_comes(self, number: int, task: TraceTask, at_s: float) -> None:
        """Take a commit."""
        super().task_comes(number, task, at_s)
        self._untold[number] = None

    def task_ended(self, number: int, at_s: float) -> None:
        """Learn of an end."""
        before = self._state.index.tasks[task_id(number)]
        super().task_ended(number, at_s)
        self._learn(before, at_s)
        self._untold.pop(number, None)

    def task_lost(self, number: int, at_s: float) -> None:
        """Learn that it waits again."""
        before = self._state.index.tasks[task_id(number)]
        super().task_lost(number, at_s)
        self._learn(before, at_s)

    def decide(self, at_s: float) -> Iterator[tuple[int, str]]:
        """Place, learn of what has begun, and estimate what nothing was told of."""
        index = self._state.index
        waiting = {task: index.tasks[task] for task in index.waiting}
        begun = list(super().decide(at_s))
        for number, _ in begun:
            self._learn(waiting[task_id(number)], at_s)
        if self._untold and at_s - self._forecast_s >= FORECAST_S:
            self._forecast_s = at_s
            self._tell(clocks_at(ms(at_s)))
        yield from begun

    def _learn(self, before: Task, at_s: float) -> None:
        self._estimates.task_changed(before, self._state.index.tasks[before.id], clocks_at(ms(at_s)).instant)

    def _tell(self, now: Now) -> None:
        forecast = QueueForecast(self._state, now.instant)
        for _ in chain(forecast.walk(), self._estimates.take(forecast)):
            pass
        for number in list(self._untold):
            if expected := self._estimates.of(self._state.index.tasks[task_id(number)], now):
                self.told[number] = expected
                del self._untold[number]


@dataclass(frozen=True)
class EstimateErrors:
    """How far off the estimates of a kind were, in minutes, and how many were within their intervals."""

    count: int
    actual_s: float
    """What was estimated, in the median: a wait, or the time to the result."""
    median_s: float
    p90_s: float
    coverage: float


def errors_of(told: Sequence[tuple[tuple[int, int, int], float, float]]) -> EstimateErrors | None:
    """Sum up: estimates with the moments when they were made and when it happened, seconds; None: there are none."""
    if not told:
        return None
    off = [abs(likely / 1000 - happened_s) for (_, likely, _), _, happened_s in told]
    within = [low / 1000 <= happened_s <= high / 1000 for (low, _, high), _, happened_s in told]
    actual = [happened_s - made_s for _, made_s, happened_s in told]
    return EstimateErrors(
        len(told), percentile(actual, 50), percentile(off, 50), percentile(off, 90), sum(within) / len(within)
    )


@dataclass
class ToldAndHappened:
    """What was told of starts and ends, with the moments when it was told and when it happened, seconds; and of how many tasks nothing was."""

    starts: list[tuple[tuple[int, int, int], float, float]] = field(default_factory=list)
    ends: list[tuple[tuple[int, int, int], float, float]] = field(default_factory=list)
    tasks_count: int = 0
    told_count: int = 0

    def add(self, other: "ToldAndHappened") -> None:
        """Put another one to it."""
        self.starts += other.starts
        self.ends += other.ends
        self.tasks_count += other.tasks_count
        self.told_count += other.told_count


def estimated(runs: Sequence[Trace]) -> ToldAndHappened:
    """Play all runs of a trace."""
    found = ToldAndHappened()
    for trace in runs:
        decider = Estimating()
        played = play(trace, decider)
        for number, told in decider.told.items():
            told_s = told.told_at_ms / 1000
            if told.start_at_ms:
                found.starts.append((told.start_at_ms, told_s, played.began_s[number]))
            if told.end_at_ms:
                found.ends.append((told.end_at_ms, told_s, played.ended_s[number]))
        found.tasks_count += len(trace.tasks)
        found.told_count += len(decider.told)
    return found
