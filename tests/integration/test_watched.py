"""docker-machine's memory against what the provider bills: two stand-ins, and the adapter that asks both."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog.testing

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, Served, serving
from clusterodm.libs.machinesim.testing import DockerMachineSim
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.config.core.file import read
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, ProviderMachine, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor
from clusterodm.services.autoscaler.providers.adapters.docker_machine.client import DockerMachineProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.cross_check import CrossCheckedProvider
from clusterodm.services.autoscaler.providers.adapters.selection import Lookups
from tests.asr_files import DIGITALOCEAN, OUTSIDE
from tests.waiting import until

PREFIX = "clusterodm-abc-"
NAME = MachineId(f"{PREFIX}9-xyz")


@dataclass
class Both:
    """The adapter, docker-machine and the cloud."""

    adapter: CrossCheckedProvider
    machines: DockerMachineSim
    cloud: Served
    configuration: Configuration

    async def create(self) -> None:
        """Have a machine created; the cloud bills it."""
        offer = Offer(size=self.configuration.limits.sizes[0], region=self.configuration.limits.regions[0])
        await self.adapter.create(
            Order(name=NAME, offer=offer, launch=Launch(image="nodeodm", token=Secret("made-up")))
        )
        self.bill()

    def bill(self, name: str = NAME) -> None:
        """Let the cloud have a machine."""
        self.cloud.cloud.machines.create("77", name, size="s-2vcpu-2gb", region="sfo2")

    def billed(self) -> list[str]:
        """Name what the cloud has."""
        return [each.name for each in self.cloud.cloud.here()]

    async def listed(self) -> list[str]:
        """Name what the adapter lists."""
        return [found.name for found in await self.adapter.list(PREFIX)]


@asynccontextmanager
async def both(folder: Path, token: str = TOKEN) -> AsyncIterator[Both]:
    async with serving("digitalocean", boot_s=0.03, delete_s=0.03) as cloud:
        content = DIGITALOCEAN | {"accessToken": token, "endpoint": cloud.url}
        configuration = read(content, OUTSIDE)
        watcher = BootedProvider(
            DigitalOceanVendor(configuration.cloud), poll_s=0.02, removal_wait_s=5.0, recheck_s=0.02
        )
        with (
            DockerMachineSim(folder / "dm", network=10 + os.getpid() % 200) as machines,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name, value in machines.environment.items():
                patch.setenv(name, value)
            async with watcher:
                worker = DockerMachineProvider(configuration, folder / "locks", Lookups(configuration))
                yield Both(CrossCheckedProvider(worker, watcher), machines, cloud, configuration)


async def test_a_machine_that_both_know_is_listed_once_and_goes_with_both(tmp_path: Path):
    async with both(tmp_path) as world:
        await world.create()
        assert await world.listed() == [NAME]
        await world.adapter.destroy(NAME, "")
        assert (world.machines.rented(), world.machines.listed(), world.billed()) == ({}, [], [])
        assert (await world.adapter.inspect(NAME), await world.listed()) == (None, [])


async def test_a_machine_that_docker_machine_forgot_is_seen_and_destroyed(tmp_path: Path):
    async with both(tmp_path) as world:
        world.bill()
        world.bill("somebody-elses")
        assert await world.listed() == [NAME]
        found = await world.adapter.inspect(NAME)
        assert found is not None
        assert found.name == NAME
        await world.adapter.destroy(NAME, "")
        assert world.billed() == ["somebody-elses"]


async def test_a_machine_that_the_cloud_lost_is_neither_listed_nor_found_and_leaves_nothing(tmp_path: Path):
    async with both(tmp_path) as world:
        await world.create()
        for machine in world.cloud.cloud.here():
            world.cloud.cloud.machines.delete(machine)
        await until(lambda: not world.billed(), what="the cloud to have lost it")
        world.machines.lose(NAME)
        assert NAME in world.machines.listed()
        assert (await world.listed(), await world.adapter.inspect(NAME)) == ([], None)
        await world.adapter.destroy(NAME, "")
        assert world.machines.listed() == []


async def test_a_machine_is_not_gone_while_the_cloud_cannot_say_so(tmp_path: Path):
    async with both(tmp_path) as world:
        await world.create()
        world.cloud.cloud.fail("any", "error", times=-1)
        with pytest.raises(ProviderFailed):
            await world.adapter.destroy(NAME, "")
        with pytest.raises(ProviderFailed):
            await world.adapter.list(PREFIX)
        with pytest.raises(ProviderFailed):
            await world.adapter.inspect(NAME)
        world.cloud.cloud.faults.clear()
        await world.adapter.destroy(NAME, "")
        assert world.billed() == []


async def refused(world: Both, step: str) -> ProviderFailed:
    """Have a creation refused, or fail at the call after it."""
    world.machines.fail(step, "POST https://api: 422 creating this/these droplet(s) will exceed your droplet limit")
    with pytest.raises(ProviderFailed) as caught:
        await world.create()
    return caught.value


async def test_a_creation_that_the_cloud_refused_leaves_nothing_and_keeps_its_trouble(tmp_path: Path):
    async with both(tmp_path) as world:
        failed = await refused(world, "create-called")
        assert (failed.trouble, failed.leaves) == (Trouble.OUT_OF_CAPACITY, True)
        assert await world.listed() == []
        assert not await world.adapter.destroy(NAME, "")
        assert (world.machines.listed(), world.machines.calls("rm")[-1]) == ([], ["rm", "-y", "-f", NAME])


async def test_a_machine_that_was_made_before_its_creation_failed_is_destroyed_by_the_api(tmp_path: Path):
    async with both(tmp_path) as world:
        failed = await refused(world, "create-rented")
        world.bill()
        assert (failed.trouble, failed.leaves) == (Trouble.OUT_OF_CAPACITY, True)
        assert await world.listed() == [NAME]
        assert await world.adapter.destroy(NAME, "")
        assert (world.billed(), world.machines.listed()) == ([], [])


async def test_what_an_interrupted_creation_has_left_at_the_cloud_alone_is_no_second_machine(tmp_path: Path):
    async with both(tmp_path) as world:
        world.bill()
        with pytest.raises(ProviderFailed, match="interrupted") as caught:
            await world.create()
        assert (caught.value.leaves, world.machines.calls("create")) == (True, [])


async def test_where_the_cloud_does_not_take_the_keys_docker_machines_word_counts_and_that_is_said_once(tmp_path: Path):
    async with both(tmp_path, token="only-for-docker-machine") as world:
        with structlog.testing.capture_logs() as lines:
            await world.create()
            assert await world.listed() == [NAME]
            await world.adapter.destroy(NAME, "")
            assert (await world.adapter.inspect(NAME), await world.listed()) == (None, [])
        assert [line["event"] for line in lines].count("docker_machine.trusted_alone") == 1
        assert "only-for-docker-machine" not in repr(lines)


async def test_an_interruption_of_which_only_the_cloud_tells_is_heard():
    worker, watcher = Cloud(ProviderMachine), Cloud(ProviderMachine)
    adapter = CrossCheckedProvider(worker, watcher)
    order = Order(
        name=NAME,
        offer=Offer(size=Size(slug="any", max_images=5)),
        launch=Launch(image="nodeodm", token=Secret("made-up")),
    )
    await worker.create(order)
    await watcher.create(order)
    assert [found.leaving for found in await adapter.list(PREFIX)] == [""]
    watcher.leaving[NAME] = "spot interruption"
    assert [(found.name, found.leaving) for found in await adapter.list(PREFIX)] == [(NAME, "spot interruption")]
