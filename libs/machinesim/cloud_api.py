"""A cloud's HTTP API with failures on demand: what all of them have in common.

Each kind (`cloud_api_digitalocean`, ...) brings its routes, says which call is which (`verb`) and how it words a failure
(`complain`). Before its routes a gate stands that carries out the failures which were asked for, in order:

    capacity      refuse as when the size is not to be had        limit      ... as when a quota is reached
    unauthorised  refuse as for a wrong key                       rate       429, with Retry-After: 0
    error         500, and nothing was done                       late       500, although it was done
    slow          no answer for a long while, and nothing done    lost       do it, and break the answer off
    broken        break the connection off, and nothing was done
    mute          do it, and answer nothing for a long while

`POST /sim/faults` asks for failures, `GET /sim/machines` shows the book, `POST /sim/machines` rents a machine to
somebody else, `POST /sim/leave` takes one away behind everybody's back.
"""

import asyncio
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterodm.libs.machinesim.cloud_api_machines import Machine, Machines

CONTROL: Final = "/sim/"
SLOW_S: Final = 60.0
TRUNCATED: Final = [(b"content-type", b"application/json"), (b"content-length", b"100000")]
RETRY_AT_ONCE: Final = {"Retry-After": "0"}
UNDONE: Final = ("capacity", "limit", "unauthorised", "rate", "error", "slow", "broken")
DONE: Final = ("lost", "late", "mute")
HOWS: Final = UNDONE + DONE
ANY: Final = "any"


@dataclass
class Fault:
    """A failure that was asked for."""

    on: str
    """create, list, get, delete, ... or any."""
    how: str
    times: int = 1
    """How often; -1: always."""


@dataclass
class Call:
    """A call that was made."""

    verb: str
    method: str
    path: str
    fault: str = ""


class Kind(ABC):
    """What differs from cloud to cloud; most take a bearer token."""

    servers: ClassVar[str] = ""
    """Where the machines are."""

    def __init__(self, machines: Machines, token: str) -> None:
        self._machines = machines
        self._token = token

    @abstractmethod
    def routes(self) -> Sequence[Route]:
        """Give the API's routes."""

    @abstractmethod
    def complain(self, how: str) -> Response:
        """Word a failure that was asked for."""

    def verb(self, method: str, path: str) -> str:
        """Say which call this is: create, list, get, delete, ..."""
        if not path.startswith(self.servers):
            return path.rpartition("/")[2]
        return {"POST": "create", "DELETE": "delete"}.get(method) or ("list" if path == self.servers else "get")

    def allowed(self, request: Request) -> bool:
        """Whether the key is right."""
        return request.headers.get("authorization") == f"Bearer {self._token}"


@dataclass
class CloudApi:
    """One simulated cloud."""

    machines: Machines
    kind: Kind
    slow_s: float = SLOW_S
    faults: list[Fault] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        control = [
            Route("/sim/faults", self._ask, methods=["POST"]),
            Route("/sim/machines", self._show, methods=["GET"]),
            Route("/sim/machines", self._rent, methods=["POST"]),
            Route("/sim/leave", self._leave, methods=["POST"]),
        ]
        self.app: ASGIApp = Gate(Starlette(routes=[*control, *self.kind.routes()]), self)

    def fail(self, on: str, how: str, times: int = 1) -> None:
        """Ask for a failure."""
        if how not in HOWS:
            raise ValueError(f"{how}: no such failure, expected one of {', '.join(HOWS)}")
        self.faults.append(Fault(on, how, times))

    def fault_for(self, verb: str) -> str:
        """Take the next failure that is asked for on this call; empty: none."""
        for fault in self.faults:
            if fault.times and fault.on in {verb, ANY}:
                fault.times -= 1
                return fault.how
        return ""

    def here(self) -> list[Machine]:
        """Give the machines that exist."""
        return list(self.machines.here())

    async def _ask(self, request: Request) -> Response:
        content = await request.json()
        try:
            self.fail(content["on"], content["how"], content.get("times", 1))
        except (KeyError, ValueError) as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"faults": len(self.faults)})

    async def _show(self, _request: Request) -> Response:
        gone = self.machines.is_gone
        book = [{"name": each.name, "address": each.address, "gone": gone(each)} for each in self.machines.book]
        return JSONResponse({"machines": book, "calls": [[call.verb, call.fault] for call in self.calls]})

    async def _rent(self, request: Request) -> Response:
        content = await request.json()
        number = str(1 + len(self.machines.book))
        self.machines.create(f"90000{number}", content["name"], region=content.get("region", ""))
        return JSONResponse({"number": number})

    async def _leave(self, request: Request) -> Response:
        name = (await request.json())["name"]
        left = [each for each in self.machines.here() if each.name == name]
        for machine in left:
            self.machines.delete(machine)
        return JSONResponse({"left": len(left)})


class Gate:
    """Stands before the routes and carries out failures."""

    def __init__(self, app: ASGIApp, cloud: CloudApi) -> None:
        self._app = app
        self._cloud = cloud

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL):
            await self._app(scope, receive, send)
            return
        verb = self._cloud.kind.verb(scope["method"], scope["path"])
        how = self._cloud.fault_for(verb)
        self._cloud.calls.append(Call(verb, scope["method"], scope["path"], how))
        if not self._cloud.kind.allowed(Request(scope)):
            how = "unauthorised"
        await self._answer(how, scope, receive, send)

    async def _answer(self, how: str, scope: Scope, receive: Receive, send: Send) -> None:
        if how in DONE:
            await self._app(scope, receive, swallow)
        match how:
            case "":
                await self._app(scope, receive, send)
            case "lost" | "broken":
                await break_off(send)
            case "slow" | "mute":
                await asyncio.sleep(self._cloud.slow_s)
                await break_off(send)
            case "late":
                await self._cloud.kind.complain("error")(scope, receive, send)
            case _:
                complaint = self._cloud.kind.complain(how)
                if how == "rate":
                    complaint.headers.update(RETRY_AT_ONCE)
                await complaint(scope, receive, send)


async def swallow(_message: Message) -> None:
    """Drop an answer."""


async def break_off(send: Send) -> None:
    """Begin an answer and never end it: the server closes the connection."""
    await send({"type": "http.response.start", "status": 200, "headers": TRUNCATED})
    await send({"type": "http.response.body", "body": b"{", "more_body": False})


def paged(
    items: Sequence[Any], request: Request, most_count: int, size_key: str = "per_page"
) -> tuple[list[Any], int, int]:
    """Cut a page out of a list: its items, its number, and the number of pages."""
    number = max(1, int(request.query_params.get("page", "1")))
    size = min(max(1, int(request.query_params.get(size_key, "20"))), most_count)
    pages_count = max(1, -(-len(items) // size))
    return list(items[(number - 1) * size : number * size]), number, pages_count


def numbers(start: int) -> Callable[[], int]:
    """Give a number after the other."""
    counter = itertools.count(start)
    return lambda: next(counter)
