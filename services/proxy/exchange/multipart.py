"""A multipart/form-data body as a stream of events: chunks of bytes in, events out. No I/O, O(1) memory.

    FileBegins  FileChunk*  FileEnds     a part that is a file
    WholeFile                            the same, where all of it has come at once, for those who ask for that (`whole`)
    Field                                any other part, as a whole (at most FIELD_LIMIT_BYTES)

The body is a row of delimiters (CRLF, two dashes, the boundary) with heads and contents between them (RFC 2046):

    PREAMBLE -> LINE -> HEAD -> START -> CONTENT -> LINE -> ... -> EPILOGUE

Each state looks for one thing and holds back what might be the beginning of it; nothing is scanned byte by byte in Python. What is
in a head is read in part_heads.py. Where a reader could understand a body in two ways it is refused, and nothing is skipped: not a part
without a disposition, not what follows the last delimiter when it is another part. `finish()` refuses a body that stops
before its last delimiter, so a file that was cut off is never taken for a whole one.

The bytes of a file may also go past the reader: while `inside_file` is true, it holds nothing back, so whoever can find
`delimiter` by other means may take what comes before it, and feed on from where it may begin.

An empty file input of a browser (no name, no bytes) is no file: it causes no event at all.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from clusterodm.services.proxy.errors import MalformedBody
from clusterodm.services.proxy.exchange.part_heads import PartHead, parameters_of, read_head, usual_head
from clusterodm.services.proxy.exchange.whole_files import (
    BLANK_LINE,
    PART_HEADER_LIMIT_BYTES,
    USUAL_LINES,
    WholeFile,
    usual_files,
)

FIELD_LIMIT_BYTES: Final = 1024 * 1024
"""The longest value of one field; a longer one is an error, never cut."""
FIELDS_LIMIT_BYTES: Final = 4 * FIELD_LIMIT_BYTES
"""All fields of one request together."""
FIELDS_LIMIT_COUNT: Final = 1000
FIELD_BYTES: Final = 160
"""What keeping one takes beside its bytes: two texts, and a place in a table."""
BOUNDARY_LIMIT_BYTES: Final = 256
"""RFC 2046 ends at 70; busboy takes any."""
PADDING: Final = re.compile(rb"[ \t]*")
LINE_LIMIT_BYTES: Final = 256
MALFORMED: Final = "Malformed multipart data"


@dataclass(frozen=True, slots=True)
class FormField:
    """A complete field."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegins:
    """A part that is a file."""

    field: str
    filename: str


@dataclass(frozen=True, slots=True)
class FileChunk:
    """The next bytes of the file."""

    data: bytes


@dataclass(frozen=True, slots=True)
class FileEnds:
    """The file is complete."""


MultipartEvent = FormField | FileBegins | FileChunk | FileEnds | WholeFile


class ReaderState(Enum):
    """Where in the body the reader is."""

    PREAMBLE = auto()
    LINE = auto()
    """Behind a delimiter: the rest of its line."""
    HEAD = auto()
    START = auto()
    """Behind a head: its last line end may be the first of a delimiter already, when the part is empty."""
    CONTENT = auto()
    EPILOGUE = auto()


def boundary_of(content_type: bytes) -> bytes:
    """Find the boundary in a Content-Type header. Raises MalformedBody."""
    _, parameters = parameters_of(content_type)
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise MalformedBody("Multipart: Boundary not found")
    if len(boundary) > BOUNDARY_LIMIT_BYTES:
        raise MalformedBody(f"{MALFORMED}: the boundary is too long")
    return boundary


def held_back(tail: bytes, delimiter: bytes) -> int:
    """Say how many bytes at the end may be the beginning of a delimiter."""
    at = tail.rfind(b"\r", -len(delimiter))
    return len(tail) - at if at >= 0 and delimiter.startswith(tail[at:]) else 0


