"""Amazon EC2 through boto3 (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/).

A launch is one call: instance, disk and tags together, with a client token made of the machine's name, so that the same
launch twice is one instance (the token holds per region, hence the look for the name in all regions before). What has just
been launched may be missing from a list for some seconds: an instance is looked for by its id as well when that is known.

An availability zone may lack a size that the next one has: without `zone` and `subnet` in the configuration all zones of
the VPC are tried. A spot instance that Amazon is about to take away says so in its request, two minutes before
(`ProviderMachine.leaving`). An instance that turns itself off is terminated, and costs nothing more.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.config.core.wording import mistake_in_script
from clusterodm.services.autoscaler.orders import Order, ProviderMachine
from clusterodm.services.autoscaler.providers.adapters.ec2.calls import Ec2Calls
from clusterodm.services.autoscaler.providers.adapters.ec2.launch import LaunchPlace, image_query, launch, tag_pairs
from clusterodm.services.autoscaler.providers.adapters.http_api.account import described, ssh_key
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import TIMEOUT_S, together
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.ports import Vendor, VendorContext

FILTER_VALUES: Final = 100
LIVE_STATES: Final = ("pending", "running", "stopping", "stopped", "shutting-down")
LEAVING: Final = frozenset({"marked-for-termination", "marked-for-stop", "instance-terminated-by-price"}) | {
    "instance-terminated-no-capacity",
    "instance-terminated-capacity-oversubscribed",
    "instance-terminated-launch-group-constraint",
}


class Ec2Vendor(Vendor):
    """An account, in some regions."""

    has_spot = True
    """Machines may be rented that can be taken away at any time."""

    def __init__(self, cloud: CloudSettings, regions: Sequence[str], *, timeout_s: float = TIMEOUT_S) -> None:
        self._cloud = cloud
        self._regions = tuple(dict.fromkeys(regions))
        self._calls = Ec2Calls(cloud, timeout_s)

    @staticmethod
    def read(keys: ObjectReader) -> CloudSettings:
        """Read what is Amazon's."""
        fingerprint, path = ssh_key(keys)
        return CloudSettings(
            keys={
                "accessKey": keys.cloud_key("accessKey", required=True),
                "secretKey": keys.cloud_key("secretKey", required=True),
            },
            image=keys.text("ami", "ami-07b4f3c02c7f83d59"),
            ssh_fingerprint=fingerprint,
            ssh_path=path,
            tags=keys.texts("tags", ("clusterodm",)),
            monitoring=keys.flag("monitoring"),
            engine_install_url=keys.named("engineInstallUrl", mistake_in_script),
            security_group=keys.text("securityGroup", required=True),
            vpc=keys.text("vpc"),
            subnet=keys.text("subnet"),
            zone=keys.text("zone"),
            iam_role=keys.text("iamrole"),
            use_private_address=keys.flag("usePrivateAddress"),
            private_address_only=keys.flag("assignPrivateAddressOnly"),
            endpoint=keys.address("endpoint"),
        )

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        return cls(context.settings, context.regions, timeout_s=context.answer_s)

    async def __aexit__(self, *_: object) -> None:
        await self._calls.close()

    async def check(self) -> None:
        """See ports.Vendor: each region is asked for the image, the network and the security group."""
        for region in self._regions:
            places, image = await self._places(region), await self._image(region)
            if not places or not image:
                raise ProviderFailed(f"aws: {region} has no subnet to launch in", Trouble.REFUSED)

    async def catalogue(self) -> Catalogue:
        """See ports.CatalogueVendor: which instance types each region has; that there is such a region its answer says."""
        places: dict[str, set[str]] = {}
        for region in self._regions:
            for slug in await self._types(region):
                places.setdefault(slug, set()).add(region)
        return Catalogue(sizes={slug: frozenset(regions) for slug, regions in places.items()})

    async def _types(self, region: str) -> Sequence[str]:
        def pages(client: Any) -> list[str]:
            answers = client.get_paginator("describe_instance_type_offerings").paginate()
            return [str(each["InstanceType"]) for answer in answers for each in answer["InstanceTypeOfferings"]]

        found: list[str] = await self._calls.call(region, pages)
        return found

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        found = await self._everywhere([{"Name": "tag:Name", "Values": [str(name)]}])
        if ref and ref not in {each.ref for each in found}:
            found += await self._with_id(ref)
        return found

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        found = await self._everywhere([{"Name": "tag:Name", "Values": [f"{prefix}*"]}])
        return [each for each in found if each.name.startswith(prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
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

    async def remove(self, found: ProviderMachine) -> None:
        """See ports.Vendor; the disk goes with its instance."""
        region, _, number = found.ref.partition("/")
        await self._calls.call(region, lambda client: client.terminate_instances(InstanceIds=[number]), missing=None)

    def described(self, order: Order) -> str:
        place = LaunchPlace(subnet=self._cloud.subnet or "<a subnet>", zone=self._cloud.zone, groups=("<its id>",))
        body = launch(order, self._cloud, {"ImageId": self._cloud.image, "RootDeviceName": "<root>"}, place)
        return described("RunInstances", order.offer.region, body | {"SecurityGroup": self._cloud.security_group})

    async def _launch(self, order: Order, region: str, image: Mapping[str, Any], place: LaunchPlace) -> ProviderMachine:
        body = launch(order, self._cloud, image, place)
        body["ClientToken"] = hashlib.sha256(f"{order.name}/{place.subnet}".encode()).hexdigest()
        body["UserData"] = body.pop("user_data")
        answer = await self._calls.call(region, lambda client: client.run_instances(**body), creates=True)
        return self._found(region, answer["Instances"][0], {})

    async def _everywhere(self, filters: Sequence[Mapping[str, Any]]) -> list[ProviderMachine]:
        found = await together(self._in_region(region, filters) for region in self._regions)
        return [each for some in found for each in some]

    async def _in_region(self, region: str, filters: Sequence[Mapping[str, Any]]) -> list[ProviderMachine]:
        wanted = [*filters, {"Name": "instance-state-name", "Values": list(LIVE_STATES)}]
        instances = await self._instances(region, Filters=wanted)
        leaving = await self._leaving(region, instances)
        return [self._found(region, each, leaving) for each in sorted(instances, key=launched_at)]

    async def _with_id(self, ref: str) -> list[ProviderMachine]:
        region, _, number = ref.partition("/")
        if not number:
            return []
        instances = await self._instances(region, InstanceIds=[number])
        return [self._found(region, each, {}) for each in instances if each["State"]["Name"] in LIVE_STATES]

    async def _instances(self, region: str, **query: Any) -> list[Mapping[str, Any]]:
        def pages(client: Any) -> list[Mapping[str, Any]]:
            answers = client.get_paginator("describe_instances").paginate(**query)
            return [each for answer in answers for group in answer["Reservations"] for each in group["Instances"]]

        found: list[Mapping[str, Any]] = await self._calls.call(region, pages, missing=[])
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
        told = await self._calls.call(region, pages)
        return {each["SpotInstanceRequestId"]: status_words(each) for each in told if is_leaving(each)}

    async def _image(self, region: str) -> Mapping[str, Any]:
        found = await self._calls.call(region, lambda client: client.describe_images(**image_query(self._cloud.image)))
        images = sorted(found["Images"], key=lambda each: str(each.get("CreationDate", "")))
        if not images:
            raise ProviderFailed(f"aws: {region} has no image {self._cloud.image!r}", Trouble.REFUSED)
        newest: Mapping[str, Any] = images[-1]
        return newest

    async def _places(self, region: str) -> list[LaunchPlace]:
        """Find the subnets to launch in, in the order of their zones, with the security group of their VPC."""
        subnets = await self._subnets(region)
        if not subnets:
            raise ProviderFailed(f"aws: {region} has no subnet to launch in", Trouble.REFUSED)
        groups = await self._groups(region, subnets[0]["VpcId"])
        return [LaunchPlace(subnet=each["SubnetId"], zone=each["AvailabilityZone"], groups=groups) for each in subnets]

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
        found = await self._calls.call(region, lambda client: client.describe_subnets(Filters=filters))
        return sorted(found["Subnets"], key=lambda each: (each["AvailabilityZone"], each["SubnetId"]))

    async def _groups(self, region: str, vpc: str) -> tuple[str, ...]:
        name = self._cloud.security_group
        if name.startswith("sg-"):
            return (name,)
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [vpc]}]
        found = await self._calls.call(region, lambda client: client.describe_security_groups(Filters=filters))
        if not found["SecurityGroups"]:
            raise ProviderFailed(f"aws: {vpc} in {region} has no security group {name!r}", Trouble.REFUSED)
        return (found["SecurityGroups"][0]["GroupId"],)

    def _found(self, region: str, content: Mapping[str, Any], leaving: Mapping[str, str]) -> ProviderMachine:
        private = self._cloud.use_private_address or self._cloud.private_address_only
        address = content.get("PrivateIpAddress") if private else content.get("PublicIpAddress")
        return ProviderMachine(
            name=MachineId(tag_pairs(content.get("Tags") or ()).get("Name", "")),
            ref=f"{region}/{content['InstanceId']}",
            address=address or "",
            running=content["State"]["Name"] == "running",
            leaving=leaving.get(content.get("SpotInstanceRequestId") or "", ""),
            size=str(content.get("InstanceType") or ""),
            region=region,
            created_at_ms=round(content["LaunchTime"].timestamp() * 1000) if content.get("LaunchTime") else 0,
        )


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
