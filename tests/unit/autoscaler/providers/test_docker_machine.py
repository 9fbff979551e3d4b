"""docker-machine, without its provider's API (what it does not know itself is said) and beside it."""

from pathlib import Path

import pytest

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.services.autoscaler.config.core.configuration import (
    DOCKER_MACHINE,
    CloudSettings,
    Configuration,
    ScalingLimits,
)
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, Removal, RemovalFailed
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.client import DockerMachineProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.cross_check import CrossCheckedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.driver import NO_ENTRY, NO_ID, Resolved
from tests.autoscaler_world import SIZES
from tests.lying_docker_machine import LOST, DockerMachineProgram
from tests.lying_provider import Estate, Faults, Lies, LyingVendor

NAME = MachineId("clusterodm-abc-10-x")


class Stage:
    def __init__(self, folder: Path, vendor: str = "digitalocean") -> None:
        self.estate = Estate(FakeClock(wall_ms=1_000_000_000))
        self.faults = Faults([])
        self.lies = Lies(honest=True)
        program = DockerMachineProgram(folder / "dm", self.estate, self.lies, self.faults)
        configuration = Configuration(
            provider=vendor,
            mode=DOCKER_MACHINE,
            limits=ScalingLimits(sizes=SIZES),
            cloud=CloudSettings(keys=dict.fromkeys(("accessToken", "accessKey", "secretKey"), Secret("made-up"))),
        )
        self.provider = DockerMachineProvider(configuration, folder / "locks", resolve, run=program)

    def beside_an_api(self) -> CrossCheckedProvider:
        clock = self.estate.clock

        async def sleep(seconds: float) -> None:
            clock.pass_s(seconds)

        api = BootedProvider(LyingVendor(self.estate, self.lies, self.faults), sleep=sleep, instant=clock.instant)
        return CrossCheckedProvider(self.provider, api, clock.instant)


def order(*, asked_before: bool = False) -> Order:
    launch = Launch(image="opendronemap/nodeodm", token=Secret("t"))
    return Order(name=NAME, offer=Offer(size=SIZES[0], region="nyc1"), launch=launch, asked_before=asked_before)


async def resolve(_order: Order) -> Resolved:
    return Resolved("image", "nyc1")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_a_machine_stays_known_whose_removal_has_missed_something_else(stage: Stage):
    await stage.provider.create(order())
    stage.faults.order([("dm-rm-remote", "the network was not found")] * 2)
    with pytest.raises(ProviderFailed, match="the network was not found"):
        await stage.provider.destroy(NAME, "")
    assert await stage.provider.inspect(NAME) is not None
    with pytest.raises(ProviderFailed):
        await stage.provider.destroy(NAME, "")
    assert await stage.provider.destroy(NAME, "")
    assert not stage.estate.machines


async def test_a_lost_entry_does_not_say_that_the_provider_has_the_machine_no_more(stage: Stage):
    await stage.provider.create(order())
    stage.faults.order([("dm-rm-remote", "the network was not found"), ("dm-status", LOST)])
    with pytest.raises(ProviderFailed):
        await stage.provider.destroy(NAME, "")
    assert (await stage.provider.destroy(NAME, "")).unseen == NO_ENTRY


async def test_a_removal_says_what_nobody_can_see_any_more(stage: Stage):
    stage.faults.order([("dm-create-rented", "500 try again")])
    with pytest.raises(ProviderFailed) as failed:
        await stage.provider.create(order())
    assert failed.value.leaves
    assert (await stage.provider.destroy(NAME, "")).unseen == NO_ID


async def test_a_driver_that_removes_what_it_has_no_id_of_has_removed_nothing(tmp_path: Path):
    stage = Stage(tmp_path, "aws")
    stage.faults.order([("dm-create-called", "500 try again")])
    with pytest.raises(ProviderFailed):
        await stage.provider.create(order())
    removal = await stage.provider.destroy(NAME, "")
    assert (removal.was_there, removal.unseen) == (False, NO_ID)


async def test_what_the_provider_has_no_more_is_no_doubt(stage: Stage):
    found = await stage.provider.create(order())
    stage.estate.delete(found.ref)
    assert not (await stage.provider.destroy(NAME, "")).unseen


@pytest.mark.parametrize(
    ("asked_before", "trouble"), [(True, Trouble.UNKNOWN_OUTCOME), (False, Trouble.RETRYABLE)], ids=["asked", "first"]
)
async def test_a_creation_that_cannot_look_may_have_left_something_only_where_one_was_called_before(
    asked_before: bool, trouble: Trouble, stage: Stage
):
    stage.faults.order([("dm-inspect", "500 try again")])
    with pytest.raises(ProviderFailed) as failed:
        await stage.provider.create(order(asked_before=asked_before))
    assert (failed.value.trouble, failed.value.leaves) == (trouble, asked_before)


async def test_an_entry_that_stays_does_not_hide_when_the_api_has_removed_its_machine(stage: Stage):
    provider = stage.beside_an_api()
    found = await provider.create(order())
    stage.faults.order([("dm-rm", "unexpected EOF")] * 2)
    with pytest.raises(RemovalFailed) as failed:
        await provider.destroy(NAME, found.ref)
    assert not stage.estate.machines
    assert failed.value.so_far == Removal(was_there=True, gone_ago_s=3.0)


async def test_what_the_api_shows_late_costs_until_docker_machine_has_removed_it(stage: Stage):
    provider = stage.beside_an_api()
    found = await provider.create(order())
    stage.lies.honest, stage.lies.late_s, stage.lies.late_by_id = False, 60, True
    assert (await provider.destroy(NAME, found.ref)).gone_ago_s == 0
    assert not stage.estate.machines
