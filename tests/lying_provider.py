"""Providers that fail at any step and whose lists lie, over one truth: what exists, since when, until when.

    estate = Estate(clock)                     the truth, and the bill
    lies = Lies(...)                           what lists show of it until `honest` is set
    vendor = LyingVendor(estate, lies, ...)    an API, to be put behind `BootedProvider`

Failures are ordered beforehand, by step: before anything is done, or after it.
"""

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Self

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.autoscaler.orders import Order, ProviderMachine
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import Page, everything

PAGE: Final = 2
NOTHING: Final = "after nothing"
"""A call that is answered as if it had done what it should, and has done nothing."""


@dataclass
class Rented:
    """A machine that exists, or did."""

    found: ProviderMachine
    created_ms: int
    deleted_ms: int | None = None


class Estate:
    """Everything that was ever rented."""

    def __init__(self, clock: FakeClock, first_address: int = 1) -> None:
        self.clock = clock
        self.book: dict[str, Rented] = {}
        self.out_of_sight: set[str] = set()
        """By id, what nobody can know of who is asked: its trace was lost, or never written."""
        self._address = first_address

    @property
    def machines(self) -> dict[str, ProviderMachine]:
        """What exists, by name."""
        return {each.found.name: each.found for each in self.book.values() if each.deleted_ms is None}

    def create(self, name: str, size: str, ref: str = "", address: str = "") -> ProviderMachine:
        now_ms = self.clock.wall_ms()
        ref = ref or str(1000 + len(self.book))
        self._address += 1
        found = ProviderMachine(
            name=MachineId(name),
            ref=ref,
            address=address or f"127.0.0.{self._address}",
            size=size,
            created_at_ms=now_ms,
        )
        self.book[ref] = Rented(found, now_ms)
        return found

    def delete(self, ref: str) -> None:
        rented = self.book.get(ref)
        if rented and rented.deleted_ms is None:
            rented.deleted_ms = self.clock.wall_ms()

    def take_away(self, place: int, known: Collection[str], *, notice: bool) -> None:
        """Take back a machine, as those do who rent spot machines, or say that it will be.

        Of those that are known as not ended: what comes and goes behind a lost answer and a list that is late was never seen, and nobody can count it.
        """
        here = [found for name, found in self.machines.items() if name in known]
        if not here:
            return
        found = here[place % len(here)]
        if notice:
            self.book[found.ref].found = replace(found, leaving="spot interruption")
        else:
            self.delete(found.ref)

    @property
    def left(self) -> list[str]:
        """Everything that costs, and that could be known."""
        return [name for name, found in self.machines.items() if found.ref not in self.out_of_sight]

    def caused_ms(self, name: str) -> int | None:
        """For how long all machines of a name have existed; None: none ever did."""
        now_ms = self.clock.wall_ms()
        same = [each for each in self.book.values() if each.found.name == name]
        return sum((each.deleted_ms or now_ms) - each.created_ms for each in same) if same else None


@dataclass
class Lies:
    """What lists show that is not so."""

    late_s: float = 0.0
    """What has just come is not shown."""
    stale_s: float = 0.0
    """What has just gone is shown."""
    missing: deque[bool] = field(default_factory=deque)
    """Whether the next thing that is listed is left out: a list is cut short, or something slips between two pages."""
    late_by_id: bool = False
    """Whether one that has just come is not found by its id either."""
    terse: bool = False
    """What is shown has neither size nor age."""
    honest: bool = False

    def shown(self, estate: Estate) -> list[Rented]:
        now_ms = estate.clock.wall_ms()
        return [each for each in estate.book.values() if self.shows(each.created_ms, each.deleted_ms, now_ms)]

    def knows(self, rented: Rented, now_ms: int) -> bool:
        return self.finds(rented.created_ms, rented.deleted_ms, now_ms)

    def finds(self, created_ms: int, deleted_ms: int | None, now_ms: int) -> bool:
        """Whether a look by id finds it."""
        late = self.late_by_id and not self.honest and now_ms - created_ms < self.late_s * 1000
        return deleted_ms is None and not late

    def shows(self, created_ms: int, deleted_ms: int | None, now_ms: int) -> bool:
        """Whether a list has it."""
        if self.honest:
            return deleted_ms is None
        if deleted_ms is not None:
            return now_ms - deleted_ms < self.stale_s * 1000
        if now_ms - created_ms < self.late_s * 1000:
            return False
        return not self.leaves_out()

    def leaves_out(self) -> bool:
        """Whether a list leaves out the next thing."""
        return not self.honest and bool(self.missing) and self.missing.popleft()


