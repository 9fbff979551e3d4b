"""The client's connections: the shell around libs.http1.client. One client for everything that asks over HTTP without a thread.

    Client        a pool for each origin
    Pool          its connections: which is kept, which is opened, who waits for one
    Link          one TCP or TLS connection, one request at a time: back-pressure, time limits, lending its socket

One request, in order:
  1. take an idle connection (the one used last: it is the least likely to have been closed), else open one; where the origin has
     its limit already, wait in line. All of it within `connect_s`, else NodeUnreachable: nobody has seen the request.
  2. write the request and wait `head_s` for the whole head of the answer: one clock, however it drips. A kept connection that
     closes before the first byte of an answer was closed while it was idle: the request is sent once more on a new one. So only what
     may be asked twice uses kept connections (`repeatable`); everything else has one of its own.
  3. hand the body on as it comes, `silence_s` at most between two pieces. With more than HIGH_WATER_BYTES waiting the
     socket is no longer read, until the reader has caught up.
  4. leaving the context with the answer complete gives the connection back; leaving it at any other moment (client gone,
     time is up, cancelled) closes it, so that the other side stops sending.

A connection that ends before its answer does is NodeFailed: what has been relayed so far is then not to be taken for a whole. Idle connections
are closed after IDLE_S, before the other side does it (Node.js: 5 s). Tokens are in the target and nowhere else: no error names
the target.
"""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar, cast

from libs.common.errors import NodeFailed, NodeUnreachable
from libs.http1.client import AnswerEnds, Broken, ClientSide, Data, Event, Response
from libs.http1.heads import ResponseHead
from libs.http1.space import SMALL_BYTES, Space

Value = TypeVar("Value")

IDLE_S: Final = 4.0
HIGH_WATER_BYTES: Final = SMALL_BYTES - 1
"""A piece that fills a read is passed on before the next is read."""
POOLS_TIDIED_AT_COUNT: Final = 256
"""With so many pools, those of origins that nobody talks to any more are forgotten."""
LATE: Final = "did not answer in time"
LEFT: Final = "closed the connection"
NOT_HTTP: Final = "answered with something that is not HTTP"


class Origin(NamedTuple):
    """Where a server is."""

    host: str
    port: int
    tls: bool


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take."""

    connect_s: float
    head_s: float
    """From the request to the end of the head of the answer."""
    silence_s: float
    """Between two pieces of the body."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it goes over the wire."""

    head: bytes
    """All of it, where it has no body or brings it along."""
    head_only: bool = False
    """It is a HEAD."""
    repeatable: bool = True
    """It may be sent twice, so it may go over a kept connection."""


class Stale(NodeFailed):
    """A kept connection turned out to be closed; nothing of an answer has come."""


