"""The flags of `docker-machine create`, driver by driver, exactly as the drivers take them.

Secrets are not among the flags: every driver reads them from the environment too, and a command line is for all to see.
Sources: docker/machine `drivers/digitalocean`, `drivers/amazonec2`; JonasProgrammer/docker-machine-driver-hetzner;
scaleway/docker-machine-driver-scaleway.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from services.autoscaler.core.configuration import Cloud, Configuration
from services.autoscaler.core.orders import Order
from services.autoscaler.core.secrets import Secret
from services.autoscaler.core.tags import flat_tags, labels

DRIVERS: Final = {"digitalocean": "digitalocean", "aws": "amazonec2", "hetzner": "hetzner", "scaleway": "scaleway"}
ENVIRONMENT: Final = {
    "digitalocean": {"DIGITALOCEAN_ACCESS_TOKEN": "accessToken"},
    "aws": {"AWS_ACCESS_KEY_ID": "accessKey", "AWS_SECRET_ACCESS_KEY": "secretKey"},
    "hetzner": {"HETZNER_API_TOKEN": "apiToken"},
    "scaleway": {"SCALEWAY_ORGANIZATION": "organization", "SCALEWAY_TOKEN": "secretToken"},
}
"""Which variable holds which of the configuration's keys."""


@dataclass(frozen=True)
class Resolved:
    """What had to be looked up at the provider first."""

    image: str
    region: str
    ssh_key_id: str = ""
    """Hetzner's number of the key with the configured fingerprint."""


def create_words(configuration: Configuration, order: Order, found: Resolved) -> list[str]:
    """Give the words behind `docker-machine`."""
    driver = DRIVERS[configuration.provider]
    words = ["create", "--driver", driver, *FLAGS[configuration.provider](configuration.cloud, order, found)]
    if configuration.cloud.engine_install_url:
        words += ["--engine-install-url", configuration.cloud.engine_install_url]
    return [*words, order.name]


def environment(configuration: Configuration) -> dict[str, Secret]:
    """Give the variables with the secrets."""
    return {name: configuration.key(key) for name, key in ENVIRONMENT[configuration.provider].items()}


def digitalocean(cloud: Cloud, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `digitalocean`."""
    yield from ("--digitalocean-region", found.region, "--digitalocean-image", found.image)
    yield from ("--digitalocean-size", order.offer.size.slug)
    if cloud.monitoring:
        yield "--digitalocean-monitoring"
    if tags := flat_tags(cloud.tags, order.tags):
        yield from ("--digitalocean-tags", ",".join(tags))
    if cloud.ssh_fingerprint:
        yield from ("--digitalocean-ssh-key-fingerprint", cloud.ssh_fingerprint)
    if cloud.ssh_path:
        yield from ("--digitalocean-ssh-key-path", cloud.ssh_path)


def amazonec2(cloud: Cloud, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `amazonec2`."""
    size = order.offer.size
    yield from ("--amazonec2-region", found.region, "--amazonec2-ami", found.image)
    yield from ("--amazonec2-instance-type", size.slug, "--amazonec2-security-group", cloud.security_group)
    if size.storage_gb:
        yield from ("--amazonec2-root-size", str(size.storage_gb))
    if cloud.monitoring:
        yield "--amazonec2-monitoring"
    if cloud.spot:
        yield from ("--amazonec2-request-spot-instance", "--amazonec2-spot-price", f"{size.spot_price:g}")
    yield from ("--amazonec2-tags", ",".join(amazon_tags(cloud, order)))
    yield from amazon_network(cloud)
    if cloud.ssh_path:
        yield from ("--amazonec2-ssh-keypath", cloud.ssh_path)


def amazon_tags(cloud: Cloud, order: Order) -> Iterator[str]:
    """Give keys and values in turn: ours first, because those of the configuration may be an odd number."""
    for key, value in order.tags.items():
        yield from (key, value)
    yield from cloud.tags


def amazon_network(cloud: Cloud) -> Iterator[str]:
    """Give the flags that say where in Amazon's network a machine is."""
    if cloud.use_private_address:
        yield "--amazonec2-use-private-address"
        if cloud.private_address_only:
            yield "--amazonec2-private-address-only"
    named = {"zone": cloud.zone, "vpc-id": cloud.vpc, "subnet-id": cloud.subnet, "iam-instance-profile": cloud.iam_role}
    for flag, value in named.items():
        if value:
            yield from (f"--amazonec2-{flag}", value)


def hetzner(cloud: Cloud, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `hetzner`."""
    yield from ("--hetzner-server-location", found.region, "--hetzner-server-type", order.offer.size.slug)
    yield from ("--hetzner-image-id" if cloud.snapshot else "--hetzner-image", found.image)
    for key, value in labels(cloud.tags, order.tags).items():
        yield from ("--hetzner-server-label", f"{key}={value}")
    if found.ssh_key_id:
        yield from ("--hetzner-existing-key-id", found.ssh_key_id)
    if cloud.ssh_path:
        yield from ("--hetzner-existing-key-path", cloud.ssh_path)


def scaleway(_cloud: Cloud, order: Order, found: Resolved) -> Iterator[str]:
    """Give the flags of the driver `scaleway`."""
    yield from ("--scaleway-region", found.region, "--scaleway-image", found.image)
    yield from ("--scaleway-commercial-type", order.offer.size.slug)


FLAGS: Final[Mapping[str, Callable[[Cloud, Order, Resolved], Iterator[str]]]] = {
    "digitalocean": digitalocean,
    "aws": amazonec2,
    "hetzner": hetzner,
    "scaleway": scaleway,
}
