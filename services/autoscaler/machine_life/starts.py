"""How long machines take to come up, and how many were requested lately: read from their records, of each size the latest.

The median counts: one machine that hung for a quarter of an hour says nothing of the next.
"""

from bisect import insort
from statistics import median
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.values import MachineId

USUAL_START_MS: Final = 180_000
"""Taken for the time to start while no machine has come."""
KEPT_COUNT: Final = 9
"""So many starts of a size count."""
MINUTE_MS: Final = 60_000


class StartHistory:
    """The latest starts and requests."""

    def __init__(self) -> None:
        self._starts: dict[str, list[tuple[int, MachineId, int]]] = {}
        """By size: when it came online, which, and how long that took."""
        self._requests: dict[MachineId, int] = {}
        """Those of the last minute, the oldest first: when each was requested."""
        self._newest_ms = 0

    def take(self, machine: Machine) -> None:
        """Learn of a machine's present value; taking it again changes nothing."""
        self._note_request(machine)
        if machine.called_at_ms is None or machine.online_at_ms is None or machine.seen_at_ms:
            return
        start = (machine.online_at_ms, machine.id, max(0, machine.online_at_ms - machine.called_at_ms))
        starts = self._starts.setdefault(machine.size, [])
        if start not in starts:
            insort(starts, start)
            del starts[:-KEPT_COUNT]

    def start_ms(self, size: str) -> int:
        """Say how long a machine of a size takes to come up, by what is known of it, else of all."""
        known = self._starts.get(size) or [start for starts in self._starts.values() for start in starts]
        return round(median(took_ms for _, _, took_ms in known)) if known else USUAL_START_MS

    def requested_count(self, now_ms: WallMs) -> int:
        """Count the machines that were requested in the last minute; a clock that was set back makes none of them young, nor those that follow old."""
        self._newest_ms = min(self._newest_ms, now_ms)
        return sum(now_ms - MINUTE_MS < requested_ms <= now_ms for requested_ms in self._requests.values())

    def _note_request(self, machine: Machine) -> None:
        newest_ms = max(self._newest_ms, machine.requested_at_ms)
        if machine.id in self._requests or machine.requested_at_ms <= newest_ms - MINUTE_MS:
            return
        self._newest_ms = newest_ms
        self._requests[machine.id] = machine.requested_at_ms
        while (oldest := next(iter(self._requests))) and self._requests[oldest] <= newest_ms - MINUTE_MS:
            del self._requests[oldest]
