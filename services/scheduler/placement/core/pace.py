"""How fast nodes are, learned from the tasks that they have completed.

A task's work is taken to grow with its images; what else it depends on (options, the pictures themselves) comes out as noise, and
there may be much of it. So for each node the median of its last tasks' running times per image counts, drawn towards what is
typical: the more so, the fewer tasks it has completed, the more the tasks of one node differ, and the less nodes do (an empirical
Bayes estimate, in logarithms). Nodes that are alike stay alike, however mixed their tasks are.

Nodes fall into *paces*: each is `STEP` times as slow as the one before, 0 is what is typical, or unknown. Within a pace nodes count as
equally fast.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from math import exp, inf, log, sqrt
from statistics import fmean, median
from typing import Final, NamedTuple

from clusterodm.libs.common.model.values import NodeId

STEP: Final = 1.2
KEPT_COUNT: Final = 9
"""Last tasks of a node that count."""
SPREAD: Final = 0.5
"""How much tasks of one node are thought to differ (standard deviation of the logarithm) while little is known."""
SPREAD_COUNT: Final = 4
"""That guess counts as much as so many tasks."""

Sample = tuple[int, float]
"""When a task had ended, and the logarithm of its milliseconds per image."""


class PaceSamples(NamedTuple):
    """What the samples of a node say."""

    tasks_count: int
    middle: float
    """Their median."""
    squares: float
    """The sum of their squared distances from their mean."""


class Paces:
    """Running times per image, by node."""

    def __init__(self) -> None:
        self._samples: defaultdict[NodeId, list[Sample]] = defaultdict(list)
        self._known: dict[NodeId, PaceSamples] = {}
        self._learned: set[NodeId] = set()
        self._typical: float | None = None
        """The logarithm of what is typical, as it was when paces were last given."""
        self._rates: dict[int, float] = {}

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

    def changes(self) -> Iterator[tuple[NodeId, int]]:
        """Give the paces of nodes, when anything was learned since this was last asked."""
        if not self._learned:
            return
        for node in self._learned:
            self._known[node] = known_of([value for _, value in self._samples[node]])
        self._learned.clear()
        typical = median(each.middle for each in self._known.values())
        if self._typical is None or abs(typical - self._typical) > log(STEP) / 2:
            self._typical = typical
            self._rates.clear()
        doubt_count = doubt(list(self._known.values()))
        for node, each in self._known.items():
            trusted = (each.middle - self._typical) * each.tasks_count / (each.tasks_count + doubt_count)
            yield node, round(trusted / log(STEP))

    def forget(self, node: NodeId) -> None:
        """Forget a node that is gone."""
        self._samples.pop(node, None)
        self._known.pop(node, None)
        self._learned.discard(node)


def known_of(values: list[float]) -> PaceSamples:
    """Sum up the samples of a node."""
    mean = fmean(values)
    return PaceSamples(len(values), median(values), sum((value - mean) ** 2 for value in values))


def doubt(known: list[PaceSamples]) -> float:
    """Say how many tasks what is typical weighs as much as: how tasks differ on one node, against how nodes differ.

    Nodes that differ by no more than chance allows (two standard errors) do not differ at all.
    """
    freedom = sum(each.tasks_count - 1 for each in known) + SPREAD_COUNT
    within = (sum(each.squares for each in known) + SPREAD_COUNT * SPREAD**2) / freedom
    if len(known) <= 1:
        return inf
    by_chance = within * fmean(1 / each.tasks_count for each in known) * (1 + 2 * sqrt(2 / (len(known) - 1)))
    nodes = known_of([each.middle for each in known])
    between = nodes.squares / (len(known) - 1) - by_chance
    return within / between if between > 0 else inf
