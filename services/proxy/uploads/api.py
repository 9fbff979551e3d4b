"""The body of an upload, part by part into a receipt."""

from typing import Final

from libs.common.errors import Refused
from services.proxy.errors import MalformedBody
from services.proxy.exchange.forms import (
    MULTIPART,
    URLENCODED,
    kind_of,
    read_form,
    unsupported,
)
from services.proxy.exchange.multipart import (
    Event,
    Field,
    FileBegins,
    FileChunk,
    FileEnds,
    MultipartReader,
    boundary_of,
)
from services.proxy.exchange.nodeodm_api import NO_FILES
from services.proxy.exchange.request import Exchange
from services.proxy.spool.ports import Part, Receipt

IMAGES: Final = "images"
"""The one field name under which NodeODM takes files."""

WRITE_LIMIT_BYTES: Final = 256 * 1024

FILL_FROM_BYTES: Final = 64 * 1024
"""With less to come a thread is not worth it."""

FILL_AFTER_BYTES: Final = 32 * 1024
"""Before that a file may be a small one."""

AGAIN_BYTES: Final = 16 * 1024 * 1024


async def read_upload(exchange: Exchange, receipt: Receipt, stall_s: float) -> dict[str, str]:
    """Store the files of a request in a receipt; the fields beside them. Raises as `read_form`, and SpoolFull."""
    content_type = exchange.header(b"content-type")
    kind = kind_of(content_type)
    if kind == URLENCODED:
        return await read_form(exchange, stall_s)
    if kind != MULTIPART:
        raise unsupported(kind)
    reader = MultipartReader(boundary_of(content_type or b""))
    intake = Intake(reader, receipt)
    async for chunk in exchange.bounded_chunks(stall_s):
        await intake.feed(chunk)
        exchange.keep(reader.kept_bytes)
        while intake.may_fill() and (behind := await intake.fill(exchange)) is not None:
            chunk = behind  # noqa: PLW2901 as if it had come like the others
            await intake.feed(chunk)
    reader.finish()
    await exchange.bounds.together.turn(reader.kept_bytes)
    return intake.fields


class Intake:
    """Where the events of an upload go.

    The first pieces of a file go through the parser; once it is plain that a file is large, the socket is lent to its part,
    which takes everything up to the next delimiter by itself. What it has taken beyond that goes through the parser again.
    A client that falls silent meanwhile is waited for here, and gets another chance after AGAIN_BYTES.
    """

    def __init__(self, reader: MultipartReader, receipt: Receipt) -> None:
        self.fields: dict[str, str] = {}
        self._reader = reader
        self._receipt = receipt
        self._part: Part | None = None
        self._copy_bytes = 0
        """What is to be copied at least before the next attempt to do without."""
        self._came_bytes = 0
        """Of the file that is arriving."""

    async def feed(self, chunk: bytes) -> None:
        """Do what a piece of the body says."""
        self._copy_bytes = max(0, self._copy_bytes - len(chunk))
        for event in self._reader.feed(chunk):
            await self._take(event)

    def may_fill(self) -> bool:
        """Whether a file goes on that may take its bytes by itself."""
        return not self._copy_bytes and self._came_bytes >= FILL_AFTER_BYTES and self._reader.inside_file

    async def fill(self, exchange: Exchange) -> bytes | None:
        """Let the file take its bytes from the socket; what it took beyond its end, None when it took nothing."""
        with exchange.door.body_socket() as tap:
            if tap is None or tap.left_bytes < FILL_FROM_BYTES:
                return None
            expected_bytes = tap.left_bytes
            behind = await self._open_part().fill(tap, self._reader.delimiter)
            exchange.beside_bytes += expected_bytes - tap.left_bytes
            if tap.slow:
                self._copy_bytes = AGAIN_BYTES
            return behind

    async def _take(self, event: Event) -> None:
        """Do what an event says."""
        match event:
            case FileChunk(data):
                self._came_bytes += len(data)
                self._write(data)
            case FileBegins(field, filename):
                if field != IMAGES:
                    raise MalformedBody(f"Unexpected field: {field[:100]}")
                self._came_bytes = 0
                self._part = await self._receipt.open(filename)
            case FileEnds():
                self._open_part().close()
            case Field(name, value):
                if name == IMAGES and value:
                    raise MalformedBody(f"A part of the field {IMAGES} has no file name")
                self.fields[name] = value

    def _write(self, data: bytes) -> None:
        part = self._open_part()
        if len(data) <= WRITE_LIMIT_BYTES:
            part.write(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), WRITE_LIMIT_BYTES):
            part.write(view[start : start + WRITE_LIMIT_BYTES])

    def _open_part(self) -> Part:
        if self._part is None:
            raise Refused(NO_FILES)
        return self._part
