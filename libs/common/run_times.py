"""How long a task should run: learned from those that were completed. Pure.

The autoscaler learns it of the sizes of machines, the scheduler of all nodes, each with one of these.

A task's *work* grows with its images, with a fixed part (`FIXED_IMAGES`); large files count for more, and where nobody has counted
the images the bytes stand for them. What a unit of work takes is learned as logarithms in three parts that add up: what is usual, what a
size differs from that, and what a set of options differs. So what is learned of options on one size helps on all. Each part is a running
mean whose latest `KEPT_COUNT` tasks weigh the most, drawn towards the part before while it has seen few. Nothing is kept of a task.

How wrong that is, is learned too: by how much each of the last tasks took longer or shorter than was expected before it was learned from
(`Errors`). Of those the tenth, the half and nine tenths make the interval (`RunTimes.range_ms`), so it is as wide as expectations are wrong.

An estimate may be wrong by a factor. What is decided with it (the autoscaler's planning/core/openings.py) is decided again at every plan, with the time that
has passed: a task that goes on for longer than expected is expected to go on.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, exp, inf, log, sqrt
from statistics import fmean
from typing import Final, NamedTuple

import msgspec

from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import NOBODY, Frozen, Owner

USUAL_MS: Final = 12_000
"""Milliseconds per image while nothing is known: ODM with default options on a few cores."""
FIXED_IMAGES: Final = 5
"""What a task takes besides, in images."""
BYTES_PER_IMAGE: Final = 8_000_000
MOST_BY_BYTES: Final = 3.0
"""So much more, or less, may images count for their bytes."""
KEPT_COUNT: Final = 20
DOUBT_COUNT: Final = 2
"""What is usual weighs as much as so many tasks of a size, or with some options."""
OPTIONS_COUNT: Final = 200
"""Sets of options that are remembered; of more, those that were learned of last."""
LATE: Final = 0.2
"""A task that should have ended goes on for so much of the time that it has been running."""
ERRORS_COUNT: Final = 100
"""Of so many tasks it is remembered how wrong the expectation was."""
LEARNED_COUNT: Final = 3
"""Expectations count as such from so many tasks on."""
LARGEST_ERROR: Final = 3.0
"""No task says more than that it took twenty times as long: the clock may have been set meanwhile."""
PRIOR: Final = (-0.69, -0.34, -0.11, 0.11, 0.34, 0.69)
"""Errors that are taken for granted, logarithms of what was divided by what was expected: while few are known, a half as long again, or less, is nothing unusual."""
LOW, LIKELY, HIGH = 0.1, 0.5, 0.9
"""The parts of all cases below the ends of an interval, and below its middle."""
NORMAL_HIGH: Final = 1.2816
"""Where `HIGH` of a normal distribution lies, in standard deviations."""

LEFT_OUT: Final = {"name", "max-concurrency"}
"""Options that say nothing of how long a task takes: its name, and what the machine decides."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A task, as far as its running time and its machine depend on it."""

    images_count: int | None
    size_bytes: int = 0
    options: str = ""
    """A digest of the options that were chosen; empty: none were."""
    owner: Owner = NOBODY

    @classmethod
    def of(cls, task: WaitingTask) -> "Workload":
        """Say as much as a snapshot of demand does."""
        return cls(images_count=task.images_count, size_bytes=task.size_bytes)


def workload_of(task: Task) -> Workload:
    """Read it from a record."""
    return Workload(
        images_count=task.images_count,
        size_bytes=task.size_bytes,
        options=options_digest(task.options),
        owner=task.owner,
    )


def options_digest(options: Sequence[OptionValue]) -> str:
    """Name a set of options shortly, whatever their order; empty: there are none."""
    return digest_of(tuple(options))


@lru_cache(maxsize=512)
def digest_of(options: tuple[OptionValue, ...]) -> str:
    """Do so; most tasks have the options of others."""
    chosen = sorted(f"{option.name}={option.value!r}" for option in options if option.name not in LEFT_OUT)
    return hashlib.sha256("\0".join(chosen).encode()).hexdigest()[:12] if chosen else ""


def work(load: Workload) -> float:
    """Say how much a task is, in images of usual size."""
    by_bytes = load.size_bytes / BYTES_PER_IMAGE
    images = load.images_count
    if not images:
        return FIXED_IMAGES + by_bytes
    if not by_bytes:
        return FIXED_IMAGES + images
    heavier = min(max(sqrt(by_bytes / images), 1 / MOST_BY_BYTES), MOST_BY_BYTES)
    return FIXED_IMAGES + images * heavier


class Mean(Frozen, frozen=True):
    """A running mean of logarithms."""

    count: int = 0
    value: float = 0.0

    def with_one(self, value: float) -> "Mean":
        """Take in one more."""
        count = min(self.count + 1, KEPT_COUNT)
        return Mean(count, self.value + (value - self.value) / count)

    def trusted(self) -> float:
        """Say what counts of it: the less, the fewer it has seen."""
        return self.value * self.count / (self.count + DOUBT_COUNT)


class Range(NamedTuple):
    """Where a figure should lie: of past errors eight of ten lie between its ends."""

    low: float
    likely: float
    high: float


