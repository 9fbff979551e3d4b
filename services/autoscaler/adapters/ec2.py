"""Amazon EC2 through boto3 (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/).

boto3 blocks, so every call runs in a thread. A launch is one call: instance, disk and tags together, with a client token
made of the machine's name, so that the same launch twice is one instance (the token holds per region, hence the look for
the name in all regions before). What has just been launched may be missing from a list for some seconds: an instance is
looked for by its id as well when that is known.

An availability zone may lack a size that the next one has: without `zone` and `subnet` in the configuration all zones of
the VPC are tried. A spot instance that Amazon is about to take away says so in its request, two minutes before
(`Found.leaving`). An instance that turns itself off is terminated, and costs nothing more.
"""

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Final, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError
from botocore.parsers import ResponseParserError

from libs.common.errors import ProviderFailed, Trouble
from libs.common.lifecycle import threaded
from libs.common.model import MachineId
from services.autoscaler.adapters.described import described
from services.autoscaler.adapters.rest import LONGEST_MESSAGE, TIMEOUT_S, together
from services.autoscaler.core.configuration import Cloud
from services.autoscaler.core.ec2_launch import Place, image_query, launch, tag_pairs
from services.autoscaler.core.orders import Found, Order
from services.autoscaler.core.secrets import NO_SECRET, masked

ATTEMPTS_COUNT: Final = 3
"""boto3's own, with pauses in between: on throttling, 5xx and broken connections."""
CONNECT_TIMEOUT_S: Final = 10.0
SERVER_ERROR: Final = 500
FILTER_VALUES: Final = 100
LIVE_STATES: Final = ("pending", "running", "stopping", "stopped", "shutting-down")
TROUBLES: Final[Mapping[str, Trouble]] = {
    "AuthFailure": Trouble.UNAUTHORISED,
    "UnauthorizedOperation": Trouble.UNAUTHORISED,
    "InvalidClientTokenId": Trouble.UNAUTHORISED,
    "SignatureDoesNotMatch": Trouble.UNAUTHORISED,
    "ExpiredToken": Trouble.UNAUTHORISED,
    "RequestExpired": Trouble.UNAUTHORISED,
    "OptInRequired": Trouble.UNAUTHORISED,
    "Blocked": Trouble.UNAUTHORISED,
    "PendingVerification": Trouble.UNAUTHORISED,
    "InsufficientInstanceCapacity": Trouble.OUT_OF_CAPACITY,
    "InsufficientHostCapacity": Trouble.OUT_OF_CAPACITY,
    "InsufficientFreeAddressesInSubnet": Trouble.OUT_OF_CAPACITY,
    "InstanceLimitExceeded": Trouble.OUT_OF_CAPACITY,
    "VcpuLimitExceeded": Trouble.OUT_OF_CAPACITY,
    "VolumeLimitExceeded": Trouble.OUT_OF_CAPACITY,
    "MaxSpotInstanceCountExceeded": Trouble.OUT_OF_CAPACITY,
    "SpotMaxPriceTooLow": Trouble.OUT_OF_CAPACITY,
    "Unsupported": Trouble.OUT_OF_CAPACITY,
    "RequestLimitExceeded": Trouble.RETRYABLE,
    "Throttling": Trouble.RETRYABLE,
    "ThrottlingException": Trouble.RETRYABLE,
    "IdempotentParameterMismatch": Trouble.UNKNOWN_OUTCOME,
}
"""By error code (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html). `Unsupported`: this zone
has no such size. `IdempotentParameterMismatch`: this token has launched something already, so look for it."""
LEAVING: Final = frozenset({"marked-for-termination", "marked-for-stop", "instance-terminated-by-price"}) | {
    "instance-terminated-no-capacity",
    "instance-terminated-capacity-oversubscribed",
    "instance-terminated-launch-group-constraint",
}
MAKING: Final = threading.Lock()
"""A session makes one client at a time."""
NOT_FOUND: Final = frozenset({"InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"})


