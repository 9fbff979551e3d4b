"""One upload request on its way to disk. Implements ports.Receipt and ports.Part over `disk`.

A file that comes as a whole stays in memory until the end, or until its batch is handed over, while there is room for such (whole_part.py). What comes in pieces is
written from the event loop, chunk by chunk, as it comes from the socket: a plain write into the page cache costs less than handing it to a thread. The rest of a large part is moved inside the kernel
(`DiskPart.fill`, by `splice`), and never waits on the loop for a disk that is behind. Everything that waits for the disk itself happens at the end, in a
thread (publishing.py).
"""

import os
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from pathlib import Path

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.http_io.lending import LentSocket
from clusterodm.services.proxy.splice.kernel_pipes import SpliceThreads
from clusterodm.services.proxy.splice.moves import SocketToFile
from clusterodm.services.proxy.spool.adapters import disk, naming
from clusterodm.services.proxy.spool.adapters.claims import Claim
from clusterodm.services.proxy.spool.adapters.whole_part import BATCH_BYTES, KeptBatch, KeptRoom, WholePart
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, StoredFile, safe_name

NUMBERS = count()
"""Of files that are arriving: one proxy uses a spool, and what a crash has left of them goes at its start."""

WriteEarly = Callable[[KeptBatch], Awaitable[None]]
"""Writes and syncs files of a request that goes on. Raises NotFound, SpoolFull, OSError."""


