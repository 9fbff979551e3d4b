"""One TCP or TLS connection to a node, one request at a time: the parser's callbacks, the body's queue, back-pressure.

What belongs to one connection must live here; which connection is used for what is decided in adapters/upstream.py, whose
head explains the whole way, the ends of an answer included.
"""

import asyncio
from collections import deque
from typing import Final, cast

import httptools

from libs.common.errors import NodeFailed
from libs.http1.space import SMALL_BYTES, Space
from services.proxy.core.headers import Header, find

HIGH_WATER_BYTES: Final = SMALL_BYTES - 1
"""A piece that fills a read is passed on before the next is read."""
INFORMATIONAL_BELOW: Final = 200
BODILESS: Final = frozenset((204, 304))


class GoneWhileIdle(NodeFailed):
    """A kept connection turned out to be closed; nothing of an answer has come."""


class Connection(asyncio.BufferedProtocol):
    """One connection to a node, with at most one request under way."""

    SPACE: Final = Space()
    """Shared by all."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.transport: asyncio.Transport | None = None
        self.idle_since_s = 0.0
        self.lost = False
        self._used = False
        """Whether it has carried a request before this one."""
        self.status = 0
        self.headers: list[Header] = []
        self.head_complete = False
        self.complete = True
        """Nothing of an answer is outstanding."""
        self.reusable = False
        self._touched = False
        """A byte of the present answer has come."""
        self._parser: httptools.HttpResponseParser | None = None
        self._head_only = False
        self._framed = False
        self._left_bytes = 0
        """Of a body whose length is known: what has not come yet."""
        self._chunks: deque[bytes] = deque()
        self._queued_bytes = 0
        self._paused = False
        self._trouble = ""
        self._waiter: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        """Show the whole state in one line."""
        state = "lost" if self.lost else "idle" if self.complete else "body" if self.head_complete else "head"
        return f"Connection({self.name} {state} queued={self._queued_bytes} status={self.status})"

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.SPACE.readers_count += 1
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        del sizehint
        return self.SPACE.view()

    def buffer_updated(self, nbytes: int) -> None:
        """Parse; anything that comes unasked, or is no HTTP, ends the connection."""
        data = self.SPACE.taken(nbytes)
        if self._parser is None or self.complete:
            self.close()
            return
        self._touched = True
        if self._left_bytes:
            self._take_body(data)
        else:
            self._parse(data, self._parser)
        self._wake()

    def _parse(self, data: bytes, parser: httptools.HttpResponseParser) -> None:
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._trouble = "answered with something that is not HTTP"
            self.close()

    def _take_body(self, data: bytes) -> None:
        """Take what is certainly body; what follows it came unasked, and the connection is not used again."""
        if len(data) > self._left_bytes:
            self.reusable = False
            data = data[: self._left_bytes]
        self.on_body(data)
        self.complete = not self._left_bytes

    def connection_lost(self, error: Exception | None) -> None:
        """Say how an answer under way ends by that."""
        self.SPACE.readers_count -= 1
        self.lost = True
        if self.head_complete and not self.complete and not self._framed and error is None and not self._trouble:
            self.complete = True
        self._wake()

    # --- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Know how the body will end."""
        assert self._parser is not None  # noqa: S101 it is the one that calls
        self.status = self._parser.get_status_code()
        if self.status < INFORMATIONAL_BELOW:
            return
        coding = find(self.headers, b"transfer-encoding")
        length = find(self.headers, b"content-length")
        self._framed = coding is not None or length is not None
        self._left_bytes = int(length) if length and not coding and not self._head_only and self._has_body() else 0
        self.reusable = self._parser.should_keep_alive()
        self.head_complete = True
        if self._head_only:
            self.complete = True

    def _has_body(self) -> bool:
        return self.status not in BODILESS

    def on_body(self, data: bytes) -> None:
        """Queue, and stop reading when the reader is behind."""
        if self._head_only:
            self.reusable = False
            return
        self._left_bytes = max(0, self._left_bytes - len(data))
        self._chunks.append(data)
        self._queued_bytes += len(data)
        if self._queued_bytes > HIGH_WATER_BYTES:
            self._pause()

    def on_message_complete(self) -> None:
        """End the answer, unless it was only an informational one."""
        if not self.head_complete:
            self.headers = []
            return
        self.complete = True

    # --- what the pool and the reply call

    async def ask(self, request: bytes, *, head_only: bool, head_s: float) -> None:
        """Send a request and wait for the head of its answer. Raises NodeFailed; the connection is then closed."""
        self._parser = httptools.HttpResponseParser(self)
        self.status, self.headers, self._head_only = 0, [], head_only
        self.head_complete = self.complete = self.reusable = self._touched = self._framed = False
        self._left_bytes = 0
        try:
            self._require_life()
            assert self.transport is not None  # noqa: S101 it is made before it is lent
            self.transport.write(request)
            while not self.head_complete:
                self._require_life()
                await self._wait(head_s)
        except BaseException:
            self.close()
            raise
        self._used = True

    async def next_chunk(self, silence_s: float) -> bytes:
        """Wait for more of the body; empty at its end. Raises NodeFailed."""
        while not self._chunks:
            if self.complete:
                return b""
            self._require_life()
            await self._wait(silence_s)
        chunk = self._queued()
        self._resume()
        return chunk

    def lend(self) -> int | None:
        """Stop reading and give the socket away, when the rest of a body is all that it holds; None: it does not."""
        opened = self.transport.get_extra_info("socket") if self.transport and not self.lost else None
        if opened is None or self.transport is None or self._chunks or not self._left_bytes:
            return None
        if self.transport.get_extra_info("sslcontext"):
            return None
        self._pause()
        descriptor: int = opened.fileno()
        return descriptor

    @property
    def left_bytes(self) -> int:
        """How much of a body of known length has not come yet."""
        return self._left_bytes

    def skip(self, count_bytes: int) -> None:
        """Go on reading behind what somebody else has read."""
        self._left_bytes -= count_bytes
        self.complete = not self._left_bytes
        self._resume()

    def _queued(self) -> bytes:
        chunk = self._chunks.popleft() if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._queued_bytes = 0
        return chunk

    def _pause(self) -> None:
        if not self._paused and self.transport and not self.lost:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self.transport and not self.lost:
            self._paused = False
            self.transport.resume_reading()

    @property
    def idle(self) -> bool:
        """Whether it may carry another request."""
        return self.complete and self.reusable and not self.lost and not self._chunks and not self._paused

    def close(self) -> None:
        """End it at once."""
        self.lost = True
        if self.transport is not None:
            self.transport.abort()

    def _require_life(self) -> None:
        if not self.lost:
            return
        kind = GoneWhileIdle if self._used and not self._touched and not self._trouble else NodeFailed
        raise kind(f"{self.name} {self._trouble or 'closed the connection'}")

    async def _wait(self, limit_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        alarm = loop.call_later(limit_s, self._expire)
        try:
            await waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def _expire(self) -> None:
        self._trouble = "did not answer in time"
        self.close()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
