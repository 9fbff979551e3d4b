"""DigitalOcean's API, version 2 (https://docs.digitalocean.com/reference/api/).

A machine is a *droplet*. Names are not unique there, and the list shows droplets with and without a graphics card only
apart (`type`), so both are always asked. A droplet that is switched off still costs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self
from urllib.parse import quote

import httpx
import structlog

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.config.core.wording import mistake_in_script
from clusterodm.services.autoscaler.orders import NO_SECRET, Order, ProviderMachine
from clusterodm.services.autoscaler.providers.adapters.digitalocean_snapshots import DigitalOceanSnapshots, listed_of
from clusterodm.services.autoscaler.providers.adapters.http_api.account import (
    ApiAccount,
    described,
    ssh_key,
    with_bearer,
)
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import (
    TIMEOUT_S,
    moment_ms,
    together,
    with_prefix,
    words_of,
)
from clusterodm.services.autoscaler.providers.adapters.snapshots import PollPolicy
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.core.cloud_init import user_data
from clusterodm.services.autoscaler.providers.core.order_words import flat_tags
from clusterodm.services.autoscaler.providers.core.self_deletion import SelfDeletion, by_token
from clusterodm.services.autoscaler.providers.ports import VendorContext

log = structlog.get_logger()

URL: Final = "https://api.digitalocean.com"
NUMBER_URL: Final = "http://169.254.169.254/metadata/v1/id"
ONLY_DELETES: Final = "can only delete droplets (its scopes: droplet:read and droplet:delete)"
UNPROCESSABLE: Final = 422
KINDS: Final = ("droplets", "gpus")
CAPACITY_WORDS: Final = ("droplet limit", "currently unavailable", "not available in", "capacity")
BUSY_WORDS: Final = ("pending event", "already has a pending")


class DigitalOceanVendor(ApiAccount):
    """An account."""

    def __init__(
        self, cloud: CloudSettings, *, timeout_s: float = TIMEOUT_S, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        rest = with_bearer(
            "digitalocean", URL, cloud, "accessToken", judge=judge, timeout_s=timeout_s, transport=transport
        )
        super().__init__(cloud, rest)

    @staticmethod
    def read(keys: ObjectReader) -> CloudSettings:
        """Read what is DigitalOcean's."""
        fingerprint, path = ssh_key(keys)
        return CloudSettings(
            keys=tokens(keys),
            image=keys.text("image", "ubuntu-24-04-x64"),
            snapshot=keys.flag("snapshot"),
            ssh_fingerprint=fingerprint,
            ssh_path=path,
            tags=keys.texts("tags", ("clusterodm",)),
            monitoring=keys.flag("monitoring", True),
            engine_install_url=keys.named("engineInstallUrl", mistake_in_script),
            endpoint=keys.address("endpoint"),
        )

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        return cls(context.settings, timeout_s=context.answer_s)

    async def check(self) -> None:
        await self._rest.get("/v2/account")
        if self._cloud.snapshot:
            await self._snapshot()

    async def catalogue(self) -> Catalogue:
        """See ports.CatalogueVendor; a size that is sold out for a while is shown without regions."""
        regions = await self._all("/v2/regions", "regions")
        sizes = await self._all("/v2/sizes", "sizes")
        return Catalogue(
            regions=frozenset(str(each["slug"]) for each in regions),
            sizes={str(each["slug"]): frozenset(map(str, each.get("regions") or ())) for each in sizes},
            missing=await self._missing_image(),
        )

    async def _missing_image(self) -> Mapping[str, str]:
        image = self._cloud.image
        if self._cloud.snapshot or await self._rest.find(f"/v2/images/{quote(image, safe='')}"):
            return {}
        return {image: f"there is no image {image!r}"}

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        """See ports.Vendor; the API's filter ignores case, ours does not."""
        droplets = await self._droplets(name=name)
        named = [found(each) for each in sorted(droplets, key=lambda each: each["id"]) if each["name"] == name]
        if not ref.isdigit() or ref in {each.ref for each in named}:
            return named
        content = await self._rest.find(f"/v2/droplets/{ref}")
        return named if content is None else [*named, found(content["droplet"])]

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        return [found(each) for each in with_prefix(await self._droplets(), prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
        image, region = await self.image(order.offer.region)
        body = droplet(order, self._cloud, image, region)
        answer = await self._rest.call("POST", "/v2/droplets", body=body, creates=True)
        return found(answer.content["droplet"])

    async def remove(self, found: ProviderMachine) -> None:
        await self._rest.delete(f"/v2/droplets/{found.ref}")

    def described(self, order: Order) -> str:
        body = droplet(order, self._cloud, self._cloud.image, order.offer.region)
        return described("POST", f"{self._rest.url}/v2/droplets", body)

    def snapshots(self, poll_policy: PollPolicy | None = None) -> DigitalOceanSnapshots:
        """See ports.SnapshotVendor."""
        return DigitalOceanSnapshots(self._rest, poll_policy or PollPolicy())

    async def _droplets(self, **params: str) -> list[Any]:
        async def of_kind(kind: str) -> Sequence[Any]:
            return await self._all("/v2/droplets", "droplets", type=kind, **params)

        return [each for kind in await together(map(of_kind, KINDS)) for each in kind]

    async def _all(self, path: str, key: str, **params: str) -> Sequence[Any]:
        return await listed_of(self._rest, path, key, **params)

    async def image(self, region: str) -> tuple[str | int, str]:
        """Find the image and a region that has it: the original switches when the wanted one does not."""
        if not self._cloud.snapshot:
            return self._cloud.image, region
        snapshot = await self._snapshot()
        regions = snapshot["regions"]
        if region in regions:
            return int(snapshot["id"]), region
        log.warning("snapshot.not_found_in_region", snapshot=self._cloud.image, region=region, instead=regions[0])
        return int(snapshot["id"]), str(regions[0])

    async def _snapshot(self) -> Any:
        images = await self._all("/v2/images", "images", private="true")
        named = [each for each in images if self._cloud.image in {each["name"], str(each["id"])} and each["regions"]]
        if not named:
            raise ProviderFailed(f"digitalocean: no snapshot {self._cloud.image!r} in this account", Trouble.REFUSED)
        return max(named, key=lambda each: str(each.get("created_at", "")))


def droplet(order: Order, cloud: CloudSettings, image: str | int, region: str) -> dict[str, Any]:
    """Write the body that creates a droplet; its user data holds secrets."""
    return {
        "name": order.name,
        "region": region,
        "size": order.offer.size.slug,
        "image": image,
        "ssh_keys": [cloud.ssh_fingerprint] if cloud.ssh_fingerprint else [],
        "monitoring": cloud.monitoring,
        "tags": flat_tags(cloud.tags, order.tags),
        "user_data": user_data(order.launch, cloud.engine_install_url, deletion(cloud)),
    }


def tokens(keys: ObjectReader) -> dict[str, Secret]:
    """Read the token that rents machines, and one that can only delete them, which they are given; the first is never given away."""
    access, lease = keys.cloud_key("accessToken", required=True), keys.cloud_key("leaseToken")
    if lease and not keys.has("leaseTime"):
        keys.wrong("leaseToken", "is of no use without leaseTime")
    if lease and lease == access:
        keys.wrong("leaseToken", f"is the same as accessToken: machines are given one that {ONLY_DELETES}")
    return {"accessToken": access} | ({"leaseToken": lease} if lease else {})


def deletion(cloud: CloudSettings) -> SelfDeletion | None:
    """Say how a droplet deletes itself, where the file has a token for that."""
    token = cloud.keys.get("leaseToken", NO_SECRET)
    return by_token(NUMBER_URL, f"{cloud.endpoint or URL}/v2/droplets", token) if token else None


def found(content: Mapping[str, Any]) -> ProviderMachine:
    """Read a droplet."""
    addresses = {each["type"]: each["ip_address"] for each in (content.get("networks") or {}).get("v4") or ()}
    return ProviderMachine(
        name=MachineId(content["name"]),
        ref=str(content["id"]),
        address=addresses.get("public") or addresses.get("private") or "",
        running=content["status"] == "active",
        size=str(content.get("size_slug") or ""),
        region=str((content.get("region") or {}).get("slug") or ""),
        created_at_ms=moment_ms(content.get("created_at")),
    )


def judge(status: int, content: Any) -> tuple[Trouble | None, str]:
    """Read an error: `{"id", "message"}`. A limit or a lack is a 422 that only its words tell from a wrong request."""
    code, message = words_of(content, "id", "message")
    lower = message.lower()
    if status in {UNPROCESSABLE, 403} and any(word in lower for word in CAPACITY_WORDS):
        return Trouble.OUT_OF_CAPACITY, message
    if status == UNPROCESSABLE and any(word in lower for word in BUSY_WORDS):
        return Trouble.RETRYABLE, message
    return None, message or code