class Estates:
    """What exists at the two providers of one file, together."""

    def __init__(self, clock: FakeClock, names: Sequence[str]) -> None:
        self.clock = clock
        self.by_provider = {name: Estate(clock, 1 + 100 * place) for place, name in enumerate(names)}

    @property
    def machines(self) -> dict[str, ProviderMachine]:
        """What exists, by name."""
        return {name: found for each in self.by_provider.values() for name, found in each.machines.items()}

    @property
    def left(self) -> list[str]:
        """Everything that costs."""
        return [*self.machines]

    def caused_ms(self, name: str) -> int | None:
        """For how long all machines of a name have existed; None: none ever did."""
        known = [caused for each in self.by_provider.values() if (caused := each.caused_ms(name)) is not None]
        return sum(known) if known else None


class Faults:
    """Failures that were ordered, by step; each happens once."""

    def __init__(self, ordered: Sequence[tuple[str, str]]) -> None:
        self._left = list(ordered)

    def order(self, ordered: Sequence[tuple[str, str]]) -> None:
        """Order more."""
        self._left += ordered

    def take(self, step: str) -> str:
        """Take the next failure of a step; empty: it shall work."""
        place = next((place for place, (on, _) in enumerate(self._left) if on == step), None)
        return self._left.pop(place)[1] if place is not None else ""

    def before(self, step: str) -> str:
        """Fail, if that is ordered, before anything is done; else what is to happen after."""
        how = self.take(step)
        if how and not how.startswith("after"):
            raise ProviderFailed(f"{step} made to fail", Trouble(how))
        return how


class LyingVendor:
    """A ports.Vendor."""

    def __init__(self, estate: Estate, lies: Lies, faults: Faults, *, several_calls: bool = False) -> None:
        self._estate = estate
        self._lies = lies
        self._faults = faults
        self._several_calls = several_calls

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    async def check(self) -> None:
        pass

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        self._faults.before("named")
        found = [each for each in self._shown() if each.name == name]
        rented = self._estate.book.get(ref)
        if (
            rented
            and ref not in {each.ref for each in found}
            and self._lies.knows(rented, self._estate.clock.wall_ms())
        ):
            found.append(rented.found)
        return found

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        self._faults.before("starting")
        shown = [each for each in self._shown() if each.name.startswith(prefix)]

        async def page(number: int) -> Page:
            items = shown[(number - 1) * PAGE : number * PAGE]
            return Page(items=items, total_count=len(shown), last=number * PAGE >= len(shown))

        return await everything(page)

    def _shown(self) -> list[ProviderMachine]:
        found = [each.found for each in self._lies.shown(self._estate)]
        return [replace(each, size="", created_at_ms=0) for each in found] if self._lies.terse else found

    async def begin(self, order: Order) -> ProviderMachine:
        how = self._faults.before("begin")
        found = self._estate.create(order.name, order.offer.size.slug)
        if how:
            raise ProviderFailed("the answer was lost", Trouble.UNKNOWN_OUTCOME)
        if self._several_calls and (half := self._faults.take("switch on")):
            raise ProviderFailed("made half", Trouble(half), ref=found.ref)
        return found

    async def resume(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        del order
        self._faults.before("resume")
        return found

    async def remove(self, found: ProviderMachine) -> None:
        how = self._faults.before("remove")
        if next_look := self._faults.take("after remove"):
            self._faults.order([("named", next_look)])
        if how == NOTHING:
            return
        self._estate.delete(found.ref)
        if how:
            raise ProviderFailed("the answer was lost", Trouble.RETRYABLE)

    def described(self, order: Order) -> str:
        return f"create {order.name}"
