"""Which provider a configuration means, of those that need neither docker-machine nor SSH."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from services.autoscaler.adapters.booted import POLL_S, Booted, Vendor
from services.autoscaler.adapters.command import Command
from services.autoscaler.adapters.digitalocean import DigitalOcean
from services.autoscaler.adapters.docker_engine import DockerEngine
from services.autoscaler.adapters.ec2 import Ec2
from services.autoscaler.adapters.hetzner import Hetzner
from services.autoscaler.adapters.scaleway import Scaleway
from services.autoscaler.core.configuration import Configuration

Environment = Mapping[str, str]

VENDORS: Final[Mapping[str, Callable[[Configuration, Environment, Path], Vendor]]] = {
    "digitalocean": lambda found, *_: DigitalOcean(found.cloud),
    "aws": lambda found, *_: Ec2(found.cloud, found.limits.regions),
    "hetzner": lambda found, *_: Hetzner(found.cloud),
    "scaleway": lambda found, *_: Scaleway(found.cloud, found.limits.regions),
    "docker": lambda found, environment, _: DockerEngine(found.cloud, environment),
    "command": lambda found, _, folder: Command(found.cloud, found.patience, folder),
}


def api_provider(
    configuration: Configuration, environment: Environment, folder: Path, poll_s: float = POLL_S
) -> Booted:
    """Make the provider; it is to be opened (`async with`). `folder`: for lock files of programs that outlive us.

    Raises Refused for an address that is none.
    """
    patience = configuration.patience
    return Booted(
        VENDORS[configuration.provider](configuration, environment, folder),
        poll_s=poll_s,
        set_up_wait_s=patience.set_up_s,
        removal_wait_s=patience.destroy_s,
    )
