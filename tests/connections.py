"""Clients' connections without sockets: a transport that only remembers, and what the event loop does with a connection."""

import asyncio
from types import SimpleNamespace
from typing import Any, Final

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE
from clusterodm.libs.common.http_io.scope import App, Receive, Scope, Send
from clusterodm.libs.common.http_io.server import Connection
from clusterodm.libs.common.http_io.sharing import Connections, EarlyAnswers
from clusterodm.libs.http1.heads import HeadLimits
from clusterodm.libs.http1.server import ServerLimits

LIMITS: Final = ServerLimits(head_s=1.0, keep_alive_s=2.0, head=HeadLimits(1000), linger_s=1.0)


class FakeTransport(asyncio.Transport):
    """Remembers."""

    def __init__(self, *, secure: bool = False, address: str = "") -> None:
        super().__init__({"peername": (address, 1)} if address else None)
        self._secure = secure
        self.written = b""
        self.reads = True
        self.closed = self.half_closed = self.aborted = False
        self.unsent_bytes = 0

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def can_write_eof(self) -> bool:
        return not self._secure

    def write_eof(self) -> None:
        self.half_closed = True

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def is_closing(self) -> bool:
        return self.closed


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, or with the path."""
    del send
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    else:
        return
    await scope["extensions"][REQUEST_CYCLE].answer(200, [], body or scope["path"].encode())


def server_state() -> Any:
    """What connections know of their server."""
    return SimpleNamespace(connections=set(), tasks=set(), default_headers=[(b"date", b"today")], total_requests=0)


def opened(
    answers: EarlyAnswers[Any] | None = None,
    shared: Connections | None = None,
    app: App = echo,
    transport: FakeTransport | None = None,
    state: Any = None,
) -> tuple[Connection, FakeTransport]:
    """Let a client connect."""
    shared = shared or Connections(LIMITS, 10, [answers] if answers else [])
    connection = Connection(shared=shared, app=app, server_state=state or server_state())
    transport = transport or FakeTransport()
    connection.connection_made(transport)
    return connection, transport


def came(connection: Connection, data: bytes) -> None:
    """Let the loop read something."""
    while data:
        space = connection.get_buffer(-1)
        piece, data = data[: len(space)], data[len(space) :]
        space[: len(piece)] = piece
        connection.buffer_updated(len(piece))
