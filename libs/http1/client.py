"""One connection to a server, without I/O: bytes go in, events come out. One request at a time.

    state     what comes next
    IDLE      our request (`asked`); whatever comes before it is unasked, and the connection is not used again
    HEAD      the head of the answer; informational ones before it are passed over, INFORMATIONAL_COUNT at most
    BODY      the body: of a known length, chunked, or up to the end of the connection (RFC 9112, 6.3)
    CLOSED    nothing

HEAD, 204 and 304 have no body whatever their head says. An answer that offers another protocol is none that was asked for. What
comes behind an answer is never part of it, nor of the next. How long an answer may take is for whoever drives this: one limit from
the request to the end of the head, however it drips.

Nearly every small answer comes in one piece and says no more about itself than its length. Such a one is taken at once
(`usual_body`): what the pattern allows, the reader of heads reads in the same way, and whatever else comes is left to that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from clusterodm.libs.http1.bodies import Body, ChunkedBody, EndlessBody, LengthBody
from clusterodm.libs.http1.heads import HeadLimits, HeadReader, ResponseHead
from clusterodm.libs.http1.lines import BadMessage

INFORMATIONAL_COUNT: Final = 8
SWITCHING: Final = 101
HEADS: Final = HeadLimits()
LINE: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [!-~](?:[ -~]*[!-~])?\r\n"
"""A header line with a name and a value of visible ASCII."""
TELLING: Final = rb"(?!(?i:content-length|transfer-encoding|connection|keep-alive|upgrade):)"
OTHERS: Final = (
    rb"(?:" + TELLING + LINE + rb"|(?i:connection: keep-alive)\r\n|(?i:keep-alive: timeout=)\d{1,6}\r\n){0,48}"
)
USUAL: Final = re.compile(
    rb"HTTP/1\.1 200 OK\r\n" + OTHERS + rb"(?i:content-length): (\d{1,6})\r\n" + OTHERS + rb"\r\n"
)
"""The whole head of an answer about whose body nothing is to be known but its length, and whose connection is kept.

Case is ignored in names alone: in a set of characters it is the slower way, by half.
"""


class ClientSideState(Enum):
    """Where a connection is."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    CLOSED = auto()


@dataclass(slots=True)
class Response:
    """The head of the answer."""

    head: ResponseHead


@dataclass(slots=True)
class ResponseData:
    """A piece of its body."""

    piece: bytes


@dataclass(slots=True)
class AnswerEnds:
    """It is complete."""


@dataclass(slots=True)
class Broken:
    """What came is no answer, or only half of one; nothing follows."""

    bad: BadMessage


Event = Response | ResponseData | AnswerEnds | Broken
NOTHING: Final[tuple[Event, ...]] = ()
ENDS: Final = AnswerEnds()


