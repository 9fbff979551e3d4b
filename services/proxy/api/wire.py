"""What a connection may do: uvicorn's HTTP protocol with the limits it lacks, and a door for dropping a client.

    before a request    its head must be complete in time, in at most HEAD_LIMIT_BYTES (431); uvicorn itself waits for ever
    after an answer     a rest of the request's body that still comes must keep coming, else the connection is closed
    at any time         `Door.drop()` ends the connection without a byte: the answer to a poll about which nothing is known,
                        because clients retry a broken connection and take any status for the end (CLIENTS: PyODM, WebODM)

The door is in `scope["extensions"][DOOR]`. It is also where a relay that moves bytes inside the kernel would get the socket.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

DOOR: Final = "clusterodm.door"
HEAD_LIMIT_BYTES: Final = 64 * 1024
TOO_LARGE_BODY: Final = b'{"error":"Request Header Fields Too Large"}'


class Door:
    """Ends one request's connection."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._cycle.disconnected or self._cycle.transport.is_closing()

    def drop(self) -> None:
        """Close the connection now; what is not sent yet is not sent."""
        self._cycle.disconnected = True
        self._cycle.transport.abort()


class Wire(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, head_s: float, **named: Any) -> None:
        super().__init__(*args, **named)
        self._head_s = head_s
        """From the connection, or the first byte of a further request, to the end of its head."""
        self._head_alarm: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Give the first request its time."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the alarm."""
        super().connection_lost(exc)
        self._disarm()

    def data_received(self, data: bytes) -> None:
        """Parse, and count what is still head."""
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
                self._refuse_head()
        elif self._answered and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        """Expect a head."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._arm()

    def on_headers_complete(self) -> None:
        """Start the request, if its head is of a decent size."""
        self._in_head = False
        self._disarm()
        size_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        chosen = self.app
        if size_bytes > HEAD_LIMIT_BYTES:
            self.app = too_large
        try:
            super().on_headers_complete()
        finally:
            self.app = chosen

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.scope["extensions"] = {DOOR: Door(cycle)}  # type: ignore[dict-item] # an object, not ASGI's options
        super()._start_asgi_task(cycle, app)

    def _arm(self) -> None:
        self._disarm()
        self._head_alarm = self.loop.call_later(self._head_s, self._head_late)

    def _disarm(self) -> None:
        if self._head_alarm is not None:
            self._head_alarm.cancel()
            self._head_alarm = None

    def _head_late(self) -> None:
        """Close, unless an answer to an earlier request is under way."""
        if self._answered:
            self.transport.close()
        else:
            self._arm()

    @property
    def _answered(self) -> bool:
        """Whether no answer is under way."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _refuse_head(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(TOO_LARGE_BODY), TOO_LARGE_BODY)
        )
        self.transport.close()


async def too_large(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer a request whose head is too long."""
    del scope, receive
    headers: list[tuple[bytes, bytes]] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(TOO_LARGE_BODY)).encode()),
        (b"connection", b"close"),
    ]
    start: Any = {"type": "http.response.start", "status": 431, "headers": headers}
    body: Any = {"type": "http.response.body", "body": TOO_LARGE_BODY}
    await send(start)
    await send(body)