class Errors:
    """By how much the last expectations were wrong; `prior`: errors that are taken for granted while few are known."""

    def __init__(
        self, kept: Sequence[float] = (), prior: Sequence[float] = PRIOR, largest: float = LARGEST_ERROR
    ) -> None:
        self.kept = list(kept[-ERRORS_COUNT:])
        self._prior = prior
        self._largest = largest
        self._sorted: list[float] | None = None

    def __repr__(self) -> str:
        """Show how many are known, and how wide they are."""
        return f"Errors({len(self.kept)}, {self.quantile(LOW):+.2f} to {self.quantile(HIGH):+.2f})"

    def add(self, error: float) -> None:
        """Take in one more."""
        self.kept.append(min(max(error, -self._largest), self._largest))
        del self.kept[:-ERRORS_COUNT]
        self._sorted = None

    def quantile(self, part: float, above: float = -inf) -> float:
        """Say below which error a part of them lies, of those that are larger than `above`; of none: that itself."""
        errors = self._in_order()
        first = bisect_right(errors, above)
        if first == len(errors):
            return above
        at = part * (len(errors) - 1 - first) + first
        return errors[int(at)] + (errors[ceil(at)] - errors[int(at)]) * (at - int(at))

    def mean_factor(self) -> float:
        """Say by how much many tasks together take longer than each of them should."""
        return fmean(map(exp, self._in_order()))

    def spread(self) -> float:
        """Say by which part of its time a task is usually off."""
        return (exp(self.quantile(HIGH)) - exp(self.quantile(LOW))) / (2 * NORMAL_HIGH)

    def _in_order(self) -> list[float]:
        if self._sorted is None:
            self._sorted = sorted((*self._prior, *self.kept))
        return self._sorted


class RunTimesRecord(Frozen, frozen=True, kw_only=True):
    """What is learned, as it is kept."""

    all: Mean = Mean()
    sizes: dict[str, Mean] = msgspec.field(default_factory=dict)
    options: dict[str, Mean] = msgspec.field(default_factory=dict)
    errors: tuple[float, ...] = ()


class RunTimes:
    """What is learned."""

    def __init__(self, record: RunTimesRecord | None = None) -> None:
        known = record or RunTimesRecord()
        self._all, self._sizes, self._options = known.all, dict(known.sizes), dict(known.options)
        self.errors = Errors(known.errors)

    def __repr__(self) -> str:
        """Show how long an image takes."""
        return f"RunTimes({self._usual_ms():.0f} ms per image, {len(self._sizes)} sizes, {len(self._options)} sets of options)"

    @property
    def record(self) -> RunTimesRecord:
        """What is to be kept."""
        errors = tuple(round(error, 4) for error in self.errors.kept)
        return RunTimesRecord(all=self._all, sizes=dict(self._sizes), options=dict(self._options), errors=errors)

    @property
    def is_known(self) -> bool:
        """Whether anything was learned."""
        return self._all.count > 0

    def learn(self, load: Workload, size: str, took_ms: int) -> None:
        """Take in a task that was completed on a machine; `size`: empty when nobody knows it."""
        if took_ms <= 0 or not (load.images_count or load.size_bytes):
            return
        pace = log(took_ms / work(load))
        if self._all.count >= LEARNED_COUNT:
            self.errors.add(log(took_ms / self.expected_ms(load, size)))
        differs = pace - self._of(self._sizes, size) - self._of(self._options, load.options)
        self._all = self._all.with_one(differs if self._all.count else pace)
        rest = pace - self._all.value
        if size:
            by_options = self._of(self._options, load.options)
            self._sizes[size] = self._sizes.get(size, Mean()).with_one(rest - by_options)
        if load.options:
            known = self._options.pop(load.options, Mean())
            self._options[load.options] = known.with_one(rest - self._of(self._sizes, size))
            while len(self._options) > OPTIONS_COUNT:
                del self._options[next(iter(self._options))]

    def expected_ms(self, load: Workload, size: str) -> float:
        """Say how long a task should run on a machine of a size."""
        return work(load) * self._usual_ms() * exp(self._of(self._sizes, size) + self._of(self._options, load.options))

    def left_ms(self, load: Workload, size: str, ran_ms: int) -> float:
        """Say how long a task that has been running for a while should go on."""
        return max(self.expected_ms(load, size) - ran_ms, ran_ms * LATE)

    def range_ms(self, load: Workload, size: str, ran_ms: float = 0.0) -> Range:
        """Say between which times a task should take, from its beginning on, that has been running for a while and goes on.

        Of tasks like it those count that have taken longer than that.
        """
        expected_ms = self.expected_ms(load, size)
        longer = log(ran_ms / expected_ms) if ran_ms > 0 else -inf
        least_ms = ran_ms * (1 + LATE) if longer >= self.errors.quantile(1.0) else 0.0
        low, likely, high = (expected_ms * exp(self.errors.quantile(part, longer)) for part in (LOW, LIKELY, HIGH))
        return Range(max(low, ran_ms), max(likely, least_ms), max(high, least_ms * (1 + LATE)))

    def _usual_ms(self) -> float:
        trust = self._all.count / (self._all.count + 1)
        return exp(log(USUAL_MS) + (self._all.value - log(USUAL_MS)) * trust)

    @staticmethod
    def _of(means: Mapping[str, Mean], key: str) -> float:
        return means[key].trusted() if key in means else 0.0
