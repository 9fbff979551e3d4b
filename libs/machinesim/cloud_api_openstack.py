"""OpenStack as apache-libcloud's driver asks for it: Keystone (v3), Nova (2.1) and Glance (v2) behind one address.

Keystone's catalog names the others by the `Host` of the request, so that whoever stands between stays there. Names are not unique, a
server has no address while it builds, a list comes in pages with links, and a lack of room is said by a 403 or a fault of the server.
"""

import base64
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from clusterodm.libs.machinesim.cloud_api import Kind
from clusterodm.libs.machinesim.cloud_api_machines import Machine

FLAVORS: Final = (("8f4b7ae1-3a6a-4f5a-9a1b-0c6d6f0f2a11", "b3-8"), ("0d9f2f1c-7c5b-4a55-8a55-7a9f11b5c2d3", "b3-32"))
IMAGES: Final = (("1f7a1b2c-aaaa-4f5a-9a1b-0c6d6f0f2a11", "Ubuntu 24.04"),)
PASSWORD: Final = "simulated-password"  # noqa: S105 nobody's
CREDENTIAL: Final = {"id": "credential-1", "secret": "simulated-credential"}
"""An application credential whose access rules allow to delete servers and nothing else."""
DELETE_ONLY: Final = "deletes-only"
"""The token of whoever signs in with it."""
MOST_PER_PAGE: Final = 100
FAULTS: Final = {
    "capacity": (403, "forbidden", "No valid host was found. There are not enough hosts available."),
    "limit": (403, "forbidden", "Quota exceeded for cores, ram: Requested 4, 8192, but already used 20 of 20 cores"),
    "unauthorised": (401, "unauthorized", "The request you have made requires authentication."),
    "rate": (429, "overLimit", "This request was rate-limited."),
    "error": (500, "computeFault", "Unexpected API Error."),
}
NETWORK: Final = "Ext-Net"
REGION: Final = "RegionOne"


