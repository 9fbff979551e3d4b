"""Hetzner Cloud's API, version 1 (docs.hetzner.cloud; codes as in github.com/hetznercloud/hcloud-go).

Names are unique, a server is `initializing` before it is `running`, and deleting one is an action.
"""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clusterodm.libs.machinesim.cloud_api import Kind, numbers, paged
from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines
from clusterodm.libs.machinesim.cloud_api_snapshots import OFF, SnapshotBook, Taken

LOCATIONS: Final = ("fsn1", "nbg1", "hel1")
SIZES: Final = ("cx11", "cx21", "cx22", "cx23", "cx33", "cx43", "ccx33", "ccx63")
MOST_PER_PAGE: Final = 50
LONGEST_USER_DATA: Final = 32 * 1024
IMAGES: Final = (
    {"id": 8101, "type": "snapshot", "description": "odm-snapshot", "created": "2026-01-01T00:00:00+00:00"},
    {"id": 8102, "type": "snapshot", "description": "odm-snapshot", "created": "2026-02-01T00:00:00+00:00"},
    {"id": 8103, "type": "snapshot", "description": "other", "created": "2026-03-01T00:00:00+00:00"},
)
PUBLIC_IMAGES: Final = tuple(
    {"id": number, "type": "system", "name": name, "description": name}
    for number, name in ((67794396, "ubuntu-22.04"), (161547269, "ubuntu-24.04"))
)
ENDING: Final = {"cx22": {"announced": "2025-10-16T06:00:00+00:00", "unavailable_after": "2026-12-31T00:00:00+00:00"}}
"""Types whose end is announced."""
SSH_KEYS: Final = ({"id": 2323, "name": "odm", "fingerprint": "b7:2f:30:a0:2f:6c:58:6c:21:04:58:61:ba:06:3b:2f"},)
BEGUN: Final = 1
"""The id of every action that is done as soon as it is looked at."""
FAULTS: Final = {
    "capacity": (412, "resource_unavailable", "error during placement"),
    "limit": (403, "resource_limit_exceeded", "server limit exceeded"),
    "unauthorised": (401, "unauthorized", "unable to authenticate"),
    "rate": (429, "rate_limit_exceeded", "limit of 3600 requests per hour reached"),
    "error": (500, "server_error", "internal server error"),
}


