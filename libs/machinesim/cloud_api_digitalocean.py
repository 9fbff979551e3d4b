"""DigitalOcean's API, version 2, as its own specification describes it (github.com/digitalocean/openapi).

Droplets with and without a graphics card are listed apart, names need not be unique, a droplet is `new` before it is
`active`, and deleting one answers 204 while it may still be seen for a while.
"""

from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clusterodm.libs.machinesim.cloud_api import Kind, numbers, paged
from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines
from clusterodm.libs.machinesim.cloud_api_snapshots import OFF, SnapshotBook, Taken

REGIONS: Final = ("nyc1", "nyc3", "ams3", "fra1", "sfo2")
SIZES: Final = ("s-1vcpu-1gb", "s-2vcpu-2gb", "s-4vcpu-8gb", "gpu-4000adax1-20gb")
MOST_PER_PAGE: Final = 200
IMAGES: Final = (
    {"id": 7101, "name": "odm-snapshot", "regions": ["ams3"], "created_at": "2026-01-01T00:00:00Z"},
    {"id": 7102, "name": "odm-snapshot", "regions": ["ams3", "nyc3"], "created_at": "2026-02-01T00:00:00Z"},
    {"id": 7103, "name": "other", "regions": ["nyc3"], "created_at": "2026-03-01T00:00:00Z"},
)
PUBLIC_IMAGES: Final = ("ubuntu-22-04-x64", "ubuntu-24-04-x64")
FAULTS: Final = {
    "capacity": (422, "unprocessable_entity", "Size is currently unavailable in this region."),
    "limit": (422, "unprocessable_entity", "creating this/these droplet(s) will exceed your droplet limit"),
    "unauthorised": (401, "Unauthorized", "Unable to authenticate you"),
    "rate": (429, "too_many_requests", "API rate limit exceeded."),
    "error": (500, "server_error", "Unexpected server-side error"),
}


