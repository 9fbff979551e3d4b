"""Machines that boot by themselves: a removal that succeeds and does nothing is noticed, and asked for again."""

from typing import Final

import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.autoscaler.orders import ProviderMachine, Removal, RemovalFailed
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from tests.autoscaler_world import SIZES
from tests.cloud_accounts import order
from tests.lying_provider import NOTHING, Estate, Faults, Lies, LyingVendor

NAME: Final = MachineId("clusterodm-c1-1")
UP_S: Final = 100.0
SMALL: Final = SIZES[0]


class Stage:
    """A provider of one machine, in a time that passes only while somebody sleeps."""

    def __init__(self, *removals: str, lies: Lies | None = None) -> None:
        self.clock = FakeClock()
        self.estate = Estate(self.clock)
        self.machine: ProviderMachine = self.estate.create(NAME, "small")
        self.faults = Faults([("remove", how) for how in removals])
        vendor = LyingVendor(self.estate, lies or Lies(honest=True), self.faults)
        self.up_at = self.clock.instant() + UP_S
        self.goes_at: Instant | None = None
        self.provider = BootedProvider(vendor, sleep=self.sleep, instant=self.clock.instant, listens=self.listens)

    async def sleep(self, seconds: float) -> None:
        self.clock.pass_s(seconds)
        if self.goes_at is not None and self.clock.instant() >= self.goes_at:
            self.estate.delete(self.machine.ref)
            self.goes_at = None

    async def listens(self, _address: str, _port: int) -> bool:
        return self.clock.instant() >= self.up_at


async def test_a_removal_without_effect_is_asked_for_again_after_a_minute():
    stage = Stage(NOTHING)
    began = stage.clock.instant()
    assert await stage.provider.destroy(NAME, stage.machine.ref)
    assert stage.estate.machines == {}
    assert stage.clock.instant() - began < 70


async def test_what_going_takes_is_not_disturbed_by_a_second_removal():
    stage = Stage(NOTHING, "refused")
    began = stage.clock.instant()
    assert await stage.provider.destroy(NAME, stage.machine.ref)
    assert stage.estate.machines == {}
    assert 110 < stage.clock.instant() - began < 140, "the refusal of the second is no failure, and there is a third"


@pytest.mark.parametrize("removals", [(), (NOTHING,), (NOTHING, "refused")], ids=["", "repeated", "refused once"])
async def test_it_says_how_long_ago_the_removal_was_taken_that_had_an_effect(removals: tuple[str, ...]):
    stage = Stage(*removals)
    removal = await stage.provider.destroy(NAME, stage.machine.ref)
    [rented] = stage.estate.book.values()
    assert removal.was_there
    assert removal.gone_ago_s is not None
    assert stage.clock.wall_ms() - round(removal.gone_ago_s * 1000) == rented.deleted_ms


async def test_what_is_listed_after_its_removal_has_gone_when_a_look_shows_nothing():
    stage = Stage(lies=Lies(stale_s=20))
    assert await stage.provider.destroy(NAME, stage.machine.ref) == Removal(was_there=True, gone_ago_s=0.0)


async def test_what_had_gone_before_has_gone_at_the_first_look_that_shows_nothing():
    stage = Stage()
    stage.estate.delete(stage.machine.ref)
    stage.clock.pass_s(60)
    assert await stage.provider.destroy(NAME, stage.machine.ref) == Removal(was_there=False, gone_ago_s=15.0)


async def test_a_failure_after_a_removal_was_taken_says_how_long_ago_that_was():
    stage = Stage()
    stage.faults.order([("after remove", "retryable")])
    with pytest.raises(RemovalFailed) as caught:
        await stage.provider.destroy(NAME, stage.machine.ref)
    assert caught.value.so_far == Removal(was_there=True, gone_ago_s=3.0)
    assert caught.value.ref == stage.machine.ref


async def test_what_stays_whatever_is_asked_is_a_failure_that_names_it():
    stage = Stage(*[NOTHING] * 10)
    with pytest.raises(ProviderFailed, match="still there after 240 s") as caught:
        await stage.provider.destroy(NAME, stage.machine.ref)
    assert caught.value.ref == stage.machine.ref


async def test_a_first_removal_that_is_refused_is_a_failure_at_once():
    stage = Stage("refused")
    began = stage.clock.instant()
    with pytest.raises(ProviderFailed):
        await stage.provider.destroy(NAME, stage.machine.ref)
    assert stage.clock.instant() == began


@pytest.mark.parametrize("late_by_id", [False, True], ids=["in lists", "by its id, too"])
async def test_what_is_not_shown_yet_after_its_creation_has_not_vanished(late_by_id: bool):
    stage = Stage(lies=Lies(late_s=55, late_by_id=late_by_id))
    assert await stage.provider.set_up(order("nyc1", SMALL, NAME), stage.machine) == stage.machine


async def test_what_is_never_shown_has_vanished_after_a_minute():
    stage = Stage(lies=Lies(late_s=200, late_by_id=True))
    began = stage.clock.instant()
    with pytest.raises(ProviderFailed, match="vanished"):
        await stage.provider.set_up(order("nyc1", SMALL, NAME), stage.machine)
    assert 60 <= stage.clock.instant() - began < 80


async def test_what_was_shown_and_is_so_no_more_has_vanished_at_the_second_look():
    stage = Stage()
    began = stage.clock.instant()
    stage.goes_at = began + 10
    with pytest.raises(ProviderFailed, match="vanished"):
        await stage.provider.set_up(order("nyc1", SMALL, NAME), stage.machine)
    assert stage.clock.instant() - began < 40