class Ec2:
    """An account, in some regions."""

    def __init__(self, cloud: Cloud, regions: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._cloud = cloud
        self._regions = tuple(dict.fromkeys(regions))
        self._timeout_s = timeout_s
        self._clients: dict[str, Any] = {}

    def __repr__(self) -> str:
        """Show the regions."""
        return f"Ec2({' '.join(self._regions)})"

    async def __aenter__(self) -> Self:
        """Open nothing: clients are made when needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close the connections."""
        for client in list(self._clients.values()):
            await threaded(client.close, "EC2")

    async def check(self) -> None:
        """See booted.Vendor: each region is asked for the image, the network and the security group."""
        for region in self._regions:
            places, image = await self._places(region), await self._image(region)
            if not places or not image:
                raise ProviderFailed(f"aws: {region} has no subnet to launch in", Trouble.REFUSED)

    async def named(self, name: MachineId, ref: str = "") -> Sequence[Found]:
        """See booted.Vendor."""
        found = await self._everywhere([{"Name": "tag:Name", "Values": [str(name)]}])
        if ref and ref not in {each.ref for each in found}:
            found += await self._with_id(ref)
        return found

    async def starting(self, prefix: str) -> Sequence[Found]:
        """See booted.Vendor."""
        found = await self._everywhere([{"Name": "tag:Name", "Values": [f"{prefix}*"]}])
        return [each for each in found if each.name.startswith(prefix)]

    async def begin(self, order: Order) -> Found:
        """See booted.Vendor."""
        region = order.offer.region
        image = await self._image(region)
        lacking: ProviderFailed | None = None
        for place in await self._places(region):
            try:
                return await self._launch(order, region, image, place)
            except ProviderFailed as error:
                if error.trouble is not Trouble.OUT_OF_CAPACITY:
                    raise
                lacking = error
        raise lacking or ProviderFailed(f"aws: {region} has no subnet to launch in", Trouble.REFUSED)

    async def resume(self, order: Order, found: Found) -> Found:
        """See booted.Vendor: an instance needs one call only."""
        _ = order
        return found

    async def remove(self, found: Found) -> None:
        """See booted.Vendor; the disk goes with its instance."""
        region, _, number = found.ref.partition("/")
        await self._call(region, lambda client: client.terminate_instances(InstanceIds=[number]), missing=None)

    def described(self, order: Order) -> str:
        """See booted.Vendor."""
        place = Place(subnet=self._cloud.subnet or "<a subnet>", zone=self._cloud.zone, groups=("<its id>",))
        body = launch(order, self._cloud, {"ImageId": self._cloud.image, "RootDeviceName": "<root>"}, place)
        return described("RunInstances", order.offer.region, body | {"SecurityGroup": self._cloud.security_group})

    async def _launch(self, order: Order, region: str, image: Mapping[str, Any], place: Place) -> Found:
        body = launch(order, self._cloud, image, place)
        body["ClientToken"] = hashlib.sha256(f"{order.name}/{place.subnet}".encode()).hexdigest()
        body["UserData"] = body.pop("user_data")
        answer = await self._call(region, lambda client: client.run_instances(**body), creates=True)
        return self._found(region, answer["Instances"][0], {})

    async def _everywhere(self, filters: Sequence[Mapping[str, Any]]) -> list[Found]:
        found = await together(self._in_region(region, filters) for region in self._regions)
        return [each for some in found for each in some]

    async def _in_region(self, region: str, filters: Sequence[Mapping[str, Any]]) -> list[Found]:
        wanted = [*filters, {"Name": "instance-state-name", "Values": list(LIVE_STATES)}]
        instances = await self._instances(region, Filters=wanted)
        leaving = await self._leaving(region, instances)
        return [self._found(region, each, leaving) for each in sorted(instances, key=launched_at)]

    async def _with_id(self, ref: str) -> list[Found]:
        region, _, number = ref.partition("/")
        if not number:
            return []
        instances = await self._instances(region, InstanceIds=[number])
        return [self._found(region, each, {}) for each in instances if each["State"]["Name"] in LIVE_STATES]

    async def _instances(self, region: str, **query: Any) -> list[Mapping[str, Any]]:
        def pages(client: Any) -> list[Mapping[str, Any]]:
            answers = client.get_paginator("describe_instances").paginate(**query)
            return [each for answer in answers for group in answer["Reservations"] for each in group["Instances"]]

        found: list[Mapping[str, Any]] = await self._call(region, pages, missing=[])
        return found

    async def _leaving(self, region: str, instances: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Ask which spot instances Amazon is about to take away, and why."""
        requests = [each["SpotInstanceRequestId"] for each in instances if each.get("SpotInstanceRequestId")]
        batches = [requests[start : start + FILTER_VALUES] for start in range(0, len(requests), FILTER_VALUES)]

        def pages(client: Any) -> list[Mapping[str, Any]]:
            ask = client.get_paginator("describe_spot_instance_requests").paginate
            filters = ([{"Name": "spot-instance-request-id", "Values": batch}] for batch in batches)
            return [each for wanted in filters for page in ask(Filters=wanted) for each in page["SpotInstanceRequests"]]

        if not requests:
            return {}
        told = await self._call(region, pages)
        return {each["SpotInstanceRequestId"]: status_words(each) for each in told if is_leaving(each)}

    async def _image(self, region: str) -> Mapping[str, Any]:
        found = await self._call(region, lambda client: client.describe_images(**image_query(self._cloud.image)))
        images = sorted(found["Images"], key=lambda each: str(each.get("CreationDate", "")))
        if not images:
            raise ProviderFailed(f"aws: {region} has no image {self._cloud.image!r}", Trouble.REFUSED)
        newest: Mapping[str, Any] = images[-1]
        return newest

    async def _places(self, region: str) -> list[Place]:
        """Find the subnets to launch in, in the order of their zones, with the security group of their VPC."""
        subnets = await self._subnets(region)
        if not subnets:
            raise ProviderFailed(f"aws: {region} has no subnet to launch in", Trouble.REFUSED)
        groups = await self._groups(region, subnets[0]["VpcId"])
        return [Place(subnet=each["SubnetId"], zone=each["AvailabilityZone"], groups=groups) for each in subnets]

    async def _subnets(self, region: str) -> list[Mapping[str, Any]]:
        filters = [{"Name": "state", "Values": ["available"]}]
        if self._cloud.subnet:
            filters.append({"Name": "subnet-id", "Values": [self._cloud.subnet]})
        elif self._cloud.vpc:
            filters.append({"Name": "vpc-id", "Values": [self._cloud.vpc]})
        else:
            filters.append({"Name": "default-for-az", "Values": ["true"]})
        if self._cloud.zone:
            filters.append({"Name": "availability-zone", "Values": [f"{region}{self._cloud.zone}"]})
        found = await self._call(region, lambda client: client.describe_subnets(Filters=filters))
        return sorted(found["Subnets"], key=lambda each: (each["AvailabilityZone"], each["SubnetId"]))

    async def _groups(self, region: str, vpc: str) -> tuple[str, ...]:
        name = self._cloud.security_group
        if name.startswith("sg-"):
            return (name,)
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        found = await self._call(region, lambda client: client.describe_security_groups(Filters=filters))
        if not found["SecurityGroups"]:
            raise ProviderFailed(f"aws: {vpc} in {region} has no security group {name!r}", Trouble.REFUSED)
        return (found["SecurityGroups"][0]["GroupId"],)

    def _found(self, region: str, content: Mapping[str, Any], leaving: Mapping[str, str]) -> Found:
        private = self._cloud.use_private_address or self._cloud.private_address_only
        address = content.get("PrivateIpAddress") if private else content.get("PublicIpAddress")
        return Found(
            name=MachineId(tag_pairs(content.get("Tags") or ()).get("Name", "")),
            ref=f"{region}/{content['InstanceId']}",
            address=address or "",
            running=content["State"]["Name"] == "running",
            leaving=leaving.get(content.get("SpotInstanceRequestId") or "", ""),
        )

    async def _call(self, region: str, do: Callable[[Any], Any], *, creates: bool = False, missing: Any = ...) -> Any:
        """Call in a thread; `missing` is the answer when there is no such instance. Raises ProviderFailed."""
        try:
            return await threaded(lambda: do(self._client(region)), "EC2")
        except ClientError as error:
            if missing is not ... and error.response["Error"]["Code"] in NOT_FOUND:
                return missing
            raise self._failed(error.response["Error"].get("Message", ""), trouble_of(error, creates=creates)) from None
        except (EndpointConnectionError, ConnectTimeoutError) as error:
            raise self._failed(f"no connection ({type(error).__name__})", Trouble.RETRYABLE) from None
        except (BotoCoreError, ResponseParserError) as error:
            trouble = Trouble.UNKNOWN_OUTCOME if creates else Trouble.RETRYABLE
            raise self._failed(f"no answer ({type(error).__name__})", trouble) from None

    def _failed(self, sentence: str, trouble: Trouble) -> ProviderFailed:
        return ProviderFailed(f"aws: {masked(sentence, self._cloud.keys.values())[:LONGEST_MESSAGE]}", trouble)

    def _client(self, region: str) -> Any:
        with MAKING:
            if region not in self._clients:
                self._clients[region] = self._made(region)
            return self._clients[region]

    def _made(self, region: str) -> Any:
        keys = self._cloud.keys
        config = Config(
            connect_timeout=min(self._timeout_s, CONNECT_TIMEOUT_S),
            read_timeout=self._timeout_s,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS_COUNT},
        )
        return session().client(
            "ec2",
            region_name=region,
            aws_access_key_id=keys.get("accessKey", NO_SECRET).reveal(),
            aws_secret_access_key=keys.get("secretKey", NO_SECRET).reveal(),
            endpoint_url=self._cloud.endpoint or None,
            config=config,
        )


@cache
def session() -> Any:
    """Give the one session; it reads EC2's description, of some megabytes, once. Keys are each client's own."""
    return boto3.session.Session()


def trouble_of(error: ClientError, *, creates: bool) -> Trouble:
    """Say what an error of EC2 means."""
    code = error.response["Error"]["Code"]
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in TROUBLES:
        return TROUBLES[code]
    if status >= SERVER_ERROR:
        return Trouble.UNKNOWN_OUTCOME if creates else Trouble.RETRYABLE
    return Trouble.REFUSED


def is_leaving(request: Mapping[str, Any]) -> bool:
    """Whether a spot request says that its instance is being taken away."""
    return request.get("Status", {}).get("Code", "") in LEAVING


def status_words(request: Mapping[str, Any]) -> str:
    """Give Amazon's words for it."""
    status = request["Status"]
    return f"spot interruption: {status.get('Message') or status['Code']}"


def launched_at(instance: Mapping[str, Any]) -> str:
    """When an instance was launched, to sort by."""
    return str(instance.get("LaunchTime", ""))
