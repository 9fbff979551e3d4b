"""Vendors in front of a stand-in of whoever rents their machines, whose own failures are ordered by their words."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.machinesim.cloud_api_testing import TOKEN, Served, serving
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Launch, Offer, Order, S3Target, Size
from clusterodm.services.autoscaler.providers.adapters.booted import BootedProvider
from clusterodm.services.autoscaler.providers.adapters.digitalocean import DigitalOceanVendor
from clusterodm.services.autoscaler.providers.adapters.docker_engine import DockerEngineVendor
from clusterodm.services.autoscaler.providers.adapters.ec2.client import Ec2Vendor
from clusterodm.services.autoscaler.providers.adapters.hetzner import HetznerVendor
from clusterodm.services.autoscaler.providers.adapters.scaleway import ScalewayVendor
from clusterodm.services.autoscaler.providers.ports import Vendor
from tests.moto_account import moto_account

PREFIX = "clusterodm-c1-"
NAME = MachineId(f"{PREFIX}50-a1b2c3")
OTHER = "clusterodm-c2-50-zzzzzz"
NODE_TOKEN = "node-token-7c9e"
S3_SECRET = "s3-secret-4b1d"
WEBHOOK = "http://cluster:3000/commit?token=webhook-secret-9a"
PATIENT_S = 15.0
"""How long an answer may take: a busy computer is no trouble of a provider."""
BRIEF_S = 0.6
"""The same where the answer does not come."""


@dataclass
class Rental:
    """One provider and its stand-in."""

    kind: str
    make: Callable[..., BootedProvider]
    """A new provider, as after a restart. `timeout_s`: for an answer; `transport` is given to those that take one."""
    order: Order
    present: Callable[[], Sequence[str]]
    """Names of what the stand-in really has, leftovers included."""
    fail: Callable[..., None]
    rent: Callable[[str], None]
    """Rent a machine to somebody else."""
    created_count: Callable[[], int]
    steps: bool = False
    """Whether its HTTP calls can be counted."""
    key: str = TOKEN
    served: Served | None = None
    extra: dict = field(default_factory=dict)


def order(region: str, size: Size, name: MachineId = NAME) -> Order:
    s3 = S3Target(
        endpoint="s3.example.org", bucket="odm", access_key=Secret("s3-key-4b1d"), secret_key=Secret(S3_SECRET)
    )
    launch = Launch(
        image="opendronemap/nodeodm",
        token=Secret(NODE_TOKEN),
        webhook_url=Secret(WEBHOOK),
        lease_url=Secret("http://cluster:3000/machine/lease?token=webhook-secret-9a"),
        lease_s=900,
        max_images=50,
        swap_ratio=1.0,
        s3=s3,
    )
    return Order(name=name, offer=Offer(size=size, region=region), launch=launch, tags={"clusterodm-cluster": "c1"})


async def at_once(_address: str, _port: int) -> bool:
    return True


def booted(vendor: Vendor) -> BootedProvider:
    return BootedProvider(vendor, poll_s=0.02, set_up_wait_s=5.0, removal_wait_s=5.0, recheck_s=0.02, listens=at_once)


Vendors = Callable[[CloudSettings, httpx.AsyncBaseTransport | None, float], Vendor]

WEB: dict[str, tuple[Vendors, dict, str, str]] = {
    "digitalocean": (
        lambda cloud, way, timeout_s: DigitalOceanVendor(cloud, timeout_s=timeout_s, transport=way),
        {"keys": {"accessToken": Secret(TOKEN)}, "image": "ubuntu-22-04-x64", "tags": ("clusterodm",)},
        "nyc3",
        "s-4vcpu-8gb",
    ),
    "hetzner": (
        lambda cloud, way, timeout_s: HetznerVendor(cloud, timeout_s=timeout_s, transport=way),
        {"keys": {"apiToken": Secret(TOKEN)}, "image": "ubuntu-22.04"},
        "fsn1",
        "cx21",
    ),
    "scaleway": (
        lambda cloud, way, timeout_s: ScalewayVendor(cloud, ("par1", "fr-par-2"), timeout_s=timeout_s, transport=way),
        {"keys": {"organization": Secret("org-1"), "secretToken": Secret(TOKEN)}, "image": "ubuntu-jammy"},
        "par1",
        "GP1-XS",
    ),
    "docker": (
        lambda cloud, way, timeout_s: DockerEngineVendor(cloud, {}, timeout_s=timeout_s, transport=way),
        {},
        "",
        "any",
    ),
}


@asynccontextmanager
async def web(kind: str, size: str = "", **more: object) -> AsyncIterator[Rental]:
    """An HTTP API of ours."""
    vendor, cloud, region, usual = WEB[kind]
    knobs = {"boot_s": 0.03, "delete_s": 0.03} | dict(more)
    async with serving(kind, **knobs) as served:
        configured = CloudSettings(endpoint=served.url, **cloud)

        def present() -> list[str]:
            disks = [each for each in getattr(served.kind, "disks", ()) if not each["server"]]
            return [each.name for each in served.cloud.here()] + [each["name"] for each in disks]

        yield Rental(
            kind=kind,
            make=lambda transport=None, timeout_s=PATIENT_S: booted(vendor(configured, transport, timeout_s)),
            order=order(region, Size(slug=size or usual, max_images=50)),
            present=present,
            fail=served.cloud.fail,
            rent=lambda name: rented(served, name, usual),
            created_count=lambda: len([each for each in served.cloud.machines.book if each.name.startswith(PREFIX)]),
            steps=True,
            served=served,
        )


def rented(served: Served, name: str, size: str) -> None:
    labels = {"clusterodm.machine": name}
    number = f"77{len(served.cloud.machines.book)}"
    served.cloud.machines.create(number, name, size=size, labels=labels, region="fr-par-1")


@asynccontextmanager
async def scaleway_with_block_storage() -> AsyncIterator[Rental]:
    async with web("scaleway", size="PLAY2-NANO") as rental:
        yield rental


AWS = {
    "keys": {"accessKey": Secret("AKIAEXAMPLE"), "secretKey": Secret(TOKEN)},
    "security_group": "default",
    "image": "*ubuntu*",
}
AWS_SIZE = Size(slug="t2.medium", max_images=50, spot_price=0.1, storage_gb=100)


@asynccontextmanager
async def aws(*, spot: bool = False, **more: object) -> AsyncIterator[Rental]:
    """EC2, played by moto."""
    async with moto_account() as account:
        cloud = CloudSettings(endpoint=account.api.url, **(AWS | {"image": account.image} | more))
        yield Rental(
            kind="aws",
            make=lambda timeout_s=PATIENT_S: booted(Ec2Vendor(cloud, ("us-west-2",), timeout_s=timeout_s)),
            order=order("us-west-2", replace(AWS_SIZE, spot=spot)),
            present=account.names,
            fail=account.api.fail,
            rent=account.rent,
            created_count=lambda: len([each for each in account.api.machines.book if each.name.startswith(PREFIX)]),
            extra={"api": account.api, "client": account.client},
        )


RENTALS: dict[str, Callable[[Path], AbstractAsyncContextManager[Rental]]] = {
    "digitalocean": lambda _: web("digitalocean"),
    "digitalocean with a graphics card": lambda _: web("digitalocean", size="gpu-4000adax1-20gb"),
    "hetzner": lambda _: web("hetzner"),
    "scaleway": lambda _: web("scaleway"),
    "scaleway with block storage": lambda _: scaleway_with_block_storage(),
    "docker": lambda _: web("docker"),
    "aws": lambda _: aws(),
}
