"""Parts of results that their nodes send as a whole only (RFC 9110, 14): which part a client wants, and what goes round it. Pure.

one range that begins inside        206 with that part
one that begins behind the end      416
several, another unit, nonsense     200 with everything, which a server may always answer
If-Range                            200 with everything: such nodes name no version of a result
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.http1.lines import Header, find

PARTIAL: Final = 206
NOT_SATISFIABLE: Final = 416
RANGE: Final = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)
OF_THE_WHOLE: Final = frozenset((b"content-length", b"content-range", b"content-md5", b"digest", b"content-digest"))


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a result; `count_bytes` 0: there is no such part."""

    first: int
    count_bytes: int
    size_bytes: int
    """Of the whole."""

    @property
    def status(self) -> int:
        """How it is answered."""
        return PARTIAL if self.count_bytes else NOT_SATISFIABLE

    @property
    def reaches_the_end(self) -> bool:
        """Whether nothing comes behind it."""
        return self.first + self.count_bytes == self.size_bytes

    def headers(self, whole: Sequence[Header]) -> list[Header]:
        """Write the lines for it from those of the whole."""
        place = b"%d-%d" % (self.first, self.first + self.count_bytes - 1) if self.count_bytes else b"*"
        return [
            *(line for line in whole if line[0] not in OF_THE_WHOLE),
            (b"content-range", b"bytes %s/%d" % (place, self.size_bytes)),
            (b"content-length", b"%d" % self.count_bytes),
        ]


def span_wanted(asked: Sequence[Header], told: Sequence[Header]) -> Span | None:
    """Say which part of an answer that comes as a whole its client wants; None: all of it."""
    length, header = find(told, b"content-length"), find(asked, b"range")
    if length is None or header is None or find(asked, b"if-range") or find(told, b"content-encoding"):
        return None
    return span_of(header, int(length)) if length.isdigit() else None


def span_of(header: bytes, size_bytes: int) -> Span | None:
    """Read a Range header; None: it is to be ignored."""
    match = RANGE.fullmatch(header)
    if match is None or match[1] + match[2] == b"":
        return None
    if not match[1]:
        count_bytes = min(int(match[2]), size_bytes)
        return Span(size_bytes - count_bytes, count_bytes, size_bytes)
    first = int(match[1])
    last = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
    if match[2] and int(match[2]) < first:
        return None
    return Span(first, max(0, last + 1 - first), size_bytes)
