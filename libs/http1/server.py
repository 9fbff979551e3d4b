"""One connection of a client, without I/O: bytes and times go in, events come out. One request at a time.

    state     what comes next                          its clock (`until_s`)
    IDLE      the first byte of a head                 `head_s` on a new connection, `keep_alive_s` behind an answer
    HEAD      the rest of the head                     `head_s` from its first byte: one clock, however it drips
    BODY      the body of a request                    none: whoever reads the body knows how patient to be
    WAITING   our answer; what comes is kept unread    none
    REST      the body of a request that is answered   `linger_s` in all, `linger_bytes`: it is thrown away
    LINGER    the end: we have said our last           `linger_s` in all, `linger_bytes`: it is thrown away
    CLOSED    nothing

What comes behind a request is not even parsed before its answer is out (`answered`); whoever drives this stops reading while
`early` is set, so that a connection holds one read at most. LINGER is there because closing a socket that holds unread bytes resets the
connection, and the client may then lose the answer that it has not read yet (RFC 9112, 9.6).

What is wrong with a message is a `Refusal`: it can only come when every answer before it is out, so it swallows none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from clusterodm.libs.http1.bodies import Body, ChunkedBody, LengthBody
from clusterodm.libs.http1.heads import HeadLimits, HeadReader, RequestHead
from clusterodm.libs.http1.lines import BadMessage

NEVER_S: Final = math.inf
USUAL_HEADS: Final = HeadLimits()


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a client's connection must keep to."""

    head_s: float
    keep_alive_s: float
    head: HeadLimits = USUAL_HEADS
    linger_s: float = 5.0
    linger_bytes: int = 16 * 1024 * 1024


