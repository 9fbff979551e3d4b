"""Scaleway's Instance API, version 1, and its Block Storage API (https://www.scaleway.com/en/developers/api/instances/).

The only provider here that takes several calls, so that each order of them has its reason:

- **create** makes a server that stands still, then names its disks after it, hands it its user data and switches it on.
  Whatever call is the last, the server has its name from the first on; who goes on with one that stands still repeats
  the rest. Whether there is room is found out only when it is switched on.
- **destroy** names the disks first: `terminate` deletes a server and its local disks, but block storage is only detached
  and would stay, nameless and paid for. So a disk that belongs to nobody and has a machine's name counts as that
  machine, is listed, found and removed like one.

A server that stood still is deleted and not terminated: the API terminates running ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Self

import httpx

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import HIDDEN
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.config.core.wording import mistake_in_script
from clusterodm.services.autoscaler.orders import NO_SECRET, Order, ProviderMachine
from clusterodm.services.autoscaler.providers.adapters.http_api.account import ApiAccount, described
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import (
    TIMEOUT_S,
    Page,
    RestClient,
    everything,
    moment_ms,
    together,
    words_of,
)
from clusterodm.services.autoscaler.providers.adapters.scaleway_zones import (
    block_volumes,
    images,
    is_uuid,
    products,
    public_images,
    servers,
    volumes,
    zone_of,
)
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.core.cloud_init import user_data
from clusterodm.services.autoscaler.providers.core.order_words import flat_tags
from clusterodm.services.autoscaler.providers.ports import VendorContext

URL: Final = "https://api.scaleway.com"
PER_PAGE: Final = 100
BLOCK: Final = "sbs_volume"
STANDING_STILL: Final = "stopped"
STOPPING: Final = "stopping"
IPV4: Final = "inet"
TROUBLES: Final[Mapping[str, Trouble]] = {
    "out_of_stock": Trouble.OUT_OF_CAPACITY,
    "quotas_exceeded": Trouble.OUT_OF_CAPACITY,
    "denied_authentication": Trouble.UNAUTHORISED,
    "permissions_denied": Trouble.UNAUTHORISED,
    "transient_state": Trouble.RETRYABLE,
    "locked": Trouble.RETRYABLE,
    "invalid_arguments": Trouble.REFUSED,
    "precondition_failed": Trouble.RETRYABLE,
}
QUOTA_WORDS: Final = "quota exceeded"


class ScalewayVendor(ApiAccount):
    """An organization's default project, in some zones."""

    def __init__(
        self,
        cloud: CloudSettings,
        regions: Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._regions = tuple(regions)
        self._zones = tuple(dict.fromkeys(map(zone_of, regions)))
        rest = RestClient(
            "scaleway",
            cloud.endpoint or URL,
            judge=judge,
            headers={"X-Auth-Token": cloud.keys.get("secretToken", NO_SECRET)},
            timeout_s=timeout_s,
            transport=transport,
        )
        super().__init__(cloud, rest)

    @staticmethod
    def read(keys: ObjectReader) -> CloudSettings:
        """Read what is Scaleway's."""
        return CloudSettings(
            keys={
                "organization": keys.cloud_key("organization", required=True),
                "secretToken": keys.cloud_key("secretToken", required=True),
            },
            image=keys.text("image", "ubuntu-noble"),
            tags=keys.texts("tags"),
            engine_install_url=keys.named("engineInstallUrl", mistake_in_script),
            endpoint=keys.address("endpoint"),
        )

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        return cls(context.settings, context.regions, timeout_s=context.answer_s)

    async def check(self) -> None:
        for zone in self._zones:
            await self._rest.get(servers(zone), per_page=1)

    async def catalogue(self) -> Catalogue:
        """See ports.CatalogueVendor; whether there is such a zone its servers say."""
        sizes: dict[str, set[str]] = {}
        for region in self._regions:
            for slug in await self._all(products(zone_of(region)), "servers"):
                sizes.setdefault(str(slug), set()).add(region)
        lacking = ", ".join([zone for zone in self._zones if not await self._has_image(zone)])
        image = self._cloud.image
        return Catalogue(
            sizes={slug: frozenset(places) for slug, places in sizes.items()},
            missing={image: f"there is no image {image!r} in {lacking}"} if lacking else {},
        )

    async def _has_image(self, zone: str) -> bool:
        """Whether an image is there: one of our own, or a public one by its label."""
        image = await self._image(zone)
        if is_uuid(image):
            return await self._rest.find(f"{images(zone)}/{image}") is not None
        return bool((await self._rest.get(public_images(image, zone)))["local_images"])

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        """See ports.Vendor; the API's filter takes parts of names, ours does not."""
        named = [each for each in await self._everywhere(name) if each.name == name]
        kind, _, place = ref.partition("/")
        if kind != "server" or ref in {each.ref for each in named}:
            return named
        zone, _, number = place.partition("/")
        content = await self._rest.find(f"{servers(zone)}/{number}")
        if content is None:
            return named
        return [replace(found(zone, content["server"]), name=name), *named]  # whatever somebody calls it now

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        return [each for each in await self._everywhere(prefix) if each.name.startswith(prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
        zone = zone_of(order.offer.region)
        body = server(order, self._cloud, await self._image(zone))
        answer = await self._rest.call("POST", servers(zone), body=body, creates=True)
        content = answer.content["server"]
        try:
            return await self._switch_on(order, zone, content)
        except ProviderFailed as error:
            raise ProviderFailed(error.message, error.trouble, ref=found(zone, content).ref) from None

    async def resume(self, order: Order, found: ProviderMachine) -> ProviderMachine:
        """See ports.Vendor: one that stands still lacks something."""
        kind, zone, number = found.ref.split("/")
        if kind != "server":
            return found
        content = (await self._rest.get(f"{servers(zone)}/{number}"))["server"]
        return await self._switch_on(order, zone, content) if content["state"] == STANDING_STILL else found

    async def remove(self, found: ProviderMachine) -> None:
        kind, zone, number = found.ref.split("/")
        match kind:
            case "server":
                await self._remove_server(zone, number, found.name)
            case "block":
                await self._rest.delete(f"{block_volumes(zone)}/{number}")
            case _:
                await self._rest.delete(f"{volumes(zone)}/{number}")

    def described(self, order: Order) -> str:
        url = f"{self._rest.url}{servers(zone_of(order.offer.region))}"
        body = server(order, self._cloud, self._cloud.image)
        text = user_data(order.launch, self._cloud.engine_install_url)
        return described("POST", url, body | {"user_data": text}, project=HIDDEN)

    async def _switch_on(self, order: Order, zone: str, content: Mapping[str, Any]) -> ProviderMachine:
        place = f"{servers(zone)}/{content['id']}"
        await self._name_disks(zone, content, order.name, flat_tags(self._cloud.tags, order.tags))
        text = user_data(order.launch, self._cloud.engine_install_url)
        await self._rest.call("PATCH", f"{place}/user_data/cloud-init", text=text)
        await self._rest.call("POST", f"{place}/action", body={"action": "poweron"})
        return found(zone, content)

    async def _name_disks(
        self, zone: str, content: Mapping[str, Any], name: MachineId, tags: Sequence[str] | None = None
    ) -> None:
        body = {"name": name} | ({"tags": list(tags)} if tags is not None else {})
        for disk in (content.get("volumes") or {}).values():
            place = block_volumes(zone) if disk["volume_type"] == BLOCK else volumes(zone)
            await self._rest.call("PATCH", f"{place}/{disk['id']}", body=body, missing_ok=True)

    async def _remove_server(self, zone: str, number: str, name: MachineId) -> None:
        place = f"{servers(zone)}/{number}"
        answer = await self._rest.find(place)
        if answer is None:
            return
        content = answer["server"]
        await self._name_disks(zone, content, name)
        if content["state"] == STOPPING:
            return  # it goes already, or stands still at the next look; any action is refused meanwhile
        if content["state"] == STANDING_STILL:
            await self._rest.delete(place)
        else:
            await self._rest.call("POST", f"{place}/action", body={"action": "terminate"}, missing_ok=True)

    async def _everywhere(self, part: str) -> Sequence[ProviderMachine]:
        """Find servers, then the disks that belong to none, whose name contains this."""
        found = await together(self._in_zone(zone, part) for zone in self._zones)
        return [each for some in found for each in some]

    async def _in_zone(self, zone: str, part: str) -> Sequence[ProviderMachine]:
        machines = [found(zone, each) for each in await self._all(servers(zone), "servers", name=part)]
        local = [each for each in await self._all(volumes(zone), "volumes", name=part) if not each.get("server")]
        block = await self._all_block(zone, part)
        disks = [disk("volume", zone, each) for each in local] + [disk("block", zone, each) for each in block]
        return [*machines, *disks]

    async def _all(self, path: str, key: str, **params: str) -> Sequence[Any]:
        async def page(number: int) -> Page:
            query: dict[str, str | int] = {"page": number, "per_page": PER_PAGE, **params}
            answer = await self._rest.call("GET", path, params=query)
            items = list(answer.content[key])
            total_count = int(answer.headers.get("x-total-count", len(items)))
            return Page(items=items, total_count=total_count, last=number * PER_PAGE >= total_count)

        return await everything(page)

    async def _all_block(self, zone: str, part: str) -> Sequence[Any]:
        async def page(number: int) -> Page:
            content = await self._rest.get(block_volumes(zone), page=number, page_size=PER_PAGE, name=part)
            total_count = int(content["total_count"])
            return Page(items=content["volumes"], total_count=total_count, last=number * PER_PAGE >= total_count)

        return [each for each in await everything(page) if not each.get("references")]

    async def _image(self, zone: str) -> str:
        """Find the image: an id, the name of an own one, or a label of the public ones (with `_` where names have `-`)."""
        name = self._cloud.image
        if is_uuid(name):
            return name
        organization = self._cloud.keys.get("organization", NO_SECRET).reveal()
        own = await self._all(images(zone), "images", name=name, organization=organization, public="false")
        named = sorted((each for each in own if each["name"] == name), key=lambda each: str(each.get("creation_date")))
        return str(named[-1]["id"]) if named else name.replace("-", "_")


def server(order: Order, cloud: CloudSettings, image: str) -> dict[str, Any]:
    """Write the body that creates a server. The default project has the organization's id."""
    return {
        "name": order.name,
        "commercial_type": order.offer.size.slug,
        "image": image,
        "project": cloud.keys.get("organization", NO_SECRET).reveal(),
        "dynamic_ip_required": True,
        "tags": flat_tags(cloud.tags, order.tags),
    }


def found(zone: str, content: Mapping[str, Any]) -> ProviderMachine:
    """Read a server."""
    public = [each["address"] for each in content.get("public_ips") or () if each.get("family", IPV4) == IPV4]
    return ProviderMachine(
        name=MachineId(content["name"]),
        ref=f"server/{zone}/{content['id']}",
        address=next(iter(public), "") or (content.get("public_ip") or {}).get("address") or "",
        running=content["state"] == "running",
        size=str(content.get("commercial_type") or ""),
        region=zone,
        created_at_ms=moment_ms(content.get("creation_date")),
    )


def disk(kind: str, zone: str, content: Mapping[str, Any]) -> ProviderMachine:
    """Read a disk that its machine has left behind."""
    return ProviderMachine(name=MachineId(content["name"]), ref=f"{kind}/{zone}/{content['id']}", running=False)


def judge(_status: int, content: Any) -> tuple[Trouble | None, str]:
    """Read an error: `{"type", "message"}`; a quota may also hide in the words of an `invalid_request_error`."""
    code, message, resource = words_of(content, "type", "message", "resource")
    if QUOTA_WORDS in message.lower():
        return Trouble.OUT_OF_CAPACITY, message
    return TROUBLES.get(code), " ".join(word for word in (f"{code}:" if code else "", message, resource) if word)
