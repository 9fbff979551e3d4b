"""The flags of `docker-machine create`, driver by driver, exactly as the drivers take them.

Secrets are not among the flags: every driver reads them from the environment too, and a command line is for all to see.
Sources: docker/machine `drivers/digitalocean`, `drivers/amazonec2`; JonasProgrammer/docker-machine-driver-hetzner;
scaleway/docker-machine-driver-scaleway.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.secret import Secret
from services.autoscaler.core.configuration import Cloud, Configuration
from services.autoscaler.core.orders import Order
from services.autoscaler.core.tags import flat_tags, labels

DRIVERS: Final = {"digitalocean": "digitalocean", "aws": "amazonec2", "hetzner": "hetzner", "scaleway": "scaleway"}
ENVIRONMENT: Final = {
    "digitalocean": {"DIGITALOCEAN_ACCESS_TOKEN": "accessToken"},
    "aws": {"AWS_ACCESS_KEY_ID": "accessKey", "AWS_SECRET_ACCESS_KEY": "secretKey"},
    "hetzner": {"HETZNER_API_TOKEN": "apiToken"},
    "scaleway": {"SCALEWAY_ORGANIZATION": "organization", "SCALEWAY_TOKEN": "secretToken"},
}
"""Which variable holds which of the configuration's keys."""
EXTRAS: Final = {
    "--digitalocean-monitoring": 0,
    "--digitalocean-tags": 1,
    "--amazonec2-monitoring": 0,
    "--amazonec2-tags": 1,
    "--hetzner-server-label": 1,
}
"""Flags that not every version of a driver knows (Hetzner's 2.0.1 has no labels) and a machine can do without, and how many words
follow each. Machines are found again by their names."""
FLAG: Final = re.compile(r"\s*(--[a-z0-9][a-z0-9-]*)")


@dataclass(frozen=True)
class Resolved:
    """What had to be looked up at the provider first."""

    image: str
    region: str
    ssh_key_id: str = ""
    """Hetzner's number of the key with the configured fingerprint."""


def create_words(
    configuration: Configuration, order: Order, found: Resolved, known: Container[str] | None = None
) -> list[str]:
    """Give the words behind `docker-machine`; `known`: what the installed driver knows (`flags_in`), None: not asked."""
    driver = DRIVERS[configuration.provider]
    words = ["create", "--driver", driver, *FLAGS[configuration.provider](configuration.cloud, order, found)]
    if configuration.cloud.engine_install_url:
        words += ["--engine-install-url", configuration.cloud.engine_install_url]
    return [*(words if known is None else without_extras(words, known)), order.name]


def help_words(configuration: Configuration) -> list[str]:
    """Give the words behind `docker-machine` that make it tell which flags the installed driver knows."""
    return ["create", "--driver", DRIVERS[configuration.provider], "--help"]


def flags_in(lines: Iterable[str]) -> frozenset[str]:
    """Read the flags out of what `help_words` shows: one per line, in front."""
    return frozenset(found[1] for line in lines if (found := FLAG.match(line)))


def missing_extras(configuration: Configuration, known: Container[str]) -> list[str]:
    """List the flags that would be used if the installed driver knew them."""
    driver = DRIVERS[configuration.provider]
    return [flag for flag in EXTRAS if flag.startswith(f"--{driver}-") and flag not in known]


def without_extras(words: Sequence[str], known: Container[str]) -> Iterator[str]:
    """Leave out what the driver does not know and a machine can do without."""
    skipped = 0
    for word in words:
        if skipped:
            skipped -= 1
        elif word in EXTRAS and word not in known:
            skipped = EXTRAS[word]
        else:
            yield word


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
