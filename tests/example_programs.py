"""The examples of providers that are programs (docs/examples/slurm, pbs, apptainer), as tests call them."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings, StepTimeouts
from clusterodm.services.autoscaler.orders import NO_SECRET, Launch, Offer, Order, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.command import CommandVendor

EXAMPLES: Final = Path(__file__).parents[1] / "docs" / "examples"
NAME: Final = MachineId("clusterodm-c1-500-abc")
PREFIX: Final = "clusterodm-c1-"
TOKEN: Final = "node-token-7c9e"


@asynccontextmanager
async def provided(example: Path, folder: Path, *flags: str) -> AsyncIterator[BootedProvider]:
    """Rent by the programs of an example; `flags` are Python's."""
    commands = {verb: (sys.executable, *flags, str(example / f"{verb}.py")) for verb in ("create", "list", "destroy")}
    vendor = CommandVendor(CloudSettings(commands=commands), StepTimeouts(), folder)
    async with BootedProvider(vendor, poll_s=0.2, set_up_wait_s=30, removal_wait_s=30, recheck_s=0.5) as found:
        yield found


def order(
    size: str = "small", image: str = "opendronemap/nodeodm", lease_url: Secret = NO_SECRET, lease_s: int = 0
) -> Order:
    launch = Launch(image=image, token=Secret(TOKEN), lease_url=lease_url, lease_s=lease_s)
    return Order(name=NAME, offer=Offer(size=Size(slug=size, max_images=500)), launch=launch)
