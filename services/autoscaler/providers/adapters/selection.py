"""Which provider a configuration means, and what docker-machine has to have looked up for it.

Only the one that is meant is imported: their libraries (boto3, httpx) take 15 MB and more, and most clusters rent nothing.
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from clusterodm.services.autoscaler.config.core.configuration import DOCKER_MACHINE, Configuration
from clusterodm.services.autoscaler.orders import Order
from clusterodm.services.autoscaler.providers.adapters.booted import LOOKS_APART, POLL_S, BootedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.cross_check import CrossCheckedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.driver import Resolved
from clusterodm.services.autoscaler.providers.ports import Provider, Vendor

Environment = Mapping[str, str]


@asynccontextmanager
async def provider_of(
    configuration: Configuration, folder: Path, *, cross_check: bool, poll_s: float
) -> AsyncIterator[Provider]:
    """Make the provider and keep it open. `folder`: for lock files of programs that outlive us."""
    if configuration.mode != DOCKER_MACHINE:
        async with api_provider(configuration, os.environ, folder, poll_s) as provider:
            yield provider
        return
    from clusterodm.services.autoscaler.providers.adapters.docker_machine.client import DockerMachineProvider

    machine = DockerMachineProvider(configuration, folder, Lookups(configuration))
    if not cross_check:
        yield machine
        return
    async with api_provider(configuration, os.environ, folder, poll_s) as watcher:
        yield CrossCheckedProvider(machine, watcher)


def digitalocean(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent droplets."""
    from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor

    return DigitalOceanVendor(found.cloud)


def aws(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent EC2 instances."""
    from clusterodm.services.autoscaler.providers.adapters.ec2.client import Ec2Vendor

    return Ec2Vendor(found.cloud, found.limits.regions)


def hetzner(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent servers at Hetzner."""
    from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor

    return HetznerVendor(found.cloud)


def scaleway(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent instances at Scaleway."""
    from clusterodm.services.autoscaler.providers.adapters.scaleway import ScalewayVendor

    return ScalewayVendor(found.cloud, found.limits.regions)


def docker(found: Configuration, environment: Environment, _folder: Path) -> Vendor:
    """Start containers."""
    from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor

    return DockerEngineVendor(found.cloud, environment)


def command(found: Configuration, _environment: Environment, folder: Path) -> Vendor:
    """Ask the operator's own program."""
    from clusterodm.services.autoscaler.providers.adapters.command import CommandVendor

    return CommandVendor(found.cloud, found.timeouts, folder)


VENDORS: Final[Mapping[str, Callable[[Configuration, Environment, Path], Vendor]]] = {
    "digitalocean": digitalocean,
    "aws": aws,
    "hetzner": hetzner,
    "scaleway": scaleway,
    "docker": docker,
    "command": command,
}


def api_provider(
    configuration: Configuration, environment: Environment, folder: Path, poll_s: float = POLL_S
) -> BootedProvider:
    """Make the provider; it is to be opened (`async with`). `folder`: for lock files of programs that outlive us.

    Raises Refused for an address that is none.
    """
    timeouts = configuration.timeouts
    return BootedProvider(
        VENDORS[configuration.provider](configuration, environment, folder),
        poll_s=poll_s,
        set_up_wait_s=timeouts.set_up_s,
        removal_wait_s=timeouts.destroy_s,
        second_look_s=LOOKS_APART * poll_s,
    )


class Lookups:
    """Resolves an order for docker-machine. Raises ProviderFailed."""

    def __init__(self, configuration: Configuration) -> None:
        self._provider = configuration.provider
        self._cloud = configuration.cloud

    async def __call__(self, order: Order) -> Resolved:
        """Look up what this order needs; most need nothing."""
        region = order.offer.region
        if self._provider == "digitalocean" and self._cloud.snapshot:
            from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor

            async with DigitalOceanVendor(self._cloud) as vendor:
                image, region = await vendor.image(region)
                return Resolved(str(image), region)
        if self._provider == "hetzner" and (self._cloud.snapshot or self._cloud.ssh_fingerprint):
            from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor

            async with HetznerVendor(self._cloud) as vendor:
                return Resolved(str(await vendor.image()), region, "".join(map(str, (await vendor.ssh_keys())[:1])))
        return Resolved(self._cloud.image, region)
