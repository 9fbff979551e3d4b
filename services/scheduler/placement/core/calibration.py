"""How wide intervals have to be, so that as many hold as is claimed: adaptive conformal inference (Gibbs and Candès, 2021). Pure.

Quantiles of past errors hold what comes only where what comes is like what was. A queue is not like that: tasks of a burst are late together, and
what is said of all of them is said before the first one shows it. So each end of an interval is moved by a factor, and each outcome moves that factor: beyond the
end it grows by nine parts, within it shrinks by one. The parts are in balance when one in ten lies beyond, whatever the errors are like; so in the
long run eight of ten lie between both.

What is told with an estimate is what was measured of the last ones (`held_percent`), so that nobody has to believe the claim.
"""

from collections import deque
from dataclasses import dataclass
from math import exp
from typing import Final

from clusterodm.libs.common.run_times import HIGH, LOW, Range

STEP: Final = 0.05
"""By so much (a logarithm) ten parts move an end."""
FIRST: Final = 1.8
"""Where factors begin: while little is known, too wide is the smaller mistake."""
LEAST, MOST = 0.5, 6.0
"""Factors lie between those: a row of good luck does not make intervals so narrow that the next mistake is a large one, nor one of bad luck useless."""
COUNTED: Final = 100
"""The last outcomes, of which it is said how many intervals held."""
FEWEST: Final = 20
"""Of fewer nothing is said."""


@dataclass
class IntervalEnd:
    """One end of the intervals of a kind."""

    beyond_part: float
    """So many may lie beyond it."""
    factor: float = FIRST

    def happened(self, *, beyond: bool) -> None:
        """Learn of an outcome."""
        moved = self.factor * exp(STEP * ((1 - self.beyond_part) if beyond else -self.beyond_part))
        self.factor = min(max(moved, LEAST), MOST)


class Calibration:
    """The intervals of a kind: by how much they are wider than errors say, and how many of the last ones held."""

    def __init__(self) -> None:
        self._low, self._high = IntervalEnd(LOW), IntervalEnd(1 - HIGH)
        self._held: deque[bool] = deque(maxlen=COUNTED)

    def __repr__(self) -> str:
        """Show how wide they are, and how many held."""
        return f"Calibration({self._low.factor:.2f} to {self._high.factor:.2f} held={self.held_percent}%)"

    @property
    def held_percent(self) -> int | None:
        """Say how many of the last intervals held; None: there were too few."""
        return round(100 * sum(self._held) / len(self._held)) if len(self._held) >= FEWEST else None

    def widened(self, found: Range) -> Range:
        """Move both ends."""
        below, above = found.likely - found.low, found.high - found.likely
        return Range(found.likely - below * self._low.factor, found.likely, found.likely + above * self._high.factor)

    def happened(self, told: Range, value: float) -> None:
        """Learn what became of what was told."""
        self._low.happened(beyond=value < told.low)
        self._high.happened(beyond=value > told.high)
        self._held.append(told.low <= value <= told.high)
