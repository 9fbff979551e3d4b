"""Names of images and sizes that clouds have retired: the original's files and defaults still have them, and each is told once.

They stay accepted: a cloud may know an old name for longer than it shows it, and a private one may have it for ever.
"""

from collections.abc import Iterator
from typing import Final

from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits

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


def notes(provider: str, image: str, limits: ScalingLimits) -> Iterator[tuple[str, str]]:
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
