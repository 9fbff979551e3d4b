"""Everything that is not asked in masses, as a Starlette application: init, commit, actions, list, options, auth, health.

Beside them what machines report and ask. Bodies are read by exchange.forms, not by Starlette: its forms would go to temporary files, and know no time limit. An unknown
address is answered as the original does, 200 with `{"error": "Cannot handle …"}`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ExceptionHandler

from libs.common.errors import BusFailed, ClusterError, Refused
from libs.common.identity import owner_of
from libs.common.model import NodeTaskId, TaskId
from libs.common.untrusted import Malformed, decode_json
from services.proxy.actions.handlers import Actor
from services.proxy.callbacks.core import Verdict
from services.proxy.callbacks.handlers import Machines
from services.proxy.errors import Busy, SpoolFull
from services.proxy.exchange.forms import read_form
from services.proxy.exchange.nodeodm_api import (
    AUTH_INFO,
    MALFORMED_COMMIT,
    NO_OPTIONS,
    NOT_AVAILABLE,
    UUID_AT_END,
    cannot_handle,
    no_uuid,
    words_of,
)
from services.proxy.exchange.request import RETRY_AFTER, UNAVAILABLE, BodyStalled, ClientGone, Exchange, client_of, text
from services.proxy.polling.handlers.read import Reader
from services.proxy.server.health import ProxyHealth
from services.proxy.uploads.handlers.create import Creator

GET: Final = ["GET"]

POST: Final = ["POST"]

ACTIONS: Final = ("/task/cancel", "/task/remove", "/task/restart")

EVERY_METHOD: Final = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]

COMMIT_LIMIT_BYTES: Final = 1024 * 1024
"""A node's webhook brings the whole list of images along; one that is longer still is taken without a look, it is a hint only.

Anybody may send one, and what anybody may send is short.
"""

OK: Final = 200

UNAUTHORIZED: Final = 401

FORBIDDEN: Final = 403

GONE: Final = 410

DISK_FULL: Final = 507

Handle = Callable[[Request], Awaitable[Response]]


class Webhook(msgspec.Struct):
    """What a node's `POST /commit` says, as far as it is looked at."""

    uuid: str | None = None


@dataclass(frozen=True)
class Parts:
    """What the routes need."""

    creator: Creator
    actor: Actor
    reader: Reader
    machines: Machines
    health: ProxyHealth
    public_address: str
    stall_s: float


