"""One body, as it comes, in one of three framings (RFC 9112, 6.3), and what has come of it and was not taken yet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import httptools

from clusterodm.libs.http1.lines import BadMessage

END: Final = b"\r\n\r\n"
HEAD: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
"""Tells a parser that chunks follow. Not the real head: an Upgrade in it would make the parser skip the body."""
BESIDE_LIMIT_BYTES: Final = 16 * 1024
BESIDE_PER_BYTE: Final = 16
"""Trailers, chunk extensions and the sizes of chunks are passed over, but not for ever. A chunk of one byte takes five more."""
FEW_COUNT: Final = 2
"""More chunks in one read are one piece: whoever takes pieces pays for each, and a read may hold thousands of chunks of one byte."""


@dataclass(slots=True)
class Taken:
    """What a body has made of some bytes."""

    pieces: Sequence[bytes]
    used_bytes: int
    """What comes behind belongs to the next message."""
    bad: BadMessage | None = None
    """What follows the pieces is no body."""


class Pieces:
    """Pieces that were not taken yet, in two objects at most: who sends bytes one by one would have each take forty."""

    __slots__ = ("_first", "_rest")

    def __init__(self) -> None:
        self._first = b""
        self._rest = bytearray()

    def __repr__(self) -> str:
        """Show how much there is."""
        return f"Pieces({len(self)} bytes)"

    def __len__(self) -> int:
        """Count the bytes."""
        return len(self._first) + len(self._rest)

    def add(self, piece: bytes) -> None:
        """Add one."""
        if self._first:
            self._rest += piece
        else:
            self._first = piece

    def take(self) -> bytes:
        """Take them all as one."""
        first, self._first = self._first, b""
        if not self._rest:
            return first
        rest, self._rest = self._rest, bytearray()
        return first + rest


class Body(Protocol):
    """A body under way."""

    complete: bool

    def feed(self, data: bytes) -> Taken:
        """Take what came, up to the end of the body."""
        ...


class LengthBody:
    """A body whose length is known: it is counted, and not looked at."""

    __slots__ = ("complete", "left_bytes")

    def __init__(self, length_bytes: int) -> None:
        self.left_bytes = length_bytes
        self.complete = not length_bytes

    def feed(self, data: bytes) -> Taken:
        """Take what belongs to it."""
        piece = data if len(data) <= self.left_bytes else data[: self.left_bytes]
        self.skip(len(piece))
        return Taken((piece,), len(piece))

    def skip(self, count_bytes: int) -> None:
        """Count what somebody else has taken."""
        self.left_bytes -= count_bytes
        self.complete = not self.left_bytes


class EndlessBody:
    """A body that ends with its connection."""

    __slots__ = ("complete",)

    def __init__(self) -> None:
        self.complete = False

    def feed(self, data: bytes) -> Taken:
        """Take everything."""
        return Taken((data,), len(data))


class Unpacked:
    """What the parser has called back for."""

    __slots__ = ("complete", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False

    def on_body(self, piece: bytes) -> None:
        """Collect."""
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        """Know the end, trailers included."""
        self.complete = True


class ChunkedBody:
    """A chunked body. Its trailers are read and forgotten: they are never head lines."""

    __slots__ = ("_parser", "_room_bytes", "_tail", "_unpacked", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._unpacked = Unpacked()
        self._parser = httptools.HttpRequestParser(self._unpacked)
        self._parser.feed_data(HEAD)
        self._tail = b""
        """The last three bytes: an empty line may come in pieces."""
        self._room_bytes = BESIDE_LIMIT_BYTES
        """For what may still come beside the body."""

    def feed(self, data: bytes) -> Taken:
        """Take what belongs to it: up to an empty line the parser may read, then it says whether that was the end."""
        window, before_bytes, unpacked = self._tail + data, len(self._tail), self._unpacked
        at, bad = before_bytes, None
        while at < len(window) and not (self.complete or bad):
            found = window.find(END, max(0, at - 3))
            end = found + len(END) if found >= 0 else len(window)
            bad = self._parse(window[at:end])
            at, self.complete = end, unpacked.complete
        self._tail = window[max(0, at - 3) : at]
        pieces, unpacked.pieces = unpacked.pieces, []
        return Taken(pieces if len(pieces) < FEW_COUNT else (b"".join(pieces),), at - before_bytes, bad)

    def _parse(self, piece: bytes) -> BadMessage | None:
        pieces = self._unpacked.pieces
        before_count = len(pieces)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError as error:
            return BadMessage(str(error) or type(error).__name__)
        body_bytes = sum(map(len, pieces[before_count:]))
        self._room_bytes += BESIDE_PER_BYTE * body_bytes - (len(piece) - body_bytes)
        return BadMessage("there is too much beside the body") if self._room_bytes < 0 else None
