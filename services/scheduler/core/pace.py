"""How fast nodes are, learned from the tasks that they have completed.

A task's work is taken to grow with its images; what else it depends on (options, the pictures themselves) comes out as noise. So for
each node the median of its last tasks' running times per image counts, drawn towards what is typical as long as it has
completed few. Nodes fall into *paces*: each is `STEP` times as slow as the one before, 0 is what is typical, or unknown. Steps that
coarse keep noise from deciding: within a pace nodes count as equally fast.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from math import exp, log
from statistics import median
from typing import Final

from libs.common.model import NodeId

STEP: Final = 1.2
KEPT_COUNT: Final = 9
"""Last tasks of a node that count."""
DOUBT_COUNT: Final = 0.33
"""What is typical weighs as much as so many tasks."""

Sample = tuple[int, float]
"""When a task had ended, and the logarithm of its milliseconds per image."""


class Paces:
    """Running times per image, by node."""

    def __init__(self) -> None:
        self._samples: defaultdict[NodeId, list[Sample]] = defaultdict(list)
        self._medians: dict[NodeId, float] = {}
        self._learned: set[NodeId] = set()
        self._typical: float | None = None
        """The logarithm of what is typical, as it was when paces were last given."""
        self._rates: dict[int, float] = {}

    def __repr__(self) -> str:
        """Show what is typical, and of how many nodes something is known."""
        return f"Paces({self.typical_ms:.0f} ms per image, {len(self._samples)} nodes)"

    @property
    def typical_ms(self) -> float:
        """Milliseconds per image; 0: nothing is known."""
        return 0.0 if self._typical is None else exp(self._typical)

    def ms_per_image(self, pace: int) -> float:
        """Say how long an image takes on nodes of a pace."""
        if pace not in self._rates:
            self._rates[pace] = self.typical_ms * STEP**pace
        return self._rates[pace]

    def learn(self, node: NodeId, images_count: int, took_ms: int, ended_at_ms: int) -> None:
        """Take in that a task was completed."""
        if images_count <= 0 or took_ms <= 0:
            return
        samples = self._samples[node]
        insort(samples, (ended_at_ms, log(took_ms / images_count)))
        del samples[:-KEPT_COUNT]
        self._learned.add(node)

    def news(self) -> Iterator[tuple[NodeId, int]]:
        """Give the pace of each node for which it may be another since this was last asked."""
        if not self._learned:
            return
        for node in self._learned:
            self._medians[node] = median(value for _, value in self._samples[node])
        typical, changed = median(self._medians.values()), set(self._learned)
        self._learned.clear()
        if self._typical is None or abs(typical - self._typical) > log(STEP) / 2:
            self._typical, changed = typical, set(self._medians)
            self._rates.clear()
        for node in changed:
            yield node, self._pace(node, self._typical)

    def forget(self, node: NodeId) -> None:
        """Forget a node that is gone."""
        self._samples.pop(node, None)
        self._medians.pop(node, None)
        self._learned.discard(node)

    def _pace(self, node: NodeId, typical: float) -> int:
        count = len(self._samples[node])
        trusted = (self._medians[node] - typical) * count / (count + DOUBT_COUNT)
        return round(trusted / log(STEP))
