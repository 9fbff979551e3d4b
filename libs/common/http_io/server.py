"""The server's connections: the shell around clusterodm.libs.http1.server. One protocol class, for uvicorn's public `http=` setting.

    socket ─▶ Connection ─▶ EarlyAnswers (plain ones, from their bytes)      ─▶ answer
                        └─▶ ServerSide (all of HTTP) ─▶ Cycle ─▶ ASGI    ─▶ answer

Most connections of clients carry one poll and nothing else (PyODM opens one for each), and for that a parser, a cycle and a task cost several times what the
answer does; they cost a small photo as much as its disk. So a request is shown to the fast paths first, as its bytes; what they do not take goes the usual way, which
knows all of HTTP, and so does, a moment later, a request whose body does not come. It is an answer's turn when the one before it is out, on either way.

Reading stops while any of four reasons holds: something has come before its turn; the application is behind with a body; the
socket is lent; the client does not read what it is answered. Then a connection holds one read of its client at most.

Each connection has a time by which something must have happened (`until_s`; ServerSide says when and why, Connections looks).
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import Any, Final

from uvicorn.server import ServerState

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE, RequestCycle, ResponseContext
from clusterodm.libs.common.http_io.lending import LentSocket
from clusterodm.libs.common.http_io.scope import App, Scope, connection_scope, request_scope
from clusterodm.libs.common.http_io.sharing import USUAL_BYTES, Connections, EarlyAnswers, EarlyRequest, refusal
from clusterodm.libs.http1.heads import RequestHead
from clusterodm.libs.http1.lines import BadMessage, Header
from clusterodm.libs.http1.server import (
    NEVER_S,
    BodyEnds,
    Close,
    Event,
    HalfClose,
    ProtocolRefusal,
    RequestBegun,
    RequestData,
    ServerSide,
    ServerSideState,
)
from clusterodm.libs.http1.space import MANY_COUNT, SMALL_BYTES, Space

FIRST_READ_BYTES: Final = 16 * 1024
"""Of a hundred uploads that begin at the same moment, no more than their heads is held."""
CROWD_READ_BYTES: Final = 2048
"""Of the same among more than MANY_COUNT connections. A poll is shorter."""
BODY_S: Final = 0.5
"""For the body of a plain request; then the usual way waits for it."""
BODY_HIGH_WATER_BYTES: Final = SMALL_BYTES - 1
"""A piece that fills a read is taken by the application before the next is read."""
EARLY, BEHIND, LENT, FULL = 1, 2, 4, 8
"""Why nothing is read."""


class Connection(asyncio.BufferedProtocol):
    """One connection of a client."""

    FIRST: Final = memoryview(bytearray(FIRST_READ_BYTES))
    CROWDED: Final = FIRST[:CROWD_READ_BYTES]
    SPACE: Final = Space(MANY_COUNT)
    """Shared by all: what has been read is taken out before the next read."""

    __slots__ = (
        "_app", "_asked_s", "_body", "_core", "_cycle", "_data", "_early", "_fast", "_held", "_keeps_more", "_leaving", "_made", "_open", "_owed", "_plain",
        "_scope", "_shared", "_state", "_unsent_bytes", "_writers", "full", "loop", "transport", "until_s",
    )  # fmt: skip

    def __init__(
        self,
        *,
        shared: Connections,
        app: App,
        server_state: ServerState,
        made: Callable[[], None] | None = None,
        **named: Any,
    ) -> None:
        del named  # uvicorn's configuration
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.until_s = 0.0
        """When it is aborted, unless something happens."""
        self.full = False  # the client is behind with reading
        self._shared = shared
        self._made = made  # to be called when there is a connection: its handshake is over
        self._app = app
        self._state = server_state
        self._open: set[Any] = server_state.connections  # uvicorn has types of its own for them
        self._fast: EarlyAnswers[Any] | None = None  # who answers the plain request that is under way
        self._plain: EarlyRequest | None = None  # what that has read; None: none is under way
        self._body: bytearray | None = None  # what has come of it while the rest of its body is to come
        self._data = b""  # all of it
        self._asked_s = 0.0  # when it came
        self._early = b""  # what has come behind it
        self._core: ServerSide | None = None  # made for the first request that is not plain
        self._cycle: RequestCycle | None = None
        self._scope: Scope = {}  # what all scopes of this connection have in common
        self._held = 0  # why nothing is read
        self._owed: bool | None = None
        """An answer is complete, and its successor waits until the client has read: whether the connection is kept."""
        self._keeps_more = False  # it keeps more than is usual, and the others know
        self._leaving = False  # the server stops: the answer under way is the last
        self._unsent_bytes = 0  # what the client had not read when its time was up before
        self._writers: set[asyncio.Future[None]] | None = None  # who waits for the client to read

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the first request its time; close one connection too many."""
        self.transport = transport  # type: ignore[assignment] # what is listened on is a stream
        if self._made is not None:
            self._made()
        if self._shared.wants_addresses:
            self._scope = connection_scope(self.transport)
        if not self._shared.admits(self, self._origin):
            self.transport.abort()
            return
        self.until_s = self.loop.time() + self._shared.limits.head_s
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Be gone; an answer that still comes finds nobody."""
        del exc
        self._shared.forget(self)
        self._open.discard(self)
        self._early = b""
        if self._body is not None:
            self._hand_on(self._body)
        if self._core is not None:
            self.SPACE.readers_count -= 1
        self._let_go()
        self._let_write()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        del sizehint
        if self._core is not None or self._body is not None:
            return self.SPACE.view()
        return self.FIRST if len(self._shared.present) <= MANY_COUNT else self.CROWDED

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has been read."""
        first = self._core is None and self._body is None
        self._hear(bytes(self.FIRST[:nbytes]) if first else self.SPACE.taken(nbytes))

    def pause_writing(self) -> None:
        """Take no more requests from who does not read the answers."""
        self.full = True
        self._shared.falls_behind(self, self.transport)
        if self._plain is None and (self._core is None or self._core.state is ServerSideState.IDLE):
            self._hold(FULL)
            self.until_s = self.loop.time() + self._shared.limits.keep_alive_s

    def resume_writing(self) -> None:
        """Go on."""
        self.full = False
        self._shared.catches_up(self)
        self._let_write()
        self._release(FULL)
        if self._owed is not None:
            keeps, self._owed = self._owed, None
            self._go_on(keeps=keeps)
        elif self._plain is None and self._early:
            early, self._early = self._early, b""
            self._keep(0, is_unsaid=False)
            self._release(EARLY)
            self._hear(early)

    # --- what uvicorn calls

    def shutdown(self) -> None:
        """Come to an end: when the answer under way is out, or now."""
        self._leaving = True
        if self._plain is None and self._cycle is None and not self.transport.is_closing():
            self.transport.close()

    def expire(self, now_s: float) -> None:
        """Be aborted, unless the client goes on reading what it was sent; one that has read all of it is told that this was the end."""
        if self._body is not None:
            self._hand_on(self._body)
            return
        unsent_bytes = self.transport.get_write_buffer_size()
        if not unsent_bytes and self._lingers and not self.transport.is_closing():
            self._close()
            return
        if unsent_bytes in {0, self._unsent_bytes}:
            self.transport.abort()
            return
        self._unsent_bytes = unsent_bytes
        self.until_s = now_s + self._shared.limits.keep_alive_s

    def give_way(self) -> None:
        """Be aborted: another connection has its place, and this one waits for a request."""
        self.transport.abort()

    @property
    def _lingers(self) -> bool:
        """Whether all has been said, and the client has its time to read it."""
        return self._core is not None and self._core.state is ServerSideState.LINGER

    # --- requests

    def _hear(self, data: bytes) -> None:
        """Answer one request at a time."""
        if self._body is not None:
            self._body += data
            self._answer_whole(self._body)
        elif self._plain is not None:
            self._put_by(data)
        elif not ((self._core is None or self._core.state is ServerSideState.IDLE) and self._begin_plain(data)):
            self._feed(data)

    def _begin_plain(self, data: bytes) -> bool:
        """Answer a plain request, if this is one."""
        for fast in self._shared.fast:
            if (plain := fast.read(data)) is not None:
                self._fast, self._plain, self._asked_s = fast, plain, perf_counter()
                self._shared.begins(self)
                self._answer_whole(data)
                return True
        return False

    def _answer_whole(self, data: bytes | bytearray) -> None:
        """Answer a plain request once all of it has come."""
        fast, plain = self._fast, self._plain
        size_bytes = plain.size_bytes if plain else 0
        if len(data) < size_bytes:
            if self._body is None:
                self._body, self.until_s = bytearray(data), self.loop.time() + BODY_S
            return
        if len(data) > size_bytes:
            self._put_by(bytes(data[size_bytes:]))
        self._body, self._data, self.until_s = None, bytes(data[:size_bytes]), NEVER_S
        if fast is not None and (work := fast.answer(plain, self._data, self._take)):
            self._spawn(work)

    def _put_by(self, data: bytes) -> None:
        """Keep what has come before its turn."""
        self._early += data
        self._hold(EARLY)
        self._keep(len(self._early), is_unsaid=False)

    def _hand_on(self, came: bytearray) -> None:
        """Let all of HTTP see a plain request whose body is still to come."""
        if self._fast is not None:
            self._fast.forget(self._plain)
        self._fast = self._plain = self._body = None
        self._feed(bytes(came))

    def _take(self, content: bytes | None, behind: Coroutine[Any, Any, None] | None = None) -> None:
        """Send the answer to a plain request. One whose client has gone is counted all the same: it was carried out."""
        if behind is not None:
            self._spawn(behind)
        fast, plain, data, early = self._fast, self._plain, self._data, self._early
        self._fast = self._plain = None
        self._data = self._early = b""
        self._keep(0, is_unsaid=False)
        self._release(EARLY)
        gone = self.transport.is_closing()
        if content is None or fast is None or plain is None:
            if not gone:
                self._feed(data + early)
            return
        keeps, seconds = plain.keeps and not self._leaving, perf_counter() - self._asked_s
        if not gone:
            head = self._shared.head(self._state.default_headers, keeps=keeps)
            self.transport.write(b"%s%d\r\n\r\n%s" % (head, len(content), content))
        fast.count(plain, seconds, len(content))
        if self._shared.is_logged:
            self._shared.log_plain(self._origin, plain, data, len(content), seconds)
        if not gone and keeps:
            self._rest(early)
        elif not gone:
            self._leave(early)

    def _leave(self, early: bytes) -> None:
        """Close behind the last answer; what lies unread in a socket that is closed might cost the client that answer."""
        if early:
            self._do(self._http.refused(self.loop.time()))
        else:
            self._close()

    def _rest(self, early: bytes) -> None:
        """Wait for the next request, or answer the one that has come already."""
        self._shared.rests(self)
        self.until_s = self.loop.time() + self._shared.limits.keep_alive_s
        if self._core is not None:
            self._core.until_s = self.until_s
        if self.full:
            self._hold(FULL)
        if early and self.full:
            self._put_by(early)
        elif early:
            self._hear(early)

    def _feed(self, data: bytes) -> None:
        """Let all of HTTP see it."""
        self._do(self._http.received(data, self.loop.time()))

    @property
    def _http(self) -> ServerSide:
        """All of HTTP, from the first request on that needs it."""
        if self._core is None:
            self._core = ServerSide(self._shared.limits, self.loop.time())
            self.SPACE.readers_count += 1
        return self._core

    def _do(self, events: Sequence[Event]) -> None:
        for event in events:
            self._do_one(event)
        core = self._core
        if core is not None and not self.transport.is_closing():
            self.until_s = core.until_s
            self._hold(EARLY) if core.early else self._release(EARLY)
            if core.state is ServerSideState.BODY and self._cycle is not None and self._cycle.is_left:
                self._hold(BEHIND)
            self._keep(core.kept_bytes, is_unsaid=core.state is ServerSideState.HEAD)

    def _keep(self, kept_bytes: int, *, is_unsaid: bool) -> None:
        """Tell what is kept of heads and of what came early, where it is more than usual, or was."""
        if kept_bytes > USUAL_BYTES or self._keeps_more:
            self._keeps_more = self._shared.keeps(self, kept_bytes, is_unsaid=is_unsaid)

    def _do_one(self, event: Event) -> None:
        match event:
            case RequestData(piece):
                self._take_body(piece)
            case BodyEnds() if self._cycle is not None:
                self._cycle.end_body()
            case RequestBegun(head):
                self._begin(head)
            case ProtocolRefusal(bad):
                self._refuse(bad)
            case HalfClose():
                self._half_close()
            case Close():
                self._close()

    def _take_body(self, piece: bytes) -> None:
        cycle = self._cycle
        if cycle is not None and piece:
            cycle.take(piece)
            if cycle.waiting_bytes > max(BODY_HIGH_WATER_BYTES, cycle.low_water_bytes):
                self._hold(BEHIND)

    @property
    def _origin(self) -> str:
        """The address of the client, where somebody wants to hear it. It is asked for at once: over TLS who has gone has none any more."""
        client = self._scope.get("client")
        return str(client[0]) if client else "-"

    def _begin(self, head: RequestHead) -> None:
        self._shared.begins(self)
        if self._shared.heard is not None:
            self._shared.heard(self._origin, head.target)
        scope = self._scope_of(head)
        keeps = head.keeps and not self._leaving
        asked = ResponseContext(
            head.method == "HEAD", keeps=keeps, may_chunk=head.version == "1.1", awaits_continue=head.awaits_continue
        )
        self._cycle = cycle = RequestCycle(self, asked)
        scope["extensions"] = {REQUEST_CYCLE: cycle}
        self._spawn(cycle.run(self._app, scope))

    def _scope_of(self, head: RequestHead) -> Scope:
        self._scope = self._scope or connection_scope(self.transport)
        return request_scope(self._scope, head)

    def _refuse(self, bad: BadMessage) -> None:
        """Say what is wrong, unless an answer has begun."""
        self._shared.mention(bad, self.loop.time())
        cycle = self._cycle
        self._let_go()
        if cycle is not None and cycle.started and not cycle.complete:
            self.transport.abort()
            return
        self.transport.write(refusal(bad, self.lines))
        if self._core is not None:
            self._do(self._core.refused(self.loop.time()))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._state.tasks.add(task)
        task.add_done_callback(self._state.tasks.discard)

    def _let_go(self) -> None:
        """Tell the request under way that nobody waits for its answer."""
        cycle, self._cycle = self._cycle, None
        if cycle is not None:
            cycle.disconnect()

    # --- the end of an answer, and of the connection

    def over(self, cycle: RequestCycle, *, keeps: bool) -> None:
        """Go on behind an answer: with the next request, when the client has read this one."""
        if cycle is not self._cycle:
            return
        self._cycle = None
        self._state.total_requests += 1
        self._release(BEHIND)
        keeps = keeps and not self._leaving
        if self.full and keeps:
            self._owed = keeps
            self._hold(FULL)
            self.until_s = self.loop.time() + self._shared.limits.keep_alive_s
        else:
            self._go_on(keeps=keeps)

    def _go_on(self, *, keeps: bool) -> None:
        if self._core is not None and not self.transport.is_closing():
            if keeps:
                self._shared.rests(self)
            self._do(self._core.answered(self.loop.time(), keeps=keeps))

    def _half_close(self) -> None:
        """Say that this was all. Where that cannot be said (TLS) the answer has said it, and who reads it closes."""
        if self.transport.can_write_eof():
            with suppress(OSError):  # a client that has just gone, unheard yet, needs not be told
                self.transport.write_eof()
        self._release(BEHIND | EARLY | FULL)

    def _close(self) -> None:
        """Close once all is sent; a client that does not read it has its time for that."""
        self.until_s = self.loop.time() + self._shared.limits.linger_s
        self._unsent_bytes = 0
        self.transport.close()

    # --- what cycles call

    @property
    def lines(self) -> Sequence[Header]:
        """The lines of every head."""
        return self._state.default_headers

    @property
    def socket_number(self) -> int | None:
        """The descriptor of a connection without TLS."""
        opened: socket.socket | None = self.transport.get_extra_info("socket")
        return None if opened is None or self.transport.get_extra_info("sslcontext") else opened.fileno()

    def wanted(self) -> None:
        """Read on: the application has taken all of the body that came."""
        self._release(BEHIND)

    def lend_body(self, cycle: RequestCycle) -> LentSocket | None:
        """Stop reading, when the rest of this request's body is what the socket holds next."""
        count_bytes = self._core.lendable_bytes if self._core is not None else 0
        descriptor = self.socket_number if count_bytes and cycle is self._cycle and not cycle.waiting_bytes else None
        if descriptor is None:
            return None
        self._hold(LENT)
        return LentSocket(descriptor, count_bytes)

    def skip_body(self, count_bytes: int) -> None:
        """Go on reading where somebody else has stopped, when the application asks for it."""
        if self._core is not None:
            self._do(self._core.skipped(count_bytes))
            if self._core.lendable_bytes:
                self._hold(BEHIND)
        self._release(LENT)

    @contextmanager
    def unread(self) -> Iterator[None]:
        """Read nothing while the context is open."""
        self._hold(LENT)
        try:
            yield
        finally:
            self._release(LENT)

    async def drained(self) -> None:
        """Wait until the client has caught up with reading, or has gone."""
        if not self.full or self.transport.is_closing():
            return
        waiter = self.loop.create_future()
        self._writers = self._writers or set()
        self._writers.add(waiter)
        try:
            await waiter
        finally:
            (self._writers or set()).discard(waiter)

    def _let_write(self) -> None:
        writers, self._writers = self._writers, None
        for waiter in writers or ():
            if not waiter.done():
                waiter.set_result(None)

    # --- reading

    def _hold(self, reason: int) -> None:
        if not self._held and not self.transport.is_closing():
            self.transport.pause_reading()
        self._held |= reason

    def _release(self, reason: int) -> None:
        held_before, self._held = self._held, self._held & ~reason
        if held_before and not self._held and not self.transport.is_closing():
            self.transport.resume_reading()
