"""The spool: uploads on disk, from init until the task has ended. Implements ports.Spool over `closing`, `receipt`, `publishing`.

What is in memory changes only after the disk has: a crash at any point leaves an open upload, a committed one, or none.

    open ──commit──▶ closing ──manifest written──▶ committed ──discard──▶ gone
      ▲                 │ the disk failed                        (also from open)
      └─────────────────┘

Uploads run side by side; only publishing and closing exclude each other (closing.py).
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, NotFound, Refused
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.services.proxy.splice.kernel_pipes import SpliceThreads
from clusterodm.services.proxy.spool.adapters import disk, ownership
from clusterodm.services.proxy.spool.adapters.claims import Claims
from clusterodm.services.proxy.spool.adapters.closing import ClosingDirectory
from clusterodm.services.proxy.spool.adapters.entries import SpoolEntry, arriving_bytes
from clusterodm.services.proxy.spool.adapters.publishing import PublishingLanes
from clusterodm.services.proxy.spool.adapters.receipt import DiskReceipt
from clusterodm.services.proxy.spool.adapters.whole_part import KeptRoom
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, Draft
from clusterodm.services.proxy.spool.ports import Stored

THREADS_COUNT: Final = 16
"""They wait for the disk more than they work."""
SPLICE_THREADS_COUNT: Final = 32
"""Uploads whose bytes move inside the kernel at the same time; the others are copied."""
RESERVE_BYTES: Final = 64 << 20
"""Uploads stop before the disk is full: commits and logs need room too."""


class DiskSpool(ClosingDirectory):
    """The spool in one directory; made by `open_spool`."""

    def __init__(  # noqa: PLR0913 the world it stands in has this many parts
        self,
        root: Path,
        uploads: Bucket[Upload],
        url: str,
        threads: Executor,
        *,
        clock: Clock | None = None,
        reserve_bytes: int = RESERVE_BYTES,
        write: disk.Write = os.write,
    ) -> None:
        super().__init__(root, threads, clock or SystemClock(), reserve_bytes, uploads, url)
        self._write = write
        self._splice_threads = SpliceThreads(SPLICE_THREADS_COUNT)
        self._lanes = PublishingLanes(threads)
        self._kept_room = KeptRoom()
        self._claims = Claims(self._free_space, self._clock)
        self._received_bytes = 0
        """What has come by requests that are over, or whose files are there."""

    # --- init ------------------------------------------------------------------------------------------------------

    async def create(self, draft: Draft) -> None:
        """Begin an upload, or give an open one a new draft."""
        entry = self._entries.get(draft.task)
        if entry is None:
            self._require_room()
            entry = self._entries[draft.task] = SpoolEntry(draft, self._clock.instant())
            self._index.put(entry)
            async with entry.lock:
                await self._create(entry)
            return
        if not may_touch(draft.owner, entry.draft.owner):  # at once: another's is not waited for
            self._require_room()
            raise Refused(f"Invalid set-uuid: {draft.task}")
        async with entry.lock:
            if not entry.takes_files or not may_touch(draft.owner, entry.draft.owner):
                raise Refused(f"Invalid set-uuid: {draft.task}")
            await self._run(disk.write_durably, self._file(draft.task, disk.DRAFT), msgspec.json.encode(draft))
            self._index.drop(entry)
            entry.draft, entry.active = draft, self._clock.instant()
            self._index.put(entry)

    async def _create(self, entry: SpoolEntry) -> None:
        try:
            await self._run(disk.make_entry, self._root, entry.draft.task, msgspec.json.encode(entry.draft))
            await self._announcements.announce(entry.draft)
        except FileExistsError:
            entry.gone = True
            self._index.drop(entry)
            del self._entries[entry.draft.task]
            raise Refused(f"Invalid set-uuid: {entry.draft.task}") from None
        except BusFailed:  # should it be announced all the same, `announce` takes it down
            await self._take_out(entry, announced=False)
            raise
        except BaseException:
            await self._take_out(entry)
            raise

    # --- upload ----------------------------------------------------------------------------------------------------

    def receive(self, task: TaskId, expected_bytes: int = 0) -> "Reception":
        """Take one upload request."""
        return Reception(self, task, expected_bytes)

    def store(self, task: TaskId, files: Iterable[tuple[str, bytes]], expected_bytes: int, ended: Stored) -> None:
        """Take one upload request, all of whose files have come."""
        entry, receipt = self.begin_receiving(task, expected_bytes)
        # it is counted once it is published: what fails here comes again, the usual way
        entry.receipts.discard(receipt)
        try:
            for filename, content in files:
                receipt.keep(filename, content)
        except BaseException:
            self._lanes.discard_soon(self.end_receiving(entry, receipt))
            raise
        entry.begin_publishing()
        self._lanes.start(receipt, partial(self._stored, entry, receipt, ended))

    def _stored(self, entry: SpoolEntry, receipt: DiskReceipt, ended: Stored, error: Exception | None) -> None:
        self._end_publishing(entry, receipt, well=error is None)
        self._lanes.discard_soon(self.end_receiving(entry, receipt))
        ended(receipt.published if error is None else None)

    def begin_receiving(self, task: TaskId, expected_bytes: int) -> tuple[SpoolEntry, DiskReceipt]:
        """Make the receipt of a request. Raises NotFound, SpoolFull."""
        entry = self._entry(task)
        if not entry.takes_files:
            raise NotFound(NO_SUCH_UPLOAD)
        folder, claim = f"{self._root}/{task}", self._claims.begin(expected_bytes)
        receipt = DiskReceipt(
            *(folder, self._splice_threads, self._write, claim, self._kept_room),
            write_early=self._lanes.write,
            twins=entry.twins,
        )
        entry.receiving_count += 1
        entry.receipts.add(receipt)
        return entry, receipt

    def end_receiving(self, entry: SpoolEntry, receipt: DiskReceipt) -> Sequence[disk.PartFile]:
        """Be done with a request; what it has brought, is not published, and is to be removed."""
        if receipt in entry.receipts:  # nothing of it was published
            self._received_bytes += receipt.arriving_bytes
        entry.receipts.discard(receipt)
        self._claims.end(receipt.claim)
        entry.receiving_count -= 1
        entry.active = self._clock.instant()
        return receipt.let_go()

    async def remove(self, left: Sequence[disk.PartFile]) -> None:
        """Remove files that were not published."""
        await self._lanes.discard(left)

    @property
    def received_bytes(self) -> int:
        """What has come of files; see ports.Spool."""
        return self._received_bytes + sum(map(arriving_bytes, map(self._entries.__getitem__, self._index.all_open())))

    async def publish(self, entry: SpoolEntry, receipt: DiskReceipt) -> None:
        """Let the files of a request appear, durable. Raises NotFound, SpoolFull, OSError."""
        if not entry.takes_files:
            raise NotFound(NO_SUCH_UPLOAD)
        entry.begin_publishing()
        well = False
        try:
            await self._lanes.publish(receipt)
            well = True
        finally:
            self._end_publishing(entry, receipt, well=well)

    def _end_publishing(self, entry: SpoolEntry, receipt: DiskReceipt, *, well: bool) -> None:
        if well:
            entry.receipts.discard(receipt)
            published_bytes = receipt.size_bytes
            entry.arrived_bytes += published_bytes
            self._received_bytes += published_bytes
            entry.arrived_count += len(receipt.published)
        entry.add(receipt.added.values())
        entry.subtract(receipt.freed)
        self._index.count(entry)
        entry.end_publishing()

    def close(self) -> None:
        """End the threads that move bytes."""
        self._splice_threads.close()


class Reception:
    """One upload request, as a context: left without an error its files are published. No generator: the event loop keeps a list of those."""

    __slots__ = ("_begun", "_expected_bytes", "_spool", "_task")

    _begun: tuple[SpoolEntry, DiskReceipt]

    def __init__(self, spool: DiskSpool, task: TaskId, expected_bytes: int) -> None:
        self._spool = spool
        self._task = task
        self._expected_bytes = expected_bytes

    async def __aenter__(self) -> DiskReceipt:
        """Begin."""
        self._begun = self._spool.begin_receiving(self._task, self._expected_bytes)
        return self._begun[1]

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Publish, or discard."""
        try:
            if kind is None:
                await self._spool.publish(*self._begun)
        finally:
            await self._spool.remove(self._spool.end_receiving(*self._begun))


@asynccontextmanager
async def open_spool(  # noqa: PLR0913 as DiskSpool
    root: Path,
    uploads: Bucket[Upload],
    url: str,
    *,
    clock: Clock | None = None,
    reserve_bytes: int = RESERVE_BYTES,
    write: disk.Write = os.write,
) -> AsyncIterator[DiskSpool]:
    """Open the spool in a directory; `url` is where the other proxies reach this one. Raises SpoolRefused."""
    with ownership.locked(root), ThreadPoolExecutor(THREADS_COUNT, thread_name_prefix="spool") as threads:
        spool = DiskSpool(root, uploads, url, threads, clock=clock, reserve_bytes=reserve_bytes, write=write)
        try:
            await asyncio.get_running_loop().run_in_executor(threads, spool.load)
            yield spool
        finally:
            spool.close()
