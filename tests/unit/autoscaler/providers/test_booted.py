"""Machines that boot by themselves: a removal that succeeds and does nothing is noticed, and asked for again."""

from typing import Final

import pytest

from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.autoscaler.orders import ProviderMachine, Removal, RemovalFailed
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from tests.lying_provider import NOTHING, Estate, Faults, Lies, LyingVendor

NAME: Final = MachineId("clusterodm-c1-1")


class Stage:
    """A provider of one machine, in a time that passes only while somebody sleeps."""

    def __init__(self, *removals: str, lies: Lies | None = None) -> None:
        self.clock = FakeClock()
        self.estate = Estate(self.clock)
        self.machine: ProviderMachine = self.estate.create(NAME, "small")
        self.faults = Faults([("remove", how) for how in removals])
        vendor = LyingVendor(self.estate, lies or Lies(honest=True), self.faults)
        self.provider = BootedProvider(vendor, sleep=self.sleep, instant=self.clock.instant)

    async def sleep(self, seconds: float) -> None:
        self.clock.pass_s(seconds)


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
