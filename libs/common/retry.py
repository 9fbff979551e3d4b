"""How often something is tried again, and after which pause: one policy for all, as a value. Pure: time and chance are arguments.

The pause doubles from `first_s` up to `longest_s`, and chance takes off up to `jitter` of it, so that many who failed together
do not come again together. It ends by count and by time, whichever is first: what is slow to fail is not tried as often as what
fails at once.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """When to try again, and when to give up."""

    tries_count: int
    """At most, the first one included."""
    within_s: float
    """No try begins later than this after the first one began."""
    first_s: float
    """The pause after the first failure."""
    longest_s: float
    jitter: float = 0.5
    """Which part of a pause is left to chance: 0 none, 1 all."""

    def pause_s(self, failures_count: int, elapsed_s: float, chance: float, at_least_s: float = 0.0) -> float | None:
        """Say how long to wait after so many failures; None: give up.

        `elapsed_s` has passed since the first try began; `chance` is between 0 and 1; `at_least_s` is what the other side has
        asked for (Retry-After).
        """
        if failures_count >= self.tries_count:
            return None
        full_s = min(self.first_s * 2.0 ** min(failures_count - 1, 64), self.longest_s)
        pause_s = max(full_s * (1.0 - self.jitter * chance), at_least_s)
        return pause_s if elapsed_s + pause_s <= self.within_s else None
