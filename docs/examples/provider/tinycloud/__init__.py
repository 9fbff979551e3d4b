"""ClusterODM's provider `tinycloud`: machines of a cloud with three calls.

POST /machines {name, size, region, user_data, labels}, GET /machines?page=N, DELETE /machines/<id>; errors are {"error", "message"}.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from clusterodm.providers import (
    MachineId,
    ObjectReader,
    Order,
    ProviderMachine,
    Secret,
    Trouble,
    Vendor,
    VendorContext,
    labels,
    user_data,
)
from clusterodm.providers.http import Page, RestClient, described, everything, moment_ms, words_of

URL = "https://api.tinycloud.example"
TROUBLES = {
    "no_room": Trouble.OUT_OF_CAPACITY,
    "quota": Trouble.OUT_OF_CAPACITY,
    "name_taken": Trouble.UNKNOWN_OUTCOME,  # there is one of this name, so look for it
}


@dataclass(frozen=True)
class Settings:
    """Its own keys of the file."""

    token: Secret
    endpoint: str
    tags: tuple[str, ...]


class Provider(Vendor):
    """An account at Tinycloud."""

    trial = "tinycloud.trial:trial"

    @staticmethod
    def read(keys: ObjectReader) -> Settings:
        """Read the keys; what is wrong or missing is told with the name of its key."""
        return Settings(keys.secret("token", required=True), keys.address("endpoint", URL), keys.texts("tags"))

    @classmethod
    def make(cls, context: VendorContext) -> Self:
        """Make it of what `read` has read."""
        return cls(context.settings, context.answer_s)

    def __init__(self, settings: Settings, answer_s: float) -> None:
        self._settings = settings
        headers = {"Authorization": Secret(f"Bearer {settings.token.reveal()}")}
        self._rest = RestClient("tinycloud", settings.endpoint, judge=judge, headers=headers, timeout_s=answer_s)

    async def __aexit__(self, *error: object) -> None:
        """Close the connections."""
        await self._rest.__aexit__(*error)

    async def check(self) -> None:
        """Ask for something that needs the key."""
        await self._rest.get("/machines", page=1)

    async def named(self, name: MachineId, ref: str = "") -> Sequence[ProviderMachine]:
        """Find all of this name, and the one of this id: a list may be behind."""
        found = [each for each in await self._machines() if each.name == name]
        if not ref or ref in {each.ref for each in found}:
            return found
        content = await self._rest.find(f"/machines/{ref}")
        return found if content is None else [*found, machine_of(content)]

    async def starting(self, prefix: str) -> Sequence[ProviderMachine]:
        """Find all whose name begins so."""
        return [each for each in await self._machines() if each.name.startswith(prefix)]

    async def begin(self, order: Order) -> ProviderMachine:
        """Create one. `creates=True`: when no answer comes, it may be there all the same."""
        answer = await self._rest.call("POST", "/machines", body=self._body(order), creates=True)
        return machine_of(answer.content)

    async def remove(self, found: ProviderMachine) -> None:
        """Delete it; one that is not there is deleted already."""
        await self._rest.delete(f"/machines/{found.ref}")

    def described(self, order: Order) -> str:
        """Say what would be done; user data is not shown."""
        return described("POST", f"{self._rest.url}/machines", self._body(order))

    def _body(self, order: Order) -> dict[str, Any]:
        return {
            "name": order.name,
            "size": order.offer.size.slug,
            "region": order.offer.region,
            "labels": labels(self._settings.tags, order.tags),
            "user_data": user_data(order.launch),
        }

    async def _machines(self) -> list[ProviderMachine]:
        async def page(number: int) -> Page:
            content = await self._rest.get("/machines", page=number)
            return Page(items=content["machines"], total_count=content["total"], last=number >= content["pages"])

        return [machine_of(each) for each in await everything(page)]


def machine_of(content: Any) -> ProviderMachine:
    """Read a machine."""
    return ProviderMachine(
        name=MachineId(content["name"]),
        ref=str(content["id"]),
        address=content.get("ip") or "",
        running=content["state"] == "on",
        size=content["size"],
        region=content.get("region") or "",
        created_at_ms=moment_ms(content.get("created")),
    )


def judge(_status: int, content: Any) -> tuple[Trouble | None, str]:
    """Say what an error means; None: what its status usually means."""
    code, message = words_of(content, "error", "message")
    return TROUBLES.get(code), f"{code}: {message}"
