"""The spool: uploads on disk, from init until the task has ended. Implements ports.Spool over `directory`, `receipt`, `announcements`.

What is in memory changes only after the disk has: a crash at any point leaves an open upload, a committed one, or none.

    open ──commit──▶ closing ──manifest written──▶ committed ──discard──▶ gone
      ▲                 │ the disk failed                        (also from open)
      └─────────────────┘

Uploads run side by side. Only publishing and closing exclude each other: once `closing` is set nothing more is published,
and commit waits for what is just being published, so the manifest is the whole truth. A request whose file comes too late
hears that the task no longer exists; its file was never in the dataset.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
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
from clusterodm.services.proxy.spool.adapters.announcements import UploadAnnouncements
from clusterodm.services.proxy.spool.adapters.directory import SpoolDirectory
from clusterodm.services.proxy.spool.adapters.entries import SpoolEntry, arriving_bytes
from clusterodm.services.proxy.spool.adapters.publishing import PublishingLanes
from clusterodm.services.proxy.spool.adapters.receipt import DiskReceipt
from clusterodm.services.proxy.spool.adapters.whole_part import KeptRoom
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, Draft, Manifest, manifest_of

THREADS_COUNT: Final = 16
"""They wait for the disk more than they work."""
SPLICE_THREADS_COUNT: Final = 32
"""Uploads whose bytes move inside the kernel at the same time; the others are copied."""
RESERVE_BYTES: Final = 64 << 20
"""Uploads stop before the disk is full: commits and logs need room too."""


class DiskSpool(SpoolDirectory):
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
        super().__init__(root, threads, clock or SystemClock(), reserve_bytes)
        self._write = write
        self._splice_threads = SpliceThreads(SPLICE_THREADS_COUNT)
        self._lanes = PublishingLanes(threads)
        self._kept_room = KeptRoom()
        self._announcements = UploadAnnouncements(uploads, self._instance, url)
        self._expected_bytes = 0
        """What the requests under way have announced."""
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

    def begin_receiving(self, task: TaskId, expected_bytes: int) -> tuple[SpoolEntry, DiskReceipt]:
        """Make the receipt of a request. Raises NotFound, SpoolFull."""
        entry = self._entry(task)
        if not entry.takes_files:
            raise NotFound(NO_SUCH_UPLOAD)
        self._require_room_for(self._expected_bytes + expected_bytes)
        self._expected_bytes += expected_bytes
        folder = f"{self._root}/{task}"
        receipt = DiskReceipt(
            folder, self._splice_threads, self._write, self._require_room, self._kept_room, self._lanes.write
        )
        entry.receiving_count += 1
        entry.receipts.add(receipt)
        return entry, receipt

    async def end_receiving(self, entry: SpoolEntry, receipt: DiskReceipt, expected_bytes: int) -> None:
        """Be done with a request; what it has brought and is not published goes."""
        if receipt in entry.receipts:  # nothing of it was published
            self._received_bytes += receipt.arriving_bytes
        entry.receipts.discard(receipt)
        self._free_space.taken(receipt.size_bytes)
        self._expected_bytes -= expected_bytes
        entry.receiving_count -= 1
        entry.active = self._clock.instant()
        await self._lanes.discard(receipt)

    @property
    def received_bytes(self) -> int:
        """What has come of files; see ports.Spool."""
        return self._received_bytes + sum(map(arriving_bytes, map(self._entries.__getitem__, self._index.all_open())))

    async def publish(self, entry: SpoolEntry, receipt: DiskReceipt) -> None:
        """Let the files of a request appear, durable. Raises NotFound, SpoolFull, OSError."""
        if not entry.takes_files:
            raise NotFound(NO_SUCH_UPLOAD)
        entry.publishing_count += 1
        entry.quiet.clear()
        try:
            await self._lanes.publish(receipt)
            entry.receipts.discard(receipt)
            published_bytes = sum(file.size_bytes for file in receipt.published)
            entry.arrived_bytes += published_bytes
            self._received_bytes += published_bytes
            entry.arrived_count += len(receipt.published)
        finally:
            entry.add(receipt.added)
            self._index.count(entry)
            entry.publishing_count -= 1
            if not entry.publishing_count:
                entry.quiet.set()

    # --- commit ----------------------------------------------------------------------------------------------------

    async def manifest(self, task: TaskId) -> Manifest:
        """List what is there now."""
        try:
            known = self._entry(task).manifest
            return known or manifest_of(await self._run(disk.list_files, self._root / task / disk.FILES), None)
        except FileNotFoundError:
            raise NotFound(NO_SUCH_UPLOAD) from None

    async def commit(self, task: TaskId, at_ms: int, check: Callable[[Manifest], None] | None = None) -> Manifest:
        """Close the upload for ever."""
        entry = self._entry(task)
        async with entry.lock:
            if entry.gone:
                raise NotFound(NO_SUCH_UPLOAD)
            if entry.manifest is None:
                entry.manifest = await self._close(entry, at_ms, check)
                self._index.put(entry)
            return entry.manifest

    async def _close(self, entry: SpoolEntry, at_ms: int, check: Callable[[Manifest], None] | None) -> Manifest:
        entry.closing = True
        try:
            await entry.quiet.wait()
            made = await self._run(self._write_manifest, entry.draft, at_ms, check)
            if isinstance(made, Refused):
                await self._take_out(entry)
                raise made
        except FileNotFoundError:
            raise NotFound(NO_SUCH_UPLOAD) from None
        finally:
            entry.closing = False
        return made

    def _write_manifest(self, draft: Draft, at_ms: int, check: Callable[[Manifest], None] | None) -> Manifest | Refused:
        """List the files and close the upload, in a thread, all in one go; or say why it cannot be a task. Raises SpoolFull: then it stays."""
        manifest = manifest_of(disk.list_files(self._root / draft.task / disk.FILES), at_ms)
        try:
            require_files(draft, manifest)
            if check:
                check(manifest)
        except Refused as refused:
            return refused
        self._notes_room.write(self._file(draft.task, disk.MANIFEST), msgspec.json.encode(manifest))
        return manifest

    # --- afterwards ------------------------------------------------------------------------------------------------

    async def discard(self, task: TaskId) -> None:
        """Remove everything of a task."""
        entry = self._entries.get(task)
        if entry is not None and not entry.gone:
            await self._take_out(entry)

    async def _take_out(self, entry: SpoolEntry, *, announced: bool = True) -> None:
        task = entry.draft.task
        entry.gone = True
        self._index.drop(entry)
        await entry.quiet.wait()
        aside = await self._run(disk.set_aside, self._root, task)
        self._entries.pop(task, None)
        await self._run(disk.remove, aside)
        if announced:
            await self._announcements.withdraw(task)

    async def announce(self) -> list[Upload]:
        """Make KV `uploads` say what is here and nothing else of ours; what others hold. Raises BusFailed."""
        return await self._announcements.reconcile(
            lambda: [entry.draft for entry in self._entries.values() if not entry.gone]
        )

    async def forget(self, lost: Upload) -> None:
        """Remove the announcement of an upload whose proxy is gone for good. Raises BusFailed."""
        await self._announcements.remove(lost.task)

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
        self._begun = self._spool.begin_receiving(self._task, self._expected_bytes)
        return self._begun[1]

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Publish, or discard."""
        try:
            if kind is None:
                await self._spool.publish(*self._begun)
        finally:
            await self._spool.end_receiving(*self._begun, self._expected_bytes)


def require_files(draft: Draft, manifest: Manifest) -> None:
    """Raise Refused for a task without anything to process."""
    if not manifest.files and not draft.zip_url:
        raise Refused("Not enough images (0 files uploaded)")


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
    """Open the spool in a directory; `url` is where the other proxies reach this one. Raises SpoolLocked."""
    with ownership.locked(root), ThreadPoolExecutor(THREADS_COUNT, thread_name_prefix="spool") as threads:
        spool = DiskSpool(root, uploads, url, threads, clock=clock, reserve_bytes=reserve_bytes, write=write)
        try:
            await asyncio.get_running_loop().run_in_executor(threads, spool.load)
            yield spool
        finally:
            spool.close()
