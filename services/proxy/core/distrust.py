"""Which nodes have kept files that they had answered with an error, and for how long such files are not sent to them again. Pure.

A node that was found out costs a whole transfer each time (delivery.py), so for a while its errors end the attempt at once. The
while is bounded, because one such error may have been an accident and without retries a large task never gets through: a minute after
the first time, doubling up to an hour while it is found out again, and forgotten once its count was right after files had been repeated.
"""

from dataclasses import dataclass
from typing import Final

from libs.common.clocks import Instant
from libs.common.model import NodeId

FIRST_S: Final = 60.0
LONGEST_S: Final = 3_600.0
MAX_DOUBLINGS: Final = 16


@dataclass(frozen=True)
class Doubt:
    """What is held against a node."""

    times_count: int
    until: Instant


class Distrust:
    """Nodes to which nothing is sent again after an error."""

    def __init__(self, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._doubts: dict[NodeId, Doubt] = {}

    def __repr__(self) -> str:
        """Show how many nodes were found out."""
        return f"Distrust({len(self._doubts)})"

    def holds(self, node: NodeId, now: Instant) -> bool:
        """Whether nothing is sent to a node again now."""
        doubt = self._doubts.get(node)
        return doubt is not None and now < doubt.until

    def found_out(self, node: NodeId, now: Instant) -> float:
        """Note that its count was wrong; for how long that holds, in seconds."""
        before = self._doubts.get(node)
        times_count = before.times_count + 1 if before else 1
        seconds = min(self._first_s * 2.0 ** min(times_count - 1, MAX_DOUBLINGS), self._longest_s)
        self._doubts[node] = Doubt(times_count, now + seconds)
        return seconds

    def proven(self, node: NodeId) -> None:
        """Note that its count was right although files had been sent again."""
        self._doubts.pop(node, None)