class ServerSideState(Enum):
    """Where a connection is."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    WAITING = auto()
    REST = auto()
    LINGER = auto()
    CLOSED = auto()


OVER: Final = frozenset((ServerSideState.LINGER, ServerSideState.CLOSED))


@dataclass(slots=True)
class RequestBegun:
    """A request has begun."""

    head: RequestHead


@dataclass(slots=True)
class RequestData:
    """A piece of its body."""

    piece: bytes


@dataclass(frozen=True, slots=True)
class BodyEnds:
    """Its body is complete."""


@dataclass(frozen=True, slots=True)
class ProtocolRefusal:
    """What came is not served: say so where an answer has not begun, then nothing more."""

    bad: BadMessage


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Close our direction, and go on feeding what comes."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""


Event = RequestBegun | RequestData | BodyEnds | ProtocolRefusal | HalfClose | Close
NOTHING: Final[tuple[Event, ...]] = ()
BODY_ENDS: Final = BodyEnds()
HALF_CLOSE: Final = HalfClose()
CLOSE: Final = Close()


class ServerSide:
    """One connection."""

    __slots__ = ("_body", "_head_bytes", "_limits", "_linger_left_bytes", "_reader", "early", "state", "until_s")

    def __init__(self, limits: ServerLimits, now_s: float) -> None:
        self._limits = limits
        self.state = ServerSideState.IDLE
        self.until_s = now_s + limits.head_s
        """Whoever drives this closes the connection when nothing has changed it by then."""
        self.early = b""
        """What has come behind a request that waits for its answer."""
        self._reader: HeadReader | None = None
        self._body: Body | None = None
        self._linger_left_bytes = 0
        self._head_bytes = 0
        """What the head of the request under way takes."""

    def __repr__(self) -> str:
        """Show the state in one line; no bytes, there may be a token in them."""
        return f"ServerSide({self.state.name} early={len(self.early)})"

    @property
    def kept_bytes(self) -> int:
        """What heads, and what comes before its turn, take in memory, about."""
        return len(self.early) + (self._head_bytes if self._reader is None else self._reader.kept_bytes)

    def received(self, data: bytes, now_s: float) -> Sequence[Event]:
        """Take what came from the client."""
        match self.state:
            case ServerSideState.BODY:
                return self._take_body(data, now_s)
            case ServerSideState.IDLE | ServerSideState.HEAD:
                return self._take_head(data, now_s)
            case ServerSideState.WAITING:
                self.early += data
                return NOTHING
            case ServerSideState.REST:
                return self._pass_over(data, now_s)
            case ServerSideState.LINGER:
                return self._throw_away(len(data))
            case _:
                return NOTHING

    def answered(self, now_s: float, *, keeps: bool) -> Sequence[Event]:
        """Go on behind a complete answer. `keeps`: it has not said that it is the last."""
        self._head_bytes = 0
        if self.state in OVER:
            return NOTHING
        if not keeps:
            return self._end(now_s) if self.state is ServerSideState.BODY or self.early else self._close()
        if self.state is ServerSideState.BODY:
            self._wait_for(ServerSideState.REST, now_s + self._limits.linger_s)
            self._linger_left_bytes = self._limits.linger_bytes
            return NOTHING
        self._wait_for(ServerSideState.IDLE, now_s + self._limits.keep_alive_s)
        early, self.early = self.early, b""
        return self._take_head(early, now_s) if early else NOTHING

    def refused(self, now_s: float) -> Sequence[Event]:
        """Go on behind the answer to a refusal."""
        return self._end(now_s)

    # --- what somebody else takes of a body, straight from the socket

    @property
    def lendable_bytes(self) -> int:
        """How much of a body comes next and may be taken by somebody else; 0: that cannot be done."""
        return self._body.left_bytes if self.state is ServerSideState.BODY and isinstance(self._body, LengthBody) else 0

    def skipped(self, count_bytes: int) -> Sequence[Event]:
        """Count what somebody else has taken."""
        if isinstance(self._body, LengthBody):
            self._body.skip(count_bytes)
        return self._body_over() if self._body is not None and self._body.complete else NOTHING

    # --- inside

    def _take_head(self, data: bytes, now_s: float) -> Sequence[Event]:
        if self._reader is None:
            self._reader = HeadReader(self._limits.head)
            self._wait_for(ServerSideState.HEAD, now_s + self._limits.head_s)
        try:
            used = self._reader.feed(data)
            if used is None:
                return NOTHING
            head = self._reader.request()
        except BadMessage as bad:
            return self._refuse(bad, now_s)
        self._head_bytes, self._reader = self._reader.kept_bytes, None
        if head.length_bytes == 0:
            self._wait_for(ServerSideState.WAITING, NEVER_S)
            self.early = data[used:]
            return (RequestBegun(head), BODY_ENDS)
        self._body = ChunkedBody() if head.length_bytes is None else LengthBody(head.length_bytes)
        self._wait_for(ServerSideState.BODY, NEVER_S)
        return (RequestBegun(head), *self._take_body(data[used:], now_s)) if used < len(data) else (RequestBegun(head),)

    def _take_body(self, data: bytes, now_s: float) -> Sequence[Event]:
        body = self._body
        assert body is not None  # noqa: S101 there is one in this state
        taken = body.feed(data)
        events: list[Event] = [RequestData(piece) for piece in taken.pieces]
        if taken.bad is not None:
            events += self._refuse(taken.bad, now_s)
        elif body.complete:
            events += self._body_over()
            self.early = data[taken.used_bytes :]
        return events

    def _body_over(self) -> Sequence[Event]:
        self._body = None
        self._wait_for(ServerSideState.WAITING, NEVER_S)
        return (BODY_ENDS,)

    def _pass_over(self, data: bytes, now_s: float) -> Sequence[Event]:
        """Go past the rest of a body, to the next request."""
        body = self._body
        assert body is not None  # noqa: S101 there is one in this state
        taken = body.feed(data)
        if taken.bad is not None:
            return self._close()
        if not body.complete:
            return self._throw_away(taken.used_bytes)
        self._body = None
        self._wait_for(ServerSideState.IDLE, now_s + self._limits.keep_alive_s)
        return self._take_head(data[taken.used_bytes :], now_s) if taken.used_bytes < len(data) else NOTHING

    def _throw_away(self, count_bytes: int) -> Sequence[Event]:
        self._linger_left_bytes -= count_bytes
        return NOTHING if self._linger_left_bytes > 0 else self._close()

    def _refuse(self, bad: BadMessage, now_s: float) -> Sequence[Event]:
        self._reader = self._body = None
        self._head_bytes = 0
        self._wait_for(ServerSideState.LINGER, now_s + self._limits.linger_s)
        return (ProtocolRefusal(bad),)

    def _end(self, now_s: float) -> Sequence[Event]:
        """Say nothing more, and let the client read what has been said."""
        self._body, self.early = None, b""
        self._linger_left_bytes = self._limits.linger_bytes
        self._wait_for(ServerSideState.LINGER, now_s + self._limits.linger_s)
        return (HALF_CLOSE,)

    def _close(self) -> Sequence[Event]:
        self._body, self.early = None, b""
        self._wait_for(ServerSideState.CLOSED, NEVER_S)
        return (CLOSE,)

    def _wait_for(self, state: ServerSideState, until_s: float) -> None:
        self.state, self.until_s = state, until_s
