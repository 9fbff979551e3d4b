"""Snapshots of servers at Hetzner, and how its lists are read page by page.

A snapshot is an *image* that is listed from the first on, and `available` when it is complete. It is to be had in every location, on servers with a
disk that is as large at least. What it costs the API says.
"""

from collections.abc import Sequence
from typing import Any, Final

from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import Page, RestClient, everything, moment_ms
from clusterodm.services.autoscaler.providers.adapters.snapshots import PollPolicy
from clusterodm.services.autoscaler.providers.core.snapshots import DiskSnapshot, StoragePrice
from clusterodm.services.autoscaler.providers.ports import SnapshotStore

PER_PAGE: Final = 50
OFF: Final = "off"
AVAILABLE: Final = "available"
SUCCESS: Final = "success"
ERROR: Final = "error"


class HetznerSnapshots(SnapshotStore):
    """The snapshots of a project."""

    def __init__(self, rest: RestClient, poll_policy: PollPolicy) -> None:
        self._rest = rest
        self._poll_policy = poll_policy

    async def switch_off(self, ref: str) -> None:
        async def off() -> bool | None:
            content = await self._rest.get(f"/v1/servers/{ref}")
            return True if content["server"]["status"] == OFF else None

        for act in ("shutdown", "poweroff"):
            await self._rest.call("POST", f"/v1/servers/{ref}/actions/{act}")
            if await self._poll_policy.until(off, self._poll_policy.off_s):
                return
        raise ProviderFailed(f"hetzner: server {ref} does not turn off")

    async def take(self, ref: str, name: str) -> DiskSnapshot:
        body = {"type": "snapshot", "description": name, "labels": {"clusterodm": "snapshot"}}
        answer = await self._rest.call("POST", f"/v1/servers/{ref}/actions/create_image", body=body, creates=True)
        image, number = answer.content["image"]["id"], answer.content["action"]["id"]

        async def ended() -> Any | None:
            action = (await self._rest.get(f"/v1/actions/{number}"))["action"]
            return action if action["status"] in {SUCCESS, ERROR} else None

        async def available() -> DiskSnapshot | None:
            taken = found((await self._rest.get(f"/v1/images/{image}"))["image"])
            return taken if taken.available else None

        action = await self._poll_policy.until(ended, self._poll_policy.snapshot_s)
        if action is None:
            raise ProviderFailed("hetzner: the snapshot has not come to its end in time")
        if action["status"] == ERROR:
            raise ProviderFailed(
                f"hetzner: the snapshot failed: {(action.get('error') or {}).get('message') or 'no reason'}"
            )
        if taken := await self._poll_policy.until(available, self._poll_policy.off_s):
            return taken
        raise ProviderFailed(f"hetzner: the snapshot {image} does not become available")

    async def starting(self, prefix: str) -> Sequence[DiskSnapshot]:
        """See ports.SnapshotStore; what goes by its description has no other name."""
        listed = await listed_of(self._rest, "images", type="snapshot")
        return [found(each) for each in listed if str(each.get("description") or "").startswith(prefix)]

    async def delete(self, ref: str) -> None:
        await self._rest.delete(f"/v1/images/{ref}")

    async def price(self) -> StoragePrice:
        told = (await self._rest.get("/v1/pricing"))["pricing"]
        return StoragePrice(
            per_gigabyte_month=float(told["image"]["price_per_gb_month"]["gross"]), currency=str(told["currency"])
        )


async def listed_of(rest: RestClient, key: str, **params: str) -> Sequence[Any]:
    """Read a whole list."""

    async def page(number: int) -> Page:
        content = await rest.get(f"/v1/{key}", page=number, per_page=PER_PAGE, **params)
        told = content["meta"]["pagination"]
        return Page(items=content[key], total_count=told["total_entries"], last=told["next_page"] is None)

    return await everything(page)


def found(content: Any) -> DiskSnapshot:
    """Read a snapshot."""
    return DiskSnapshot(
        ref=str(content["id"]),
        name=str(content.get("description") or ""),
        created_at_ms=moment_ms(content.get("created")),
        gigabytes=float(content.get("image_size") or 0.0),
        available=content.get("status", AVAILABLE) == AVAILABLE,
    )
