"""What the connections of a server share: how many there may be, who watches their time, what is said about them in the log.

All have one timer: each has a time by which something must have happened (`until_s`), and one that missed it is told so. What a
client can cause as often as it likes is logged once in a while.

When all places are taken, the oldest connection that never had a request gives its place to the one that comes: it is of a flood, or
has lost its client. So silence shuts nobody out. Where few clients are expected, an address may have no more than some of these, and
connections between two requests give way, too, and behind them the slowest of those who do not read their answers; working clients keep theirs, and who comes then is refused.

Each connection may keep a usual head in memory. What they keep beyond that, of heads and of what comes before its turn, has one room for all of them: when it
is used up, the connection that has been saying its head for the longest gives way, else the one that wants more.
Small answers fit into what the kernel keeps for a connection. What clients that are behind with reading have not taken of the others has one room, too: beyond it the slowest gives way.

There are never more connections than the limit of open files leaves room for. At that limit itself libuv closes new connections
without a word, and whatever else needs a file fails too; here it is one line of the log, and only new connections fail.
"""

import asyncio
import resource
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog

from clusterodm.libs.common.hosts import account_of
from clusterodm.libs.common.telemetry.log import Seldom
from clusterodm.libs.http1.lines import STATUS_LINE, BadMessage, Header
from clusterodm.libs.http1.server import ServerLimits

CHECKS_PER_LIMIT: Final = 5
LONGEST_CHECK_S: Final = 1.0
SILENT_S: Final = 1.0
"""What was opened later is not called silent yet: of a burst of connections all are there before the first request is read."""
USUAL_BYTES: Final = 4096
"""What a connection may keep of a head whatever the others do: as much as a browser's takes."""
ROOM_BYTES: Final = 12 << 20
"""What all may keep beyond that."""
UNREAD_ROOM_BYTES: Final = 64 << 20
"""What all clients together may have not read yet of their answers; one may have more, where nobody else has anything."""
BEGUN_BYTES: Final = 16 << 10
"""So much each counts as having read already: else who has just fallen behind would be slower than whoever takes a byte now and then."""
SPARE_DESCRIPTORS_COUNT: Final = 256
"""For files, and for connections to nodes, peers and NATS."""
JSON_TYPE: Final = (b"content-type", b"application/json")

log = structlog.get_logger()


class EarlyRequest(Protocol):
    """A request that a fast path has read."""

    @property
    def keeps(self) -> bool:
        """The connection goes on afterwards."""

    @property
    def size_bytes(self) -> int:
        """Of all of it: its head, and the body that the head announces."""

    @property
    def account(self) -> str:
        """For whom it speaks, as the access log says it; empty: nobody has a name."""


Read = TypeVar("Read", bound=EarlyRequest)

Heard = Callable[[str, bytes], None]
"""Called with the address that a request came from, and its target."""
AnsweredPlainly = Callable[[str, EarlyRequest, bytes, int, float], None]
"""Called with the address of a plain request, what was read, its bytes, how many bytes answered it, and after how many seconds."""


class Take(Protocol):
    """Takes the answer to a plain request, at once or later."""

    def __call__(self, content: bytes | None, behind: Coroutine[Any, Any, None] | None = None) -> None:
        """Take JSON; None: it is to go the usual way. `behind` is to be awaited by somebody, and the answer does not wait for it."""


class EarlyAnswers(Protocol[Read]):
    """Answers requests that are nothing but plain."""

    def read(self, data: bytes) -> Read | None:
        """Read a request from what has come first of it, its whole head at least; None: it is not plain."""

    def answer(self, plain: Read, data: bytes, take: Take) -> Coroutine[Any, Any, None] | None:
        """Answer a request of which all has come: `data`.

        What is returned is to be awaited by somebody, so that the answer comes.
        """

    def forget(self, plain: Read) -> None:
        """Hear that a request which has been read goes the usual way: the rest of it does not come."""

    def count(self, plain: Read, seconds: float, sent_bytes: int) -> None:
        """Hear that an answer is out, and how long that took."""


class TrackedConnection(Protocol):
    """A connection that is looked after."""

    loop: asyncio.AbstractEventLoop
    until_s: float

    def expire(self, now_s: float) -> None:
        """Hear that its time is up."""

    def give_way(self) -> None:
        """Hear that its place is another's."""


