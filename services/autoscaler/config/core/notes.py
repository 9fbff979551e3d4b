"""What is no mistake in a file, and yet worth a line: names that clouds have retired, and leases that do not end the bill.

The original's files and defaults still have retired names of images and sizes. They stay accepted: a cloud may know an old name for
longer than it shows it, and a private one may have it for ever.

What becomes of the bill when a machine turns itself off because its lease is over (`leaseTime`) differs by provider. The page tells the same,
row by row (docs/autoscaler.md); what one of libcloud's clouds does is in providers/core/libcloud_settings.py.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from clusterodm.services.autoscaler.config.core.configuration import DOCKER_MACHINE, ScalingLimits

IMAGES: Final = {
    "digitalocean": (("ubuntu-14-", "ubuntu-16-", "ubuntu-18-", "ubuntu-20-"), "ubuntu-24-04-x64"),
    "hetzner": (("ubuntu-16.", "ubuntu-18.", "ubuntu-20."), "ubuntu-24.04"),
    "scaleway": (
        ("ubuntu-trusty", "ubuntu-xenial", "ubuntu-bionic", "ubuntu_trusty", "ubuntu_xenial", "ubuntu_bionic"),
        "ubuntu-noble",
    ),
    "aws": (("ami-07b4f3c02c7f83d59",), "*ubuntu-noble-24.04-amd64-server-* (by API), or its id in your region"),
}
"""By provider: how retired ones begin, and one that can be had."""
SIZES: Final = {
    "hetzner": (("cx11", "cx21", "cx31", "cx41", "cx51"), "cx23"),
    "scaleway": (("START1-XS", "START1-S", "START1-M", "START1-L", "VC1S", "VC1M", "VC1L"), "GP1-XS"),
}
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


def retired(provider: str, image: str, limits: ScalingLimits) -> Iterator[tuple[str, str]]:
    """Give the key and a sentence for each retired name."""
    if is_retired_image(provider, image):
        yield "image", f"{image!r} is retired at {provider}: name a current one, such as {IMAGES[provider][1]}"
    for slug in dict.fromkeys(size.slug for size in limits.sizes):
        if is_retired_size(provider, slug):
            yield (
                "imageSizeMapping",
                f"{slug!r} is retired at {provider}: name a current one, such as {SIZES[provider][1]}",
            )


def is_retired(provider: str, name: str) -> bool:
    """Whether a provider has had an image or a size of this name, and has it no more."""
    return is_retired_image(provider, name) or is_retired_size(provider, name)


def is_retired_image(provider: str, image: str) -> bool:
    """Whether a provider has retired this image."""
    begins = IMAGES.get(provider, ((), ""))[0]
    return bool(begins) and image.startswith(begins)


def is_retired_size(provider: str, slug: str) -> bool:
    """Whether a provider has retired this size."""
    return slug in SIZES.get(provider, ((), ""))[0]


def lasting_bills(provider: str, mode: str, lease_s: int, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Give the key and a sentence where a lease does not end the bill. `names`: which keys the file has of the provider's."""
    if not lease_s:
        return
    if lease_s < LEAST_S:
        yield KEY, f"is {lease_s}: so soon a machine ends itself when a few answers are late (600 is usual)"
    if mode == DOCKER_MACHINE or provider == "docker":
        yield KEY, f"{NO_LEASE} (docs/autoscaler.md, Leases)"
    elif provider in COSTS_ON and "leaseToken" not in names:
        yield KEY, COSTS_ON[provider]
