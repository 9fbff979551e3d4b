"""One upload request on its way to disk. Implements ports.Receipt and ports.Part over `disk`.

A small part, and what cannot be had otherwise, is written from the event loop, chunk by chunk, as it comes from the socket: a
plain write into the page cache costs less than handing it to a thread. The rest of a large part is moved inside the kernel
(`DiskPart.fill`, by `splice`), and never waits on the loop for a disk that is behind. Everything that waits for the disk itself happens at the end, in a
thread (`DiskReceipt.publish`).
"""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

from libs.common.errors import NotFound
from services.proxy.adapters import disk
from services.proxy.adapters.movers import Movers
from services.proxy.adapters.splice import Fill
from services.proxy.core.names import safe_name
from services.proxy.ports import NO_SUCH_UPLOAD, SpoolFull, StoredFile, Tap


class DiskPart:
    """A file that is arriving. Implements ports.Part."""

    def __init__(self, path: Path, name: str, movers: Movers, write: disk.Write = os.write) -> None:
        self.path = path
        self.name = name
        self._movers = movers
        self._write = write
        with disk.full_disk_refuses():
            self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    @property
    def closed(self) -> bool:
        """Whether it is complete."""
        return self._file is None

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append a chunk."""
        if self._file is None:
            raise ValueError("this part is complete")
        try:
            written = self._write(self._file, chunk)
            while written < len(chunk):
                written += self._write(self._file, memoryview(chunk)[written:])
        except OSError as error:
            if error.errno in disk.FULL:
                raise SpoolFull(disk.NO_ROOM) from None
            raise

    async def fill(self, tap: Tap, delimiter: bytes) -> bytes | None:
        """Append what a socket brings, up to a delimiter."""
        if self._file is None or not self._movers.free:
            return None
        move = Fill(tap.descriptor, self._file, os.lseek(self._file, 0, os.SEEK_CUR), tap.left_bytes, delimiter)
        try:
            with disk.full_disk_refuses():
                await self._movers.run(move)
        finally:
            tap.left_bytes -= move.drawn_bytes
            tap.slow = move.gave_up
        os.lseek(self._file, move.end, os.SEEK_SET)
        return move.rest

    def close(self) -> None:
        """Complete it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Remove it, wherever it is in its life."""
        self.close()
        self.path.unlink(missing_ok=True)


class DiskReceipt:
    """One upload request. Implements ports.Receipt."""

    def __init__(self, folder: Path, movers: Movers, write: disk.Write, require_room: Callable[[], None]) -> None:
        self._folder = folder
        self._movers = movers
        self._write = write
        self._require_room = require_room
        self.parts: list[DiskPart] = []
        self.published: list[StoredFile] = []

    @property
    def files_count(self) -> int:
        """Files opened so far."""
        return len(self.parts)

    async def open(self, filename: str) -> DiskPart:
        """Begin a file."""
        name = safe_name(filename)
        self._require_room()
        try:
            part = DiskPart(self._folder / disk.PARTS / uuid.uuid4().hex, name, self._movers, self._write)
        except FileNotFoundError:
            raise NotFound(NO_SUCH_UPLOAD) from None
        self.parts.append(part)
        return part

    def publish(self) -> None:
        """Make all files appear. Runs in a thread."""
        if not all(part.closed for part in self.parts):
            raise ValueError("a part of this request is not complete")
        self.published = disk.publish([(part.path, part.name) for part in self.parts], self._folder / disk.FILES)

    def discard(self) -> None:
        """Remove what has not been published."""
        for part in self.parts:
            part.discard()
