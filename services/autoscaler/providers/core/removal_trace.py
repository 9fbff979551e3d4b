"""What one try to destroy a machine has seen of it: since when nothing of it costs.

What a look shows costs. What is shown no more went when its removal was taken, if that look was the next one, and had gone for
certain when a look first showed nothing.
"""

from collections.abc import Sequence

from clusterodm.libs.common.clocks import Instant
from clusterodm.services.autoscaler.orders import ProviderMachine, Removal


class RemovalTrace:
    """What one try to destroy a machine has seen, and since when nothing of it costs any more."""

    def __init__(self) -> None:
        self.asked: dict[str, Instant] = {}
        """When the removal of each thing was last asked for."""
        self.seen_ref = ""
        """The id of what was seen last."""
        self._was_there = False
        self._gone_at: Instant | None = None
        self._stays: set[str] = set()
        """What the last look has shown, and what has not been taken since."""

    def shown(self, left: Sequence[ProviderMachine], now: Instant) -> None:
        """Learn what a look shows. What it shows costs, whatever was taken before it: it may be going."""
        self._stays = {found.ref for found in left}
        if left:
            self._was_there, self.seen_ref, self._gone_at = True, left[0].ref, None
        elif self._gone_at is None:
            self._gone_at = now

    def removed(self, found: ProviderMachine, now: Instant, *, is_taken: bool) -> None:
        """Learn that a removal was asked for, and whether it was taken."""
        self.asked[found.ref] = now
        if is_taken:
            self._stays.discard(found.ref)
            self._gone_at = None if self._stays else now

    def so_far(self, now: Instant) -> Removal:
        """Say what has come of it."""
        return Removal(self._was_there, None if self._gone_at is None else now - self._gone_at)