class Link(asyncio.BufferedProtocol):
    """One connection, with at most one request under way."""

    SPACE: Final = Space()
    """Shared by all."""

    __slots__ = (
        "_core", "_full", "_paused", "_pieces", "_queued_bytes", "_trouble", "_used", "_wakers", "complete", "head", "idle_since_s",
        "loop", "lost", "name", "transport",
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
        self._pieces: deque[bytes] = deque()
        self._queued_bytes = 0
        self._paused = False
        self._full = False
        """The other side is behind with reading."""
        self._trouble = ""
        self._wakers: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        """Show the whole state in one line."""
        state = "lost" if self.lost else "idle" if self.complete else "body" if self.head else "head"
        return f"Link({self.name} {state} queued={self._queued_bytes})"

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

    def _do(self, *events: Event) -> None:
        for event in events:
            match event:
                case Data(piece):
                    self._pieces.append(piece)
                    self._queued_bytes += len(piece)
                case Response(head):
                    self.head = head
                case AnswerEnds():
                    self.complete = True
                case Broken():
                    self._fail(LEFT if self.lost else NOT_HTTP)
        if self._queued_bytes > HIGH_WATER_BYTES:
            self._pause()

    # --- one request

    def begin(self, asked: Asked) -> None:
        """Send a request, or its head. Raises NodeFailed when the connection is gone."""
        self._core.asked(head_only=asked.head_only)
        self.head, self.complete = None, False
        self._require_life()
        assert self.transport is not None  # noqa: S101 it is made before it is lent
        self.transport.write(asked.head)

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
        chunk = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._queued_bytes = 0
        self._resume()
        return chunk

    async def read(self, limit_bytes: int, silence_s: float) -> bytes:
        """Take the body as a whole. Raises NodeFailed, for one that is longer too."""
        parts: list[bytes] = []
        size_bytes = 0
        while chunk := await self.next_chunk(silence_s):
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise NodeFailed(f"{self.name} answered with too much: more than {limit_bytes} bytes")
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

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
            kind = Stale if self._used and not self._core.touched and self._trouble in {"", LEFT} else NodeFailed
            raise kind(f"{self.name} {self._trouble or LEFT}")

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

    def _pause(self) -> None:
        if not self._paused and self.transport and not self.lost:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self.transport and not self.lost:
            self._paused = False
            self.transport.resume_reading()


class Pool:
    """The connections to one origin."""

    def __init__(
        self, origin: Origin, name: str, limit_count: int, idle_s: float, tls: Callable[[], ssl.SSLContext]
    ) -> None:
        self._idle_s = idle_s
        self._origin = origin
        self._name = name
        self._tls = tls
        self._limit_count = limit_count
        self._at_work_count = 0
        self._idle: list[Link] = []
        """The one used last at the end."""
        self._alarm: asyncio.TimerHandle | None = None
        """For the one that is idle the longest: one timer for all costs nothing per request."""
        self._room = asyncio.Semaphore(limit_count)

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"Pool({self._name} idle={len(self._idle)} at_work={self._at_work_count})"

    @property
    def unused(self) -> bool:
        """Whether nothing is open."""
        return not self._idle and not self._at_work_count

    async def take(self, asked: Asked, patience: Patience) -> Link:
        """Lend a connection that has read the head of the answer; it is to be given back."""
        if self._room.locked():
            await within(self._room.acquire(), patience.connect_s, f"{self._name} has too many connections")
        else:
            await self._room.acquire()
        self._at_work_count += 1
        try:
            return await self._asked(asked, patience)
        except BaseException:
            self._leave()
            raise

    def give_back(self, link: Link) -> None:
        """Keep a connection for the next request, or close it."""
        self._leave()
        if not link.idle:
            link.close()
            return
        loop = asyncio.get_running_loop()
        link.idle_since_s = loop.time()
        self._idle.append(link)
        if self._alarm is None:
            self._alarm = loop.call_later(self._idle_s, self._retire)

    def close(self) -> None:
        """Close what is idle."""
        if self._alarm is not None:
            self._alarm.cancel()
        for link in self._idle:
            link.close()
        self._idle.clear()

    def _leave(self) -> None:
        self._at_work_count -= 1
        self._room.release()

    async def _asked(self, asked: Asked, patience: Patience) -> Link:
        while asked.repeatable and (kept := self._take_idle()):
            try:
                return await self._try(kept, asked, patience)
            except Stale:
                continue
        return await self._try(await self._open(patience.connect_s), asked, patience)

    async def _try(self, link: Link, asked: Asked, patience: Patience) -> Link:
        try:
            link.begin(asked)
            await link.answered(patience.head_s)
        except BaseException:
            link.close()
            raise
        return link

    def _take_idle(self) -> Link | None:
        too_old_s = asyncio.get_running_loop().time() - self._idle_s
        while self._idle:
            link = self._idle.pop()
            if link.idle_since_s <= too_old_s:
                link.close()
            elif not link.lost:
                return link
        return None

    def _retire(self) -> None:
        """Close what has been idle for too long, and come again for the next."""
        loop = asyncio.get_running_loop()
        self._alarm = None
        too_old_s = loop.time() - self._idle_s
        for link in self._idle:
            if link.idle_since_s <= too_old_s:
                link.close()
        self._idle = [link for link in self._idle if not link.lost]
        if self._idle:
            self._alarm = loop.call_later(self._idle[0].idle_since_s - too_old_s, self._retire)

    async def _open(self, limit_s: float) -> Link:
        return await connect(self._origin, self._name, limit_s, self._tls() if self._origin.tls else None)


class Asking:
    """One request under way: an async context manager, written out because this is the hottest of all paths."""

    __slots__ = ("_asked", "_link", "_patience", "_pool")

    def __init__(self, pool: Pool, asked: Asked, patience: Patience) -> None:
        self._pool = pool
        self._asked = asked
        self._patience = patience
        self._link: Link | None = None

    async def __aenter__(self) -> Link:
        """Ask, and wait for the head of the answer."""
        self._link = await self._pool.take(self._asked, self._patience)
        return self._link

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back, or close it when the answer is not complete."""
        if self._link is not None:
            self._pool.give_back(self._link)


class Client:
    """All pools of one kind of traffic. An async context manager."""

    def __init__(self, limit_count: int, idle_s: float = IDLE_S) -> None:
        self._limit_count = limit_count
        """Connections to one origin at the same time."""
        self._idle_s = idle_s
        self._tidied_at_count = POOLS_TIDIED_AT_COUNT
        self._pools: dict[tuple[Origin, str], Pool] = {}
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        """Show how many pools there are."""
        return f"Client(pools={len(self._pools)})"

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is idle."""
        for pool in self._pools.values():
            pool.close()

    def ask(self, origin: Origin, name: str, asked: Asked, patience: Patience) -> Asking:
        """Send one request; the answer lives as long as the context. `name`: what errors call the other side."""
        return Asking(self._pool(origin, name), asked, patience)

    async def open(self, origin: Origin, name: str, limit_s: float) -> Link:
        """Open a connection for a request whose body is sent piece by piece; to be closed by who has it. Raises NodeUnreachable."""
        return await connect(origin, name, limit_s, self._tls() if origin.tls else None)

    def _pool(self, origin: Origin, name: str) -> Pool:
        pool = self._pools.get((origin, name))
        if pool is None:
            if len(self._pools) >= self._tidied_at_count:
                self._pools = {key: kept for key, kept in self._pools.items() if not kept.unused}
                self._tidied_at_count = max(POOLS_TIDIED_AT_COUNT, 2 * len(self._pools))
            pool = self._pools[origin, name] = Pool(origin, name, self._limit_count, self._idle_s, self._tls)
        return pool

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


async def connect(origin: Origin, name: str, limit_s: float, tls: ssl.SSLContext | None) -> Link:
    """Open a connection. Raises NodeUnreachable."""
    opening = asyncio.get_running_loop().create_connection(lambda: Link(name), origin.host, origin.port, ssl=tls)
    try:
        _, link = await within(opening, limit_s, f"{name} cannot be reached (timed out)")
    except (OSError, UnicodeError) as error:
        raise NodeUnreachable(f"{name} cannot be reached ({in_words(error)})") from None
    return link


async def within(work: Awaitable[Value], limit_s: float, complaint: str) -> Value:
    """Await something that must be done before a request can go out. Raises NodeUnreachable."""
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError:
        raise NodeUnreachable(complaint) from None


def in_words(error: Exception) -> str:
    """Say why no connection came about."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return type(error).__name__