class Connections:
    """What the connections of one server share."""

    def __init__(  # noqa: PLR0913, PLR0917 what a server says of its connections
        self,
        limits: ServerLimits,
        connections_count: int,
        fast: Sequence[EarlyAnswers[Any]] = (),
        heard: Heard | None = None,
        silent_per_address_count: int | None = None,
        silent_s: float = SILENT_S,
        answered_plainly: AnsweredPlainly | None = None,
        room_bytes: int = ROOM_BYTES,
        unread_room_bytes: int = UNREAD_ROOM_BYTES,
    ) -> None:
        self.limits = limits
        self.fast = fast
        """Each is shown a request, before all of HTTP sees it."""
        self.heard = heard
        self.is_logged = heard is not None or answered_plainly is not None
        """Whether somebody writes a line about each request."""
        self._answered_plainly = answered_plainly
        self.present: set[TrackedConnection] = set()
        self.refused_count = 0
        self._silent: dict[TrackedConnection, tuple[str, float]] = {}
        """Those that had no request yet, the oldest first, each with its address's account (where that counts) and since when it is there."""
        self._resting: dict[TrackedConnection, None] = {}
        """Those between two requests, the one that rests for the longest first."""
        self._unsaid: dict[TrackedConnection, int] = {}
        """Those that keep more than is usual of a head that is not complete, the oldest first, and how much more."""
        self._kept: dict[TrackedConnection, int] = {}
        """The others that keep more than is usual."""
        self._unread: dict[TrackedConnection, tuple[asyncio.Transport, int, float]] = {}
        """Those whose clients are behind with reading their answers, the latest last: how much had not been read, and since when."""
        self._room_bytes, self._unread_room_bytes = room_bytes, unread_room_bytes
        self._silent_limit_count = silent_per_address_count
        self._silent_s = silent_s
        self._limit_count = admitted_count(connections_count)
        self._alarm: asyncio.TimerHandle | None = None
        self._check_every_s = min(LONGEST_CHECK_S, limits.head_s / CHECKS_PER_LIMIT)
        self._lines_of: Sequence[Header] | None = None
        self._heads = (b"", b"")
        self._refusals, self._crowds, self._floods = Seldom(), Seldom(), Seldom()

    @property
    def wants_addresses(self) -> bool:
        """Whether somebody wants to know where a connection comes from, `admits` or a log: each that is asked is a call of the system."""
        return self.is_logged or self._silent_limit_count is not None

    def admits(self, connection: TrackedConnection, address: str = "") -> bool:
        """Look after a connection; False: it is one too many. Clients try again, a status might end their wait."""
        account = "" if self._silent_limit_count is None else account_of(address)
        if len(self.present) >= self._limit_count:
            self._make_room(connection.loop.time())
        elif self._silent_limit_count is not None:
            self._thin_out(account, self._silent_limit_count, connection.loop.time())
        if len(self.present) >= self._limit_count:
            self.refused_count += 1
            if count := self._crowds.passes(connection.loop.time()):
                log.warning("connections.refused", reason="too many connections", limit=self._limit_count, count=count)
            return False
        self.present.add(connection)
        self._silent[connection] = account, connection.loop.time()
        if self._alarm is None:
            self._alarm = connection.loop.call_later(self._check_every_s, self._check)
        return True

    def begins(self, connection: TrackedConnection) -> None:
        """Take note that a connection has a request."""
        self._silent.pop(connection, None)
        self._resting.pop(connection, None)

    def log_plain(self, origin: str, plain: EarlyRequest, data: bytes, sent_bytes: int, seconds: float) -> None:
        """Have a line written about a plain request, which is answered."""
        if self.heard is not None:
            self.heard(origin, data.split(b" ", 2)[1])
        if self._answered_plainly is not None:
            self._answered_plainly(origin, plain, data, sent_bytes, seconds)

    def rests(self, connection: TrackedConnection) -> None:
        """Take note that a connection waits for its next request."""
        self._resting[connection] = None

    def forget(self, connection: TrackedConnection) -> None:
        """Look after a connection no more."""
        self.present.discard(connection)
        self.keeps(connection, 0)
        if self._unread:
            self.catches_up(connection)
        self.begins(connection)

    def keeps(self, connection: TrackedConnection, kept_bytes: int, *, is_unsaid: bool = False) -> bool:
        """Take note of what a connection keeps of heads and of what came early; whether that is more than usual. `is_unsaid`: a head that is not complete."""
        before_bytes = self._unsaid.get(connection, 0) + self._kept.pop(connection, 0)
        more_bytes = max(0, kept_bytes - USUAL_BYTES)
        self._room_bytes += before_bytes - more_bytes
        if more_bytes and is_unsaid:
            self._unsaid[connection] = more_bytes  # where it was: who drips does not become younger
        else:
            self._unsaid.pop(connection, None)
            if more_bytes:
                self._kept[connection] = more_bytes
        while self._room_bytes < 0 and more_bytes:
            given = next(iter(self._unsaid), connection)
            self._close(given, "heads take too much memory", connection.loop.time())
            if given is connection:
                return False
        return more_bytes > 0

    def falls_behind(self, connection: TrackedConnection, transport: asyncio.Transport) -> None:
        """Take note that a client has not read what it was answered. Beyond the room for that, the slowest of the others gives way."""
        self.catches_up(connection)
        now_s, unsent_bytes = connection.loop.time(), transport.get_write_buffer_size()
        self._unread[connection] = transport, unsent_bytes, now_s
        self._unread_room_bytes -= unsent_bytes
        while self._unread_room_bytes < 0 and len(self._unread) > 1:
            slowest = min((each for each in self._unread if each is not connection), key=partial(self._pace, now_s))
            self._close(slowest, "answers that are not read take too much memory", now_s)

    def catches_up(self, connection: TrackedConnection) -> None:
        """Take note that a client has read nearly all, or has gone."""
        if connection in self._unread:
            self._unread_room_bytes += self._unread.pop(connection)[1]

    def _pace(self, now_s: float, connection: TrackedConnection) -> float:
        transport, unsent_bytes, since_s = self._unread[connection]
        return (BEGUN_BYTES + unsent_bytes - transport.get_write_buffer_size()) / max(1.0, now_s - since_s)

    def _make_room(self, now_s: float) -> None:
        """Close the connection that misses its place the least: one that waits, or, where few are expected, reads its answer more slowly than all others."""
        given = next(iter(self._silent), None)
        if given is None and self._silent_limit_count is not None:
            given = next(iter(self._resting), None) or min(self._unread, key=partial(self._pace, now_s), default=None)
        if given is not None:
            self._close(given, "all places are taken", now_s)

    def _thin_out(self, account: str, limit_count: int, now_s: float) -> None:
        """Close the oldest silent connection of an address that has enough of them."""
        same = [(each, since_s) for each, (owner, since_s) in self._silent.items() if owner == account]
        if len(same) >= limit_count and same[0][1] <= now_s - self._silent_s:
            self._close(same[0][0], "too many silent ones of one address", now_s)

    def _close(self, connection: TrackedConnection, reason: str, now_s: float) -> None:
        self.forget(connection)
        connection.give_way()
        if count := self._floods.passes(now_s):
            log.warning("connections.closed_waiting", reason=reason, count=count)

    def _check(self) -> None:
        """End those that have missed their time."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        # set at once, whatever comes of those that have missed it
        self._alarm = loop.call_later(self._check_every_s, self._check) if self.present else None
        for late in [connection for connection in self.present if connection.until_s <= now_s]:
            late.expire(now_s)

    def mention(self, bad: BadMessage, now_s: float) -> None:
        """Log what was no HTTP, now and then; nothing of it is said, there may be a token in it."""
        if count := self._refusals.passes(now_s):
            log.info("request.refused", reason=bad.words, status=bad.status, count=count)

    def head(self, lines: Sequence[Header], *, keeps: bool) -> bytes:
        """Write the head of a good answer up to its length; the server's lines (the date) are a new list every second."""
        if lines is not self._lines_of:
            said = b"".join(b"%s: %s\r\n" % line for line in [*lines, JSON_TYPE])
            begin = STATUS_LINE[200] + said
            self._lines_of = lines
            self._heads = (begin + b"connection: close\r\ncontent-length: ", begin + b"content-length: ")
        return self._heads[keeps]


def refusal(bad: BadMessage, lines: Sequence[Header]) -> bytes:
    """Write the answer to what is not served."""
    body = b'{"error":"%s"}' % STATUS_LINE[bad.status].split(b" ", 2)[2].strip()
    said = b"".join(b"%s: %s\r\n" % line for line in (*lines, JSON_TYPE))
    return b"%s%sconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (STATUS_LINE[bad.status], said, len(body), body)


def admitted_count(wanted_count: int) -> int:
    """Say how many connections the limit of open files leaves room for; a smaller number than wanted is logged."""
    limit_count, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit_count == resource.RLIM_INFINITY:
        return wanted_count
    room_count = max(limit_count // 2, limit_count - SPARE_DESCRIPTORS_COUNT)
    if room_count < wanted_count:
        log.warning("connections.limited", open_files_limit=limit_count, limit=room_count, wanted=wanted_count)
    return min(wanted_count, room_count)
