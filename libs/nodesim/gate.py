"""What happens to every request before and after its handler: CORS, delays, freezing, dropped connections.

Plain ASGI, so that bodies keep streaming. `/sim/...` passes the gate even when
the node is frozen: that is how it is thawed.
"""

import asyncio
import socket
import struct
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterodm.libs.nodesim.node import Node

CONTROL: Final = "/sim/"
METHODS: Final = b"GET,HEAD,PUT,PATCH,POST,DELETE"
RESET: Final = struct.pack("ii", 1, 0)


class Dropped(Exception):
    """The connection is to be reset without an answer."""


class Gate:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, node: Node) -> None:
        self._app = app
        self._node = node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = scope["path"] = scope["path"].rstrip("/") or "/"
        if not path.startswith(CONTROL):
            await asyncio.sleep(self._node.settings.answer_delay_s)
            await self._node.thawed.wait()
        if scope["method"] == "OPTIONS":
            await _preflight(scope, send)
            return
        await self._app(scope, receive, self._outgoing(send, controls=path.startswith(CONTROL)))

    def _outgoing(self, send: Send, *, controls: bool) -> Send:
        async def outgoing(message: Message) -> None:
            if not controls:
                await self._node.thawed.wait()
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"access-control-allow-origin", b"*")]
            await send(message)

        return outgoing


OPEN: Final[dict[tuple[str, int], asyncio.Transport]] = {}
"""Connections by who is at their other end."""


def told_of_connections(http: type[Any]) -> type[asyncio.Protocol]:
    """Extend uvicorn's HTTP, whichever it uses: it remembers its transports, so that a connection can be reset."""

    class Protocol(http):  # type: ignore[misc] # whichever it is
        """Uvicorn's HTTP, remembered."""

        def connection_made(self, transport: asyncio.Transport) -> None:
            """Remember the transport."""
            super().connection_made(transport)
            self.far_end = tuple(transport.get_extra_info("peername")[:2])
            OPEN[self.far_end] = transport

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget it."""
            OPEN.pop(self.far_end, None)
            super().connection_lost(exc)

    return Protocol


class Reset(Response):
    """No answer: the connection is closed with RST instead of FIN, as when a process dies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is sent
        """Close it."""
        transport = OPEN[tuple(scope["client"])]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        transport.abort()
        await asyncio.sleep(0)  # lets uvicorn notice


async def _preflight(scope: Scope, send: Send) -> None:
    headers = [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", METHODS),
        (b"vary", b"Access-Control-Request-Headers"),
    ]
    headers += [
        (b"access-control-allow-headers", value)
        for name, value in scope["headers"]
        if name == b"access-control-request-headers"
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
