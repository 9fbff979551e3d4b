"""Vultr's API, version 2 (https://www.vultr.com/api/), as far as apache-libcloud's driver asks for it.

Names (`label`) are not unique, a new instance has the address 0.0.0.0 until it has booted, and every refusal is a 400 with a sentence.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clusterodm.libs.machinesim.cloud_api import Kind
from clusterodm.libs.machinesim.cloud_api_machines import Machine

PLANS: Final = ("vc2-4c-8gb", "vhf-8c-32gb")
REGIONS: Final = ("ewr", "fra")
IMAGES: Final = ((2284, "Ubuntu 24.04 LTS x64"), (2136, "Debian 12 x64 (bookworm)"))
MOST_PER_PAGE: Final = 100
FAULTS: Final = {
    "capacity": (400, "Server add failed: Plan is not available in the selected region."),
    "limit": (
        400,
        "Server add failed: You have reached the maximum number of active virtual machines for this account.",
    ),
    "unauthorised": (401, "Invalid API token."),
    "rate": (429, "Rate limit hit: please try your request again later."),
    "error": (500, "Internal server error"),
}


class Vultr(Kind):
    """The API."""

    servers = "/v2/instances"

    def routes(self) -> Sequence[Route]:
        return [
            Route("/v2/instances", self._create, methods=["POST"]),
            Route("/v2/instances", self._list),
            Route("/v2/instances/{number}", self._delete, methods=["DELETE"]),
            Route("/v2/instances/{number}", self._get),
            Route("/v2/bare-metals", nothing("bare_metals")),
            Route("/v2/plans-metal", nothing("plans_metal")),
            Route("/v2/plans", self._plans),
            Route("/v2/regions", self._regions),
            Route("/v2/os", self._images),
        ]

    def complain(self, how: str) -> Response:
        return refused(*FAULTS[how])

    async def _create(self, request: Request) -> Response:
        body = await request.json()
        if body.get("plan") not in PLANS or body.get("region") not in REGIONS:
            return refused(400, "Server add failed: Invalid plan or region chosen.")
        if str(body.get("os_id")) not in {str(number) for number, _ in IMAGES}:
            return refused(400, "Server add failed: Invalid os_id.")
        number = f"cb676a46-66fd-4dfb-b839-{len(self._machines.book):012}"
        machine = self._machines.create(
            number,
            body["label"],
            size=body["plan"],
            region=body["region"],
            tags=[body.get("tag", "")],
            user_data=base64.b64decode(body.get("user_data", "")).decode(),
        )
        return JSONResponse({"instance": self._shown(machine)}, 202)

    async def _list(self, request: Request) -> Response:
        everybody = [self._shown(each) for each in self._machines.here()]
        return listed(request, "instances", everybody)

    async def _get(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        return JSONResponse({"instance": self._shown(machine)}) if machine else refused(404, "Invalid instance.")

    async def _delete(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return refused(404, "Invalid instance.")
        self._machines.delete(machine)
        return Response(status_code=204)

    async def _plans(self, request: Request) -> Response:
        same = {"ram": 8192, "disk": 160, "disk_count": 1, "bandwidth": 4000, "monthly_cost": 40, "type": "vc2"}
        plans = [{"id": plan, "vcpu_count": 4, "locations": list(REGIONS), **same} for plan in PLANS]
        return listed(request, "plans", plans)

    async def _regions(self, request: Request) -> Response:
        same = {"country": "US", "continent": "North America", "options": []}
        return listed(request, "regions", [{"id": each, "city": each.upper(), **same} for each in REGIONS])

    async def _images(self, request: Request) -> Response:
        images = [{"id": number, "name": name, "arch": "x64", "family": "linux"} for number, name in IMAGES]
        return listed(request, "os", images)

    def _shown(self, machine: Machine) -> dict[str, Any]:
        up = self._machines.is_running(machine)
        return {
            "id": machine.number,
            "label": machine.name,
            "main_ip": machine.address if up else "0.0.0.0",  # noqa: S104 as Vultr says that there is none yet
            "v6_main_ip": "",
            "internal_ip": "",
            "plan": machine.size or PLANS[0],
            "os_id": IMAGES[0][0],
            "region": machine.region or REGIONS[0],
            "date_created": self._machines.created_text(machine),
            "status": "active" if up else "pending",
            "power_status": "running" if up else "stopped",
            "server_status": "ok" if up else "none",
            "tag": (machine.tags or [""])[0],
            **FIXED,
        }


FIXED: Final[Mapping[str, Any]] = {
    "ram": 8192,
    "disk": 160,
    "vcpu_count": 4,
    "allowed_bandwidth": 4000,
    "netmask_v4": "255.255.254.0",
    "gateway_v4": "192.0.2.1",
    "v6_network": "",
    "v6_network_size": 0,
    "app_id": 0,
    "image_id": "",
    "features": [],
    "os": "Ubuntu 24.04 LTS x64",
    "firewall_group_id": "",
}


def listed(request: Request, key: str, items: Sequence[Any]) -> Response:
    """Show a page of a list; the next one is asked for by a cursor."""
    start = int(request.query_params.get("cursor") or 0)
    size = min(int(request.query_params.get("per_page") or MOST_PER_PAGE), MOST_PER_PAGE)
    after = start + size
    links = {"next": str(after) if after < len(items) else "", "prev": ""}
    return JSONResponse({key: list(items[start:after]), "meta": {"total": len(items), "links": links}})


def nothing(key: str) -> Any:
    """Give an endpoint whose list is empty."""

    async def answer(request: Request) -> Response:
        return listed(request, key, [])

    return answer


def refused(status: int, sentence: str) -> Response:
    """Word a refusal."""
    return JSONResponse({"error": sentence, "status": status}, status)
