"""Which provider a configuration means, of those that need neither docker-machine nor SSH.

Only the one that is meant is imported: their libraries (boto3, httpx) take 15 MB and more, and most clusters rent nothing.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from services.autoscaler.adapters.booted import LOOKS_APART, POLL_S, Booted, Vendor
from services.autoscaler.core.configuration import Configuration

Environment = Mapping[str, str]


def digitalocean(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent droplets."""
    from services.autoscaler.adapters.digitalocean import DigitalOcean

    return DigitalOcean(found.cloud)


def aws(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent EC2 instances."""
    from services.autoscaler.adapters.ec2 import Ec2

    return Ec2(found.cloud, found.limits.regions)


def hetzner(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent servers at Hetzner."""
    from services.autoscaler.adapters.hetzner import Hetzner

    return Hetzner(found.cloud)


def scaleway(found: Configuration, _environment: Environment, _folder: Path) -> Vendor:
    """Rent instances at Scaleway."""
    from services.autoscaler.adapters.scaleway import Scaleway

    return Scaleway(found.cloud, found.limits.regions)


def docker(found: Configuration, environment: Environment, _folder: Path) -> Vendor:
    """Start containers."""
    from services.autoscaler.adapters.docker_engine import DockerEngine

    return DockerEngine(found.cloud, environment)


def command(found: Configuration, _environment: Environment, folder: Path) -> Vendor:
    """Ask the operator's own program."""
    from services.autoscaler.adapters.command import Command

    return Command(found.cloud, found.patience, folder)


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
        second_look_s=LOOKS_APART * poll_s,
    )
