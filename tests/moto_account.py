"""An account at EC2, played by moto, for tests that rent there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import boto3

from clusterodm.libs.machinesim.cloud_api_ec2 import Ec2Api

REGION = "us-west-2"


@cache
def moto_server() -> Ec2Api:
    """One server for all tests of this process; it takes seconds to load, and ends with the process."""
    return Ec2Api(slow_s=1.2).__enter__()


@cache
def moto_client(url: str) -> Any:
    keys = {"aws_access_key_id": "other", "aws_secret_access_key": "other"}
    return boto3.session.Session().client("ec2", REGION, endpoint_url=url, **keys)


@cache
def moto_image(url: str) -> str:
    images = moto_client(url).describe_images(Owners=["amazon"])["Images"]
    return str(images[0]["ImageId"])


class MotoAccount:
    """What is rented there, past the service."""

    def __init__(self, api: Ec2Api, image: str) -> None:
        self.api = api
        self.image = image
        self.client = moto_client(api.url)

    def instances(self) -> list[Any]:
        """Those that are not terminated."""
        groups = self.client.describe_instances()["Reservations"]
        instances = [each for group in groups for each in group["Instances"]]
        return [each for each in instances if each["State"]["Name"] != "terminated"]

    def names(self) -> list[str]:
        """How they are called."""
        tags = [{tag["Key"]: tag["Value"] for tag in each.get("Tags", ())} for each in self.instances()]
        return [each.get("Name", "") for each in tags]

    def rent(self, name: str) -> None:
        """Rent one as somebody else would."""
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        self.client.run_instances(ImageId=self.image, MinCount=1, MaxCount=1, TagSpecifications=tags)


@asynccontextmanager
async def moto_account() -> AsyncIterator[MotoAccount]:
    """An account with nothing in it; what is rented there ends with the test."""
    api = await asyncio.to_thread(moto_server)
    account = MotoAccount(api, await asyncio.to_thread(moto_image, api.url))
    yield account
    api.forget()
    if left := [each["InstanceId"] for each in account.instances()]:
        await asyncio.to_thread(account.client.terminate_instances, InstanceIds=left)
