"""A multipart/form-data body as a stream of events: chunks of bytes in, events out. No I/O, O(1) memory.

    FileBegins  FileChunk*  FileEnds     a part that has a file name
    Field                                any other part, as a whole (at most FIELD_LIMIT_BYTES)

The scanning is python-multipart's low-level parser; this module gives it limits, clear sentences and a definite end:
`finish()` refuses a body that stops before its last boundary, so a file that was cut off is never taken for a whole one.

The bytes of a file may also go past the reader: while `inside_file(chunk)` is true after `feed(chunk)`, it holds nothing back,
so whoever can find `delimiter` by other means may take what comes before it, and feed on from where it may begin.

An empty file input of a browser (no name, no bytes) is no file: it causes no event at all.
Format: RFC 7578; a file name in the form of RFC 5987 is understood where it stands alone.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from libs.common.errors import Refused

FIELD_LIMIT_BYTES: Final = 1024 * 1024
"""The longest value of one field; a longer one is an error, never cut."""
FIELDS_LIMIT_BYTES: Final = 4 * FIELD_LIMIT_BYTES
"""All fields of one request together."""
FIELDS_LIMIT_COUNT: Final = 1000
PART_HEADER_LIMIT_BYTES: Final = 16 * 1024
EXTENDED_NAME: Final = re.compile(rb"filename\*\s*=\s*[\w-]+'[\w-]*'([^;\s]+)", re.IGNORECASE)


class MalformedBody(Refused):
    """The body is not what its content type says, or is more than is allowed."""


@dataclass(frozen=True, slots=True)
class Field:
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


Event = Field | FileBegins | FileChunk | FileEnds


def boundary_of(content_type: bytes) -> bytes:
    """Find the boundary in a Content-Type header. Raises MalformedBody."""
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    if not boundary:
        raise MalformedBody("Multipart: Boundary not found")
    return boundary


def held_back(tail: bytes, delimiter: bytes) -> int:
    """Say how many bytes at the end may be the beginning of a delimiter."""
    at = tail.rfind(b"\r", -len(delimiter))
    return len(tail) - at if at >= 0 and delimiter.startswith(tail[at:]) else 0


class MultipartReader:
    """Reads one body. `feed` every chunk, then `finish`; both raise MalformedBody."""

    def __init__(self, boundary: bytes) -> None:
        self.delimiter: Final = b"\r\n--" + boundary
        """What ends a file."""
        self._events: list[Event] = []
        self._header_name = bytearray()
        self._header_value = bytearray()
        self._disposition = b""
        self._field: bytearray | None = None
        """The value of the field that is being read; None while a file is."""
        self._name = ""
        self._unnamed = False
        """The file has no name, and nothing of it has come yet."""
        self._file_open = False
        self._fields_count = self._fields_bytes = 0
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value_part,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._part_data,
                    "on_part_end": self._part_ends,
                    "on_end": self._body_ends,
                },
                max_header_size=PART_HEADER_LIMIT_BYTES,
            )
        except FormParserError as error:
            raise MalformedBody(f"Malformed multipart data: {error}") from None

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes of the body; say what they complete."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise MalformedBody("Malformed multipart data") from None
        events, self._events = self._events, []
        return events

    def inside_file(self, chunk: bytes) -> bool:
        """Whether, after this chunk, what comes next is the next byte of a file for certain."""
        return self._file_open and len(chunk) >= len(self.delimiter) and not held_back(chunk, self.delimiter)

    def finish(self) -> None:
        """Say that the body is over."""
        if not self._ended:
            raise MalformedBody("Unexpected end of multipart data")

    def _part_begins(self) -> None:
        self._disposition = b""
        self._header_name.clear()
        self._header_value.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_value_part(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _header_ends(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _headers_end(self) -> None:
        _, parameters = parse_options_header(self._disposition)
        self._name = parameters.get(b"name", b"").decode(errors="replace")
        filename = filename_in(self._disposition, parameters)
        if filename is None:
            self._field = bytearray()
            return
        self._field = None
        self._unnamed = not filename
        self._file_open = bool(filename)
        if filename:
            self._events.append(FileBegins(self._name, filename))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if start == end:
            return
        if self._field is not None:
            self._grow_field(data[start:end])
            return
        if self._unnamed:
            self._unnamed, self._file_open = False, True
            self._events.append(FileBegins(self._name, ""))
        self._events.append(FileChunk(data[start:end]))

    def _grow_field(self, data: bytes) -> None:
        assert self._field is not None  # noqa: S101 the caller has looked
        self._field += data
        self._fields_bytes += len(data)
        if len(self._field) > FIELD_LIMIT_BYTES:
            raise MalformedBody("Field value too long")
        if self._fields_bytes > FIELDS_LIMIT_BYTES:
            raise MalformedBody("Too much data in the fields")

    def _part_ends(self) -> None:
        if self._field is not None:
            self._fields_count += 1
            if self._fields_count > FIELDS_LIMIT_COUNT:
                raise MalformedBody("Too many fields")
            self._events.append(Field(self._name, self._field.decode(errors="replace")))
        elif self._file_open:
            self._events.append(FileEnds())
        self._field, self._file_open = None, False

    def _body_ends(self) -> None:
        self._ended = True


def filename_in(disposition: bytes, parameters: dict[bytes, bytes]) -> str | None:
    """Find the file name that a Content-Disposition gives; None: the part is a field."""
    if (plain := parameters.get(b"filename")) is not None:
        return plain.decode(errors="replace")
    extended = EXTENDED_NAME.search(disposition)
    return unquote_to_bytes(extended[1]).decode(errors="replace") if extended else None
