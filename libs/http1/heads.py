"""One head, as it comes: the first line and the header lines, up to the empty line. Over httptools.

A head is bounded in bytes and in lines; its time is the connection's (server.py, client.py). What is not HTTP is found as soon
as it comes, not at the end of a head that never comes.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

import httptools

from clusterodm.libs.http1.lines import BODILESS, INFORMATIONAL_BELOW, BadMessage, Header

END: Final = b"\r\n\r\n"
LINE_END: Final = b"\r\n"
HOST: Final = re.compile(rb"[\w.~!$&'()*+;=:\[\]%-]*")
"""What RFC 3986 lets a host and a port be made of, but for the comma: two Host lines are one with a comma."""
VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
REQUEST_WORDS: Final = 3
LINE_BYTES: Final = 160
"""What a header line takes beside its own bytes."""
TOO_LARGE: Final = 431
NOT_IMPLEMENTED: Final = 501
CHUNKED: Final = b"chunked"
CONTINUE: Final = b"100-continue"
DECIDING: Final = frozenset((b"connection", b"content-length", b"expect", b"host", b"transfer-encoding"))


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """How much one head may be."""

    size_bytes: int = 65536
    lines_count: int = 256


@dataclass(slots=True)
class RequestHead:
    """The head of a request."""

    method: str
    target: bytes
    """A path with its query, an address, or an asterisk."""
    version: str
    headers: list[Header]
    keeps: bool
    """The connection goes on behind the answer, if we want it too."""
    length_bytes: int | None
    """Of the body; None: it is chunked."""
    awaits_continue: bool
    """The body comes when we say that we want it."""


@dataclass(slots=True)
class ResponseHead:
    """The head of an answer."""

    status: int
    headers: list[Header]
    keeps: bool
    length_bytes: int | None
    chunked: bool

    @property
    def informational(self) -> bool:
        """Whether another head follows."""
        return self.status < INFORMATIONAL_BELOW

    @property
    def bodiless(self) -> bool:
        """Whether an answer with this status never has a body, whatever its head says."""
        return self.status in BODILESS


class HeadEvents:
    """What a parser has called back for. It does not know its parser, so that both go without the garbage collector."""

    __slots__ = ("complete", "deciding", "headers", "target")

    def __init__(self) -> None:
        self.deciding: dict[bytes, bytes] = {}
        """The lines that decide about the message itself; those of one name are one, with commas (RFC 9110, 5.3)."""
        self.target = b""
        self.headers: list[Header] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        """Collect: it may come in pieces."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a whole line."""
        name = name.lower()
        self.headers.append((name, value))
        if name in DECIDING:
            before = self.deciding.get(name)
            self.deciding[name] = value if before is None else before + b"," + value

    def on_headers_complete(self) -> None:
        """Know the end."""
        self.complete = True


class HeadReader:
    """Collects one head."""

    __slots__ = ("_limits", "_line", "_parser", "_size_bytes", "_tail", "_told")

    def __init__(self, limits: HeadLimits, *, answers: bool = False) -> None:
        self._limits = limits
        self._told = HeadEvents()
        kind: Any = httptools.HttpResponseParser if answers else httptools.HttpRequestParser
        self._parser = kind(self._told)
        self._line = b""
        """The first line, and for a moment what follows it."""
        self._tail = b""
        """The last three bytes: the end may come in pieces."""
        self._size_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """What it takes in memory, about: its first line is kept twice, and each of the others is three objects."""
        return self._size_bytes + len(self._line) + LINE_BYTES * len(self._told.headers)

    def feed(self, data: bytes) -> int | None:
        """Take what came; how much of it belonged to the head, None while it goes on. Raises BadMessage."""
        begin = 0 if self._line else len(data) - len(data.lstrip(LINE_END))
        end = self._end(data, begin)
        piece = data[begin:end]
        self._size_bytes += len(piece) + begin
        if self._size_bytes > self._limits.size_bytes:
            raise BadMessage("the head is too long", TOO_LARGE)
        if piece:
            self._parse(piece)
        if self._told.complete is (end is None):
            raise BadMessage("the head ends where it should not")
        if len(self._told.headers) > self._limits.lines_count:
            raise BadMessage("the head has too many lines", TOO_LARGE)
        return end

    def _end(self, data: bytes, begin: int) -> int | None:
        if self._tail:
            at = (self._tail + data[:3]).find(END)
            if at >= 0:
                return at + len(END) - len(self._tail)
        at = data.find(END, begin)
        if at >= 0:
            return at + len(END)
        self._tail = (self._tail + data[max(begin, len(data) - 3) :])[-3:]
        return None

    def _parse(self, piece: bytes) -> None:
        if not self._line:
            at = piece.find(LINE_END)
            self._line = piece if at < 0 else piece[: at + 2]
        elif LINE_END not in self._line:
            self._line += piece
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            pass  # the head is complete; what it offers is not taken up
        except httptools.HttpParserError as error:
            raise BadMessage(str(error) or type(error).__name__) from None

    def request(self) -> RequestHead:
        """Judge a complete head. Raises BadMessage."""
        told = self._told
        words = self._line.partition(LINE_END)[0].split(b" ")
        version = VERSIONS.get(words[-1])
        if version is None or len(words) != REQUEST_WORDS:
            raise BadMessage("the request line is not HTTP/1.1")
        method: bytes = self._parser.get_method()
        require_target(method, told.target)
        deciding = told.deciding
        require_host(deciding.get(b"host"), version)
        coding, length = deciding.get(b"transfer-encoding"), deciding.get(b"content-length")
        if coding is not None:
            require_chunked(coding, version)
        length_bytes = None if coding is not None else int(length) if length else 0
        modern = version == "1.1"
        keeps = modern and b"close" not in deciding.get(b"connection", b"").lower()
        awaits = modern and deciding.get(b"expect", b"").lower() == CONTINUE
        return RequestHead(method.decode("ascii"), told.target, version, told.headers, keeps, length_bytes, awaits)

    def response(self) -> ResponseHead:
        """Judge a complete head. Raises BadMessage."""
        told = self._told
        version = VERSIONS.get(self._line[:8])
        if version is None:
            raise BadMessage("the answer is not HTTP/1.1")
        deciding = told.deciding
        coding, length = deciding.get(b"transfer-encoding"), deciding.get(b"content-length")
        if coding is not None and coding.strip().lower() != CHUNKED:
            raise BadMessage("the answer has a transfer coding that nobody asked for")
        return ResponseHead(
            self._parser.get_status_code(),
            told.headers,
            version == "1.1" and b"close" not in deciding.get(b"connection", b"").lower(),
            int(length) if length else None,
            coding is not None,
        )


def require_target(method: bytes, target: bytes) -> None:
    """Raise BadMessage for a target that names nothing here."""
    if method == b"CONNECT" or not (target.startswith((b"/", b"http://", b"https://")) or target == b"*"):
        raise BadMessage("the target is none of ours")


def require_host(host: bytes | None, version: str) -> None:
    """Raise BadMessage for no Host, or two: who is meant is then not said (RFC 9112, 3.2). HTTP/1.0 may do without."""
    if host is None and version == "1.0":
        return
    if host is None or not HOST.fullmatch(host):
        raise BadMessage("there must be one Host line, with a host")


def require_chunked(coding: bytes, version: str) -> None:
    """Raise BadMessage for a body whose end cannot be known here."""
    if version == "1.0":
        raise BadMessage("HTTP/1.0 has no transfer codings")
    if coding.strip().lower() != CHUNKED:
        raise BadMessage("this transfer coding is not served", NOT_IMPLEMENTED)
