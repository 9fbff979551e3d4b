"""How long a task should run on a machine of a size: learned from the tasks that machines have completed.

A task's *work* grows with its images, with a fixed part (`FIXED_IMAGES`); large files count for more, and where nobody has counted
the images the bytes stand for them. What a unit of work takes is learned as logarithms in three parts that add up: what is usual, what a
size differs from that, and what a set of options differs. So what is learned of options on one size helps on all. Each part is a running
mean whose latest `KEPT_COUNT` tasks weigh the most, drawn towards the part before while it has seen few. Nothing is kept of a task.

An estimate may be wrong by a factor. What is decided with it (planning/core/openings.py) is decided again at every plan, with the time that
has passed: a task that goes on for longer than expected is expected to go on.
"""

from collections.abc import Mapping
from math import exp, log, sqrt
from typing import Final

import msgspec

from clusterodm.libs.common.model.values import Frozen
from clusterodm.services.autoscaler.cluster.core import Workload

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


class RunTimesRecord(Frozen, frozen=True, kw_only=True):
    """What is learned, as it is kept."""

    all: Mean = Mean()
    sizes: dict[str, Mean] = msgspec.field(default_factory=dict)
    options: dict[str, Mean] = msgspec.field(default_factory=dict)


class RunTimes:
    """What is learned."""

    def __init__(self, record: RunTimesRecord | None = None) -> None:
        known = record or RunTimesRecord()
        self._all, self._sizes, self._options = known.all, dict(known.sizes), dict(known.options)

    def __repr__(self) -> str:
        """Show how long an image takes."""
        return f"RunTimes({self._usual_ms():.0f} ms per image, {len(self._sizes)} sizes, {len(self._options)} sets of options)"

    @property
    def record(self) -> RunTimesRecord:
        """What is to be kept."""
        return RunTimesRecord(all=self._all, sizes=dict(self._sizes), options=dict(self._options))

    def learn(self, load: Workload, size: str, took_ms: int) -> None:
        """Take in a task that was completed on a machine; `size`: empty when nobody knows it."""
        if took_ms <= 0 or not (load.images_count or load.size_bytes):
            return
        pace = log(took_ms / work(load))
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

    def _usual_ms(self) -> float:
        trust = self._all.count / (self._all.count + 1)
        return exp(log(USUAL_MS) + (self._all.value - log(USUAL_MS)) * trust)

    @staticmethod
    def _of(means: Mapping[str, Mean], key: str) -> float:
        return means[key].trusted() if key in means else 0.0