class DigitalOcean(Kind):
    """The API."""

    servers = "/v2/droplets"

    def __init__(self, machines: Machines, token: str) -> None:
        super().__init__(machines, token)
        self._number = numbers(410000)
        self.snapshots = SnapshotBook(machines=machines)
        self.keys: dict[str, dict[str, Any]] = {}
        """The SSH keys that docker-machine adds, by their ids."""

    def routes(self) -> Sequence[Route]:
        return [
            Route("/v2/account", self._account),
            Route("/v2/images", self._images),
            Route("/v2/images/{name}", self._image),
            Route("/v2/regions", self._regions),
            Route("/v2/sizes", self._sizes),
            Route("/v2/account/keys", self._add_key, methods=["POST"]),
            Route("/v2/account/keys/{number}", self._delete_key, methods=["DELETE"]),
            Route("/v2/actions/{number}", self._action),
            Route("/v2/snapshots", self._snapshots),
            Route("/v2/snapshots/{number}", self._delete_snapshot, methods=["DELETE"]),
            Route("/v2/droplets/{number}/actions", self._act, methods=["POST"]),
            Route("/v2/droplets", self._create, methods=["POST"]),
            Route("/v2/droplets", self._list),
            Route("/v2/droplets/{number}", self._delete, methods=["DELETE"]),
            Route("/v2/droplets/{number}", self._get),
        ]

    def verb(self, method: str, path: str) -> str:
        if path.startswith(("/v2/actions", "/v2/snapshots")) or path.endswith("/actions"):
            return "delete-snapshot" if method == "DELETE" else "act" if method == "POST" else "look"
        return super().verb(method, path)

    def complain(self, how: str) -> Response:
        return refused(*FAULTS[how])

    async def _account(self, _request: Request) -> Response:
        return JSONResponse({"account": {"droplet_limit": 25, "status": "active", "email": "odm@example.org"}})

    async def _regions(self, request: Request) -> Response:
        same = {"available": True, "sizes": list(SIZES), "features": []}
        return listed(request, "regions", [{"slug": each, "name": each.upper(), **same} for each in REGIONS])

    async def _add_key(self, request: Request) -> Response:
        body = await request.json()
        key = {"id": self._number(), "fingerprint": "3b:16:bf", "name": body["name"], "public_key": body["public_key"]}
        self.keys[str(key["id"])] = key
        return JSONResponse({"ssh_key": key}, 201)

    async def _delete_key(self, request: Request) -> Response:
        if self.keys.pop(request.path_params["number"], None) is None:
            return refused(404, "not_found", "The resource you requested could not be found.")
        return Response(status_code=204)

    async def _images(self, request: Request) -> Response:
        own = [*IMAGES, *map(shown_snapshot, self.snapshots.finished())]
        return listed(request, "images", own if request.query_params.get("private") == "true" else [])

    async def _image(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse({"image": {"slug": name}}) if name in PUBLIC_IMAGES else missing()

    async def _sizes(self, request: Request) -> Response:
        return listed(request, "sizes", [{"slug": each, "available": True, "regions": list(REGIONS)} for each in SIZES])

    async def _create(self, request: Request) -> Response:
        body = await request.json()
        if complaint := wrong(body):
            return refused(422, "unprocessable_entity", complaint)
        machine = self._machines.create(
            str(self._number()),
            body["name"],
            size=body["size"],
            region=body["region"],
            image=str(body["image"]),
            tags=list(body.get("tags") or ()),
            user_data=body.get("user_data") or "",
            extra={"body": body},
        )
        return JSONResponse({"droplet": self._shown(machine), "links": {"actions": []}}, 202)

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        if "tag_name" in query and ("name" in query or "type" in query):
            return refused(422, "unprocessable_entity", "tag_name can not be combined with name or type")
        gpu = query.get("type") == "gpus"
        found = [each for each in self._machines.here() if each.size.startswith("gpu-") == gpu]
        if "name" in query:
            found = [each for each in found if each.name.lower() == query["name"].lower()]
        if "tag_name" in query:
            found = [each for each in self._machines.here() if query["tag_name"] in each.tags]
        return listed(request, "droplets", [self._shown(each) for each in found])

    async def _get(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        return JSONResponse({"droplet": self._shown(machine)}) if machine else missing()

    async def _delete(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return missing()
        if self.snapshots.is_busy(machine):
            return refused(422, "unprocessable_entity", "Droplet already has a pending event.")
        self._machines.delete(machine)
        return Response(status_code=204)

    async def _act(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return missing()
        body = await request.json()
        if body["type"] != "snapshot":
            self.snapshots.switch_off(machine, kindly=body["type"] == "shutdown")
            return JSONResponse({"action": {"id": 1, "status": "in-progress", "type": body["type"]}}, 201)
        if not machine.extra.get(OFF):
            return refused(
                422, "unprocessable_entity", "Droplet is currently on. Please power it off to run this event."
            )
        taken = self.snapshots.take(machine, body["name"])
        return JSONResponse({"action": {"id": taken.action, "status": "in-progress", "type": "snapshot"}}, 201)

    async def _action(self, request: Request) -> Response:
        taken = self.snapshots.looked_at(int(request.path_params["number"]))
        if taken is None:
            return missing()
        status = "in-progress" if taken.is_pending else "errored" if taken.failed else "completed"
        return JSONResponse({"action": {"id": taken.action, "status": status, "type": "snapshot"}})

    async def _snapshots(self, request: Request) -> Response:
        return listed(request, "snapshots", list(map(shown_snapshot, self.snapshots.finished())))

    async def _delete_snapshot(self, request: Request) -> Response:
        return Response(status_code=204) if self.snapshots.delete(int(request.path_params["number"])) else missing()

    def _shown(self, machine: Machine) -> dict[str, Any]:
        running = self._machines.is_running(machine)
        addresses = [{"ip_address": "10.0.0.2", "type": "private"}, {"ip_address": machine.address, "type": "public"}]
        return {
            "id": int(machine.number),
            "name": machine.name,
            "status": OFF if machine.extra.get(OFF) else "active" if running else "new",
            "size_slug": machine.size,
            "created_at": self._machines.created_text(machine),
            "region": {"slug": machine.region},
            "tags": machine.tags,
            "networks": {"v4": addresses if running else [], "v6": []},
        }


def shown_snapshot(taken: Taken) -> dict[str, Any]:
    """Show a snapshot."""
    return {
        "id": taken.number,
        "name": taken.name,
        "regions": [taken.region],
        "created_at": taken.created_text,
        "size_gigabytes": taken.gigabytes,
        "min_disk_size": 25,
    }


def wrong(body: dict[str, Any]) -> str:
    """Find what is wrong with a new droplet."""
    if not body.get("name"):
        return "Name is required"
    if body.get("region") not in REGIONS:
        return "Region is invalid"
    if body.get("size") not in SIZES:
        return "You specified an invalid size for Droplet creation."
    return "" if body.get("image") else "You specified an invalid image for Droplet creation."


def listed(request: Request, key: str, items: list[Any]) -> Response:
    """Answer with a page."""
    page, number, pages_count = paged(items, request, MOST_PER_PAGE)
    following = {"next": str(request.url.include_query_params(page=number + 1))} if number < pages_count else {}
    return JSONResponse({key: page, "links": {"pages": following}, "meta": {"total": len(items)}})


def missing() -> Response:
    """Say that there is no such thing."""
    return refused(404, "not_found", "The resource you were accessing could not be found.")


def refused(status: int, code: str, message: str) -> Response:
    """Answer with an error."""
    return JSONResponse({"id": code, "message": message, "request_id": "4d9d8375"}, status)