class ClientSide:
    """One connection."""

    __slots__ = ("_body", "_head_only", "_informational_count", "_limits", "_reader", "_reusable", "state", "touched")

    def __init__(self, limits: HeadLimits = HEADS) -> None:
        self._limits = limits
        self.state = ClientSideState.IDLE
        self.touched = False
        """A byte of the present answer has come."""
        self._reader: HeadReader | None = None
        """Made when there is something for it to read."""
        self._body: Body | None = None
        self._head_only = False
        self._informational_count = 0
        self._reusable = True

    def __repr__(self) -> str:
        """Show the state in one line."""
        return f"ClientSide({self.state.name})"

    @property
    def reusable(self) -> bool:
        """Whether it may carry another request."""
        return self.state is ClientSideState.IDLE and self._reusable

    def asked(self, *, head_only: bool = False) -> None:
        """Expect an answer. `head_only`: to a HEAD."""
        self.state, self.touched, self._head_only = ClientSideState.HEAD, False, head_only
        self._reader, self._informational_count = None, 0

    def usual_body(self, data: bytes) -> bytes | None:
        """Take an answer that has come as a whole and in the usual form: its body. None: nothing is taken, it is for `received`."""
        if self.state is not ClientSideState.HEAD or self.touched or self._head_only:
            return None
        head = USUAL.match(data)
        if head is None or head.end() + int(head[1]) != len(data):
            return None
        self.touched, self.state = True, ClientSideState.IDLE
        return data[head.end() :]

    def received(self, data: bytes) -> Sequence[Event]:
        """Take what came."""
        self.touched = True
        if self.state is ClientSideState.BODY:
            return self._take_body(data)
        if self.state is ClientSideState.HEAD:
            try:
                return self._take_head(data)
            except BadMessage as bad:
                return self._break(bad)
        self._reusable = False
        return NOTHING

    def ended(self) -> Sequence[Event]:
        """Know that nothing more comes: that is the end of an answer without a length, and of no other."""
        state, self.state = self.state, ClientSideState.CLOSED
        if state is ClientSideState.BODY and isinstance(self._body, EndlessBody):
            return (ENDS,)
        if state in {ClientSideState.HEAD, ClientSideState.BODY}:
            return self._break(BadMessage("closed the connection"))
        return NOTHING

    # --- what somebody else takes of a body, straight from the socket

    @property
    def left_bytes(self) -> int:
        """How much of a body of known length has not come yet; 0 where that is not known."""
        return self._body.left_bytes if self.state is ClientSideState.BODY and isinstance(self._body, LengthBody) else 0

    def skipped(self, count_bytes: int) -> Sequence[Event]:
        """Count what somebody else has taken."""
        if isinstance(self._body, LengthBody):
            self._body.skip(count_bytes)
        return self._end() if self._body is not None and self._body.complete else NOTHING

    # --- inside

    def _take_head(self, data: bytes) -> Sequence[Event]:
        while data:
            reader = self._reader = self._reader or HeadReader(self._limits, answers=True)
            used = reader.feed(data)
            if used is None:
                return NOTHING
            head, data = reader.response(), data[used:]
            if not head.informational:
                return self._begin(head, data)
            self._pass_over(head)
        return NOTHING

    def _pass_over(self, head: ResponseHead) -> None:
        self._informational_count += 1
        if head.status == SWITCHING or self._informational_count > INFORMATIONAL_COUNT:
            raise BadMessage("an informational answer that nobody asked for")
        self._reader = None

    def _begin(self, head: ResponseHead, data: bytes) -> Sequence[Event]:
        self._reusable = head.keeps
        if data and len(data) == head.length_bytes and not (self._head_only or head.bodiless):
            self.state = ClientSideState.IDLE
            return (Response(head), ResponseData(data), ENDS)
        self._body = self._body_of(head)
        if self._body is None or self._body.complete:
            self._reusable = self._reusable and not data
            return (Response(head), *self._end())
        self.state = ClientSideState.BODY
        return (Response(head), *self._take_body(data)) if data else (Response(head),)

    def _body_of(self, head: ResponseHead) -> Body | None:
        if self._head_only or head.bodiless:
            return None
        if head.chunked:
            return ChunkedBody()
        if head.length_bytes is not None:
            return LengthBody(head.length_bytes)
        self._reusable = False
        return EndlessBody()

    def _take_body(self, data: bytes) -> Sequence[Event]:
        body = self._body
        assert body is not None  # noqa: S101 there is one in this state
        taken = body.feed(data)
        events: list[Event] = [ResponseData(piece) for piece in taken.pieces]
        if taken.bad is not None:
            events += self._break(taken.bad)
        elif body.complete:
            self._reusable = self._reusable and taken.used_bytes == len(data)
            events += self._end()
        return events

    def _break(self, bad: BadMessage) -> Sequence[Event]:
        self._body, self._reusable, self.state = None, False, ClientSideState.CLOSED
        return (Broken(bad),)

    def _end(self) -> Sequence[Event]:
        self._body, self.state = None, ClientSideState.IDLE
        return (ENDS,)
