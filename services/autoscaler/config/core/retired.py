"""Names of images and sizes that clouds have retired: the original's files and defaults still have them, and each is told once.

They stay accepted: a cloud may know an old name for longer than it shows it, and a private one may have it for ever.
"""

from collections.abc import Iterator
from typing import Final

from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits

IMAGES: Final = {
    "digitalocean": (("ubuntu-14-", "ubuntu-16-", "ubuntu-18-"), "ubuntu-24-04-x64"),
    "hetzner": (("ubuntu-16.", "ubuntu-18."), "ubuntu-24.04"),
    "scaleway": (("ubuntu-trusty", "ubuntu-xenial", "ubuntu-bionic"), "ubuntu-noble"),
    "aws": (("ami-07b4f3c02c7f83d59",), "*ubuntu-noble-24.04-amd64-server-* (by API), or its id in your region"),
}
"""By provider: how retired ones begin, and one that can be had."""
SIZES: Final = {"hetzner": (("cx11", "cx21", "cx31", "cx41", "cx51"), "cx23")}


def notes(provider: str, image: str, limits: ScalingLimits) -> Iterator[tuple[str, str]]:
    """Give the key and a sentence for each retired name."""
    begins, instead = IMAGES.get(provider, ((), ""))
    if begins and image.startswith(begins):
        yield "image", f"{image!r} is retired at {provider}: name a current one, such as {instead}"
    old, new = SIZES.get(provider, ((), ""))
    for size in limits.sizes:
        if size.slug in old:
            yield "imageSizeMapping", f"{size.slug!r} is retired at {provider}: name a current one, such as {new}"
