"""Scaleway's Instance API, version 1, and its Block Storage API (shapes as in github.com/scaleway/scaleway-sdk-go).

A server is made standing still and switched on by an action; `terminate` wants a running one, deletes its local disks
and only detaches block storage; deleting one that stands still leaves all its disks. User data is text of its own.
Sizes that begin with `PLAY2` and `PRO2` have block storage, the others a local disk.
"""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clusterodm.libs.machinesim.cloud_api import Kind, paged
from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines

ZONES: Final = ("fr-par-1", "fr-par-2", "nl-ams-1")
SIZES: Final = ("GP1-XS", "GP1-S", "PLAY2-NANO", "PRO2-S")
BLOCK_SIZES: Final = ("PLAY2", "PRO2")
LABELS: Final = ("ubuntu_jammy", "ubuntu_noble", "ubuntu_xenial", "ubuntu_focal")
OWN_IMAGE: Final = {"id": "5f6a0c1e-0d1c-4b2a-9d5c-7d3a2b1c0e9f", "name": "odm-snapshot", "public": False}
MOST_PER_PAGE: Final = 100
ZONE: Final = "/instance/v1/zones/{zone}"
BLOCK: Final = "/block/v1/zones/{zone}"
FAULTS: Final[dict[str, tuple[int, dict[str, Any]]]] = {
    "capacity": (503, {"type": "out_of_stock", "message": "resource is out of stock", "resource": "GP1-XS"}),
    "limit": (403, {"type": "quotas_exceeded", "message": "quota exceeded", "details": [{"resource": "servers"}]}),
    "unauthorised": (
        401,
        {"type": "denied_authentication", "message": "authentication is denied", "method": "api_key"},
    ),
    "rate": (429, {"type": "too_many_requests", "message": "too many requests"}),
    "error": (500, {"type": "internal_error", "message": "internal error"}),
}


