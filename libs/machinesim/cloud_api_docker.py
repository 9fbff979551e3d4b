"""A Docker engine's API, as far as containers go (docs.docker.com/reference/api/engine).

A name is unique, a container is `created` before it is started, filters and paths are the engine's; paths may carry a
version. The real engine passes the same tests.
"""

import json
import secrets
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from clusterodm.libs.machinesim.cloud_api import Kind
from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines, container_lines

PULLABLE: Final = "opendronemap/nodeodm"
MULTIPLEXED: Final = "application/vnd.docker.multiplexed-stream"
NETWORKS: Final = ("bridge", "odm")
FAULTS: Final = {
    "capacity": (500, "failed to start: no space left on device"),
    "limit": (500, "could not select device driver with capabilities: [[gpu]]"),
    "unauthorised": (403, "authorization denied by plugin"),
    "rate": (429, "too many requests"),
    "error": (500, "server error"),
}


class Docker(Kind):
    """The API."""

    def __init__(self, machines: Machines, token: str = "") -> None:
        super().__init__(machines, token)
        self.images: set[str] = set()

    def routes(self) -> Sequence[Route]:
        return [
            Route("/version", self._version),
            Route("/networks/{name}", self._network),
            Route("/images/create", self._pull, methods=["POST"]),
            Route("/images/{name:path}/json", self._image),
            Route("/containers/json", self._list),
            Route("/containers/create", self._create, methods=["POST"]),
            Route("/containers/{number}/logs", self._logs),
            Route("/containers/{number}/start", self._start, methods=["POST"]),
            Route("/containers/{number}", self._delete, methods=["DELETE"]),
        ]

    def verb(self, method: str, path: str) -> str:
        if not path.startswith("/containers"):
            return path.split("/")[1]
        if path.endswith("/logs"):
            return "logs"
        return {"/containers/create": "create", "/containers/json": "list"}.get(path) or (
            "delete" if method == "DELETE" else "start"
        )

    def allowed(self, request: Request) -> bool:
        """See cloud_api.Kind: an engine has no keys."""
        _ = request
        return True

    def complain(self, how: str) -> Response:
        return refused(*FAULTS[how])

    async def _version(self, _request: Request) -> Response:
        return JSONResponse({"Version": "28.0.0", "ApiVersion": "1.48"})

    async def _network(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse({"Name": name}) if name in NETWORKS else refused(404, f"network {name} not found")

    async def _image(self, request: Request) -> Response:
        name = request.path_params["name"]
        return JSONResponse({"Id": "sha256:1"}) if name in self.images else refused(404, f"No such image: {name}")

    async def _pull(self, request: Request) -> Response:
        name, tag = request.query_params["fromImage"], request.query_params.get("tag", "latest")
        told = [{"status": f"Pulling from {name}"}]
        if name != PULLABLE:
            told.append({"error": f"manifest for {name}:{tag} not found"})
        self.images |= {name, f"{name}:{tag}"} if name == PULLABLE else set()
        return PlainTextResponse("".join(f"{json.dumps(line)}\r\n" for line in told))

    async def _create(self, request: Request) -> Response:
        body, name = await request.json(), request.query_params["name"]
        if any(each.name == name for each in self._machines.here()):
            return refused(409, f'Conflict. The container name "/{name}" is already in use by container "1".')
        if body["Image"] not in self.images:
            return refused(404, f"No such image: {body['Image']}")
        labels = dict(body.get("Labels") or {})
        words = list(body.get("Cmd") or ())
        made = self._machines.create(
            secrets.token_hex(32), name, on=False, labels=labels, image=body["Image"], words=words, extra={"body": body}
        )
        return JSONResponse({"Id": made.number, "Warnings": []}, 201)

    async def _start(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return refused(404, "No such container")
        if machine.on_s is None:
            self._machines.switch_on(machine)
        return Response(status_code=204)

    async def _logs(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return refused(404, "No such container")
        if machine.on_s is None:
            return Response(media_type=MULTIPLEXED)
        lines = container_lines(running=self._machines.is_running(machine))
        return Response(b"".join(map(piece, lines)), media_type=MULTIPLEXED)

    async def _list(self, request: Request) -> Response:
        wanted = json.loads(request.query_params.get("filters", "{}"))
        labels, numbers = wanted.get("label", []), wanted.get("id", [])
        found = [each for each in self._machines.here() if all(has(each, label) for label in labels)]
        found = [each for each in found if not numbers or each.number.startswith(tuple(numbers))]
        return JSONResponse([self._shown(each) for each in found if request.query_params.get("all") or each.on_s])

    async def _delete(self, request: Request) -> Response:
        machine = self._machines.find(request.path_params["number"])
        if machine is None:
            return refused(404, "No such container")
        self._machines.delete(machine)
        return Response(status_code=204)

    def _shown(self, machine: Machine) -> dict[str, Any]:
        running = self._machines.is_running(machine)
        host = (machine.extra.get("body") or {}).get("HostConfig", {})
        published = [{"IP": machine.address, "PrivatePort": 3000, "PublicPort": self._machines.port, "Type": "tcp"}]
        network = host.get("NetworkMode", "bridge")
        return {
            "Id": machine.number,
            "Names": [f"/{machine.name}"],
            "Labels": machine.labels,
            "Created": self._machines.created_ms(machine) // 1000,
            "State": "running" if running else "created",
            "Ports": published if running and "PortBindings" in host else [],
            "NetworkSettings": {"Networks": {network: {"IPAddress": machine.address if running else ""}}},
        }


def piece(line: str) -> bytes:
    """Write a line of a log as it is sent where there is no terminal: which way out, and how long, in front."""
    content = f"{line}\n".encode()
    return b"\1\0\0\0" + len(content).to_bytes(4, "big") + content


def has(machine: Machine, label: str) -> bool:
    """Whether a container has a label, or a label with this value."""
    key, _, value = label.partition("=")
    return key in machine.labels and (not value or machine.labels[key] == value)


def refused(status: int, message: str) -> Response:
    """Answer with an error."""
    return JSONResponse({"message": message}, status)
