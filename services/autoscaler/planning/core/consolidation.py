"""Which idle machines were never needed for as long as an idle machine is kept.

Where small tasks come one by one, each goes to another of the machines that are free, and none of them is ever idle for the whole
`idleTimeout`: ten machines stay for the work of one. So what counts is not how long each machine was idle, but how many were idle *at
the same time*: the least number over the last `idleTimeout` seconds is what could have been missing all along. So many go, those
first whose paid time is over. The times are those of the plans themselves; after a start nothing counts until so much has been seen.
"""

from collections import deque
from collections.abc import Mapping, Sequence

from clusterodm.libs.common.clocks import Instant, WallMs
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.machine_life.life import paid_ms

FREE = {MachineState.ONLINE, MachineState.IDLE}


class IdleCounts:
    """How many machines of each size were free, and the least number of each over a while."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._counts: dict[str, deque[tuple[Instant, int]]] = {}
        """By size: since when it was so many; the numbers rise, so that the first is the least of the window."""
        self._since: dict[str, Instant] = {}

    def note(self, free: Sequence[Machine], now: Instant) -> None:
        """Take in which machines are free and needed by nobody now."""
        counts: dict[str, int] = dict.fromkeys(self._counts, 0)
        for machine in free:
            if machine.state in FREE:
                counts[machine.size] = counts.get(machine.size, 0) + 1
        for size, count in counts.items():
            self._note(size, count, now)

    def never_needed(self, now: Instant) -> dict[str, int]:
        """Say how many machines of each size could have been missing for the whole window; none while that has not passed."""
        if not self._window_s:
            return {}
        return {
            size: counts[0][1] for size, counts in self._counts.items() if now - self._since[size] >= self._window_s
        }

    def _note(self, size: str, count: int, now: Instant) -> None:
        if not count:
            self._counts.pop(size, None)
            self._since.pop(size, None)
            return
        counts = self._counts.setdefault(size, deque())
        self._since.setdefault(size, now)
        while counts and counts[-1][1] > count:
            counts.pop()
        if not counts or counts[-1][1] < count:
            counts.append((now, count))
        while len(counts) > 1 and now - counts[1][0] >= self._window_s:
            counts.popleft()


def never_needed(surplus: Sequence[Machine], counts: Mapping[str, int], now_ms: WallMs) -> set[MachineId]:
    """Choose as many of the machines that nobody needs as were never needed, those with the least paid time left first."""
    left = dict(counts)
    chosen: set[MachineId] = set()
    for machine in sorted(surplus, key=lambda each: (paid_ms(each, now_ms), -each.state_at_ms, each.id)):
        if machine.state in FREE and left.get(machine.size, 0) > 0:
            left[machine.size] -= 1
            chosen.add(machine.id)
    return chosen
