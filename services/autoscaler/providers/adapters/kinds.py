"""Which providers there are: ours by this table, everybody else's by entry points of the group `clusterodm.providers`.

A kind is loaded when a file names it, and only that one: their libraries (boto3, httpx, a cloud's SDK) take 15 MB and more, and most
clusters rent nothing. A package cannot take over a name that is ours: with it would go the keys of whoever uses that name.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from clusterodm.libs.common.errors import Refused
from clusterodm.services.autoscaler.providers.ports import VendorKind

GROUP: Final = "clusterodm.providers"
HAS: Final = ("read", "make")


def digitalocean() -> VendorKind:
    """Rent droplets."""
    from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor

    return DigitalOceanVendor


def aws() -> VendorKind:
    """Rent EC2 instances."""
    from clusterodm.services.autoscaler.providers.adapters.ec2.client import Ec2Vendor

    return Ec2Vendor


def hetzner() -> VendorKind:
    """Rent servers at Hetzner."""
    from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor

    return HetznerVendor


def scaleway() -> VendorKind:
    """Rent instances at Scaleway."""
    from clusterodm.services.autoscaler.providers.adapters.scaleway import ScalewayVendor

    return ScalewayVendor


def docker() -> VendorKind:
    """Start containers."""
    from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor

    return DockerEngineVendor


def command() -> VendorKind:
    """Ask the operator's own program."""
    from clusterodm.services.autoscaler.providers.adapters.command import CommandVendor

    return CommandVendor


def libcloud() -> VendorKind:
    """Rent at any cloud that apache-libcloud knows."""
    from clusterodm.services.autoscaler.providers.adapters.libcloud.client import LibcloudVendor

    return LibcloudVendor


def kubernetes() -> VendorKind:
    """Run Pods of a Kubernetes cluster."""
    from clusterodm.services.autoscaler.providers.adapters.kubernetes.client import KubernetesVendor

    return KubernetesVendor


OURS: Final[Mapping[str, Callable[[], VendorKind]]] = {
    "digitalocean": digitalocean,
    "aws": aws,
    "hetzner": hetzner,
    "scaleway": scaleway,
    "docker": docker,
    "command": command,
    "libcloud": libcloud,
    "kubernetes": kubernetes,
}


class VendorKinds(Mapping[str, VendorKind]):
    """The kinds by name. One that cannot be loaded is refused where it is asked for, and hinders no other."""

    def __init__(self, found: Callable[[], Mapping[str, EntryPoint]] | None = None) -> None:
        self._found = found or installed
        self._others: Mapping[str, EntryPoint] | None = None

    def __getitem__(self, name: str) -> VendorKind:
        """Load a kind. Raises KeyError where there is none, Refused where it cannot be loaded."""
        return OURS[name]() if name in OURS else loaded(self.others[name])

    def __iter__(self) -> Iterator[str]:
        """Give the names, ours first."""
        return iter([*OURS, *(name for name in sorted(self.others) if name not in OURS)])

    def __len__(self) -> int:
        return len(list(iter(self)))

    @property
    def others(self) -> Mapping[str, EntryPoint]:
        """What other packages bring; looked for once, and not while only ours are asked for."""
        if self._others is None:
            self._others = self._found()
        return self._others


def installed() -> dict[str, EntryPoint]:
    """Find the entry points of all packages that are installed."""
    return {each.name: each for each in entry_points(group=GROUP)}


def loaded(point: EntryPoint) -> VendorKind:
    """Load what an entry point names. Raises Refused with what is wrong in one line."""
    try:
        kind: Any = point.load()
    except Exception as error:  # noqa: BLE001 a stranger's module raises whatever it does
        raise Refused(f"provider {point.name!r} ({point.value}) cannot be loaded: {said(error)}") from None
    if missing := [name for name in HAS if not callable(getattr(kind, name, None))]:
        raise Refused(f"provider {point.name!r} ({point.value}) is none: it has no {' and no '.join(missing)}")
    found: VendorKind = kind
    return found


def said(error: Exception) -> str:
    """Say what an exception says, in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
