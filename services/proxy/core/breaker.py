"""Whether a node is asked at all: a circuit breaker per node, as values. Pure.

    closed ──failure──▶ open ──the pause is over──▶ half open ──success──▶ closed
                         ▲  nobody asks             one asks   │
                         └───────── failure, a longer pause ───┘

What is not asked is answered from the record at once, so a hung node costs one poll now and then its time limit, and all
others nothing. The pauses are short: what a client sees of a node that is back is old by PAUSES_S[-1] at most.
"""

from dataclasses import dataclass
from typing import Final

from libs.common.clocks import Instant

PAUSES_S: Final = (1.0, 2.0, 4.0)
"""After the first failure, the second in a row, every further one."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is remembered of a node that failed; a node without one is closed."""

    failures_count: int
    """In a row."""
    open_until: Instant
    trying: bool = False
    """Half open: somebody is asking."""

    def lets_through(self, now: Instant) -> bool:
        """Whether one may ask."""
        return now >= self.open_until and not self.trying


def failed(breaker: Breaker | None, now: Instant) -> Breaker:
    """Open after a failure. One of several that were under way together does not count again."""
    if breaker is None:
        return Breaker(1, now + PAUSES_S[0])
    if not breaker.trying:
        return breaker
    count = breaker.failures_count + 1
    return Breaker(count, now + PAUSES_S[min(count, len(PAUSES_S)) - 1])


def tried(breaker: Breaker) -> Breaker:
    """Let one through."""
    return Breaker(breaker.failures_count, breaker.open_until, trying=True)


def let_go(breaker: Breaker) -> Breaker:
    """Let the next one ask: the one that was let through has left without an outcome."""
    return Breaker(breaker.failures_count, breaker.open_until)