class MultipartReader:
    """Reads one body. `feed` every chunk, then `finish`; both raise MalformedBody."""

    def __init__(self, boundary: bytes, *, whole: bool = False) -> None:
        self.delimiter: Final = b"\r\n--" + boundary
        """What ends a file."""
        self._whole = whole
        """Whether a file that has come at once is one event."""
        self._at = ReaderState.PREAMBLE
        self._held = b"\r\n"
        """What is not understood yet. The first delimiter needs no line end in front of it."""
        self._came = False
        """Whether there is a body at all."""
        self._events: list[MultipartEvent] = []
        self._part: PartHead | None = None
        self._field: bytearray | None = None
        """The value of the field that is being read; None while a file is."""
        self._file_open = False
        """Whether the file has begun; one without a name begins with its first byte."""
        self._fields_count = self._fields_bytes = 0

    @property
    def kept_bytes(self) -> int:
        """How much of the body is kept in memory: fields with their names, and what is not understood yet."""
        return self._fields_bytes + self._fields_count * FIELD_BYTES + len(self._held)

    @property
    def inside_file(self) -> bool:
        """Whether what comes next is the next byte of a file for certain."""
        return self._at is ReaderState.CONTENT and self._file_open and not self._held

    def feed(self, chunk: bytes) -> list[MultipartEvent]:
        """Take the next bytes of the body; say what they complete."""
        data = self._held + chunk if self._held else bytes(chunk)
        self._came = self._came or bool(chunk)
        at: int | None = 0
        position = 0
        while at is not None:
            position = at
            at = self._step(data, at)
        self._held = data[position + self._let_go(data, position) :]
        events, self._events = self._events, []
        return events

    def finish(self) -> None:
        """Say that the body is over."""
        if self._at is ReaderState.PREAMBLE and self._came:
            raise MalformedBody(f"{MALFORMED}: no line begins with the boundary (lines end with CRLF)")
        if self._at is not ReaderState.EPILOGUE:
            raise MalformedBody("Unexpected end of multipart data")

    def _step(self, data: bytes, start: int) -> int | None:
        """Do one step; return where the next begins, or None: more bytes are needed."""
        match self._at:
            case ReaderState.PREAMBLE | ReaderState.CONTENT | ReaderState.EPILOGUE:
                return self._find_delimiter(data, start)
            case ReaderState.LINE:
                return self._end_line(data, start)
            case ReaderState.HEAD:
                return self._end_head(data, start)
            case ReaderState.START:
                return self._begin_content(data, start)

    def _let_go(self, data: bytes, start: int) -> int:
        """Hand on what cannot be part of a delimiter; return how many bytes that is."""
        if self._at not in {ReaderState.PREAMBLE, ReaderState.CONTENT, ReaderState.EPILOGUE}:
            return 0
        loose = len(data) - start - held_back(data[max(start, len(data) - len(self.delimiter)) :], self.delimiter)
        if loose and self._at is ReaderState.CONTENT:
            self._content(data[start : start + loose])
        return loose

    def _find_delimiter(self, data: bytes, start: int) -> int | None:
        end = data.find(self.delimiter, start)
        if end < 0:
            return None
        if self._at is ReaderState.EPILOGUE:
            raise MalformedBody(f"{MALFORMED}: a part follows the last boundary")
        if self._at is ReaderState.CONTENT:
            if end > start:
                self._content(data[start:end])
            self._end_part()
        self._at = ReaderState.LINE
        return end + len(self.delimiter)

    def _end_line(self, data: bytes, start: int) -> int | None:
        if self._whole and (behind := usual_files(data, start, self.delimiter, self._events)) > start:
            return behind
        usual = USUAL_LINES.match(data, start)
        if usual is not None and usual.end() - start <= PART_HEADER_LIMIT_BYTES:
            self._begin_part(usual_head(usual[1], usual[2]))
            self._at = ReaderState.START
            return usual.end() - 2
        if data.startswith(b"--", start):
            self._at = ReaderState.EPILOGUE
            return start + 2
        end = PADDING.match(data, start).end()  # type: ignore[union-attr] # it matches everything
        if data.startswith(b"\r\n", end):
            self._at = ReaderState.HEAD
            return end
        if len(data) - start > LINE_LIMIT_BYTES or not could_be(data[end:], b"\r\n", b"--" if end == start else b""):
            raise MalformedBody(f"{MALFORMED}: other text follows a boundary (lines end with CRLF)")
        return None

    def _end_head(self, data: bytes, start: int) -> int | None:
        end = data.find(BLANK_LINE, start)
        if (len(data) if end < 0 else end) - start > PART_HEADER_LIMIT_BYTES:
            raise MalformedBody(f"{MALFORMED}: the head of a part is too long")
        if end < 0:
            return None
        self._begin_part(read_head(data[start + 2 : end]))
        self._at = ReaderState.START
        return end + 2

    def _begin_content(self, data: bytes, start: int) -> int | None:
        left_bytes = len(data) - start
        if left_bytes < len(self.delimiter) and could_be(data[start:], self.delimiter):
            return None
        self._at = ReaderState.CONTENT
        return start if data.startswith(self.delimiter, start) else start + 2

    def _begin_part(self, head: PartHead) -> None:
        self._part = head
        self._field = bytearray() if head.filename is None else None
        self._file_open = False
        if self._field is not None:
            self._keep_of_fields(len(head.name))
        if head.filename:
            self._begin_file(head)

    def _begin_file(self, head: PartHead) -> None:
        self._file_open = True
        self._events.append(FileBegins(head.name, head.filename or ""))

    def _content(self, data: bytes) -> None:
        if self._field is not None:
            self._grow_field(self._field, data)
            return
        if not self._file_open and self._part is not None:
            self._begin_file(self._part)
        self._events.append(FileChunk(data))

    def _grow_field(self, field: bytearray, data: bytes) -> None:
        field += data
        if len(field) > FIELD_LIMIT_BYTES:
            raise MalformedBody("Field value too long")
        self._keep_of_fields(len(data))

    def _keep_of_fields(self, count_bytes: int) -> None:
        self._fields_bytes += count_bytes
        if self._fields_bytes > FIELDS_LIMIT_BYTES:
            raise MalformedBody("Too much data in the fields")

    def _end_part(self) -> None:
        if not self._file_open:  # a field, or the input of a file that was not chosen
            self._fields_count += 1
            if self._fields_count > FIELDS_LIMIT_COUNT:
                raise MalformedBody("Too many fields")
        if self._field is not None and self._part is not None:
            self._events.append(FormField(self._part.name, self._field.decode(self._part.charset, errors="replace")))
        elif self._file_open:
            self._events.append(FileEnds())
        self._field, self._file_open = None, False


def could_be(beginning: bytes, *wholes: bytes) -> bool:
    """Say whether these bytes may be the beginning of one of those."""
    return any(whole.startswith(beginning) for whole in wholes)
