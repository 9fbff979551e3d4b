"""What machines that have ended have cost in the last 24 hours, as a running sum.

Money is counted in whole millionths of a price times milliseconds, so that adding and taking away leave nothing behind.
A bill lies wholly within the window until its beginning leaves it, partly until its end does, and then counts no more;
two heaps say which is next. Time only goes forward: a clock that is set back makes this count a little too much for a while.
"""

from dataclasses import dataclass
from enum import Enum, auto
from heapq import heappop, heappush
from typing import Final

from libs.common.clocks import WallMs
from libs.common.model import Machine, MachineId

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
PARTS: Final = 1_000_000
"""Smallest part of a price that counts."""


class Lies(Enum):
    """Where a bill lies."""

    WITHIN = auto()
    ACROSS = auto()
    """It began before the window."""
    OUTSIDE = auto()


@dataclass(eq=False)
class Bill:
    """What one machine has cost."""

    machine: MachineId
    rate: int
    from_ms: int
    to_ms: int
    lies: Lies = Lies.WITHIN


def rate_of(machine: Machine) -> int:
    """Give a price in whole parts."""
    return round((machine.price_per_hour or 0.0) * PARTS)


def amount(parts_ms: int) -> float:
    """Make an amount of parts times milliseconds."""
    return parts_ms / (PARTS * HOUR_MS)


class Spending:
    """The bills of the last day."""

    def __init__(self) -> None:
        self._bills: dict[MachineId, Bill] = {}
        self._begins: list[tuple[int, int, Bill]] = []
        self._ends: list[tuple[int, int, Bill]] = []
        self._within = 0
        self._across = 0
        """Of those across: rate times end."""
        self._across_rate = 0
        self._number = 0

    def __repr__(self) -> str:
        """Show how many bills count."""
        return f"Spending({len(self._bills)} bills)"

    def take(self, machine: Machine) -> None:
        """Learn of a machine's present value; one that exists has no bill yet."""
        ended_ms, called_ms = machine.ended_at_ms, machine.called_at_ms
        rate = 0 if machine.never_was else rate_of(machine)
        known = self._bills.get(machine.id)
        if known and ended_ms == known.to_ms:
            return
        if known:
            self._take_out(known)
        if ended_ms is not None and called_ms is not None and rate and ended_ms > called_ms:
            self._put(Bill(machine.id, rate, called_ms, ended_ms))

    def of_last_day(self, now_ms: WallMs) -> int:
        """Add up the last 24 hours, in parts times milliseconds."""
        from_ms = now_ms - DAY_MS
        while self._begins and self._begins[0][0] < from_ms:
            self._begin_leaves(heappop(self._begins)[2])
        while self._ends and self._ends[0][0] <= from_ms:
            self._take_out(heappop(self._ends)[2])
        return self._within + self._across - self._across_rate * from_ms

    def _put(self, bill: Bill) -> None:
        self._number += 1
        self._bills[bill.machine] = bill
        self._within += bill.rate * (bill.to_ms - bill.from_ms)
        heappush(self._begins, (bill.from_ms, self._number, bill))
        heappush(self._ends, (bill.to_ms, self._number, bill))

    def _take_out(self, bill: Bill) -> None:
        if bill.lies is Lies.WITHIN:
            self._within -= bill.rate * (bill.to_ms - bill.from_ms)
        if bill.lies is Lies.ACROSS:
            self._across -= bill.rate * bill.to_ms
            self._across_rate -= bill.rate
        bill.lies = Lies.OUTSIDE
        if self._bills.get(bill.machine) is bill:
            del self._bills[bill.machine]

    def _begin_leaves(self, bill: Bill) -> None:
        if bill.lies is Lies.WITHIN:
            self._within -= bill.rate * (bill.to_ms - bill.from_ms)
            bill.lies = Lies.ACROSS
            self._across += bill.rate * bill.to_ms
            self._across_rate += bill.rate