class Hetzner(Kind):
    """The API."""

    servers = "/v1/servers"

    def __init__(self, machines: Machines, token: str) -> None:
        super().__init__(machines, token)
        self._number = numbers(52000)
        self.snapshots = SnapshotBook(machines=machines)
        self.keys: dict[str, dict[str, Any]] = {}
        """The SSH keys that docker-machine adds, by their ids."""

    def routes(self) -> Sequence[Route]:
        return [
            Route("/v1/images", self._images),
            Route("/v1/images/{number}", self._delete_image, methods=["DELETE"]),
            Route("/v1/images/{number}", self._image),
            Route("/v1/actions/{number}", self._action),
            Route("/v1/pricing", self._pricing),
            Route("/v1/servers/{number}/actions/{act}", self._act, methods=["POST"]),
            Route("/v1/locations", self._locations),
            Route("/v1/server_types", self._server_types),
            Route("/v1/ssh_keys", self._add_key, methods=["POST"]),
            Route("/v1/ssh_keys", self._ssh_keys),
            Route("/v1/ssh_keys/{number}", self._delete_key, methods=["DELETE"]),
            Route("/v1/ssh_keys/{number}", self._ssh_key),
            Route("/v1/servers", self._create, methods=["POST"]),
            Route("/v1/servers", self._list),
            Route("/v1/servers/{number}", self._delete, methods=["DELETE"]),
            Route("/v1/servers/{number}", self._get),
        ]

    def verb(self, method: str, path: str) -> str:
        if path.startswith("/v1/images/"):
            return "delete-snapshot" if method == "DELETE" else "look"
        if "/actions/" in path:
            return "act" if method == "POST" else "look"
        return super().verb(method, path)

    def complain(self, how: str) -> Response:
        return refused(*FAULTS[how])

    async def _images(self, request: Request) -> Response:
        kind, name = request.query_params.get("type"), request.query_params.get("name")
        own = map(shown_snapshot, self.snapshots.taken)
        found = [each for each in (*IMAGES, *own, *PUBLIC_IMAGES) if kind in {None, each["type"]}]
        return listed(request, "images", [each for each in found if name in {None, each.get("name")}])

    async def _locations(self, request: Request) -> Response:
        return listed(request, "locations", named(request, LOCATIONS))

    async def _server_types(self, request: Request) -> Response:
        prices = [{"location": each} for each in LOCATIONS]
        types = [each | {"prices": prices, "deprecation": ENDING.get(each["name"])} for each in named(request, SIZES)]
        return listed(request, "server_types", types)

    async def _ssh_keys(self, request: Request) -> Response:
        wanted = request.query_params.get("fingerprint")
        return listed(request, "ssh_keys", [each for each in SSH_KEYS if wanted in {None, each["fingerprint"]}])

    async def _ssh_key(self, request: Request) -> Response:
        found = self.keys.get(request.path_params["number"])
        return JSONResponse({"ssh_key": found}) if found else missing()

    async def _add_key(self, request: Request) -> Response:
        body = await request.json()
        key = {"id": self._number(), "fingerprint": "b7:2f", "name": body["name"], "public_key": body["public_key"]}
        self.keys[str(key["id"])] = key
        return JSONResponse({"ssh_key": key}, 201)

    async def _delete_key(self, request: Request) -> Response:
        return Response(status_code=204) if self.keys.pop(request.path_params["number"], None) else missing()

    async def _create(self, request: Request) -> Response:
        body = by_name(await request.json())
        if complaint := wrong(body):
            return refused(422, "invalid_input", complaint)
        if any(each.name == body["name"] for each in self._machines.here()):
            return refused(409, "uniqueness_error", "server name is already used")
        machine = self._machines.create(
            str(self._number()),
            body["name"],
            size=body["server_type"],
            region=body["location"],
            image=str(body["image"]),
            labels=dict(body.get("labels") or {}),
            user_data=body.get("user_data") or "",
            extra={"body": body},
        )
        shown = {"server": self._shown(machine), "action": action("create_server"), "next_actions": []}
        return JSONResponse(shown | {"root_password": None}, 201)

    async def _list(self, request: Request) -> Response:
        name = request.query_params.get("name")
        found = [each for each in self._machines.here() if name in {None, each.name}]
        return listed(request, "servers", [self._shown(each) for each in found])

    async def _get(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        return JSONResponse({"server": self._shown(machine)}) if machine else missing()

    async def _delete(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return missing()
        if self.snapshots.is_busy(machine):
            return refused(423, "locked", "server is locked: an image is being created")
        self._machines.delete(machine)
        return JSONResponse({"action": action("delete_server")})

    async def _act(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return missing()
        act = request.path_params["act"]
        if act != "create_image":
            self.snapshots.switch_off(machine, kindly=act == "shutdown")
            return JSONResponse({"action": action(act)}, 201)
        taken = self.snapshots.take(machine, (await request.json())["description"])
        shown = {"image": shown_snapshot(taken), "action": action(act) | {"id": taken.action}}
        return JSONResponse(shown, 201)

    async def _action(self, request: Request) -> Response:
        number = int(request.path_params["number"])
        if number == BEGUN:
            return JSONResponse({"action": action("") | {"status": "success", "progress": 100}})
        taken = self.snapshots.looked_at(number)
        if taken is None:
            return missing()
        status = "running" if taken.is_pending else "error" if taken.failed else "success"
        error = {"code": "action_failed", "message": "image could not be created"} if status == "error" else None
        return JSONResponse({"action": action("create_image") | {"id": taken.action, "status": status, "error": error}})

    async def _image(self, request: Request) -> Response:
        number = request.path_params["number"]
        known = [*IMAGES, *PUBLIC_IMAGES, *map(shown_snapshot, self.snapshots.taken)]
        found = next((each for each in known if str(each["id"]) == number), None)
        return JSONResponse({"image": found}) if found else missing()

    async def _delete_image(self, request: Request) -> Response:
        return Response(status_code=204) if self.snapshots.delete(int(request.path_params["number"])) else missing()

    async def _pricing(self, _request: Request) -> Response:
        price = {"price_per_gb_month": {"net": "0.0110000000", "gross": "0.0130900000"}}
        return JSONResponse({"pricing": {"currency": "EUR", "vat_rate": "19.00", "image": price}})

    def _shown(self, machine: Machine) -> dict[str, Any]:
        running = self._machines.is_running(machine)
        return {
            "id": int(machine.number),
            "name": machine.name,
            "status": OFF if machine.extra.get(OFF) else "running" if running else "initializing",
            "server_type": {"name": machine.size},
            "location": {"name": machine.region},
            "created": self._machines.created_text(machine),
            "labels": machine.labels,
            "public_net": {"ipv4": {"ip": machine.address, "blocked": False}, "ipv6": None, "floating_ips": []},
        }


def shown_snapshot(taken: Taken) -> dict[str, Any]:
    """Show a snapshot; one that has failed stays as it was."""
    return {
        "id": taken.number,
        "type": "snapshot",
        "description": taken.name,
        "created": taken.created_text,
        "image_size": None if taken.is_pending or taken.failed else taken.gigabytes,
        "status": "creating" if taken.is_pending or taken.failed else "available",
    }


def named(request: Request, names: Sequence[str]) -> list[dict[str, Any]]:
    """Give those of a catalogue that are asked for, each with its id."""
    wanted = request.query_params.get("name")
    return [{"id": number, "name": each} for number, each in enumerate(names, 1) if wanted in {None, each}]


def by_name(body: dict[str, Any]) -> dict[str, Any]:
    """Give a new server's type and location their names, where they are given by id."""
    for key, names in (("server_type", SIZES), ("location", LOCATIONS)):
        if str(given := body.get(key)).isdecimal() and 0 < int(str(given)) <= len(names):
            body[key] = names[int(str(given)) - 1]
    return body


def wrong(body: dict[str, Any]) -> str:
    """Find what is wrong with a new server."""
    if not body.get("name"):
        return "invalid input in field 'name'"
    if body.get("server_type") not in SIZES:
        return "server type not found"
    if body.get("location") not in LOCATIONS:
        return "invalid input in field 'location'"
    if len(body.get("user_data") or "") > LONGEST_USER_DATA:
        return "invalid input in field 'user_data'"
    return "" if body.get("image") else "invalid input in field 'image'"


def action(command: str) -> dict[str, Any]:
    """Show an action that has just begun."""
    return {"id": BEGUN, "command": command, "status": "running", "progress": 0, "error": None}


def listed(request: Request, key: str, items: list[Any]) -> Response:
    """Answer with a page."""
    page, number, pages_count = paged(items, request, MOST_PER_PAGE)
    told = {
        "page": number,
        "next_page": number + 1 if number < pages_count else None,
        "previous_page": number - 1 or None,
        "last_page": pages_count,
        "total_entries": len(items),
    }
    return JSONResponse({key: page, "meta": {"pagination": told}})


def missing() -> Response:
    """Say that there is no such thing."""
    return refused(404, "not_found", "server not found")


def refused(status: int, code: str, message: str) -> Response:
    """Answer with an error."""
    return JSONResponse({"error": {"code": code, "message": message, "details": {}}}, status)
