"""Multipart bodies, read as a stream: fields are kept, files go to disk chunk by chunk. O(1) memory.

NodeODM reads forms with multer and busboy. Theirs are the words of the errors,
and these habits: only the field `images` may carry files; a file without a name
is no file; a folder in a file name is dropped; when a form is refused, the
files of it that were complete are removed; when the connection breaks,
everything that came stays, the truncated last file too.
"""

from collections.abc import AsyncIterator, Callable
from typing import Final, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

FIELD_LIMIT_BYTES: Final = 1024 * 1024


class FormRefused(Exception):
    """The body is no form that NodeODM takes; the message is its answer."""


class Target(Protocol):
    """A file being received."""

    def write(self, data: bytes | memoryview) -> None:
        """Append."""

    def close(self, *, complete: bool) -> None:
        """No more comes."""

    def discard(self) -> None:
        """Remove it again: the form was refused."""


Opener = Callable[[str], Target]


def boundary(content_type: str) -> bytes | None:
    """Boundary of a multipart body; None when the content type is another. Raises: FormRefused."""
    kind, parameters = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    if not parameters.get(b"boundary"):
        raise FormRefused("Multipart: Boundary not found")
    return parameters[b"boundary"]


class Form:
    """One body: feed it, then look at `fields` and `files`.

    `open_file` is called with the name of each file under `images`; without it no file is welcome.
    """

    def __init__(self, boundary_: bytes, open_file: Opener | None) -> None:
        self.fields: dict[str, str] = {}
        self.files: list[Target] = []
        self._open_file = open_file
        self._headers: dict[bytes, bytes] = {}
        self._header = self._value = b""
        self._field: str | None = None
        self._text = bytearray()
        self._file: Target | None = None
        self._ended = False
        self._began = False
        self._parser = MultipartParser(
            boundary_,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
                "on_end": self._end,
            },
        )

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Read the whole body. Raises: FormRefused, and whatever the chunks raise when the client is gone."""
        try:
            async for chunk in chunks:
                self._feed(chunk)
            self._finish()
        except FormRefused:
            self._close_file(complete=False)
            for file in self.files:
                file.discard()
            raise
        finally:
            self._close_file(complete=False)

    def _finish(self) -> None:
        if self._began and not self._ended:
            raise FormRefused("Unexpected end of multipart data")

    def _feed(self, chunk: bytes) -> None:
        if not chunk:
            return
        try:
            self._parser.write(chunk)
        except FormParserError:
            # What is no form at all holds no file: busboy does not mind, and the handler then says what is missing.
            if self._began:
                raise FormRefused("Malformed part header") from None

    def _part_begin(self) -> None:
        self._began = True
        self._headers.clear()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, parameters = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = parameters.get(b"name", b"").decode(errors="replace")
        filename = _base_name(parameters)
        self._text.clear()
        self._field = name if filename is None else None
        if filename:
            self._begin_file(name, filename)

    def _begin_file(self, field: str, filename: str) -> None:
        if self._open_file is None or field != "images":
            raise FormRefused("Unexpected field")
        self._file = self._open_file(filename)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(memoryview(data)[start:end])
        elif self._field:
            self._text += data[start:end]
            if len(self._text) > FIELD_LIMIT_BYTES:
                raise FormRefused("Field value too long")

    def _part_end(self) -> None:
        if self._file is not None:
            self.files.append(self._file)
            self._close_file(complete=True)
        elif self._field:
            self.fields[self._field] = self._text.decode(errors="replace")

    def _end(self) -> None:
        self._ended = True

    def _close_file(self, *, complete: bool) -> None:
        if self._file is not None:
            self._file.close(complete=complete)
            self._file = None


def _base_name(parameters: dict[bytes, bytes]) -> str | None:
    """Name of the file in a part; "" for a nameless one, None when the part is no file."""
    if b"filename" not in parameters:
        return None
    return parameters[b"filename"].decode(errors="replace").rpartition("/")[2]
