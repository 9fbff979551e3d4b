"""What a connection may do: uvicorn's HTTP protocol with the limits it lacks, and bodies that are not copied.

    before a request    its head must be complete in time, in at most `head_bytes` (431); uvicorn itself waits for ever
    a body              is kept in the pieces in which it came; one whose length is known goes past the HTTP parser, which
                        would copy it, and is given to the application as it came from the socket
    after an answer     a rest of the request's body that still comes must keep coming, else the connection is closed

A connection comes here from the porch (porch.py), with the first request that is not answered there, and stays. From a
request the way back to its connection is the door (cycle.py).
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.proxy.api.cycle import DOOR, Cycle, Door, plain_socket
from services.proxy.core.headers import find
from services.proxy.core.space import SMALL_BYTES, Space
from services.proxy.ports import Tap

BODY_HIGH_WATER_BYTES: Final = SMALL_BYTES - 1
"""A piece that fills a read is taken by the application before the next is read."""
TOO_LARGE_BODY: Final = b'{"error":"Request Header Fields Too Large"}'


@dataclass
class Bearing:
    """What all connections share."""

    head_s: float
    """From the connection, or the first byte of a further request, to the end of its head."""
    head_bytes: int
    connections_count: int
    open_count: int = 0


class Wire(HttpToolsProtocol):
    """One connection."""

    cycle: Cycle

    def __init__(self, *args: Any, bearing: Bearing, **named: Any) -> None:
        super().__init__(*args, **named)
        self._bearing = bearing
        self._head_alarm: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._in_head = True
        self._quiet_alarm: asyncio.TimerHandle | None = None
        self._quiet_since_s = 0.0
        """When something last came, or the last answer was complete."""
        self._body_left_bytes = 0
        """Of a body of known length: what has not come yet."""
        self._past_parser = False
        """What comes next is body, and does not go through the parser."""

    # --- what the event loop calls

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the alarm."""
        super().connection_lost(exc)
        self._bearing.open_count -= 1
        self._disarm()
        if self._quiet_alarm is not None:
            self._quiet_alarm.cancel()

    def data_received(self, data: bytes) -> None:
        """Take a body as it comes, parse the rest, and watch what is late or too long."""
        self._quiet_since_s = self.loop.time()
        if self._past_parser:
            data = self._take_body(data)
        if data:
            super().data_received(data)
            self._past_parser = self._body_left_bytes > 0
        if self._in_head:
            self._watch_head(len(data))

    def _take_body(self, data: bytes) -> bytes:
        """Take what belongs to the body; what follows it is given back."""
        left_bytes = self._body_left_bytes
        piece, rest = (data, b"") if len(data) <= left_bytes else (data[:left_bytes], data[left_bytes:])
        self.on_body(piece)
        if not self._body_left_bytes:
            self._body_is_over()
        return rest

    def _body_is_over(self) -> None:
        """Begin anew with the next request: the parser still waits for what went past it."""
        self._past_parser = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
        self.on_message_complete()

    # --- what the parser calls

    def on_message_begin(self) -> None:
        """Expect a head."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head, self._head_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Start the request, if its head is of a decent size; one that comes too early waits for its turn."""
        self._in_head = False
        self._disarm()
        size_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        app = too_large if size_bytes > self._bearing.head_bytes else self.app
        before, cycle = cast("Cycle | None", self.cycle), self._begin()
        self.cycle = cycle
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))

    def _begin(self) -> Cycle:
        version = self.parser.get_http_version()
        self._body_left_bytes = self._length()
        cycle = Cycle(
            scope=self._scope(version),
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        cycle.scope["extensions"] = {DOOR: Door(self, cycle)}  # type: ignore[dict-item] # an object, not ASGI's options
        return cycle

    def _length(self) -> int:
        """Say how long the body is; 0 when it is not known, or not simply what follows. The parser has checked it."""
        length = find(self.headers, b"content-length")
        return 0 if length is None or self.parser.should_upgrade() else int(length)

    def _scope(self, version: str) -> Any:
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": self.parser.get_method().decode("ascii"),
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self.headers,
            "state": {},
        }

    def on_body(self, body: bytes) -> None:
        """Keep a piece as it is, and stop reading while the application is behind."""
        self._body_left_bytes = max(0, self._body_left_bytes - len(body))
        if self.cycle.response_complete:
            return
        self.cycle.take(body)
        if self.cycle.waiting_bytes > BODY_HIGH_WATER_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """Say that the body is over."""
        self._body_left_bytes = 0
        self.cycle.more_body = False
        self.cycle.message_event.set()

    # --- what the door calls

    def lend_body(self, cycle: Cycle) -> Tap | None:
        """Stop reading, when the rest of this request's body is what the socket holds next."""
        descriptor = plain_socket(self.transport)
        if descriptor is None or cycle is not self.cycle or cycle.waiting_bytes or not self._past_parser:
            return None
        self.flow.pause_reading()
        return Tap(descriptor, self._body_left_bytes)

    def skip_body(self, left_bytes: int) -> None:
        """Go on reading where somebody else has stopped; the application's next `receive()` resumes it."""
        self._body_left_bytes = left_bytes
        if not left_bytes:
            self._body_is_over()

    # --- connections that are kept

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for one. One timer for all of a connection's requests is enough."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._quiet_since_s = self.loop.time()
        if self._quiet_alarm is None:
            self._quiet_alarm = self.loop.call_later(self.timeout_keep_alive, self._look_for_quiet)

    def _look_for_quiet(self) -> None:
        """Close when nothing has come for too long; while an answer is under way that is no fault."""
        self._quiet_alarm = None
        if not self._answered or self.transport.is_closing():
            return
        left_s = self._quiet_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s <= 0:
            self.transport.close()
        else:
            self._quiet_alarm = self.loop.call_later(left_s, self._look_for_quiet)

    # --- time and size of heads

    def _watch_head(self, count_bytes: int) -> None:
        """Limit a head that did not come in one piece."""
        self._head_bytes += count_bytes
        if self._head_bytes > self._bearing.head_bytes and not self.transport.is_closing():
            self._refuse_head()
        elif self._head_alarm is None and not self.transport.is_closing():
            self._arm()

    def _arm(self) -> None:
        self._disarm()
        self._head_alarm = self.loop.call_later(self._bearing.head_s, self._head_late)

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
        cycle = cast("Cycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _refuse_head(self) -> None:
        self.transport.write(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(TOO_LARGE_BODY), TOO_LARGE_BODY)
        )
        self.transport.close()


class Reading(asyncio.BufferedProtocol):
    """What the event loop sees of a wire: bodies are read in pieces of a size that fits their number (core/space.py)."""

    SPACE: Final = Space()
    """Shared by all."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.SPACE.readers_count += 1
        self.pause_writing = wire.pause_writing  # type: ignore[method-assign]
        self.resume_writing = wire.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        del sizehint
        return self.SPACE.view()

    def buffer_updated(self, nbytes: int) -> None:
        """Pass on what has been read."""
        self._wire.data_received(self.SPACE.taken(nbytes))

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave."""
        self.SPACE.readers_count -= 1
        self._wire.connection_lost(exc)


async def too_large(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Answer a request whose head is too long."""
    del receive, send
    extensions: Any = cast("Any", scope)["extensions"]
    await extensions[DOOR].answer(431, [(b"content-type", b"application/json")], TOO_LARGE_BODY, close=True)
