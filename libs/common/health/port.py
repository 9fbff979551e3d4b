"""`/healthz`, `/readyz` and `/metrics` of a service that has no other port: `--health-port`."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, Final

import msgspec

from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.http_io.listening import optional_listener
from clusterodm.libs.common.settings.settings import HealthSettings
from clusterodm.libs.common.telemetry.metrics import exposition
from clusterodm.libs.common.telemetry.tracing import Spans

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

OK: Final = 200
NOT_FOUND: Final = 404
UNAVAILABLE: Final = 503
OPENMETRICS: Final = b"application/openmetrics-text"
"""The only format that has exemplars; without traces there are none, and everybody gets the plain one."""


def health_listener(settings: HealthSettings) -> AbstractContextManager[socket.socket | None]:
    """Open the port, before anything else is done; None: there is none. Raises Refused with one clear line."""
    return optional_listener(settings.health_bind, settings.health_port, "--health-port")


@asynccontextmanager
async def health_served(
    health: Health, listener: socket.socket | None, name: str = "health port", *, errors: bool = True
) -> AsyncIterator[None]:
    """Answer on the port while the context is open. `errors`: see Health.page."""
    if listener is None:
        yield
        return
    from clusterodm.libs.common.http_io.serving import web_server

    async with web_server(health_app(health, errors=errors), listener, name=name):
        yield


def health_app(health: Health, *, errors: bool = True) -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """Make the ASGI application. `errors`: see Health.page."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        del receive
        traced = Spans.export is not None and OPENMETRICS in dict(scope["headers"]).get(b"accept", b"")
        status, kind, body = await answered(health, scope["path"], errors=errors, traced=traced)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


async def answered(health: Health, path: str, *, errors: bool = True, traced: bool = False) -> tuple[int, bytes, bytes]:
    """Answer for an address: status, type, body. `errors`: see Health.page; `traced`: figures have exemplars."""
    if path == "/metrics":
        kind, body = await exposition(traced=traced)
        return OK, kind, body
    if (page := health.page(path, errors=errors)) is None:
        return NOT_FOUND, b"application/json", b'{"error":"Not found"}'
    well, said = page
    return OK if well else UNAVAILABLE, b"application/json", msgspec.json.encode(said)
