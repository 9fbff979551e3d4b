"""Which part of a result a client wants, and whether an answer is that part. Pure.

Parts of results that their nodes send as a whole only (RFC 9110, 14):

    one range that begins inside        206 with that part
    one that begins behind the end      416
    several, another unit, nonsense     200 with everything, which a server may always answer
    If-Range                            200 with everything: such nodes name no version of a result

Nodes and storages are asked for one range only; for anything else they are asked for everything. What such a one answers (RFC 9110, 15.3.7):

    206    passes when its one Content-Range is the range (or, where it does not say of how much, begins there and ends within it), and
           is as long as Content-Length says: clients write a part to where they have asked for it, and PyODM waits for the rest of a shorter one.
           `multipart/byteranges`, which has its places inside, is never an answer to one range
    416    passes when the range begins behind the end that it tells of, or it tells of none
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.http1.lines import Header, find

PARTIAL: Final = 206
NOT_SATISFIABLE: Final = 416
RANGE_LINE: Final = b"range"
RANGE: Final = re.compile(rb"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.IGNORECASE)
CONTENT_RANGE: Final = re.compile(rb"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(?:(\d{1,18})|\*)", re.IGNORECASE)
UNTOLD_BYTES: Final = 10**18
"""Where a part is not told of how much: more than any file has."""
OF_THE_WHOLE: Final = frozenset((b"accept-ranges", b"content-length", b"content-md5", b"digest", b"content-digest"))
"""What is not true of a part that is cut out here; nodes that were to send it and did not take no ranges, whatever they say."""
SEVERAL: Final = b"multipart/byteranges"


@dataclass(frozen=True, slots=True)
class ByteRange:
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


def span_wanted(asked: Sequence[Header], told: Sequence[Header]) -> ByteRange | None:
    """Say which part of an answer that comes as a whole its client wants; None: all of it."""
    length, header = find(told, b"content-length"), single_range(asked)
    if length is None or header is None or find(asked, b"if-range") or find(told, b"content-encoding"):
        return None
    return span_of(header, int(length)) if length.isdigit() else None


def span_of(header: bytes, size_bytes: int) -> ByteRange | None:
    """Read a Range header; None: it is to be ignored."""
    match = RANGE.fullmatch(header)
    if match is None or match[1] + match[2] == b"":
        return None
    if not match[1]:
        count_bytes = min(int(match[2]), size_bytes)
        return ByteRange(size_bytes - count_bytes, count_bytes, size_bytes)
    first = int(match[1])
    last = min(int(match[2]), size_bytes - 1) if match[2] else size_bytes - 1
    if match[2] and int(match[2]) < first:
        return None
    return ByteRange(first, max(0, last + 1 - first), size_bytes)


def single_range(asked: Sequence[Header]) -> bytes | None:
    """Find the range that a request asks for; None: there is none, several, or nonsense."""
    lines = [value for name, value in asked if name == RANGE_LINE]
    return lines[0] if len(lines) == 1 and span_of(lines[0], UNTOLD_BYTES) else None


def answers_range(status: int, asked: Sequence[Header], told: Sequence[Header]) -> bool:
    """Whether a 206 is the part that was asked for, and a 416 is about a part that is not there."""
    header, places = single_range(asked), [value for name, value in told if name == b"content-range"]
    if status == PARTIAL and media_type(told) == SEVERAL:
        return False
    if header is None or len(places) != 1:
        return header is not None and status == NOT_SATISFIABLE and not places
    match = CONTENT_RANGE.fullmatch(places[0])
    if match is None or (match[3] is None and (status == NOT_SATISFIABLE or header_is_suffix(header))):
        return False
    span = span_of(header, int(match[3]) if match[3] else UNTOLD_BYTES)
    if span is None or status == NOT_SATISFIABLE:
        return span is not None and match[1] is None and not span.count_bytes
    if match[1] is None or not is_sent(int(match[1]), int(match[2]), find(told, b"content-length")):
        return False
    last = span.first + span.count_bytes - 1
    return int(match[1]) == span.first and (int(match[2]) == last if match[3] else int(match[2]) <= last)


def media_type(told: Sequence[Header]) -> bytes:
    """Say of which type an answer is; empty where it does not say that."""
    return (find(told, b"content-type") or b"").partition(b";")[0].strip().lower()


def header_is_suffix(header: bytes) -> bool:
    """Whether a range is counted from the end."""
    match = RANGE.fullmatch(header)
    return match is not None and not match[1]


def is_sent(first: int, last: int, length: bytes | None) -> bool:
    """Whether a part is as long as its place says."""
    return first <= last and length is not None and length.isdigit() and int(length) == last + 1 - first
