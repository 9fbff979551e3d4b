"""One body, as it comes, in one of three framings (RFC 9112, 6.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import httptools

from libs.http1.lines import BadMessage

END: Final = b"\r\n\r\n"
HEAD: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
"""Tells a parser that chunks follow. Not the real head: an Upgrade in it would make the parser skip the body."""
BESIDE_LIMIT_BYTES: Final = 16 * 1024
"""Trailers and chunk extensions in one go: they are passed over, but not for ever."""


@dataclass(slots=True)
class Taken:
    """What a body has made of some bytes."""

    pieces: Sequence[bytes]
    used_bytes: int
    """What comes behind belongs to the next message."""


class Body(Protocol):
    """A body under way."""

    complete: bool

    def feed(self, data: bytes) -> Taken:
        """Take what came, up to the end of the body. Raises BadMessage."""
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

    __slots__ = ("_beside_bytes", "_parser", "_tail", "_unpacked", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._unpacked = Unpacked()
        self._parser = httptools.HttpRequestParser(self._unpacked)
        self._parser.feed_data(HEAD)
        self._tail = b""
        """The last three bytes: an empty line may come in pieces."""
        self._beside_bytes = 0
        """What has come since the last byte of the body."""

    def feed(self, data: bytes) -> Taken:
        """Take what belongs to it: up to an empty line the parser may read, then it says whether that was the end."""
        window, before_bytes, unpacked = self._tail + data, len(self._tail), self._unpacked
        at = before_bytes
        while at < len(window) and not self.complete:
            found = window.find(END, max(0, at - 3))
            end = found + len(END) if found >= 0 else len(window)
            self._parse(window[at:end])
            at, self.complete = end, unpacked.complete
        self._tail = window[max(0, at - 3) : at]
        pieces, unpacked.pieces = unpacked.pieces, []
        return Taken(pieces, at - before_bytes)

    def _parse(self, piece: bytes) -> None:
        before = len(self._unpacked.pieces)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserError as error:
            raise BadMessage(str(error) or type(error).__name__) from None
        self._beside_bytes = 0 if len(self._unpacked.pieces) > before else self._beside_bytes + len(piece)
        if self._beside_bytes > BESIDE_LIMIT_BYTES:
            raise BadMessage("there is too much beside the body")