class DiskPart(disk.PartFile):
    """A file that is arriving. Implements ports.Part."""

    def __init__(  # noqa: PLR0913 what it needs of its request and of the spool
        self,
        path: str,
        name: str,
        splice_threads: SpliceThreads,
        claim: Claim,
        write: disk.Write = os.write,
        *,
        stays_open: bool = False,
    ) -> None:
        self.path = path
        """Text: there are many of them, and a Path for each costs more than its file's head."""
        self.name = name
        self.size_bytes = 0
        self.closed = False
        """Whether it is complete."""
        self._stays_open = stays_open
        self._splice_threads = splice_threads
        self._claim = claim
        self._write = write
        with disk.full_disk_refuses():
            self._file = disk.create(path)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append a chunk."""
        if self._file is None or self.closed:
            raise ValueError("this part is complete")
        self._claim.take(len(chunk))
        try:
            disk.write_all(self._write, self._file, chunk)
            self.size_bytes += len(chunk)
        except OSError as error:
            raise disk.refusal_of(error) from None

    async def fill(self, lent: LentSocket, delimiter: bytes) -> bytes | None:
        """Append what a socket brings, up to a delimiter, or to the end of what this request may take without another question."""
        count_bytes = min(lent.left_bytes, self._claim.left_bytes)
        if self._file is None or not self._splice_threads.free or not count_bytes:
            return None
        at = os.lseek(self._file, 0, os.SEEK_CUR)
        move = SocketToFile(lent.descriptor, self._file, at, count_bytes, delimiter)
        self._claim.moving = self
        try:
            with disk.full_disk_refuses():
                await self._splice_threads.run(move)
        finally:
            self._claim.moving = None
            lent.left_bytes -= move.drawn_bytes
            lent.slow = move.gave_up
        self.size_bytes = os.lseek(self._file, move.end, os.SEEK_SET)
        self._claim.take(move.end - at)
        return move.rest

    def close(self) -> None:
        """Complete it."""
        self.closed = True
        if not self._stays_open:
            self.release()

    @property
    def present_bytes(self) -> int:
        """What is there of it, as its file says."""
        if self.closed or self._file is None:
            return self.size_bytes
        return max(self.size_bytes, os.fstat(self._file).st_size)

    # --- on its way to the disk: in a thread

    synced = False
    """It is synced when its request is complete, and not before."""

    def reopen(self) -> None:
        """Have it open; most are, since they came."""
        if self._file is None:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)

    is_stored = True
    """Its file has been made."""


class DiskReceipt:
    """One upload request. Implements ports.Receipt."""

    def __init__(  # noqa: PLR0913, PLR0917 what it needs of the spool
        self,
        folder: str,
        splice_threads: SpliceThreads,
        write: disk.Write,
        claim: Claim,
        kept_room: KeptRoom,
        write_early: WriteEarly,
        twins: naming.TwinNames | None = None,
    ) -> None:
        self.files_folder = f"{folder}/{disk.FILES}"
        """Where they appear."""
        self._folder = folder
        self._splice_threads = splice_threads
        self._write = write
        self.claim = claim
        """What it may take of the disk."""
        self._kept_room = kept_room
        self._write_early = write_early
        self._twins = twins or naming.TwinNames()
        self._kept_bytes = 0
        self._kept: list[WholePart] = []
        """Those that are in memory."""
        self._whole_bytes = 0
        self._written: list[DiskPart] = []
        """Those that did not come as a whole, or found no room in memory."""
        self.parts: list[DiskPart | WholePart] = []
        self.published: list[StoredFile] = []
        self.added: dict[str, StoredFile] = {}
        """Those that take room: of these no twin was there. When the request has failed, those that another relies on."""
        self.freed: list[StoredFile] = []
        """When it has failed: those that another had left because of it, and that are gone now."""
        self._relied_on: list[str] = []
        """Names under which its files were there already, by others."""

    @property
    def files_count(self) -> int:
        """Files opened so far."""
        return len(self.parts)

    async def open(self, filename: str) -> DiskPart:
        """Begin a file."""
        return self._begin(safe_name(filename))

    def keep(self, filename: str, content: bytes) -> None:
        """Take a small file, all of it."""
        name = safe_name(filename)
        if self._kept_room.take(len(content)):
            self._kept_bytes += len(content)
            self.claim.take(len(content))
            self._whole_bytes += len(content)
            part = WholePart(self._fresh_path(), name, content, self._write)
            self.parts.append(part)
            self._kept.append(part)
            return
        opened = self._begin(name)
        opened.write(content)
        opened.close()

    async def hand_over(self) -> None:
        """Let files in memory go to the disk, if they are enough to be worth it; returns when they are there. Raises NotFound, SpoolFull, OSError."""
        if self._kept_bytes < BATCH_BYTES:
            return
        batch, self._kept = KeptBatch(self._kept), []
        await self._write_early(batch)
        self._kept_bytes -= batch.size_bytes
        self._kept_room.give_back(batch.size_bytes)

    def _begin(self, name: str) -> DiskPart:
        try:
            part = DiskPart(
                *(self._fresh_path(), name, self._splice_threads, self.claim, self._write), stays_open=not self.parts
            )
        except FileNotFoundError:
            raise NotFound(NO_SUCH_UPLOAD) from None
        self.parts.append(part)
        self._written.append(part)
        return part

    def _fresh_path(self) -> str:
        return f"{self._folder}/{disk.PARTS}/{next(NUMBERS):x}"

    @property
    def size_bytes(self) -> int:
        """All of them together."""
        return self._whole_bytes + sum([part.size_bytes for part in self._written])

    @property
    def arriving_bytes(self) -> int:
        """What has come; the file that arrives is looked at on disk, for what is moved inside the kernel is counted at its end only."""
        last = self.parts[-1] if self.parts else None
        unfinished = last.present_bytes - last.size_bytes if isinstance(last, DiskPart) else 0
        return self.size_bytes + unfinished

    def link(self) -> None:
        """Make all files appear. Runs in a thread, once they are on the disk."""
        if not all(part.closed for part in self._written):
            raise ValueError("a part of this request is not complete")
        try:
            self.published = [self._link(part) for part in self.parts]
        except BaseException:
            self.take_back()
            raise

    def take_back(self) -> None:
        """Undo `link`: it has failed, or its directory does not get onto the disk. Runs in a thread."""
        gone = self._twins.take_back(self.files_folder, self.added, self._relied_on)
        self.freed = [file for name, file in gone.items() if name not in self.added]
        self.added = {name: file for name, file in self.added.items() if name not in gone}
        self.published = []

    def _link(self, part: DiskPart | WholePart) -> StoredFile:
        name, is_new = naming.name_one(part.path, part.name, self.files_folder, partial(self._is_twin, part.path))
        file = StoredFile(name=name, size_bytes=part.size_bytes)
        if is_new:
            self.added[name] = file
        os.unlink(part.path)  # noqa: PTH108 a Path costs more than this does
        return file

    def _is_twin(self, path: str, name: str) -> bool:
        compare = partial(naming.same_content, Path(path), Path(self.files_folder, name))
        if name in self.added:
            return compare()
        is_twin = self._twins.is_twin(name, compare)
        self._relied_on += [name] if is_twin else []
        return is_twin

    def let_go(self) -> list[DiskPart | WholePart]:
        """Give back what was taken for it; those of its files that were not published and are still to be removed."""
        self._kept_room.give_back(self._kept_bytes)
        self._kept_bytes = 0
        parts, self.parts, self._kept, self._written, self._whole_bytes = self.parts, [], [], [], 0
        return [] if self.published else [part for part in parts if part.is_stored]
