"""How a machine is put to EC2: the body of RunInstances, and what an image or a tag is called there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.orders import Order
from clusterodm.services.autoscaler.providers.core.cloud_init import user_data

IMAGE_ID: Final = "ami-"
OWNERS: Final = ("self", "amazon", "099720109477")
"""Whose images are found by name: one's own, Amazon's and Canonical's (Ubuntu)."""
VOLUME: Final = "gp3"
ONE_TASK: Final = "one-time"


@dataclass(frozen=True, kw_only=True)
class LaunchPlace:
    """Where in a region."""

    subnet: str
    zone: str
    groups: tuple[str, ...]
    """Ids of security groups."""


def launch(order: Order, cloud: CloudSettings, image: Mapping[str, Any], place: LaunchPlace) -> dict[str, Any]:
    """Write the body of RunInstances, but for the client token; `user_data` (which holds secrets) is still named so."""
    tags = [{"Key": key, "Value": value} for key, value in tags_of(cloud.tags, order).items()]
    resources = ["instance", "volume"] + (["spot-instances-request"] if order.offer.size.spot else [])
    body: dict[str, Any] = {
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": image["ImageId"],
        "InstanceType": order.offer.size.slug,
        "BlockDeviceMappings": [disk(str(image.get("RootDeviceName") or "/dev/sda1"), order.offer.size.storage_gb)],
        "NetworkInterfaces": [interface(place, public=not cloud.private_address_only)],
        "Monitoring": {"Enabled": cloud.monitoring},
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "TagSpecifications": [{"ResourceType": resource, "Tags": tags} for resource in resources],
        "user_data": user_data(order.launch, cloud.engine_install_url),
    }
    if cloud.iam_role:
        body["IamInstanceProfile"] = profile(cloud.iam_role)
    if order.offer.size.spot:
        body["InstanceMarketOptions"] = market(order.offer.size.spot_price)
    return body


def disk(device: str, storage_gb: int | None) -> dict[str, Any]:
    """Describe the root disk; it is deleted with its instance."""
    size = {"VolumeSize": storage_gb} if storage_gb else {}
    return {"DeviceName": device, "Ebs": {"DeleteOnTermination": True, "VolumeType": VOLUME, **size}}


def interface(place: LaunchPlace, *, public: bool) -> dict[str, Any]:
    """Describe the network card."""
    return {
        "DeviceIndex": 0,
        "SubnetId": place.subnet,
        "Groups": list(place.groups),
        "AssociatePublicIpAddress": public,
        "DeleteOnTermination": True,
    }


def market(price: float | None) -> dict[str, Any]:
    """Ask for a spot instance; without a price the highest is the regular one."""
    options: dict[str, Any] = {"SpotInstanceType": ONE_TASK, "InstanceInterruptionBehavior": "terminate"}
    if price:
        options["MaxPrice"] = f"{price:g}"
    return {"MarketType": "spot", "SpotOptions": options}


def profile(role: str) -> dict[str, str]:
    """Name an instance profile, by its ARN or its name."""
    return {"Arn" if role.startswith("arn:") else "Name": role}


def tags_of(configured: Sequence[str], order: Order) -> dict[str, str]:
    """Give the tags: docker-machine's list is key, value, key, value, in one text or several; the last key may have none."""
    words = [word.strip() for each in configured for word in each.split(",")]
    listed = dict(zip(words[::2], [*words[1::2], ""], strict=False))
    return listed | order.tags | {"Name": str(order.name)}


def tag_pairs(tags: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Read EC2's list of tags."""
    return {each["Key"]: each["Value"] for each in tags}


def image_query(image: str) -> dict[str, Any]:
    """Ask for an image by its id, or by its name (`*` is any text) among those of the usual owners."""
    if image.startswith(IMAGE_ID):
        return {"Filters": [{"Name": "image-id", "Values": [image]}]}
    names = [{"Name": "name", "Values": [image]}, {"Name": "state", "Values": ["available"]}]
    return {"Owners": list(OWNERS), "Filters": names}