class OpenStack(Kind):
    """The three services."""

    def routes(self) -> Sequence[Route]:
        return [
            Route("/v3/auth/tokens", self._sign_in, methods=["POST"]),
            Route("/v3", version),
            Route("/nova/v2.1/servers", self._create, methods=["POST"]),
            Route("/nova/v2.1/servers/detail", self._list),
            Route("/nova/v2.1/servers/{number}", self._delete, methods=["DELETE"]),
            Route("/nova/v2.1/servers/{number}", self._get),
            Route("/nova/v2.1/flavors/detail", self._flavors),
            Route("/nova/v2.1/images/detail", self._images),
            Route("/glance/v2/images", self._images),
        ]

    def verb(self, method: str, path: str) -> str:
        if "/servers" not in path:
            return path.rpartition("/")[2]
        return {"POST": "create", "DELETE": "delete"}.get(method) or ("list" if path.endswith("/detail") else "get")

    def allowed(self, request: Request) -> bool:
        """See cloud_api.Kind: whoever signs in has no token yet."""
        path, token = request.url.path, request.headers.get("x-auth-token")
        if token == DELETE_ONLY:
            return request.method == "DELETE" and path.startswith("/nova/v2.1/servers/")
        return path.startswith("/v3") or token == self._token

    def complain(self, how: str) -> Response:
        return refused(*FAULTS[how])

    async def _sign_in(self, request: Request) -> Response:
        identity = (await request.json())["auth"]["identity"]
        token = self._token if "password" in identity["methods"] else DELETE_ONLY
        given = identity["password"]["user"]["password"] if token == self._token else identity["application_credential"]
        if given not in (PASSWORD, CREDENTIAL):
            return self.complain("unauthorised")
        root = f"http://{request.headers['host']}"
        catalog = [entry("compute", "nova", f"{root}/nova/v2.1"), entry("image", "glance", f"{root}/glance")]
        user = {"id": "u1", "name": "operator", "domain": {"id": "default", "name": "Default"}}
        told = {"expires_at": "2036-01-01T00:00:00.000000Z", "catalog": catalog, "roles": [], "user": user}
        return JSONResponse({"token": told}, 201, {"X-Subject-Token": token})

    async def _create(self, request: Request) -> Response:
        asked = (await request.json())["server"]
        if asked["flavorRef"] not in {number for number, _ in FLAVORS}:
            return refused(400, "badRequest", "Invalid flavorRef provided.")
        if asked["imageRef"] not in {number for number, _ in IMAGES}:
            return refused(400, "badRequest", "Can not find requested image")
        number = f"4d2f0c1e-66fd-4dfb-b839-{len(self._machines.book):012}"
        machine = self._machines.create(
            number,
            asked["name"],
            size=asked["flavorRef"],
            labels=dict(asked.get("metadata") or {}),
            user_data=base64.b64decode(asked.get("user_data", "")).decode(),
        )
        # Nova's first answer has little more than the id
        links = self._shown(request, machine)["links"]
        return JSONResponse({"server": {"id": number, "links": links, "adminPass": "x", "security_groups": []}}, 202)

    async def _list(self, request: Request) -> Response:
        everybody = [self._shown(request, each) for each in self._machines.here()]
        places = [each["id"] for each in everybody]
        marker = request.query_params.get("marker")
        start = places.index(marker) + 1 if marker in places else 0
        shown = everybody[start : start + MOST_PER_PAGE]
        content: dict[str, Any] = {"servers": shown}
        if start + MOST_PER_PAGE < len(everybody):
            href = f"http://{request.headers['host']}/nova/v2.1/servers/detail?marker={shown[-1]['id']}"
            content["servers_links"] = [{"rel": "next", "href": href}]
        return JSONResponse(content)

    async def _get(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return refused(404, "itemNotFound", "Instance could not be found.")
        return JSONResponse({"server": self._shown(request, machine)})

    async def _delete(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return refused(404, "itemNotFound", "Instance could not be found.")
        self._machines.delete(machine)
        return Response(status_code=204)

    async def _flavors(self, _request: Request) -> Response:
        same = {"ram": 8000, "disk": 50, "vcpus": 2, "swap": "", "links": [], "rxtx_factor": 1.0}
        flavors = [{"id": number, "name": name, **same} for number, name in FLAVORS]
        return JSONResponse({"flavors": flavors})

    async def _images(self, _request: Request) -> Response:
        times = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"}
        old = {"created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z", "metadata": {}, "progress": 100}
        shown = [{"id": number, "name": name, "status": "ACTIVE", **times, **old} for number, name in IMAGES]
        return JSONResponse({"images": shown})

    def _shown(self, request: Request, machine: Machine) -> dict[str, Any]:
        up = self._machines.is_running(machine)
        addresses = {NETWORK: [{"addr": machine.address, "version": 4, "OS-EXT-IPS:type": "fixed"}]} if up else {}
        href = f"http://{request.headers['host']}/nova/v2.1/servers/{machine.number}"
        return {
            "id": machine.number,
            "name": machine.name,
            "status": "ACTIVE" if up else "BUILD",
            "addresses": addresses,
            "flavor": {"id": machine.size or FLAVORS[0][0]},
            "image": {"id": IMAGES[0][0]},
            "created": self._machines.created_text(machine),
            "updated": self._machines.created_text(machine),
            "metadata": machine.labels,
            "tenant_id": "t1",
            "hostId": "h1",
            "links": [{"rel": "self", "href": href}],
        }


async def version(_request: Request) -> Response:
    """Say which Keystone this is."""
    return JSONResponse({"version": {"id": "v3.14", "status": "stable"}})


def entry(kind: str, name: str, url: str) -> dict[str, Any]:
    """Name a service in the catalog."""
    return {"type": kind, "name": name, "endpoints": [{"region": REGION, "interface": "public", "url": url}]}


def refused(status: int, code: str, sentence: str) -> Response:
    """Word a refusal as Nova does: by the code's own key."""
    return JSONResponse({code: {"message": sentence, "code": status}}, status)
