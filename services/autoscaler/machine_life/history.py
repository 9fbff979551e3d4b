"""What became of machines, folded, so that a plan costs what exists and what has changed, not what there once was.

A record is `take`n whenever it is written; taking it again changes nothing. Kept of each offer are three moments, the latest
machines that came, and the failures that nothing has made good since; of what was spent, running sums. What a plan reads is
the same as if it went through all records of the last day (tests/plain_history.py does, and the two are compared).

Money is counted in whole millionths of a price times milliseconds, so that adding and taking away leave nothing behind.
A bill lies wholly within the last 24 hours until its beginning leaves them, partly until its end does, and then counts no more;
two heaps say which is next. Time only goes forward: a clock that is set back makes this count a little too much for a while.
"""

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from heapq import heappop, heappush
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.machines import Machine, offered
from clusterodm.libs.common.model.values import MachineId, Owner
from clusterodm.services.autoscaler.machine_life.life import billed_ms
from clusterodm.services.autoscaler.machine_life.starts import StartHistory

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
PARTS: Final = 1_000_000
"""Smallest part of a price that counts."""
HOPELESS: Final = {Trouble.UNAUTHORISED, Trouble.REFUSED}
"""Rests long from the first time on: somebody has to act."""
LASTING: Final = {*HOPELESS, Trouble.OUT_OF_CAPACITY}
"""Failures that say something about the offer, not about the moment."""
OPEN_AGAIN_COUNT: Final = 32
"""After so many successes nothing is left of a refusal."""

OfferKey = tuple[str, str, str]
"""Provider, region and size, with a word where it is a spot machine."""


class WindowPosition(Enum):
    """Where a bill lies in the last 24 hours."""

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
    position: WindowPosition = WindowPosition.WITHIN


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

    def __bool__(self) -> bool:
        """Whether any bill counts, or may yet."""
        return bool(self._bills)

    def take(self, machine: Machine) -> None:
        """Learn of a machine's present value; one that exists has no bill yet."""
        ended_ms, called_ms = machine.ended_at_ms, machine.called_at_ms
        rate = 0 if machine.never_was else rate_of(machine)
        known = self._bills.get(machine.id)
        to_ms = None if ended_ms is None or called_ms is None else called_ms + billed_ms(machine, ended_ms)
        if known and to_ms == known.to_ms:
            return
        if known:
            self._take_out(known)
        if to_ms is not None and called_ms is not None and rate and to_ms > called_ms:
            self._put(Bill(machine.id, rate, called_ms, to_ms))

    def forget(self, machine: MachineId) -> None:
        """Drop what a machine has cost."""
        if bill := self._bills.get(machine):
            self._take_out(bill)

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
        if bill.position is WindowPosition.WITHIN:
            self._within -= bill.rate * (bill.to_ms - bill.from_ms)
        if bill.position is WindowPosition.ACROSS:
            self._across -= bill.rate * bill.to_ms
            self._across_rate -= bill.rate
        bill.position = WindowPosition.OUTSIDE
        if self._bills.get(bill.machine) is bill:
            del self._bills[bill.machine]

    def _begin_leaves(self, bill: Bill) -> None:
        if bill.position is WindowPosition.WITHIN:
            self._within -= bill.rate * (bill.to_ms - bill.from_ms)
            bill.position = WindowPosition.ACROSS
            self._across += bill.rate * bill.to_ms
            self._across_rate += bill.rate


