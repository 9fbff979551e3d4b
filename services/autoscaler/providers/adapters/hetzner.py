"""Hetzner Cloud's API, version 1 (https://docs.hetzner.cloud/).

Names are unique in a project, so that a second creation is refused (`uniqueness_error`). The addresses of a server are
made and deleted with it. A server that is switched off still costs.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

import httpx

from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.autoscaler.config.core.configuration import CloudSettings
from clusterodm.services.autoscaler.config.core.reader import ObjectReader
from clusterodm.services.autoscaler.config.core.wording import mistake_in_script
from clusterodm.services.autoscaler.orders import Order, ProviderMachine
from clusterodm.services.autoscaler.providers.adapters.hetzner_snapshots import HetznerSnapshots, listed_of
from clusterodm.services.autoscaler.providers.adapters.http_api.account import (
    ApiAccount,
    described,
    ssh_key,
    with_bearer,
)
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import (
    TIMEOUT_S,
    moment_ms,
    with_prefix,
    words_of,
)
from clusterodm.services.autoscaler.providers.adapters.snapshots import PollPolicy
from clusterodm.services.autoscaler.providers.core.catalogue import Catalogue
from clusterodm.services.autoscaler.providers.core.cloud_init import user_data
from clusterodm.services.autoscaler.providers.core.order_words import labels
from clusterodm.services.autoscaler.providers.ports import VendorContext

URL: Final = "https://api.hetzner.cloud"
TROUBLES: Final[Mapping[str, Trouble]] = {
    "resource_unavailable": Trouble.OUT_OF_CAPACITY,
    "resource_limit_exceeded": Trouble.OUT_OF_CAPACITY,
    "placement_error": Trouble.OUT_OF_CAPACITY,
    "unauthorized": Trouble.UNAUTHORISED,
    "forbidden": Trouble.UNAUTHORISED,
    "token_readonly": Trouble.UNAUTHORISED,
    "rate_limit_exceeded": Trouble.RETRYABLE,
    "conflict": Trouble.RETRYABLE,
    "locked": Trouble.RETRYABLE,
    "maintenance": Trouble.RETRYABLE,
    "uniqueness_error": Trouble.UNKNOWN_OUTCOME,
    "invalid_input": Trouble.REFUSED,
    "invalid_server_type": Trouble.REFUSED,
    "protected": Trouble.REFUSED,
}
"""By the code in the error's body; a code that is not here means what its status means. `uniqueness_error`: there is
one of this name, so look for it."""


class HetznerVendor(ApiAccount):
    """A project."""

    def __init__(
        self, cloud: CloudSettings, *, timeout_s: float = TIMEOUT_S, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        rest = with_bearer("hetzner", URL, cloud, "apiToken", judge=judge, timeout_s=timeout_s, transport=transport)
        super().__init__(cloud, rest)

    @staticmethod
    def read(keys: ObjectReader) -> CloudSettings:
        """Read what is Hetzner's."""
        fingerprint, path = ssh_key(keys)
        return CloudSettings(
            keys={"apiToken": keys.cloud_key("apiToken", required=True)},
            image=keys.text("image", "ubuntu-24.04"),
            snapshot=keys.flag("snapshot"),
            ssh_fingerprint=fingerprint,
            ssh_path=path,
            tags=keys.texts("tags"),
            engine_install_url=keys.named("engineInstallUrl", mistake_in_script),
            endpoint=keys.address("endpoint"),
        )

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """See ports.VendorKind."""
        return cls(context.settings, timeout_s=context.answer_s)

    async def check(self) -> None:
        await self._rest.get("/v1/servers", per_page=1)
        await self.image()
        await self.ssh_keys()

    async def catalogue(self) -> Catalogue:
        """See ports.CatalogueVendor; a type is sold where it has a price."""
        places = await self._all("locations")
        types = await self._all("server_types")
        return Catalogue(
            regions=frozenset(str(each["name"]) for each in places),
            sizes={str(each["name"]): frozenset(str(at["location"]) for at in each["prices"]) for each in types},
            missing=await self._missing_image(),
            leaving={str(each["name"]): until for each in types if (until := sold_until(each))},
        )

    async def _missing_image(self) -> Mapping[str, str]:
        image = self._cloud.image
        if self._cloud.snapshot:
            return {}
        if image.isdigit():
            found = await self._rest.find(f"/v1/images/{image}")
        else:
            found = await self._all("images", name=image, include_deprecated="true")
        return {} if found else {image: f"there is no image {image!r}"}

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        named = [found(each) for each in await self._all("servers", name=name) if each["name"] == name]
        if not ref.isdigit() or ref in {each.ref for each in named}:
            return named
        content = await self._rest.find(f"/v1/servers/{ref}")
        return named if content is None else [*named, found(content["server"])]

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        return [found(each) for each in with_prefix(await self._all("servers"), prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
        body = server(order, self._cloud, await self.image(), await self.ssh_keys())
        answer = await self._rest.call("POST", "/v1/servers", body=body, creates=True)
        return found(answer.content["server"])

    async def remove(self, found: ProviderMachine) -> None:
        await self._rest.delete(f"/v1/servers/{found.ref}")

    def described(self, order: Order) -> str:
        keys = [self._cloud.ssh_fingerprint] if self._cloud.ssh_fingerprint else []
        body = server(order, self._cloud, self._cloud.image, keys)
        return described("POST", f"{self._rest.url}/v1/servers", body)

    def snapshots(self, poll_policy: PollPolicy | None = None) -> HetznerSnapshots:
        """See ports.SnapshotVendor."""
        return HetznerSnapshots(self._rest, poll_policy or PollPolicy())

    async def _all(self, key: str, **params: str) -> Sequence[Any]:
        return await listed_of(self._rest, key, **params)

    async def image(self) -> str | int:
        """Find the image; a snapshot goes by its description, as the original has it."""
        if not self._cloud.snapshot:
            return self._cloud.image
        snapshots = await self._all("images", type="snapshot")
        named = [each for each in snapshots if self._cloud.image in {each["description"], str(each["id"])}]
        if not named:
            raise ProviderFailed(f"hetzner: no snapshot {self._cloud.image!r} in this project", Trouble.REFUSED)
        return int(max(named, key=lambda each: str(each.get("created", "")))["id"])

    async def ssh_keys(self) -> list[int]:
        """Find the key with the configured fingerprint; none when there is no fingerprint."""
        fingerprint = self._cloud.ssh_fingerprint
        if not fingerprint:
            return []
        known = await self._all("ssh_keys", fingerprint=fingerprint)
        found = [int(each["id"]) for each in known if fingerprint in {each["fingerprint"], str(each["id"])}]
        if not found:
            raise ProviderFailed(f"hetzner: no SSH key with the fingerprint {fingerprint}", Trouble.REFUSED)
        return found


def server(order: Order, cloud: CloudSettings, image: str | int, ssh_keys: Sequence[str | int]) -> dict[str, Any]:
    """Write the body that creates a server; its user data holds secrets."""
    return {
        "name": order.name,
        "server_type": order.offer.size.slug,
        "image": image,
        "location": order.offer.region,
        "ssh_keys": list(ssh_keys),
        "labels": labels(cloud.tags, order.tags),
        "start_after_create": True,
        "public_net": {"enable_ipv4": True, "enable_ipv6": True},
        "user_data": user_data(order.launch, cloud.engine_install_url),
    }


def found(content: Mapping[str, Any]) -> ProviderMachine:
    """Read a server."""
    address = ((content.get("public_net") or {}).get("ipv4") or {}).get("ip") or ""
    place = content.get("location") or (content.get("datacenter") or {}).get("location") or {}
    return ProviderMachine(
        name=MachineId(content["name"]),
        ref=str(content["id"]),
        address=address,
        running=content["status"] == "running",
        size=str((content.get("server_type") or {}).get("name") or ""),
        region=str(place.get("name") or ""),
        created_at_ms=moment_ms(content.get("created")),
    )


def sold_until(server_type: Mapping[str, Any]) -> str:
    """Until when a server type can be had, where its end is announced; empty: it stays."""
    return str((server_type.get("deprecation") or {}).get("unavailable_after") or "").partition("T")[0]


def judge(_status: int, content: Any) -> tuple[Trouble | None, str]:
    """Read an error: `{"error": {"code", "message"}}`."""
    code, message = words_of(content.get("error") if isinstance(content, Mapping) else None, "code", "message")
    return TROUBLES.get(code), f"{code}: {message}".strip(": ")
