"""What happens to every request before and after its handler: CORS, delays, freezing, dropped connections.

Plain ASGI, so that bodies keep streaming. `/sim/...` passes the gate even when
the node is frozen: that is how it is thawed.

Uploads and commits go wrong on purpose, too. The ways to drop a request, as in `--drop-how`:

    status        500 at once, as NodeODM's own --test_drop_uploads; nothing is stored
    status-after  everything is stored, and 500 is answered: what no NodeODM does, but what may stand in front of one
    reset-before  the connection is reset, nothing is stored
    reset-midway  half of the body is taken (nothing of one that does not say its length), then reset: a truncated file stays
    reset-after   everything is stored, the answer is lost: the outcome that a client cannot know
"""

import asyncio
import dataclasses
import random
import secrets
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.requests import Request
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


@dataclasses.dataclass(frozen=True)
class Drop:
    """What is to happen to one request; nothing when `how` is empty."""

    how: str = ""

    @property
    def answers_500(self) -> bool:
        """True when 500 is answered and nothing else happens."""
        return self.how == "status"

    @property
    def answers_500_after(self) -> bool:
        """True when 500 is answered although all has happened."""
        return self.how == "status-after"

    def before(self) -> None:
        """Nothing has been read yet. Raises: Dropped."""
        if self.how == "reset-before":
            raise Dropped

    async def midway(self, chunks: AsyncIterator[bytes], size_bytes: int) -> AsyncIterator[bytes]:
        """Pass a body of that length on, or its first half, however it is cut into chunks. Raises: Dropped."""
        left_count = size_bytes // 2 if self.how == "reset-midway" else None
        async for chunk in chunks:
            yield chunk[:left_count]
            if left_count is not None:
                left_count -= len(chunk)
                if left_count <= 0:
                    raise Dropped

    def after(self) -> None:
        """Everything is done but the answer. Raises: Dropped."""
        if self.how.startswith("reset-"):
            raise Dropped


class Drops:
    """Chooses the requests to be dropped."""

    def __init__(self, node: Node) -> None:
        self._node = node
        seed = node.settings.drop_seed
        self._chance = random.Random(seed) if seed else secrets.SystemRandom()  # noqa: S311 no secret
        """The same requests in the same order are dropped again by the same seed."""

    def upload(self, request: Request) -> Drop:
        """Decide about an upload."""
        settings = self._node.settings
        if settings.drop_upload_next_count:
            self._node.settings = dataclasses.replace(
                settings, drop_upload_next_count=settings.drop_upload_next_count - 1
            )
            return self._told(request, "upload_dropped")
        part = settings.drop_upload_part
        return self._told(request, "upload_dropped") if self._chance.random() < part else Drop()

    def commit(self, request: Request) -> Drop:
        """Decide about a commit."""
        settings = self._node.settings
        if not settings.drop_commit_next_count:
            return Drop()
        self._node.settings = dataclasses.replace(settings, drop_commit_next_count=settings.drop_commit_next_count - 1)
        return self._told(request, "commit_dropped")

    def _told(self, request: Request, event: str) -> Drop:
        how = self._node.settings.drop_how
        self._node.events.tell(event, task=request.path_params["uuid"], how=how)
        return Drop(how)
