"""What becomes of the bill when a machine turns itself off because its lease is over (`leaseTime`), by provider.

The page tells the same, row by row (docs/autoscaler.md); what one of libcloud's clouds does is in providers/core/libcloud_drivers.py.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from clusterodm.services.autoscaler.config.core.configuration import DOCKER_MACHINE

KEY: Final = "leaseTime"
LEAST_S: Final = 120
"""A machine asks every 15 to 60 seconds."""
NO_LEASE: Final = (
    "has no effect there: only machines that boot by cloud-init, Pods and those of your own programs end themselves"
)
COSTS_ON: Final[Mapping[str, str]] = {
    "digitalocean": "a machine that turns itself off costs on there until it is destroyed; with leaseToken it deletes itself",
    "hetzner": "a machine that turns itself off costs on there until it is destroyed, and no token of that cloud can only delete",
    "scaleway": "a machine that turns itself off costs on there until it is destroyed, and no key of that cloud can only delete",
}


def notes(provider: str, mode: str, lease_s: int, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Give the key and a sentence where a lease does not end the bill. `names`: which keys the file has of the provider's."""
    if not lease_s:
        return
    if lease_s < LEAST_S:
        yield KEY, f"is {lease_s}: so soon a machine ends itself when a few answers are late (600 is usual)"
    if mode == DOCKER_MACHINE or provider == "docker":
        yield KEY, f"{NO_LEASE} (docs/autoscaler.md, Leases)"
    elif provider in COSTS_ON and "leaseToken" not in names:
        yield KEY, COSTS_ON[provider]
