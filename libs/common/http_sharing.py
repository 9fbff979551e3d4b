"""What the connections of a server share: how many there may be, who watches their time, what is said about them in the log.

All have one timer: each has a time by which something must have happened (`until_s`), and one that missed it is told so. What a
client can cause as often as it likes is logged once in a while.

There are never more connections than the limit of open files leaves room for. At that limit itself libuv closes new connections
without a word, and whatever else needs a file fails too; here it is one line of the log, and only new connections fail.
"""

import asyncio
import resource
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog

from libs.common.log import Seldom
from libs.http1.lines import STATUS_LINE, BadMessage, Header
from libs.http1.server import ServerLimits

LOOKS_PER_LIMIT: Final = 5
LATEST_LOOK_S: Final = 1.0
SPARE_DESCRIPTORS_COUNT: Final = 256
"""For files, and for connections to nodes, peers and NATS."""
JSON_TYPE: Final = (b"content-type", b"application/json")

log = structlog.get_logger()


class EarlyRequest(Protocol):
    """A request that a fast path has read."""

    @property
    def keeps(self) -> bool:
        """The connection goes on afterwards."""
        ...


Read = TypeVar("Read", bound=EarlyRequest)


Heard = Callable[[str, bytes], None]
"""Called with the address that a request came from, and its target."""


class EarlyAnswers(Protocol[Read]):
    """Answers requests that are nothing but plain."""

    def read(self, data: bytes) -> Read | None:
        """Read a whole request; None: it is not plain."""
        ...

    def answer(self, plain: Read, take: Any) -> Coroutine[Any, Any, None] | None:
        """Call `take` with JSON, at once or later; with None when it is to go the usual way.

        What is returned is to be awaited by somebody, so that the answer comes.
        """
        ...


class TrackedConnection(Protocol):
    """A connection that is looked after."""

    loop: asyncio.AbstractEventLoop
    until_s: float

    def expire(self, now_s: float) -> None:
        """Hear that its time is up."""
        ...


class Connections:
    """What the connections of one server share."""

    def __init__(
        self,
        limits: ServerLimits,
        connections_count: int,
        fast: EarlyAnswers[Any] | None = None,
        heard: Heard | None = None,
    ) -> None:
        self.limits = limits
        self.fast = fast
        self.heard = heard
        self.present: set[TrackedConnection] = set()
        self._limit_count = admitted_count(connections_count)
        self._alarm: asyncio.TimerHandle | None = None
        self._look_every_s = min(LATEST_LOOK_S, limits.head_s / LOOKS_PER_LIMIT)
        self._lines_of: Sequence[Header] | None = None
        self._heads = (b"", b"")
        self._refusals, self._crowds = Seldom(), Seldom()

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"Connections({len(self.present)} of {self._limit_count})"

    def admits(self, connection: TrackedConnection) -> bool:
        """Look after a connection; False: it is one too many. Clients try again, a status might end their wait."""
        if len(self.present) >= self._limit_count:
            if count := self._crowds.passes(connection.loop.time()):
                log.warning("connections refused", reason="too many connections", limit=self._limit_count, count=count)
            return False
        self.present.add(connection)
        if self._alarm is None:
            self._alarm = connection.loop.call_later(self._look_every_s, self._look)
        return True

    def _look(self) -> None:
        """End those that have missed their time."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for late in [connection for connection in self.present if connection.until_s <= now_s]:
            late.expire(now_s)
        self._alarm = loop.call_later(self._look_every_s, self._look) if self.present else None

    def mention(self, bad: BadMessage, now_s: float) -> None:
        """Log what was no HTTP, now and then; nothing of it is said, there may be a token in it."""
        if count := self._refusals.passes(now_s):
            log.info("request refused", reason=bad.words, status=bad.status, count=count)

    def head(self, lines: Sequence[Header], *, keeps: bool) -> bytes:
        """Write the head of a good answer up to its length; the server's lines (the date) are a new list every second."""
        if lines is not self._lines_of:
            said = b"".join(b"%s: %s\r\n" % line for line in [*lines, JSON_TYPE])
            begin = STATUS_LINE[200] + said
            self._lines_of = lines
            self._heads = (begin + b"connection: close\r\ncontent-length: ", begin + b"content-length: ")
        return self._heads[keeps]


def admitted_count(wanted_count: int) -> int:
    """Say how many connections the limit of open files leaves room for; a smaller number than wanted is logged."""
    limit_count, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit_count == resource.RLIM_INFINITY:
        return wanted_count
    room_count = max(limit_count // 2, limit_count - SPARE_DESCRIPTORS_COUNT)
    if room_count < wanted_count:
        log.warning(
            "fewer connections than wanted", open_files_limit=limit_count, limit=room_count, wanted=wanted_count
        )
    return min(wanted_count, room_count)
