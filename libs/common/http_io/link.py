"""One connection of the client: one request at a time, back-pressure, time limits, lending its socket. What it means: libs/common/http_io/client.py.

Each wait has one limit: for the whole head of an answer, for the next piece of its body, for the other side to take what it is sent.
When it has passed, the connection is closed, and whoever waits gets NodeFailed.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Final, cast

from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.http_io.origins import LATE, NOT_HTTP, ClientRequest
from clusterodm.libs.common.http_io.room import ROOM, WAIT_S
from clusterodm.libs.http1.bodies import Pieces
from clusterodm.libs.http1.client import AnswerEnds, Broken, ClientSide, Event, Response, ResponseData
from clusterodm.libs.http1.heads import ResponseHead
from clusterodm.libs.http1.space import SMALL_BYTES, Space

HIGH_WATER_BYTES: Final = SMALL_BYTES - 1
"""A piece that fills a read is passed on before the next is read."""
LEFT: Final = "closed the connection"


class Stale(NodeFailed):
    """A kept connection turned out to be closed; nothing of an answer has come."""


class NotAnAnswer(NodeFailed):
    """What came is no HTTP, no answer to what was asked, or two in one."""


class Link(asyncio.BufferedProtocol):
    """One connection, with at most one request under way."""

    SPACE: Final = Space()
    """Shared by all."""

    __slots__ = (
        "_core", "_full", "_heard", "_paused", "_pieces", "_trouble", "_used", "_wakers", "complete", "head",
        "idle_since_s", "loop", "lost", "name", "transport", "usual_body",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.idle_since_s = 0.0
        self.lost = False
        self.head: ResponseHead | None = None
        self.complete = True
        """Nothing of an answer is outstanding."""
        self._core = ClientSide()
        self._used = False
        """Whether it has carried a request before this one."""
        self._pieces = Pieces()
        self._paused = False
        self._full = False
        """The other side is behind with reading."""
        self._trouble = ""
        self._wakers: set[asyncio.Future[None]] = set()
        self._heard: Heard | None = None
        """Who is called, instead of woken, when the answer is there."""
        self.usual_body: bytes | None = None
        """The body of an answer with status 200 that was taken as a whole; then there is no head."""

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
        """Take what has been read; what comes unasked, or is no HTTP, ends the connection."""
        data = self.SPACE.taken(nbytes)
        if self.complete:
            self.close()
            return
        if self._heard is not None and (body := self._core.usual_body(data)) is not None:
            self._take_usual(self._heard, body)
            return
        self._do(*self._core.received(data))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say how an answer under way ends by that."""
        self.SPACE.readers_count -= 1
        self.lost = True
        if exc is None and not self.complete and not self._trouble:
            self._do(*self._core.ended())
        self._wake()

    def pause_writing(self) -> None:
        """Know that the other side is behind."""
        self._full = True

    def resume_writing(self) -> None:
        """Know that it has caught up."""
        self._full = False
        self._wake()

    def _take_usual(self, heard: "Heard", body: bytes) -> None:
        self.usual_body, self._heard = body, None
        self.complete = self._used = True
        heard(self)

    def _do(self, *events: Event) -> None:
        for event in events:
            match event:
                case ResponseData(piece):
                    self._pieces.add(piece)
                case Response(head):
                    self.head = head
                case AnswerEnds():
                    self.complete = True
                case Broken():
                    self._fail(LEFT if self.lost else NOT_HTTP)
        if len(self._pieces) > HIGH_WATER_BYTES:
            self._pause()

    # --- one request

    def begin(self, asked: ClientRequest) -> None:
        """Send a request, or its head. Raises NodeFailed when the connection is gone."""
        self._core.asked(head_only=asked.head_only)
        self.head = self.usual_body = None
        self.complete = False
        if self.lost:
            self._require_life()
        assert self.transport is not None  # noqa: S101 it is made before it is lent
        self.transport.write(asked.head)

    def ask(self, asked: ClientRequest, heard: "Heard") -> None:
        """Send a request whose answer nobody waits for. Raises NodeFailed when the connection is gone.

        `heard` is called once: when `content` can say what came of it, or that it has to be read piece by piece.
        """
        self.begin(asked)
        self._heard = heard

    def content(self, limit_bytes: int) -> bytes | None:
        """Take the whole body of the answer; None: there is more of it than is kept here at a time. Raises NodeFailed."""
        if self.usual_body is not None:
            if len(self.usual_body) > limit_bytes:
                self._require_size(len(self.usual_body), limit_bytes)
            return self.usual_body
        if not self.complete:
            self._require_life()
            return None
        self._used = True
        content = self._pieces.take()
        self._resume()
        self._require_size(len(content), limit_bytes)
        return content

    def give_up(self) -> None:
        """Wait no longer for an answer."""
        self._fail(LATE)

    async def send(self, data: bytes, limit_s: float) -> None:
        """Send a part of a body; returns when the other side keeps up. Raises NodeFailed."""
        self._require_life()
        assert self.transport is not None  # noqa: S101 it is made before it is lent
        self.transport.write(data)
        if self._full:
            await self._until(lambda: not self._full, limit_s, "does not take what it is sent")

    async def answered(self, limit_s: float) -> ResponseHead:
        """Wait for the whole head of the answer. Raises NodeFailed."""
        if self.head is None:
            await self._until(lambda: self.head is not None, limit_s, LATE)
        assert self.head is not None  # noqa: S101 that is what was waited for
        self._used = True
        return self.head

    async def next_chunk(self, silence_s: float) -> bytes:
        """Wait for more of the body; empty at its end. Raises NodeFailed."""
        if not self._pieces and not self.complete:
            await self._until(lambda: bool(self._pieces) or self.complete, silence_s, LATE)
        chunk = self._pieces.take()
        self._resume()
        return chunk

    async def read(self, limit_bytes: int, silence_s: float, until_s: float = math.inf) -> bytes:
        """Take the body as a whole, until a time of the loop's clock. Raises NodeFailed, for one that is longer too, and where all bodies have no room together (room.py)."""
        content = Pieces()
        async with ROOM.share() as share:
            while chunk := await self.next_chunk(min(silence_s, until_s - self.loop.time())):
                content.add(chunk)
                self._require_size(len(content), limit_bytes)
                await share.add(len(chunk), min(WAIT_S, until_s - self.loop.time()))
            return content.take()

    # --- its socket

    @property
    def left_bytes(self) -> int:
        """How much of a body of known length has not come yet."""
        return self._core.left_bytes

    def lend(self) -> int | None:
        """Stop reading and give the socket away, when the rest of a body is all that it holds; None: it does not."""
        opened = self.transport.get_extra_info("socket") if self.transport and not self.lost else None
        if opened is None or self.transport is None or self._pieces or not self.left_bytes:
            return None
        if self.transport.get_extra_info("sslcontext"):
            return None
        self._pause()
        descriptor: int = opened.fileno()
        return descriptor

    def skip(self, count_bytes: int) -> None:
        """Go on reading behind what somebody else has read."""
        self._do(*self._core.skipped(count_bytes))
        self._resume()

    # --- its end

    @property
    def idle(self) -> bool:
        """Whether it may carry another request."""
        return self._core.reusable and self.complete and not (self.lost or self._pieces or self._paused)

    def close(self) -> None:
        """End it at once."""
        self.lost = True
        if self.transport is not None:
            self.transport.abort()
        self._wake()

    def _fail(self, trouble: str) -> None:
        self._trouble = self._trouble or trouble
        self.close()

    def _require_life(self) -> None:
        if self.lost:
            stale = self._used and not self._core.touched and self._trouble in {"", LEFT}
            kind = NotAnAnswer if self._trouble == NOT_HTTP else Stale if stale else NodeFailed
            raise kind(f"{self.name} {self._trouble or LEFT}")

    def _require_size(self, size_bytes: int, limit_bytes: int) -> None:
        if size_bytes > limit_bytes:
            raise NodeFailed(f"{self.name} answered with too much: more than {limit_bytes} bytes")

    # --- waiting

    async def _until(self, holds: Callable[[], bool], limit_s: float, trouble: str) -> None:
        """Wait for something, so long in all. Raises NodeFailed; the connection is then closed."""
        alarm = self.loop.call_later(limit_s, self._fail, trouble)
        try:
            while not holds():
                self._require_life()
                waker = self.loop.create_future()
                self._wakers.add(waker)
                try:
                    await waker
                finally:
                    self._wakers.discard(waker)
        finally:
            alarm.cancel()

    def _wake(self) -> None:
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)
        if self._heard is not None and (self.complete or self.lost or self._paused):
            heard, self._heard = self._heard, None
            heard(self)

    def _pause(self) -> None:
        if not self._paused and self.transport and not self.lost:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self.transport and not self.lost:
            self._paused = False
            self.transport.resume_reading()


Heard = Callable[[Link], None]
