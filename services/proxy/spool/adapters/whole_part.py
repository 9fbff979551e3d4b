"""A file of an upload request that has come as a whole, and what such files may take of the memory.

For a small file the calls of the system are most of its cost, and each call that the event loop makes beside a working thread gives the
interpreter away and has to wait for it again. So the loop makes none: the bytes stay in memory until the thread that publishes them
(publishing.py) writes and syncs them too. A request that has BATCH_BYTES of them has them written before it goes on, as a batch. They are never more than KEPT_BYTES; beyond that a file is written as it comes, as a large one is.
"""

import os
from collections.abc import Sequence
from typing import Final

from clusterodm.libs.common.errors import NotFound
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD

KEPT_BYTES: Final = 8 << 20
BATCH_BYTES: Final = 256 << 10
"""So much of a request is worth a way to a thread and back; and thirty requests at once have room for it."""


class KeptRoom:
    """What files in memory may take, those of all requests together. Used by the event loop alone."""

    def __init__(self, size_bytes: int = KEPT_BYTES) -> None:
        self._left_bytes = size_bytes

    def __repr__(self) -> str:
        """Show what is left."""
        return f"KeptRoom(left={self._left_bytes})"

    def take(self, count_bytes: int) -> bool:
        """Take some of it, if there is so much."""
        if count_bytes > self._left_bytes:
            return False
        self._left_bytes -= count_bytes
        return True

    def give_back(self, count_bytes: int) -> None:
        """Give it back."""
        self._left_bytes += count_bytes


class WholePart(disk.PartFile):
    """A file that is complete, and in memory until its batch or its request is written."""

    __slots__ = ("_content", "_write", "name", "size_bytes")

    def __init__(self, path: str, name: str, content: bytes, write: disk.Write = os.write) -> None:
        self.path = path
        self.name = name
        self.size_bytes = len(content)
        self._content: bytes | None = content
        self._write = write
        self._file = None

    def __repr__(self) -> str:
        """Show where it will lie."""
        return f"WholePart({self.path} size={self.size_bytes})"

    # --- on its way to the disk: in a thread

    @property
    def synced(self) -> bool:
        """Whether it has been written, or that was tried, and nothing is left to be waited for."""
        return self._content is None and self._file is None

    def reopen(self) -> None:
        """Have it open, and written. Raises NotFound when its upload is gone, OSError."""
        content, self._content = self._content, None
        if content is None:
            return
        try:
            self._file = disk.create(self.path)
        except FileNotFoundError:
            raise NotFound(NO_SUCH_UPLOAD) from None
        disk.write_all(self._write, self._file, content)

    @property
    def is_stored(self) -> bool:
        """Whether its file has been made, or that was tried."""
        return self._content is None


class KeptBatch:
    """Files of one request that go to the disk before it is complete."""

    __slots__ = ("parts", "size_bytes")

    def __init__(self, parts: Sequence[WholePart]) -> None:
        self.parts = parts
        self.size_bytes = sum(part.size_bytes for part in parts)

    @property
    def files_count(self) -> int:
        """How many files it has."""
        return len(self.parts)
