"""What the operator's own programs are told and what they answer (docs/providers-command.md): plain JSON objects."""

from collections.abc import Mapping, Sequence
from typing import Any

from libs.common.errors import Trouble
from libs.common.model import MachineId
from libs.common.secret import Secret
from services.autoscaler.core.cloud_init import user_data
from services.autoscaler.core.node_command import node_configuration, node_words
from services.autoscaler.core.orders import NODE_PORT, Found, Launch, Order
from services.autoscaler.core.tags import pairs


def order_of(order: Order, configured: Sequence[str]) -> dict[str, Any]:
    """Say what is to be created. It holds the node's secrets."""
    launch, size = order.launch, order.offer.size
    return {
        "name": str(order.name),
        "region": order.offer.region,
        "size": size.slug,
        "max_images": size.max_images,
        "memory_bytes": size.memory_bytes,
        "tags": pairs(configured, order.tags),
        "image": launch.image,
        "gpu": launch.gpu,
        "data_mount": launch.data_mount,
        "node_arguments": list(node_words(launch)),
        "node_configuration": node_configuration(launch),
        "lease": {"url": launch.lease_url.reveal(), "seconds": launch.lease_s},
        "user_data": user_data(launch),
    }


def found_of(content: Mapping[str, Any]) -> Found:
    """Read a machine. Raises KeyError, TypeError or ValueError."""
    return Found(
        name=MachineId(str(content["name"])),
        ref=str(content.get("ref") or ""),
        address=str(content.get("address") or ""),
        port=int(content.get("port") or NODE_PORT),
        running=bool(content.get("running", True)),
        leaving=str(content.get("leaving") or ""),
        size=str(content.get("size") or ""),
        region=str(content.get("region") or ""),
        created_at_ms=int(content.get("created_at_ms") or 0),
    )


def trouble_and_message(answer: Mapping[str, Any] | None, usual: Trouble, message: str) -> tuple[Trouble, str]:
    """Read what a program says of its failure; what it does not say is as usual."""
    error = (answer or {}).get("error")
    if not isinstance(error, Mapping):
        return usual, message
    told = str(error.get("trouble") or "")
    trouble = Trouble(told) if told in set(Trouble) else usual
    return trouble, str(error.get("message") or message)


def secrets_of(launch: Launch) -> list[Secret]:
    """Give everything in a launch that must not be shown."""
    found = [launch.token, launch.webhook_url, launch.lease_url]
    if launch.s3:
        found += [launch.s3.access_key, launch.s3.secret_key]
    if launch.registry:
        found.append(launch.registry.password)
    return [secret for secret in found if secret]
