"""Snapshots of droplets at DigitalOcean, and how its lists are read page by page.

A snapshot is an *action* of a droplet, and is not to be seen before that is completed. It is kept in the region of its droplet, and a new droplet
needs a disk that is as large at least.
"""

from collections.abc import Sequence
from typing import Any, Final

from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.services.autoscaler.providers.adapters.http_api.rest import Page, RestClient, everything, moment_ms
from clusterodm.services.autoscaler.providers.adapters.snapshots import PollPolicy
from clusterodm.services.autoscaler.providers.core.snapshots import DiskSnapshot, StoragePrice, named
from clusterodm.services.autoscaler.providers.ports import SnapshotStore

PER_PAGE: Final = 200
PRICE: Final = StoragePrice(per_gigabyte_month=0.06, currency="USD")
"""The API does not say (https://docs.digitalocean.com/products/snapshots/details/pricing/)."""
OFF: Final = "off"
COMPLETED: Final = "completed"
ERRORED: Final = "errored"


class DigitalOceanSnapshots(SnapshotStore):
    """The snapshots of an account."""

    def __init__(self, rest: RestClient, poll_policy: PollPolicy) -> None:
        self._rest = rest
        self._poll_policy = poll_policy

    async def switch_off(self, ref: str) -> None:
        async def off() -> bool | None:
            content = await self._rest.get(f"/v2/droplets/{ref}")
            return True if content["droplet"]["status"] == OFF else None

        for act in ("shutdown", "power_off"):
            await self._rest.call("POST", f"/v2/droplets/{ref}/actions", body={"type": act})
            if await self._poll_policy.until(off, self._poll_policy.off_s):
                return
        raise ProviderFailed(f"digitalocean: droplet {ref} does not turn off")

    async def take(self, ref: str, name: str) -> DiskSnapshot:
        body = {"type": "snapshot", "name": name}
        answer = await self._rest.call("POST", f"/v2/droplets/{ref}/actions", body=body, creates=True)
        number = answer.content["action"]["id"]

        async def ended() -> str | None:
            status = str((await self._rest.get(f"/v2/actions/{number}"))["action"]["status"])
            return status if status in {COMPLETED, ERRORED} else None

        async def listed() -> DiskSnapshot | None:
            return next(iter(named(await self.starting(name), name)), None)

        status = await self._poll_policy.until(ended, self._poll_policy.snapshot_s)
        if status != COMPLETED:
            raise ProviderFailed(
                f"digitalocean: the snapshot {'failed' if status else 'has not come to its end in time'}"
            )
        if found := await self._poll_policy.until(listed, self._poll_policy.off_s):
            return found
        raise ProviderFailed("digitalocean: the snapshot was made, and is not listed")

    async def starting(self, prefix: str) -> Sequence[DiskSnapshot]:
        listed = await listed_of(self._rest, "/v2/snapshots", "snapshots", resource_type="droplet")
        return [found(each) for each in listed if str(each["name"]).startswith(prefix)]

    async def delete(self, ref: str) -> None:
        await self._rest.delete(f"/v2/snapshots/{ref}")

    async def price(self) -> StoragePrice:
        return PRICE


async def listed_of(rest: RestClient, path: str, key: str, **params: str) -> Sequence[Any]:
    """Read a whole list."""

    async def page(number: int) -> Page:
        content = await rest.get(path, page=number, per_page=PER_PAGE, **params)
        pages = (content.get("links") or {}).get("pages") or {}
        total_count = (content.get("meta") or {}).get("total", len(content[key]))
        return Page(items=content[key], total_count=total_count, last="next" not in pages)

    return await everything(page)


def found(content: Any) -> DiskSnapshot:
    """Read a snapshot; what is listed is complete."""
    return DiskSnapshot(
        ref=str(content["id"]),
        name=str(content["name"]),
        created_at_ms=moment_ms(content.get("created_at")),
        gigabytes=float(content.get("size_gigabytes") or 0.0),
        regions=tuple(map(str, content.get("regions") or ())),
    )