class OfferHistory:
    """What became of the machines of one offer, or of several together."""

    def __init__(self) -> None:
        self.created_ms = 0
        self.online_ms = 0
        self.tried_ms = 0
        """When the latest of those that were created was requested."""
        self.refused_ms: int | None = None
        """When it last said no for good."""
        self.come: list[tuple[int, MachineId]] = []
        """The latest that were created: when they were requested."""
        self.open_failures: dict[MachineId, Machine] = {}
        """Those that were not made good when last looked at."""

    def take(self, machine: Machine) -> None:
        """Learn of a machine's present value."""
        if machine.created_at_ms is not None:
            self.created_ms = max(self.created_ms, machine.created_at_ms)
            self.tried_ms = max(self.tried_ms, machine.requested_at_ms)
            self._note_come((machine.requested_at_ms, machine.id))
        self.online_ms = max(self.online_ms, machine.online_at_ms or 0)
        if machine.trouble in LASTING:
            self.refused_ms = max(self.refused_ms or 0, failed_ms(machine))
        if machine.failure:
            self.open_failures[machine.id] = machine

    def add(self, other: "OfferHistory") -> None:
        """Take in the failures of another offer, and what may make them good; how much room it has is its own matter."""
        self.created_ms = max(self.created_ms, other.created_ms)
        self.online_ms = max(self.online_ms, other.online_ms)
        self.tried_ms = max(self.tried_ms, other.tried_ms)
        self.open_failures |= other.open_failures

    def set_back(self, now_ms: WallMs) -> None:
        """Learn where the clock is: where it went back, what lies ahead of it was not later than now, and so makes good nothing that comes."""
        self.created_ms = min(self.created_ms, now_ms)
        self.online_ms = min(self.online_ms, now_ms)
        self.tried_ms = min(self.tried_ms, now_ms)
        if self.refused_ms is not None:
            self.refused_ms = min(self.refused_ms, now_ms)

    def forget(self, machine: MachineId) -> None:
        """Hold a failure against nobody any more."""
        self.open_failures.pop(machine, None)

    def failures(self) -> list[Machine]:
        """List the failures that nothing has made good, in the order of the requests."""
        self.open_failures = {
            key: machine for key, machine in self.open_failures.items() if not self._made_good(machine)
        }
        return sorted(self.open_failures.values(), key=lambda machine: (machine.requested_at_ms, machine.id))

    def room(self) -> int | None:
        """Say how many may be tried at once, after a refusal: it opens as it proves to have room. None: any number."""
        if self.refused_ms is None:
            return None
        come = sum(requested_ms >= self.refused_ms for requested_ms, _ in self.come)
        return None if come >= OPEN_AGAIN_COUNT else max(1, 2 * come)

    def _note_come(self, come: tuple[int, MachineId]) -> None:
        if come not in self.come:
            insort(self.come, come)
            del self.come[:-OPEN_AGAIN_COUNT]

    def _made_good(self, machine: Machine) -> bool:
        """Whether another has come, since this one failed, as far as this one should have.

        Where the failure says something about the offer (no room, wrong keys), the other must have been requested after it:
        a region that was full for this one has still room for those that it had promised it to.
        """
        if machine.trouble in LASTING:
            return self.tried_ms >= failed_ms(machine)
        return failed_ms(machine) <= (self.online_ms if machine.created_at_ms else self.created_ms)


class MachineHistory:
    """What became of each offer's machines, what was spent, how long starts took, and how much memory each size has."""

    def __init__(self, machines: Iterable[Machine] = ()) -> None:
        self.offers: dict[OfferKey, OfferHistory] = {}
        self.spending = Spending()
        self.spending_of: dict[Owner, Spending] = {}
        """Of machines that were rented for somebody's tasks, by whose."""
        self.starts = StartHistory()
        self._memories: dict[str, tuple[int, MachineId, int]] = {}
        for machine in machines:
            self.take(machine)

    def take(self, machine: Machine) -> None:
        """Learn of a machine's present value."""
        self.offers.setdefault(key_of(machine), OfferHistory()).take(machine)
        self.spending.take(machine)
        if machine.owner and (machine.price_per_hour or machine.owner in self.spending_of):
            self.spending_of.setdefault(machine.owner, Spending()).take(machine)
        self.starts.take(machine)
        if machine.memory_bytes:
            known = (machine.requested_at_ms, machine.id, machine.memory_bytes)
            self._memories[machine.size] = max(known, self._memories.get(machine.size, known))

    def forget(self, machine: Machine) -> None:
        """Learn that a record is gone: its failure and its bill are too old to count."""
        if (spending := self.spending_of.get(machine.owner)) is not None:
            spending.forget(machine.id)
            if not spending:
                del self.spending_of[machine.owner]
        if offer := self.offers.get(key_of(machine)):
            offer.forget(machine.id)

    def memories(self) -> dict[str, int]:
        """Say how much memory each size has, as its latest machine said."""
        return {size: memory for size, (_, _, memory) in self._memories.items()}

    def together(self, sizes: Iterable[str] | None = None, provider: str = "") -> OfferHistory:
        """Put the offers of some sizes together, or of one provider; None and empty: all offers."""
        wanted = None if sizes is None else set(sizes)
        found = OfferHistory()
        for (owner, _, size), offer in self.offers.items():
            if (wanted is None or size in wanted) and provider in {"", owner}:
                found.add(offer)
        return found


def key_of(machine: Machine) -> OfferKey:
    """Say of which offer a machine is."""
    return machine.provider, machine.region, offered(machine.size, spot=machine.spot)


def failed_ms(machine: Machine) -> int:
    """When a machine failed: its clean-up may take longer."""
    return machine.failed_at_ms or machine.state_at_ms
