"""Header lines and status lines. Pure, and without a parser."""

import http
import re
from collections.abc import Iterable, Sequence
from typing import Final

Header = tuple[bytes, bytes]
"""Name in lower case, value."""

NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VALUE: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
BODILESS: Final = frozenset((204, 304))
INFORMATIONAL_BELOW: Final = 200


class BadMessage(Exception):
    """What came is not HTTP as it is read here. `status`: what a client is answered with."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.words = words
        self.status = status


def status_line(status: int) -> bytes:
    """Write the first line of an answer."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


STATUS_LINE: Final = {status: status_line(status) for status in range(100, 600)}


def find(headers: Iterable[Header], wanted: bytes) -> bytes | None:
    """Look up the first line with a name."""
    for name, value in headers:
        if name == wanted:
            return value
    return None


def require_sendable(headers: Iterable[Header]) -> None:
    """Raise ValueError for a line that would be more than one. What is in it is not said."""
    for name, value in headers:
        if not NAME.fullmatch(name) or not VALUE.fullmatch(value):
            raise ValueError("a header line with characters that it cannot have")


def request_head(method: bytes, target: bytes, headers: Sequence[Header]) -> bytes:
    """Write the head of a request. Raises ValueError for what would be more than one line."""
    require_sendable(headers)
    if not NAME.fullmatch(method) or not target or min(target) <= SPACE or max(target) >= DELETE:
        raise ValueError("a request line with characters that it cannot have")
    lines = [method + b" " + target + b" HTTP/1.1", *(name + b": " + value for name, value in headers), b"", b""]
    return b"\r\n".join(lines)


SPACE: Final = 0x20
DELETE: Final = 0x7F