class Scaleway(Kind):
    """The API."""

    def __init__(self, machines: Machines, token: str) -> None:
        super().__init__(machines, token)
        self.disks: list[dict[str, Any]] = []

    def routes(self) -> Sequence[Route]:
        return [
            Route(f"{ZONE}/images", self._images),
            Route(f"{ZONE}/images/{{number}}", self._own_image),
            Route(f"{ZONE}/products/servers", self._products),
            Route("/marketplace/v2/local-images", self._public_images),
            Route(f"{ZONE}/servers", self._create, methods=["POST"]),
            Route(f"{ZONE}/servers", self._list),
            Route(f"{ZONE}/servers/{{number}}", self._delete, methods=["DELETE"]),
            Route(f"{ZONE}/servers/{{number}}", self._get),
            Route(f"{ZONE}/servers/{{number}}/action", self._act, methods=["POST"]),
            Route(f"{ZONE}/servers/{{number}}/user_data/cloud-init", self._user_data, methods=["PATCH"]),
            Route(f"{ZONE}/volumes", self._local),
            Route(f"{ZONE}/volumes/{{number}}", self._change_disk, methods=["PATCH", "DELETE"]),
            Route(f"{BLOCK}/volumes", self._block),
            Route(f"{BLOCK}/volumes/{{number}}", self._change_disk, methods=["PATCH", "DELETE"]),
        ]

    def verb(self, method: str, path: str) -> str:
        last = path.rpartition("/")[2]
        if "/products/" in path or path.startswith("/marketplace/"):
            return "catalogue"
        if "/servers" not in path:
            return f"{method.lower()}-{last if last in {'volumes', 'images'} else 'volume'}"
        if last in {"action", "cloud-init"}:
            return last
        return {"POST": "create", "DELETE": "delete"}.get(method) or ("list" if last == "servers" else "get")

    def allowed(self, request: Request) -> bool:
        return request.headers.get("x-auth-token") == self._token

    def complain(self, how: str) -> Response:
        status, body = FAULTS[how]
        return JSONResponse(body, status)

    async def _images(self, request: Request) -> Response:
        name = request.query_params.get("name")
        return listed(request, "images", [OWN_IMAGE] if name in {None, OWN_IMAGE["name"]} else [])

    async def _own_image(self, request: Request) -> Response:
        found = request.path_params["number"] == OWN_IMAGE["id"]
        return JSONResponse({"image": OWN_IMAGE}) if found else missing("image")

    async def _products(self, _request: Request) -> Response:
        return JSONResponse({"servers": {each: {} for each in SIZES}}, headers={"X-Total-Count": str(len(SIZES))})

    async def _public_images(self, request: Request) -> Response:
        label, zone = request.query_params.get("image_label"), request.query_params.get("zone")
        found = [{"id": str(uuid.uuid4()), "label": label, "zone": zone}] if label in LABELS else []
        return JSONResponse({"local_images": found, "total_count": len(found)})

    async def _create(self, request: Request) -> Response:
        body = await request.json()
        if complaint := wrong(body, request.path_params["zone"]):
            told = {
                "type": "invalid_request_error",
                "message": "Validation Error",
                "fields": {complaint: ["is invalid"]},
            }
            return JSONResponse(told, 400)
        machine = self._machines.create(
            str(uuid.uuid4()),
            body["name"],
            on=False,
            size=body["commercial_type"],
            region=request.path_params["zone"],
            image=body["image"],
            tags=list(body.get("tags") or ()),
            extra={"body": body},
        )
        self.disks.append(new_disk(machine))
        return JSONResponse({"server": self._shown(machine)}, 201)

    async def _list(self, request: Request) -> Response:
        part = request.query_params.get("name", "")
        if request.path_params["zone"] not in ZONES:
            return missing("zone")
        found = [each for each in self._in(request) if part in each.name]
        return listed(request, "servers", [self._shown(each) for each in found])

    async def _get(self, request: Request) -> Response:
        machine = self._one(request)
        return JSONResponse({"server": self._shown(machine)}) if machine else missing("server")

    async def _user_data(self, request: Request) -> Response:
        machine = self._one(request)
        if machine is None:
            return missing("server")
        machine.user_data = (await request.body()).decode()
        return Response(status_code=204)

    async def _act(self, request: Request) -> Response:
        machine = self._one(request)
        if machine is None:
            return missing("server")
        action = (await request.json())["action"]
        if machine.deleted_s is not None or (action == "terminate") == (machine.on_s is None):
            return JSONResponse(
                {"type": "transient_state", "message": "resource is in a transient state", "resource": "server"}, 409
            )
        if action == "terminate":
            self._terminate(machine)
        else:
            self._machines.switch_on(machine)
        return JSONResponse({"task": {"id": str(uuid.uuid4()), "status": "pending"}}, 202)

    async def _delete(self, request: Request) -> Response:
        machine = self._one(request)
        if machine is None:
            return missing("server")
        if machine.on_s is not None:
            told = {"type": "precondition_failed", "message": "server should be stopped", "precondition": "stopped"}
            return JSONResponse(told, 412)
        self._machines.delete(machine)
        self._detach(machine)
        return Response(status_code=204)

    async def _local(self, request: Request) -> Response:
        return listed(request, "volumes", self._disks(request, block=False))

    async def _block(self, request: Request) -> Response:
        found = self._disks(request, block=True)
        shown = [each | {"references": [each["server"]] if each["server"] else []} for each in found]
        page, _, _ = paged(shown, request, MOST_PER_PAGE, "page_size")
        return JSONResponse({"volumes": page, "total_count": len(shown)})

    async def _change_disk(self, request: Request) -> Response:
        number = request.path_params["number"]
        disk = next((each for each in self.disks if each["id"] == number), None)
        if disk is None:
            return missing("volume")
        if request.method == "DELETE":
            if disk["server"]:
                return JSONResponse({"type": "precondition_failed", "message": "volume is in use"}, 412)
            self.disks.remove(disk)
            return Response(status_code=204)
        disk.update(await request.json())
        return JSONResponse({"volume": disk})

    def _terminate(self, machine: Machine) -> None:
        self._machines.delete(machine)
        self._detach(machine)
        self.disks = [
            each for each in self.disks if each["of"] != machine.number or each["volume_type"] == "sbs_volume"
        ]

    def _detach(self, machine: Machine) -> None:
        for disk in self.disks:
            if disk["of"] == machine.number:
                disk["server"] = None

    def _disks(self, request: Request, *, block: bool) -> list[dict[str, Any]]:
        part, zone = request.query_params.get("name", ""), request.path_params["zone"]
        found = (each for each in self.disks if part in each["name"] and each["zone"] == zone)
        return [each for each in found if (each["volume_type"] == "sbs_volume") == block]

    def _in(self, request: Request) -> Iterator[Machine]:
        zone = request.path_params["zone"]
        return (each for each in self._machines.here() if each.region in {zone, ""})

    def _one(self, request: Request) -> Machine | None:
        return next((each for each in self._in(request) if each.number == request.path_params["number"]), None)

    def _shown(self, machine: Machine) -> dict[str, Any]:
        running = self._machines.is_running(machine)
        public = [{"id": str(uuid.uuid4()), "address": machine.address, "family": "inet", "dynamic": True}]
        disks = [each for each in self.disks if each["of"] == machine.number]
        return {
            "id": machine.number,
            "name": machine.name,
            "commercial_type": machine.size,
            "creation_date": self._machines.created_text(machine),
            "state": state(machine, running=running),
            "tags": machine.tags,
            "public_ip": public[0] if running else None,
            "public_ips": public if running else [],
            "volumes": {str(place): disk for place, disk in enumerate(disks)},
            "zone": machine.region,
        }


def state(machine: Machine, *, running: bool) -> str:
    """Say a server's state as Scaleway does."""
    if machine.deleted_s is not None:
        return "stopping"
    if machine.on_s is None:
        return "stopped"
    return "running" if running else "starting"


def new_disk(machine: Machine) -> dict[str, Any]:
    """Make the disk of a new server; it is called like its image."""
    block = machine.size.startswith(BLOCK_SIZES)
    return {
        "id": str(uuid.uuid4()),
        "name": f"{machine.image} disk",
        "volume_type": "sbs_volume" if block else "l_ssd",
        "of": machine.number,
        "server": {"id": machine.number, "name": machine.name},
        "zone": machine.region,
        "tags": [],
        "boot": False,
    }


def wrong(body: dict[str, Any], zone: str) -> str:
    """Find the field that is wrong in a new server."""
    if zone not in ZONES:
        return "zone"
    if body.get("commercial_type") not in SIZES:
        return "commercial_type"
    if body.get("image") not in {*LABELS, OWN_IMAGE["id"]}:
        return "image"
    return "" if body.get("project") else "project"


def listed(request: Request, key: str, items: list[Any]) -> Response:
    """Answer with a page; the total is in a header."""
    page, _, _ = paged(items, request, MOST_PER_PAGE)
    return JSONResponse({key: page}, headers={"X-Total-Count": str(len(items))})


def missing(resource: str) -> Response:
    """Say that there is no such thing."""
    return JSONResponse({"type": "not_found", "message": "resource is not found", "resource": resource}, 404)
