"""Which offer to try next: the smallest size in the first region, unless it has failed lately.

What is known of an offer is what became of the machines that were requested of it; nothing else is kept. Failures in a
row are counted in *rounds*: machines that failed together are one round, so thirty requests that meet the same full region
do not wait thirty times as long. After a failure an offer rests, twice as long with every round, and then one machine
alone tries it (the others wait for how that goes), then two, then four. A larger size is tried only when the smaller is sold out everywhere.
After `createRetries` rounds over all offers that would do for a task there is a longer pause.
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
)
from clusterodm.services.autoscaler.orders import Offer, Size

FIRST_REST_MS: Final = 10_000
LONGEST_REST_MS: Final = 15 * 60_000
MOST_DOUBLINGS: Final = 20
FIRST_PAUSE_MS: Final = 60_000
HOPELESS_REST_MS: Final = 5 * 60_000
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
        trying = Counter((machine.region, machine.size) for machine in machines if machine.state in TRYING)
        self._statuses = {key: status_of(offer, trying[key]) for key, offer in history.offers.items()}
        self._all = status_of(history.together())
        self._planned: Counter[OfferKey] = Counter()
        self._by_sizes: dict[tuple[str, ...], OfferStatus] = {}

    @property
    def trouble(self) -> str:
        """What failed last, as long as nothing has succeeded since."""
        return self._all.failure if self._all.rounds_count else ""

    def take(self, sizes: Sequence[Size]) -> OfferChoice:
        """Choose an offer for one more machine out of sizes that fit, the smallest first."""
        if because := self._paused(tuple(size.slug for size in sizes)):
            return OfferChoice(None, because)
        because = ""
        for size in sizes:
            offers = [Offer(size=size, region=region) for region in self._limits.regions]
            open_offers = [offer for offer in offers if self._open(offer)]
            if open_offers:
                chosen = min(open_offers, key=lambda offer: self._status(offer).rounds_count)
                self._planned[chosen.key] += 1
                return OfferChoice(chosen, because)
            because = self._resting(offers)
            if not all(self._status(offer).trouble == Trouble.OUT_OF_CAPACITY for offer in offers):
                break
        return OfferChoice(None, because)

    def _status(self, offer: Offer) -> OfferStatus:
        return self._statuses.get(offer.key, OfferStatus())

    def _open(self, offer: Offer) -> bool:
        found = self._status(offer)
        trying = found.trying_count + self._planned[offer.key]
        if not found.rounds_count:
            return found.most_trying_count is None or trying < found.most_trying_count
        return not trying and not found.rests(FIRST_REST_MS, self._now_ms)

    def _paused(self, slugs: tuple[str, ...]) -> str:
        if slugs not in self._by_sizes:
            self._by_sizes[slugs] = status_of(self._history.together(slugs))
        lately = self._by_sizes[slugs]
        times = lately.rounds_count // self._limits.create_retries
        if not times:
            return ""
        pause = OfferStatus(times, lately.failed_at_ms, lately.trouble)
        free_at_ms = pause.free_at_ms(FIRST_PAUSE_MS)
        if not pause.rests(FIRST_PAUSE_MS, self._now_ms):
            return ""
        return f"no machine could be created ({lately.failure}); next try at {clock_time(free_at_ms)}"

    def _resting(self, offers: Sequence[Offer]) -> str:
        worst = max((self._status(offer) for offer in offers), key=lambda found: found.failed_at_ms)
        return f"{' and '.join(map(str, offers))}: {worst.failure or worst.trouble}"


def status_of(offer: OfferHistory, trying_count: int = 0) -> OfferStatus:
    """Judge by what became of machines."""
    failures = offer.failures()
    if not failures:
        return OfferStatus(trying_count=trying_count, most_trying_count=offer.room())
    last = max(failures, key=failed_ms)
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
