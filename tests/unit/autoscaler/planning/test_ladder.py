"""Whatever is sold out or refused: what can be had is rented within seconds, in the order of the file, and nothing is asked for in vain again and again."""

from collections import Counter
from dataclasses import dataclass, replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.autoscaler.config.core.configuration import ProviderLimits, ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.orders import Offer, Size
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.plan import plan

BEGUN_MS = 1_000_000_000
PLAYED_S = 400
MOST_TRIES = 6
"""Of one offer that never works: at once, and after 10, 20, 40, 80 and 160 s."""
OfferName = tuple[str, str, str]


def sizes_of(provider: str) -> tuple[Size, ...]:
    """Three, the smallest twice: spot, and one that stays."""
    small = Size(slug="small", max_images=50, provider=provider)
    return (
        replace(small, spot=True, interruptions_limit_count=1),
        small,
        Size(slug="large", max_images=500, provider=provider),
    )


@dataclass
class Market:
    """What can be had, and what was asked for."""

    limits: ScalingLimits
    troubles: dict[OfferName, Trouble]
    """Of what cannot be had."""

    def __post_init__(self) -> None:
        self.ended: list[Machine] = []

    def play(self, for_s: int) -> tuple[Offer, int] | None:
        """Plan once a second for a task until it has a machine: which, and when; None: it has none."""
        waiting = [WaitingTask(task=TaskId("t"), images_count=10)]
        for second in range(for_s):
            now_ms = WallMs(BEGUN_MS + second * 1000)
            seen = PlanInput(now_ms=now_ms, machines=[], history=MachineHistory(self.ended), waiting=waiting, loads={})
            for creation in plan(self.limits, seen).create:
                trouble = self.troubles.get(name_of(creation.offer))
                if trouble is None:
                    return creation.offer, second
                self.ended.append(self._failed(creation.offer, trouble, now_ms))
        return None

    def _failed(self, offer: Offer, trouble: Trouble, now_ms: int) -> Machine:
        return Machine(
            id=MachineId(f"m{len(self.ended)}"),
            state=MachineState.FAILED,
            provider=offer.size.provider or "alone",
            region=offer.region,
            size=offer.size.slug,
            spot=offer.size.spot,
            max_images=offer.size.max_images,
            requested_at_ms=now_ms,
            state_at_ms=now_ms + 500,
            failed_at_ms=now_ms + 500,
            ended_at_ms=now_ms + 500,
            failure="no",
            trouble=str(trouble),
        )


def name_of(offer: Offer) -> OfferName:
    return offer.size.provider, offer.size.offered, offer.region


@st.composite
def markets(draw: st.DrawFn) -> Market:
    providers = draw(st.sampled_from([("",), ("first", "second")]))
    regions = draw(st.sampled_from([("here",), ("here", "there", "yonder")]))
    sizes = tuple(size for provider in providers for size in sizes_of(provider))
    limits = ScalingLimits(
        sizes=tuple(sorted(sizes, key=lambda size: size.max_images)),
        regions=regions,
        create_retries=draw(st.integers(1, 5)),
        providers=tuple(ProviderLimits(name=name, regions=regions) for name in providers if name),
    )
    offers = [name_of(Offer(size=size, region=region)) for size in sizes for region in regions]
    of_the_size = st.sampled_from([Trouble.OUT_OF_CAPACITY, Trouble.REFUSED])
    return Market(limits, draw(st.dictionaries(st.sampled_from(offers), of_the_size)))


@settings(max_examples=50)
@given(market=markets())
def test_what_can_be_had_is_rented_after_each_offer_before_it_was_tried_once(market: Market):
    offers = {
        name_of(Offer(size=size, region=region)) for size in market.limits.sizes for region in market.limits.regions
    }
    found = market.play(for_s=len(offers) + 1)
    if found is None:
        assert offers == market.troubles.keys()
        return
    offer, second = found
    assert second == len(market.ended), "no second passes without a try"
    tried = [(each.provider, each.size, each.spot, each.region) for each in market.ended]
    assert len(tried) == len(set(tried))
    before = [
        size for size in market.limits.sizes if size.provider == offer.size.provider and is_before(size, offer.size)
    ]
    assert {
        name_of(Offer(size=size, region=region)) for size in before for region in market.limits.regions
    } <= market.troubles.keys()


def many_offers() -> ScalingLimits:
    providers, regions = ("first", "second"), ("here", "there", "yonder")
    return ScalingLimits(
        sizes=tuple(size for provider in providers for size in sizes_of(provider)),
        regions=regions,
        create_retries=3,
        providers=tuple(ProviderLimits(name=name, regions=regions) for name in providers),
    )


def test_of_many_offers_the_last_has_its_first_turn_before_the_first_has_its_second():
    limits = many_offers()
    names = [name_of(Offer(size=size, region=region)) for size in limits.sizes for region in limits.regions]
    market = Market(limits, dict.fromkeys([each for each in names if each != names[-1]], Trouble.OUT_OF_CAPACITY))
    found = market.play(for_s=len(names))
    assert found is not None
    assert (name_of(found[0]), len(market.ended)) == (names[-1], len(names) - 1)


def test_what_is_preferred_is_tried_again_first_once_something_else_has_come():
    limits = ScalingLimits(sizes=sizes_of("")[1:], regions=("here", "there"), create_retries=3)
    small = {name_of(Offer(size=limits.sizes[0], region=region)) for region in limits.regions}
    market = Market(limits, dict.fromkeys(small, Trouble.OUT_OF_CAPACITY))
    found = market.play(for_s=5)
    assert found is not None
    assert (found[0].size.slug, found[1]) == ("large", 2)
    market.ended.append(replaced(market.ended[-1], "large", WallMs(BEGUN_MS + 3_000)))
    market.troubles.clear()
    again = market.play(for_s=30)
    assert again is not None
    assert again[0].size.slug == "small"


def replaced(failed: Machine, size: str, at_ms: WallMs) -> Machine:
    """Say what became of the machine after one that failed: it came, and is gone."""
    times = dict.fromkeys(("requested_at_ms", "state_at_ms", "created_at_ms", "online_at_ms", "ended_at_ms"), at_ms)
    came = {"id": MachineId("came"), "size": size, "failure": "", "trouble": "", "failed_at_ms": None}
    return msgspec.structs.replace(failed, state=MachineState.GONE, **came, **times)


def is_before(one: Size, other: Size) -> bool:
    return (one.max_images, not one.spot) < (other.max_images, not other.spot)


@pytest.mark.parametrize("trouble", list(Trouble))
def test_what_never_works_is_asked_for_less_and_less(trouble: Trouble):
    limits = ScalingLimits(sizes=sizes_of(""), regions=("here",), create_retries=5)
    market = Market(limits, {name_of(Offer(size=size, region="here")): trouble for size in limits.sizes})
    assert market.play(for_s=PLAYED_S) is None
    tried = Counter((each.size, each.spot) for each in market.ended)
    assert 1 <= max(tried.values()) <= MOST_TRIES
