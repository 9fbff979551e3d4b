"""Where every connection begins: plain polls are answered here, with the first other request it goes in to the wire.

Why: most connections of clients carry one poll and nothing else (PyODM opens one for each), and for that uvicorn's
protocol, parser, request cycle and task cost several times what the answer does. Here a connection is one small object,
and a request is its bytes (quick.py). Nothing is decided here that the wire would decide differently: what is not a plain poll
that can be answered is handed on, bytes and all, and the porch is not seen again on this connection.

    data        plain     its answer goes out, now or when it is known; what comes meanwhile waits, unread
                other     the wire takes over
    silence     one timer for all (`Keeper`): a new connection has `head_s` for its first request, one that is kept
                KEPT_S after each answer
    a client that does not read its answers is not read either
    one connection more than allowed is closed at once: clients try again, a status might end their wait
"""

import asyncio
from typing import Any, Final, cast

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from services.proxy.api.quick import Plain, Quick
from services.proxy.api.wire import Bearing, Reading, Wire
from services.proxy.core.headers import Header

KEPT_S: Final = 5.0
"""As uvicorn keeps connections."""
LOOKS_PER_LIMIT: Final = 5
LATEST_LOOK_S: Final = 1.0
READ_BYTES: Final = 16 * 1024
"""Read at once: of a hundred uploads that begin at the same moment, the porch holds no more than their heads."""

log = structlog.get_logger()


class Keeper:
    """What all porches share: who stands there since when, and the head of a good answer."""

    def __init__(self, bearing: Bearing, quick: Quick) -> None:
        self.bearing = bearing
        self.quick = quick
        self.present: set[Porch] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._look_every_s = min(LATEST_LOOK_S, bearing.head_s / LOOKS_PER_LIMIT)
        self._lines_of: list[Header] | None = None
        self._heads = (b"", b"")

    def __repr__(self) -> str:
        """Show how many stand there."""
        return f"Keeper(present={len(self.present)})"

    def watch(self, porch: "Porch") -> None:
        """Look after a connection."""
        self.present.add(porch)
        if self._alarm is None:
            self._alarm = porch.loop.call_later(self._look_every_s, self._look)

    def _look(self) -> None:
        """Close those on which nothing has come for too long."""
        self._alarm = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for porch in [porch for porch in self.present if porch.silent_until_s <= now_s]:
            porch.leave()
        if self.present:
            self._alarm = loop.call_later(self._look_every_s, self._look)

    def head(self, lines: list[Header], *, keeps: bool) -> bytes:
        """Write the head of an answer up to its length; the server's lines (the date) are a new list every second."""
        if lines is not self._lines_of:
            said = b"".join(b"%s: %s\r\n" % line for line in [*lines, (b"content-type", b"application/json")])
            begin = STATUS_LINE[200] + said
            self._lines_of = lines
            self._heads = (begin + b"connection: close\r\ncontent-length: ", begin + b"content-length: ")
        return self._heads[keeps]


class Porch(asyncio.BufferedProtocol):
    """A connection that has asked nothing but plain questions so far."""

    SPACE: Final = memoryview(bytearray(READ_BYTES))
    """Shared by all: what has been read is taken out before the next read."""

    __slots__ = (
        "_data",
        "_early",
        "_full",
        "_keeper",
        "_leaving",
        "_named",
        "_paused",
        "_plain",
        "_state",
        "loop",
        "silent_until_s",
        "transport",
    )

    def __init__(self, *, keeper: Keeper, server_state: ServerState, **named: Any) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.silent_until_s = 0.0
        self._keeper = keeper
        self._state = server_state
        self._named = named
        """What the wire wants to know."""
        self._plain: Plain | None = None
        """The question whose answer is under way."""
        self._data = b""
        """Its bytes."""
        self._early = b""
        """What has come behind it."""
        self._full = False
        """The client is behind with reading."""
        self._paused = False
        """It is not read."""
        self._leaving = False
        """The server stops: what cannot be answered here begins nowhere else."""

    def __repr__(self) -> str:
        """Show what it does; no bytes, there may be a token in them."""
        return f"Porch({'answering' if self._plain else 'silent'} early={len(self._early)})"

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the first request its time; close one connection too many."""
        self.transport = cast("asyncio.Transport", transport)
        bearing = self._keeper.bearing
        bearing.open_count += 1
        if bearing.open_count > bearing.connections_count:
            log.warning("connection refused", reason="too many connections", open=bearing.open_count)
            self.transport.abort()
            return
        self.silent_until_s = self.loop.time() + bearing.head_s
        self._state.connections.add(cast("Any", self))
        self._keeper.watch(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Be gone; an answer that still comes finds nobody."""
        del error
        self._keeper.bearing.open_count -= 1
        self._forget()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        del sizehint
        return self.SPACE

    def buffer_updated(self, nbytes: int) -> None:
        """Take what has been read."""
        self._hear(bytes(self.SPACE[:nbytes]))

    def _hear(self, data: bytes) -> None:
        """Answer a plain question, one at a time; go in with anything else."""
        if self._plain is not None:
            self._early += data
            self._pause()
            return
        plain = self._keeper.quick.read(data)
        if plain is None:
            self._go_in(data)
            return
        self._plain, self._data = plain, data
        work = self._keeper.quick.answer(plain, self._take)
        if work is not None:
            task = self.loop.create_task(work)
            self._state.tasks.add(task)
            task.add_done_callback(self._state.tasks.discard)

    def pause_writing(self) -> None:
        """Take no more questions from who does not read the answers."""
        self._full = True
        self._pause()

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        if self._plain is None:
            self._resume()

    # --- the rest

    def shutdown(self) -> None:
        """Come to an end, as uvicorn asks: when the answer under way is out, or now."""
        self._leaving = True
        if self._plain is None:
            self.transport.close()
        else:
            self._plain = Plain(self._plain.question, self._plain.owner, keeps=False)

    def leave(self) -> None:
        """Close a silent connection; one that waits for us is not silent."""
        if self._plain is None and not self._full:
            self.transport.close()

    def _take(self, content: bytes | None) -> None:
        """Send an answer."""
        plain, data, early, transport = self._plain, self._data, self._early, self.transport
        self._plain, self._data, self._early = None, b"", b""
        if plain is None or transport.is_closing():
            return
        if content is None:
            transport.abort() if self._leaving else self._go_in(data + early)
            return
        head = self._keeper.head(self._state.default_headers, keeps=plain.keeps)
        transport.write(b"%s%d\r\n\r\n%s" % (head, len(content), content))
        if not plain.keeps:
            transport.close()
            return
        self.silent_until_s = self.loop.time() + KEPT_S
        if not self._full:
            self._resume()
        if early:
            self._hear(early)

    def _go_in(self, data: bytes) -> None:
        """Hand the connection to the wire."""
        self._forget()
        transport = self.transport
        wire = Wire(bearing=self._keeper.bearing, server_state=self._state, **self._named)
        transport.set_protocol(Reading(wire))
        wire.connection_made(transport)
        if self._full:
            wire.pause_writing()
        self._resume()
        wire.data_received(data)

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resume_reading()

    def _forget(self) -> None:
        self._keeper.present.discard(self)
        self._state.connections.discard(cast("Any", self))
