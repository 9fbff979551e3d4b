"""One request and its answer, between a connection and an ASGI application; and what an application may do beyond ASGI.

`scope["extensions"][REQUEST_CYCLE]` is the cycle itself:

    drop()          ends it without a byte: the answer to a poll about which nothing is known, because clients retry a broken
                    connection and take any status for the end (PyODM, WebODM)
    answer()        sends a whole answer in one write
    body_socket()   lends the socket to who takes the rest of the body straight from it; meanwhile nothing is read here
    answer_socket() lends it to who writes a part of the answer's body straight into it, once all before is `flushed()`

Only plain sockets are lent: with TLS there is nothing that the kernel could move. While one is lent the application
awaits, so nothing else reads or writes; that the client has gone is still noticed (by a failing read or write, or here).

A cycle knows its connection and not its scope, and its connection forgets it with its end: a connection that is cut leaves no
circle behind that only the garbage collector would find.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from clusterodm.libs.common.http_io.lending import CycleConnection, LentSocket
from clusterodm.libs.common.http_io.scope import App, Message, Scope
from clusterodm.libs.common.process.sockets import untaken_bytes
from clusterodm.libs.http1.bodies import Pieces
from clusterodm.libs.http1.lines import BODILESS, STATUS_LINE, Header, find, require_sendable

REQUEST_CYCLE: Final = "clusterodm.request_cycle"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
FAILED: Final = 500
SORRY: Final = b"Internal Server Error"
FRAMING: Final = frozenset((b"content-length", b"transfer-encoding", b"connection"))

log = structlog.get_logger()


@dataclass(slots=True)
class ResponseContext:
    """What an answer depends on."""

    is_head: bool
    keeps: bool
    may_chunk: bool
    awaits_continue: bool


class RequestCycle:
    """One request and its answer."""

    __slots__ = (
        "_asked", "_chunked", "_connection", "_due_bytes", "_end_told", "_pieces", "_wake", "complete", "disconnected", "is_wanted",
        "low_water_bytes", "more_body", "started", "waiting_bytes",
    )  # fmt: skip

    def __init__(self, connection: CycleConnection, asked: ResponseContext) -> None:
        self._connection = connection
        self._asked = asked
        self._pieces = Pieces()
        self._end_told = False
        self._wake: asyncio.Event | None = None
        self._chunked = False
        self._due_bytes: int | None = None
        """Of an answer of known length: what is still to be sent."""
        self.waiting_bytes = 0
        """Of the body: come, and not received yet."""
        self.more_body = True
        self.low_water_bytes = 0
        """The application is not woken before so much of the body waits, or all of it: it costs the same however much it takes."""
        self.started = self.complete = self.disconnected = False
        self.is_wanted = False
        """The application has begun to receive the body."""

    async def run(self, app: App, scope: Scope) -> None:
        """Let the application answer; one that does not is answered for."""
        try:
            await app(scope, self.receive, self.send)
        except Exception:
            log.exception("application.failed")
        if self.complete or self.disconnected:
            return
        if self.started:
            self.drop()
        else:
            await self.answer(FAILED, [(b"content-type", b"text/plain")], SORRY, close=True)

    # --- what the connection calls

    def take(self, piece: bytes) -> None:
        """Add a piece of the body."""
        self._pieces.add(piece)
        self.waiting_bytes += len(piece)
        if self.waiting_bytes >= self.low_water_bytes:
            self._wake_up()

    def end_body(self) -> None:
        """Know that the body is over."""
        self.more_body = False
        self._wake_up()

    def disconnect(self) -> None:
        """Know that the client has gone."""
        self.disconnected = True
        self._wake_up()

    def _wake_up(self) -> None:
        if self._wake is not None:
            self._wake.set()

    # --- ASGI

    @property
    def ready(self) -> bool:
        """Whether there is something to receive at once: a piece of the body, or its end."""
        if self.more_body:
            return self.waiting_bytes > 0 and self.waiting_bytes >= self.low_water_bytes
        return self.waiting_bytes > 0 or not self._end_told

    @property
    def is_left(self) -> bool:
        """Whether some of the body waits that nobody has begun to take: the application waits for its own turn."""
        return self.waiting_bytes > 0 and not self.is_wanted

    async def receive(self) -> Message:
        """Wait for the next piece of the body, its end, or the client's."""
        self.is_wanted = True
        if self._asked.awaits_continue and not (self.started or self.gone):
            self._asked.awaits_continue = False
            self._connection.transport.write(CONTINUE)
        while not (self.disconnected or self.complete):
            if self.ready:
                return self._next_piece()
            self._connection.wanted()
            wake = self._wake = self._wake or asyncio.Event()
            await wake.wait()
            wake.clear()
        return {"type": "http.disconnect"}

    def _next_piece(self) -> Message:
        """Hand out all that has come: a piece costs the same however small the client has made it."""
        self.waiting_bytes = 0
        self._end_told = not self.more_body
        return {"type": "http.request", "body": self._pieces.take(), "more_body": not self._end_told}

    async def send(self, message: Message) -> None:
        """Send the head, or a part of the body."""
        if self._connection.full and not self.disconnected:
            await self._connection.drained()
        if self.disconnected:
            return
        if self.complete:
            raise RuntimeError("the answer is complete already")
        if message["type"] == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        else:
            self._part(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, status: int, headers: Sequence[Header]) -> None:
        require_sendable(headers)
        connection, length = find(headers, b"connection"), find(headers, b"content-length")
        if connection is not None and b"close" in connection.lower():
            self._asked.keeps = False
        self._consider_body()
        lines = [line for line in headers if line[0] not in FRAMING]
        if length is not None:
            lines.append((b"content-length", length))
        self._due_bytes = 0 if self._asked.is_head or status in BODILESS else None if length is None else int(length)
        if self._due_bytes is None and self._asked.may_chunk:
            self._chunked = True
            lines.append((b"transfer-encoding", b"chunked"))
        elif self._due_bytes is None:
            self._asked.keeps = False
        self.started = True
        self._connection.transport.write(self._head(status, lines) + b"\r\n")

    def _consider_body(self) -> None:
        """End the connection behind an answer to a body that was not asked for: it may still come, or not (RFC 9110, 10.1.1).

        Nobody could say whether what comes next is that body or another request. Go's client, for one, sends the next request.
        """
        if self._asked.awaits_continue and self.more_body:
            self._asked.keeps = False

    def _part(self, data: bytes, *, more: bool) -> None:
        if not self.started:
            raise RuntimeError("the answer has no head yet")
        if self._asked.is_head:
            data = b""
        if data or self._chunked:
            self._write(data, more=more)
        if not more:
            if self._due_bytes:
                raise RuntimeError("the answer is shorter than its head says")
            self._end()

    def _write(self, data: bytes, *, more: bool) -> None:
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            data = chunk if more else chunk + b"0\r\n\r\n"
        elif self._due_bytes is not None:
            if len(data) > self._due_bytes:
                raise RuntimeError("the answer is longer than its head says")
            self._due_bytes -= len(data)
        if data:
            self._connection.transport.write(data)

    # --- beyond ASGI

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self.disconnected or self._connection.transport.is_closing()

    def drop(self) -> None:
        """Close the connection now; what is not sent yet is not sent."""
        self.disconnected = True
        self._connection.transport.abort()

    async def answer(self, status: int, headers: Sequence[Header], body: bytes, *, close: bool = False) -> None:
        """Send a whole answer in one write."""
        if self._connection.full and not self.disconnected:
            await self._connection.drained()
        if self.disconnected:
            return
        require_sendable(headers)
        self._asked.keeps = self._asked.keeps and not close
        self._consider_body()
        head = self._head(status, headers) + b"content-length: %d\r\n\r\n" % len(body)
        self._connection.transport.write(head if self._asked.is_head else head + body)
        self._end()

    def _head(self, status: int, headers: Sequence[Header]) -> bytes:
        lines = [STATUS_LINE[status]]
        for name, value in (*self._connection.lines, *headers):
            lines += (name, b": ", value, b"\r\n")
        if not self._asked.keeps:
            lines.append(b"connection: close\r\n")
        return b"".join(lines)

    def _end(self) -> None:
        self.started = self.complete = True
        self._wake_up()
        self._connection.over(self, keeps=self._asked.keeps)

    @contextmanager
    def body_socket(self) -> Iterator[LentSocket | None]:
        """Lend the socket to who takes the rest of the body from it; None: that cannot be done at this moment."""
        lent = None if self.gone else self._connection.lend_body(self)
        lent_bytes = lent.left_bytes if lent else 0
        try:
            yield lent
        finally:
            if lent is not None:
                self._connection.skip_body(lent_bytes - lent.left_bytes)

    @property
    def untaken_bytes(self) -> int:
        """What has been written and the client has not taken, as far as that is known."""
        return untaken_bytes(self._connection.transport)

    async def flushed(self) -> None:
        """Wait until all that has been written is with the kernel, or the client has gone."""
        transport = self._connection.transport
        if transport.get_write_buffer_size() and not self.gone:
            transport.set_write_buffer_limits(high=0)
            try:
                await self._connection.drained()
            finally:
                if not self.gone:
                    transport.set_write_buffer_limits()

    @contextmanager
    def answer_socket(self) -> Iterator[int | None]:
        """Lend the socket to who writes a part of the answer's body into it; None: something else is to be written first."""
        free = not (self.gone or self._chunked or self._connection.transport.get_write_buffer_size())
        descriptor = self._connection.socket_number if free else None
        if descriptor is None:
            yield None
        else:
            with self._connection.unread():
                yield descriptor

    def sent(self, count_bytes: int) -> None:
        """Say how much of the announced length has been written into the socket."""
        if self._due_bytes is not None:
            self._due_bytes -= count_bytes
