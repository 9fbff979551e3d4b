"""Which offer to try next: the smallest size in the first region, unless it has failed lately.

Where the file has several providers, their sizes are tried in one order, by preference or by price; back-off and pause are each
provider's own, so one that is sold out, refuses or is out of reach holds nobody up, and its reason is told with what is ordered instead.

What is known of an offer is what became of the machines that were requested of it; nothing else is kept. Failures in a
row are counted in *rounds*: machines that failed together are one round, so thirty requests that meet the same full region
do not wait thirty times as long. After a failure an offer rests, twice as long with every round, and then one machine
alone tries it (the others wait for how that goes), then two, then four. A larger size is tried only when the smaller is sold out, or refused,
everywhere. As long as nothing has come anywhere since it was sold out or refused, an offer that may be tried again lets those go first that have not been tried at all: with a
dozen of them it would else have its second turn before the last had a first. After `createRetries` rounds over all offers that would do for a task there is a longer pause; what has not been tried as often as the
others ends it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import (
    HOPELESS,
    MachineHistory,
    OfferHistory,
    OfferKey,
    failed_ms,
    key_of,
)
from clusterodm.services.autoscaler.orders import Offer, Size

FIRST_REST_MS: Final = 10_000
LONGEST_REST_MS: Final = 15 * 60_000
MOST_DOUBLINGS: Final = 20
FIRST_PAUSE_MS: Final = 60_000
HOPELESS_REST_MS: Final = 5 * 60_000
OF_THE_SIZE: Final = {Trouble.OUT_OF_CAPACITY, Trouble.REFUSED}
"""Another size may be had although this one is not; whatever else goes wrong would do so with any."""
TRYING: Final = {MachineState.REQUESTED, MachineState.CREATING}
SECONDS_PER_DAY: Final = 24 * 60 * 60


@dataclass(frozen=True)
class OfferStatus:
    """How an offer, or all of them together, has done lately."""

    rounds_count: int = 0
    """Failures in a row."""
    failed_at_ms: int = 0
    trouble: str = ""
    failure: str = ""
    trying_count: int = 0
    """Machines that are being created now."""
    most_trying_count: int | None = None
    """How many may be: after a refusal twice as many as have come since. None: any number."""

    def rests(self, first_ms: int, now_ms: WallMs) -> bool:
        """Whether it is too early to try again; not when the clock went back to before the failure."""
        return self.failed_at_ms <= now_ms < self.free_at_ms(first_ms)

    def free_at_ms(self, first_ms: int) -> int:
        """When it may be tried again."""
        if not self.rounds_count:
            return 0
        rest_ms = min(first_ms << min(self.rounds_count - 1, MOST_DOUBLINGS), LONGEST_REST_MS)
        if self.trouble in HOPELESS:
            rest_ms = max(rest_ms, HOPELESS_REST_MS)
        return self.failed_at_ms + rest_ms


@dataclass(frozen=True)
class OfferChoice:
    """An offer, or why there is none."""

    offer: Offer | None
    reason: str


class OfferFallback:
    """The offers, and how each stands at this moment."""

    def __init__(
        self, limits: ScalingLimits, machines: Sequence[Machine], history: MachineHistory, now_ms: WallMs
    ) -> None:
        self._limits = limits
        self._now_ms = now_ms
        self._history = history
        self._named = {size.provider for size in limits.sizes}
        trying = Counter(self._own(key_of(machine)) for machine in machines if machine.state in TRYING)
        for offer in history.offers.values():
            offer.set_back(now_ms)
        self._statuses = {
            self._own(key): status_of(offer, now_ms, trying[self._own(key)]) for key, offer in history.offers.items()
        }
        self._exist = Counter(machine.provider for machine in machines)
        self._planned: Counter[OfferKey] = Counter()
        self._pauses: dict[tuple[str, ...], str] = {}
        self._order = {each.name: place for place, each in enumerate(limits.providers)}
        self._created_ms = max((offer.created_ms for offer in history.offers.values()), default=0)

    @property
    def troubles(self) -> dict[str, str]:
        """What each provider failed with last, as long as nothing has succeeded there since."""
        found = {
            name: status_of(self._history.together(provider=name), self._now_ms)
            for name in sorted(self._named, key=self._place)
        }
        return {name: status.failure for name, status in found.items() if status.rounds_count}

    @property
    def trouble(self) -> str:
        """Say them in a line."""
        return "; ".join(f"{name}: {failure}" if name else failure for name, failure in self.troubles.items())

    def take(self, sizes: Sequence[Size], *, largest_first: bool = False, gpu: bool = False) -> OfferChoice:
        """Choose an offer for one more machine out of sizes that fit, the smallest (or largest) first.

        Without `gpu` those with a graphics card come last.

        Another provider is tried whatever this one's reason is; a further size of the same one only where it is sold out or refused.
        """
        reasons: dict[str, str] = {}
        given_up: set[str] = set()
        again: tuple[Offer, str] | None = None
        ordered = self._in_order(sizes, largest_first=largest_first, gpu=gpu)
        for size in ordered:
            name = size.provider
            if name in given_up:
                continue
            own = [each for each in ordered if each.provider == name]
            if name not in reasons and (because := self._full(name) or self._paused(name, own)):
                reasons[name] = because
                given_up.add(name)
                continue
            offers = self._offers(size)
            if open_offers := [offer for offer in offers if self._open(offer)]:
                chosen = min(open_offers, key=self._rounds_count)
                if not self._rounds_count(chosen) or not (again or self._is_searching(chosen)):
                    return self._choose(chosen, "; ".join(reasons.values()))
                again = again or (chosen, "; ".join(reasons.values()))
            reasons[name] = self._resting(offers)
            if not self._is_of_the_size(offers):
                given_up.add(name)
        return self._choose(*again) if again else OfferChoice(None, "; ".join(reasons.values()))

    def _choose(self, offer: Offer, reason: str) -> OfferChoice:
        self._planned[offer.key] += 1
        self._exist[offer.size.provider] += 1
        return OfferChoice(offer, reason)

    def _rounds_count(self, offer: Offer) -> int:
        return self._status(offer).rounds_count

    def _is_searching(self, offer: Offer) -> bool:
        """Whether an offer was not to be had a moment ago, and nothing has come since. What failed otherwise may work the next time."""
        found = self._status(offer)
        nothing_came = self._created_ms <= found.failed_at_ms
        return found.trouble in OF_THE_SIZE and nothing_came and found.rests(FIRST_PAUSE_MS, self._now_ms)

    def _in_order(self, sizes: Sequence[Size], *, largest_first: bool, gpu: bool) -> list[Size]:
        """Put sizes in the order in which they are tried: each provider's first by preference, then each one's second; or by price."""
        ranks: Counter[str] = Counter()
        ranked: list[tuple[tuple[float, ...], Size]] = []
        for size in sizes:
            rank = ranks[size.provider]
            ranks[size.provider] += 1
            price = (size.price_per_hour or 0.0) if self._limits.by_price else 0.0
            by_rank = rank if largest_first or not self._limits.by_price else 0
            spared = size.gpu and not gpu
            ranked.append(((spared, by_rank, price, rank, self._place(size.provider)), size))
        return [size for _, size in sorted(ranked, key=lambda each: each[0])]

    def _place(self, provider: str) -> int:
        return self._order.get(provider, 0)

    def _own(self, key: OfferKey) -> OfferKey:
        """Say of which offer of the file another was: a file with one provider does not name it."""
        provider, region, size = key
        return provider if provider in self._named else "", region, size

    def _full(self, provider: str) -> str:
        most = self._limits.of(provider).machines_count if provider else None
        if most is None or self._exist[provider] < most:
            return ""
        return f"the limit of {most} machine{'' if most == 1 else 's'} at {provider} is reached"

    def _status(self, offer: Offer) -> OfferStatus:
        return self._statuses.get(offer.key, OfferStatus())

    def _open(self, offer: Offer) -> bool:
        found = self._status(offer)
        trying = found.trying_count + self._planned[offer.key]
        if not found.rounds_count:
            return found.most_trying_count is None or trying < found.most_trying_count
        return not trying and not found.rests(FIRST_REST_MS, self._now_ms)

    def _offers(self, size: Size) -> list[Offer]:
        return [Offer(size=size, region=region) for region in self._limits.of(size.provider).regions]

    def _is_of_the_size(self, offers: Sequence[Offer]) -> bool:
        """Whether a further size of this provider may be had although this one is not."""
        return all(self._status(offer).trouble in OF_THE_SIZE for offer in offers)

    def _paused(self, provider: str, sizes: Sequence[Size]) -> str:
        """Say until when nothing is tried at a provider, where `createRetries` rounds have failed over all that would be; empty: there is no pause."""
        key = (provider, *(size.offered for size in sizes))
        if key not in self._pauses:
            self._pauses[key] = self._pause(provider, sizes)
        return self._pauses[key]

    def _pause(self, provider: str, sizes: Sequence[Size]) -> str:
        tried = self._would_be_tried(sizes)
        statuses = [self._status(offer) for offer in tried]
        together = status_of(self._history.together({offer.size.offered for offer in tried}, provider), self._now_ms)
        times = together.rounds_count // max(self._limits.create_retries, len(tried))
        fewest_count = min(status.rounds_count for status in statuses)
        if not times or not fewest_count:
            return ""
        behind_ms = max(each.failed_at_ms for each in statuses if each.rounds_count == fewest_count)
        pause = OfferStatus(times, behind_ms, together.trouble)
        if not pause.rests(FIRST_PAUSE_MS, self._now_ms):
            return ""
        where = f" at {provider}" if provider else ""
        next_try = clock_time(pause.free_at_ms(FIRST_PAUSE_MS))
        return f"no machine could be created{where} ({together.failure}); next try at {next_try}"

    def _would_be_tried(self, sizes: Sequence[Size]) -> list[Offer]:
        """List the offers of a provider in their order, up to a size whose failure would be that of any."""
        found: list[Offer] = []
        for size in sizes:
            found += (offers := self._offers(size))
            if not self._is_of_the_size(offers):
                break
        return found

    def _resting(self, offers: Sequence[Offer]) -> str:
        worst = max((self._status(offer) for offer in offers), key=lambda found: found.failed_at_ms)
        return f"{' and '.join(map(str, offers))}: {worst.failure or worst.trouble}"


def status_of(offer: OfferHistory, now_ms: WallMs, trying_count: int = 0) -> OfferStatus:
    """Judge by what became of machines. Where the clock went back, those that failed after that are the latest."""
    failures = offer.failures()
    if not failures:
        return OfferStatus(trying_count=trying_count, most_trying_count=offer.room())
    last = max(failures, key=lambda machine: (failed_ms(machine) <= now_ms, failed_ms(machine)))
    return OfferStatus(rounds(failures), failed_ms(last), last.trouble, last.failure, trying_count)


def rounds(failures: Sequence[Machine]) -> int:
    """Count failures in a row; those that were requested before the first of them was known are one."""
    count, known_ms = 0, -1
    for machine in failures:
        if machine.requested_at_ms >= known_ms:
            count, known_ms = count + 1, failed_ms(machine)
        else:
            known_ms = min(known_ms, failed_ms(machine))
    return count


def clock_time(at_ms: int) -> str:
    """Say a moment of the day; unlike a time that is left it stays the same while one waits for it."""
    seconds = -(-at_ms // 1000) % SECONDS_PER_DAY
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} UTC"
