"""Which provider a configuration means, and what docker-machine has to have looked up for it."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from clusterodm.services.autoscaler.config.core.configuration import DOCKER_MACHINE, Configuration, StepTimeouts
from clusterodm.services.autoscaler.orders import Order
from clusterodm.services.autoscaler.providers.adapters.booted import POLL_S, RECHECK_POLLS, BootedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.cross_check import CrossCheckedProvider
from clusterodm.services.autoscaler.providers.adapters.docker_machine.driver import Resolved
from clusterodm.services.autoscaler.providers.adapters.kinds import VendorKinds
from clusterodm.services.autoscaler.providers.adapters.online_check import OnlineCheck, OnlineCheckedProvider
from clusterodm.services.autoscaler.providers.ports import Provider, Vendor, VendorContext

Environment = Mapping[str, str]


@asynccontextmanager
async def providers_of(
    configuration: Configuration, folder: Path, *, cross_check: bool, poll_s: float
) -> AsyncIterator[dict[str, Provider]]:
    """Make all providers of a file, by their names, and keep them open."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(provider_of(part, folder, cross_check=cross_check, poll_s=poll_s))
            for name, part in configuration.parts.items()
        }


@asynccontextmanager
async def provider_of(
    configuration: Configuration, folder: Path, *, cross_check: bool, poll_s: float
) -> AsyncIterator[Provider]:
    """Make the provider and keep it open. `folder`: for lock files of programs that outlive us."""
    if configuration.mode != DOCKER_MACHINE:
        async with (
            api_provider(configuration, os.environ, folder, poll_s) as booted,
            OnlineCheckedProvider(booted, OnlineCheck(booted, configuration), decides=True) as provider,
        ):
            yield provider
        return
    from clusterodm.services.autoscaler.providers.adapters.docker_machine.client import DockerMachineProvider

    machine = DockerMachineProvider(configuration, folder, Lookups(configuration))
    if not cross_check:
        yield machine
        return
    async with (
        api_provider(configuration, os.environ, folder, poll_s) as watcher,
        OnlineCheckedProvider(
            CrossCheckedProvider(machine, watcher), OnlineCheck(watcher, configuration), decides=False
        ) as crossed,
    ):
        yield crossed


def api_provider(
    configuration: Configuration, environment: Environment, folder: Path, poll_s: float = POLL_S
) -> BootedProvider:
    """Make the provider; it is to be opened (`async with`). `folder`: for lock files of programs that outlive us.

    Raises Refused for an address that is none.
    """
    return booted(vendor_of(configuration, environment, folder), configuration.timeouts, poll_s)


def vendor_of(configuration: Configuration, environment: Environment, folder: Path) -> Vendor:
    """Make what differs from provider to provider. Raises Refused for an address that is none."""
    context = VendorContext(
        settings=configuration.cloud if configuration.own is None else configuration.own,
        regions=configuration.limits.regions,
        timeouts=configuration.timeouts,
        folder=folder,
        environment=environment,
    )
    return VendorKinds()[configuration.provider].make(context)


def booted(vendor: Vendor, timeouts: StepTimeouts, poll_s: float = POLL_S) -> BootedProvider:
    """Make a provider of a vendor; it is to be opened (`async with`)."""
    return BootedProvider(
        vendor,
        poll_s=poll_s,
        set_up_wait_s=timeouts.set_up_s,
        removal_wait_s=timeouts.destroy_s,
        recheck_s=RECHECK_POLLS * poll_s,
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
