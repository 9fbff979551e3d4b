"""Room on a full disk for small notes about tasks that are here already.

Photos leave a full disk only by being sent, and nothing is sent whose attempt could not be noted before. So a file of a fixed size
lies in the spool. A note that meets a full disk is written into the room of that file, which takes it back at once: a note replaces an
earlier one of about its size.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

from services.proxy.errors import SpoolFull
from services.proxy.spool.adapters import disk

NOTES_BYTES: Final = 256 << 10
"""For one note of each of the spool's threads, with the rounding of the file system."""


class NotesRoom:
    """The file that keeps the room. Used by threads."""

    def __init__(self, path: Path, size_bytes: int = NOTES_BYTES) -> None:
        self._path = path
        self._size_bytes = size_bytes
        self._giving = threading.Lock()

    def take(self) -> None:
        """Take the room as far as there is any."""
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, self._size_bytes)

    def write(self, path: Path, content: bytes) -> None:
        """Replace a small file in one step that a crash cannot halve, also on a full disk. Raises SpoolFull when even this is full."""
        try:
            disk.write_durably(path, content)
        except SpoolFull:
            with self._giving:
                self._write_into_the_room(path, content)

    def _write_into_the_room(self, path: Path, content: bytes) -> None:
        with contextlib.suppress(OSError):
            os.truncate(self._path, 0)
        try:
            disk.write_durably(path, content)
        finally:
            self.take()
