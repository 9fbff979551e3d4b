"""How much room there is on the disk of the spool for uploads, as small requests ask: the disk itself is asked ten times a second at most.

Each question gives the interpreter away to the threads that work for the disk, which costs a small file more than reading its head does. What has come since
the last one is counted here; what others write meanwhile is what the reserve is for. A file that grows asks the disk itself, for each megabyte.
"""

import math
import os
from pathlib import Path
from typing import Final

from clusterodm.libs.common.clocks import Clock, Instant

ASK_AGAIN_S: Final = 0.1
FILES_RESERVE_COUNT: Final = 1024
"""Files that must fit beside those of uploads: each note of a task is one, and empty files take no bytes."""


class FreeSpace:
    """What the disk said, less the reserve and what has come since."""

    def __init__(self, root: Path, clock: Clock, reserve_bytes: int) -> None:
        self._root = root
        self._clock = clock
        self.reserve_bytes = reserve_bytes
        """What uploads leave free."""
        self._asked = Instant(-math.inf)
        self._left_bytes = 0

    def left_bytes(self) -> int:
        """Say what is left for uploads, as far as it is known; below 0 where no file fits, or the spool is gone. Raises OSError."""
        if self._clock.instant() - self._asked < ASK_AGAIN_S:
            return self._left_bytes - self.reserve_bytes
        return self.present_bytes()

    def present_bytes(self) -> int:
        """Ask the disk what is left for uploads; below 0 where no file fits, or the spool is gone: `require_there` ends this proxy. Raises OSError."""
        try:
            self._left_bytes = free_bytes(os.statvfs(self._root))
        except FileNotFoundError:
            self._left_bytes = -1
        self._asked = self._clock.instant()
        return self._left_bytes - self.reserve_bytes

    def taken(self, count_bytes: int) -> None:
        """Hear of so many bytes that have come."""
        self._left_bytes -= count_bytes


def free_bytes(said: os.statvfs_result) -> int:
    """Say what a disk has left; -1 where it has hardly any inode left. Some file systems count none (`f_files` 0)."""
    if said.f_files and said.f_favail < FILES_RESERVE_COUNT:
        return -1
    return said.f_bavail * said.f_frsize
