"""Scaleway's zones, and where in its APIs the things of a zone are.

Zones have had other names (`par1` is fr-par-1); the original's files still use them.
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

UUID: Final = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)
ZONES: Final[Mapping[str, str]] = {"par1": "fr-par-1", "ams1": "nl-ams-1", "waw1": "pl-waw-1"}


def zone_of(region: str) -> str:
    """Give a zone's present name; a region's first zone."""
    known = ZONES.get(region, region)
    return known if known[-1:].isdigit() else f"{known}-1"


def servers(zone: str) -> str:
    """Where a zone's servers are."""
    return f"/instance/v1/zones/{zone}/servers"


def volumes(zone: str) -> str:
    """Where a zone's local disks are."""
    return f"/instance/v1/zones/{zone}/volumes"


def images(zone: str) -> str:
    """Where a zone's images are."""
    return f"/instance/v1/zones/{zone}/images"


def block_volumes(zone: str) -> str:
    """Where a zone's block storage is."""
    return f"/block/v1/zones/{zone}/volumes"


def is_uuid(text: str) -> bool:
    """Whether a text is an id and not a name."""
    return bool(UUID.fullmatch(text))


def products(zone: str) -> str:
    """Where a zone's types of servers are."""
    return f"/instance/v1/zones/{zone}/products/servers"


def public_images(label: str, zone: str) -> str:
    """Where the public images of a label are that a zone has."""
    return f"/marketplace/v2/local-images?{urlencode({'image_label': label, 'zone': zone})}"
