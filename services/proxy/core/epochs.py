"""Which scheduler's word counts: the one of the latest term that was heard of. Pure.

Every placement and every hint carries the epoch of the scheduler that says it. One that was frozen may still have a word on
its way when its successor has long spoken; it is not acted on. An epoch that is lower for good is that of a cluster whose NATS
began anew: when the highest has not been heard for a while, the lower one counts.
"""

from typing import Final

from libs.common.clocks import Instant

FORGOTTEN_AFTER_S: Final = 60.0
"""Much longer than any term lasts without a renewal."""


class Epochs:
    """The highest epoch, and when it was last heard."""

    def __init__(self) -> None:
        self.highest = 0
        self._heard: Instant | None = None

    def __repr__(self) -> str:
        """Show the highest."""
        return f"Epochs(highest={self.highest})"

    def forget(self) -> None:
        """Count anew: the records began anew, and so did the epochs."""
        self.highest = 0

    def counts(self, epoch: int, now: Instant) -> bool:
        """Take in an epoch; whether what came with it counts. 0: whoever says it does not know of terms."""
        if epoch == 0:
            return True
        if epoch < self.highest and self._heard is not None and now - self._heard < FORGOTTEN_AFTER_S:
            return False
        self.highest, self._heard = epoch, now
        return True