def answer(value: Any, status: int = OK) -> Response:
    """Write a JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def build(parts: Parts) -> Starlette:
    """Build the application. Every request carries its Exchange in `request.state`."""
    routes = [Route(path, handle, methods=methods) for path, methods, handle in Routes(parts).listed()]
    app = Starlette(routes=routes, exception_handlers=ERROR_ANSWERS)
    app.router.redirect_slashes = False
    return app


class Routes:
    """What each address does."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def listed(self) -> list[tuple[str, list[str], Handle]]:
        """List addresses, methods, and what answers."""
        return [
            ("/task/new/init", POST, self.init),
            ("/task/new/commit{rest:path}", POST, self.commit),
            *((path, POST, self.act) for path in ACTIONS),
            ("/task/list", GET, self.tasks),
            ("/options", EVERY_METHOD, self.options),
            ("/auth/info", EVERY_METHOD, self.auth_info),
            ("/auth/login", POST, self.log_in),
            ("/auth/register", POST, self.log_in),
            ("/cache/clear", EVERY_METHOD, self.clear_cache),
            ("/commit", POST, self.task_finished),
            ("/machine/lease", GET, self.renew_lease),
            ("/healthz", GET, self.health),
            ("/readyz", GET, self.health),
        ]

    async def init(self, request: Request) -> Response:
        """Begin a task."""
        exchange: Exchange = request.state.exchange
        form = await read_form(exchange, self._parts.stall_s, any_kind=True)
        client = client_of(exchange, self._parts.public_address)
        return answer({"uuid": await self._parts.creator.init(client, text(exchange.header(b"set-uuid")), form)})

    async def commit(self, request: Request) -> Response:
        """Close an upload; whatever is in front of its id is not looked at."""
        exchange: Exchange = request.state.exchange
        match = UUID_AT_END.fullmatch(exchange.path)
        if match is None:
            raise Refused(no_uuid(exchange.path))
        client = client_of(exchange, self._parts.public_address)
        return answer({"uuid": await self._parts.creator.commit(client, TaskId(match[1]))})

    async def act(self, request: Request) -> Response:
        """Cancel, remove or restart."""
        exchange: Exchange = request.state.exchange
        form = await read_form(exchange, self._parts.stall_s)
        client = client_of(exchange, self._parts.public_address)
        verb = exchange.path.rpartition("/")[2]
        await self._parts.actor.act(verb, form, client.token, client.owner, client.address)
        return answer({"success": True})

    async def tasks(self, request: Request) -> Response:
        """List the client's tasks."""
        exchange: Exchange = request.state.exchange
        try:
            return answer(await self._parts.reader.tasks_of(owner_of(exchange.token)))
        except BusFailed:
            exchange.drop()
            return Response()

    async def options(self, _: Request) -> Response:
        """List the options that tasks may have."""
        return answer(self._parts.reader.options() or {"error": NO_OPTIONS})

    async def auth_info(self, _: Request) -> Response:
        """Say that nobody logs in here."""
        return answer(AUTH_INFO)

    async def log_in(self, _: Request) -> Response:
        """Let nobody log in."""
        return answer({"error": NOT_AVAILABLE})

    async def clear_cache(self, _: Request) -> Response:
        """Do nothing: there is no such cache."""
        return answer({"ok": True})

    async def task_finished(self, request: Request) -> Response:
        """Hear a node."""
        return await hear_webhook(request.state.exchange, self._parts.machines, self._parts.stall_s)

    async def renew_lease(self, request: Request) -> Response:
        """Let a machine live on."""
        exchange: Exchange = request.state.exchange
        verdict = self._parts.machines.wanted(exchange.token)
        return answer({"ok": True}) if verdict is Verdict.WELCOME else refusal(verdict, FORBIDDEN)

    async def health(self, request: Request) -> Response:
        """Say how this proxy is."""
        well, said = self._parts.health.page(request.url.path) or (False, {})
        return answer(said, OK if well else UNAVAILABLE)


async def hear_webhook(exchange: Exchange, machines: Machines, stall_s: float) -> Response:
    """Take what a node reports; of a machine only with the machine's own secret."""
    body = await exchange.body(COMMIT_LIMIT_BYTES, stall_s)
    if body is None:
        await exchange.drain()
        return answer({"ok": True})
    try:
        said = decode_json(body, Webhook, limit_bytes=COMMIT_LIMIT_BYTES)
    except Malformed:
        return answer({"error": MALFORMED_COMMIT})
    verdict = await machines.finished(NodeTaskId(said.uuid), exchange.token) if said.uuid else Verdict.WELCOME
    return answer({"ok": True}) if verdict is Verdict.WELCOME else refusal(verdict, UNAUTHORIZED)


def refusal(verdict: Verdict, nameless_status: int) -> Response:
    """Say to a machine why not; a machine that is to go must not take it for a mistake."""
    status = {Verdict.NAMELESS: nameless_status, Verdict.OVER: GONE}.get(verdict, FORBIDDEN)
    return answer({"error": verdict.value}, status)


async def refused(request: Request, error: Exception) -> Response:
    """Say what each kind of trouble is answered with; to an action that it was not done, as NodeODM."""
    exchange: Exchange = request.state.exchange
    await exchange.drain()
    status = UNAVAILABLE if isinstance(error, BusFailed | Busy) else DISK_FULL if isinstance(error, SpoolFull) else OK
    more = {"success": False} if request.url.path in ACTIONS else {}
    response = answer({**more, "error": words_of(cast("ClusterError", error))}, status)
    if status == UNAVAILABLE:
        response.headers["retry-after"] = RETRY_AFTER[1].decode()
    if exchange.body_left:
        response.headers["connection"] = "close"
    return response


async def unknown(request: Request, _: Exception) -> Response:
    """Answer for an address that there is not."""
    return answer({"error": cannot_handle(request.url.path)})


async def dropped(request: Request, _: Exception) -> Response:
    """Answer nobody: the client has gone, or has sent nothing for too long."""
    request.state.exchange.drop()
    return Response()


ERROR_ANSWERS: Final[dict[Any, ExceptionHandler]] = {
    ClusterError: refused,
    HTTPException: unknown,
    ClientGone: dropped,
    BodyStalled: dropped,
}
