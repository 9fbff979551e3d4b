"""Notes: small files of a spool that are written again and again, on a full disk too.

Photos leave a full disk only by being sent, and nothing is sent whose attempt could not be noted before. So a file of a fixed size
lies in the spool (`NotesRoom`). A note that meets a full disk is written into the room of that file, which takes it back at once: a note
replaces an earlier one of about its size.

A history grows by a line for each note: that is one call of the disk to wait for, where a file that replaces another is two. The last line that can
be read counts: what a power cut has left of later ones was never waited for. A file that is long, or was written by an earlier run, is begun anew.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

import msgspec
import structlog

from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.core.history import History

log = structlog.get_logger()

NOTES_BYTES: Final = 256 << 10
"""For one note of each of the spool's threads, with the rounding of the file system."""
HISTORY_BYTES: Final = 16 << 10
"""A history that is longer is begun anew."""


class NotesRoom:
    """The file that keeps the room. Used by threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._giving = threading.Lock()

    def take(self) -> None:
        """Take the room as far as there is any."""
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            os.posix_fallocate(file.fileno(), 0, NOTES_BYTES)

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

    def add(self, path: Path, history: History, known_bytes: int, *, durably: bool) -> int:
        """Add a line to a history of which this run has written so many bytes; how many these are now. Raises as `write`.

        Not `durably`: a power cut may take the line back, nothing else does.
        """
        line = msgspec.json.encode(history) + b"\n"
        if 0 < known_bytes < HISTORY_BYTES:
            with contextlib.suppress(SpoolFull, FileNotFoundError):  # half a line on the disk goes with the rest
                disk.append(path, line, durably=durably)
                return known_bytes + len(line)
        self.write(path, line)
        return len(line)


def load_history(folder: Path) -> History | None:
    """Read what was done with a task. An earlier version has left an empty file; then the records say it, as long as they are there."""
    try:
        content = (folder / disk.HISTORY).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("history.not_read", folder=folder.name, reason=str(error))
        return None
    for passed_count, line in enumerate(reversed(content.split(b"\n"))):
        with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
            history = msgspec.json.decode(line, type=History)
            if passed_count > 1:  # the first is empty, cut off, or all that an earlier version has written
                log.warning("history.not_read", folder=folder.name, reason="its last lines are damaged")
            return history
    if content:
        log.warning("history.not_read", folder=folder.name, reason="it is damaged")
    return None
