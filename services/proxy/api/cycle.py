"""One request and its answer, and the door from it to its connection.

The door is `scope["extensions"][DOOR]`:

    drop()          ends it without a byte: the answer to a poll about which nothing is known, because clients retry a broken
                    connection and take any status for the end (CLIENTS: PyODM, WebODM)
    answer()        sends a whole answer in one write
    body_socket()   lends the socket to who takes the rest of the body straight from it; meanwhile nothing is read here
    answer_socket() lends it to who writes a part of the answer's body straight into it, once all before is `flushed()`

Only plain sockets are lent: with TLS there is nothing that the kernel could move. While one is lent the application
awaits, so nothing else reads or writes; that the client has gone is still noticed (by a failing read or write, or here).
"""

import asyncio
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from services.proxy.core.headers import Header
from services.proxy.ports import Tap

DOOR: Final = "clusterodm.door"


class Cycle(RequestResponseCycle):
    """One request and its answer: uvicorn's, with the body in pieces and an answer in one."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**named)
        self._pieces: deque[bytes] = deque()
        self._end_told = False
        self.waiting_bytes = 0
        """Of the body: come, and not received yet."""

    def take(self, piece: bytes) -> None:
        """Add a piece of the body."""
        self._pieces.append(piece)
        self.waiting_bytes += len(piece)
        self.message_event.set()

    async def receive(self) -> ASGIReceiveEvent:
        """Wait for the next piece of the body, its end, or the client's."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        while not (self.disconnected or self.response_complete):
            if self._pieces or not (self.more_body or self._end_told):
                return self._next_piece()
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        return {"type": "http.disconnect"}

    def _next_piece(self) -> ASGIReceiveEvent:
        piece = self._pieces.popleft() if self._pieces else b""
        self.waiting_bytes -= len(piece)
        self._end_told = not (self.more_body or self._pieces)
        return {"type": "http.request", "body": piece, "more_body": not self._end_told}

    async def answer(self, status: int, headers: Sequence[Header], body: bytes, *, close: bool) -> None:
        """Send a whole answer in one write; the header lines are ours, so nothing in them is looked at."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.keep_alive = self.keep_alive and not close
        lines = [STATUS_LINE[status]]
        for name, value in (*self.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-length: %d\r\n\r\n" % len(body))
        if self.scope["method"] != "HEAD":
            lines.append(body)
        self.transport.write(b"".join(lines))
        self._end()

    def _end(self) -> None:
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class Lender(Protocol):
    """A connection that can be made to read nothing for a while."""

    def lend_body(self, cycle: Cycle) -> Tap | None:
        """Stop reading, when the rest of this request's body is what the socket holds next."""
        ...

    def skip_body(self, left_bytes: int) -> None:
        """Go on reading where somebody else has stopped."""
        ...


class Door:
    """The way from one request to its connection."""

    __slots__ = ("_cycle", "_wire")

    def __init__(self, wire: Lender, cycle: Cycle) -> None:
        self._wire = wire
        self._cycle = cycle

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._cycle.disconnected or self._cycle.transport.is_closing()

    def drop(self) -> None:
        """Close the connection now; what is not sent yet is not sent."""
        self._cycle.disconnected = True
        self._cycle.transport.abort()

    async def answer(self, status: int, headers: Sequence[Header], body: bytes, *, close: bool = False) -> None:
        """Send a whole answer."""
        await self._cycle.answer(status, headers, body, close=close)

    @contextmanager
    def body_socket(self) -> Iterator[Tap | None]:
        """Lend the socket to who takes the rest of the body from it; None: that cannot be done at this moment."""
        tap = None if self.gone else self._wire.lend_body(self._cycle)
        try:
            yield tap
        finally:
            if tap is not None:
                self._wire.skip_body(tap.left_bytes)

    async def flushed(self) -> None:
        """Wait until all that has been written is with the kernel, or the client has gone."""
        transport = self._cycle.transport
        if transport.get_write_buffer_size() and not self.gone:
            transport.set_write_buffer_limits(high=0)
            try:
                await self._cycle.flow.drain()
            finally:
                if not self.gone:
                    transport.set_write_buffer_limits()

    @contextmanager
    def answer_socket(self) -> Iterator[int | None]:
        """Lend the socket to who writes a part of the answer's body into it; None: something else is to be written first."""
        cycle = self._cycle
        free = not (self.gone or cycle.chunked_encoding or cycle.transport.get_write_buffer_size())
        descriptor = plain_socket(cycle.transport) if free else None
        paused_before = cycle.flow.read_paused
        if descriptor is not None:
            cycle.flow.pause_reading()
        try:
            yield descriptor
        finally:
            if descriptor is not None and not paused_before and not self.gone:
                cycle.flow.resume_reading()

    def sent(self, count_bytes: int) -> None:
        """Say how much of the announced length has been written into the socket."""
        self._cycle.expected_content_length -= count_bytes


def plain_socket(transport: asyncio.Transport) -> int | None:
    """Find the descriptor of a connection without TLS."""
    opened: socket.socket | None = transport.get_extra_info("socket")
    return None if opened is None or transport.get_extra_info("sslcontext") else opened.fileno()
