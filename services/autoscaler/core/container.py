"""How a machine is put to a Docker engine: the body that creates its container."""

from collections.abc import Sequence
from typing import Any, Final

from services.autoscaler.core.node_command import DATA_DIRECTORY, node_words
from services.autoscaler.core.orders import NODE_PORT, Launch, Order
from services.autoscaler.core.tags import pairs

LABEL: Final = "clusterodm.machine"
SIZE_LABEL: Final = "clusterodm.size"
PORT: Final = NODE_PORT
EXPOSED: Final = f"{PORT}/tcp"


def container(order: Order, configured: Sequence[str], network: str, *, publish_on: str) -> dict[str, Any]:
    """Write the body of `POST /containers/create`; the node's flags hold secrets."""
    return {
        "Image": order.launch.image,
        "Cmd": list(node_words(order.launch)),
        "Labels": pairs(configured, order.tags) | {LABEL: str(order.name), SIZE_LABEL: order.offer.size.slug},
        "ExposedPorts": {EXPOSED: {}},
        "HostConfig": host(order, network, publish_on),
    }


def host(order: Order, network: str, publish_on: str) -> dict[str, Any]:
    """Say what the container gets of its host."""
    found: dict[str, Any] = {"NetworkMode": network} if network else {"PortBindings": published(publish_on)}
    if order.offer.size.memory_bytes:
        found["Memory"] = order.offer.size.memory_bytes
    return found | devices(order.launch)


def devices(launch: Launch) -> dict[str, Any]:
    """Give the data directory and the graphics cards, where wanted."""
    found: dict[str, Any] = {}
    if launch.data_mount:
        found["Mounts"] = [{"Type": "bind", "Source": launch.data_mount, "Target": DATA_DIRECTORY}]
    if launch.gpu:
        found["DeviceRequests"] = [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]
    return found


def published(on: str) -> dict[str, Any]:
    """Publish the node's port on a free port of this address; an empty one is all addresses."""
    return {EXPOSED: [{"HostIp": on, "HostPort": ""}]}


def machine_filter(name: str = "") -> dict[str, Sequence[str]]:
    """Write the filter that finds our containers."""
    return {"label": [f"{LABEL}={name}" if name else LABEL]}


def image_and_tag(image: str) -> tuple[str, str]:
    """Split an image's name as a pull wants it; a digest counts as a tag."""
    if "@" in image:
        name, _, digest = image.partition("@")
        return name, digest
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")
