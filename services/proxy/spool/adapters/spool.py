"""The spool: uploads on disk, from init until the task has ended. Implements ports.Spool over `disk`, `receipt`, `entries`, `announcements`.

Everything that is asked often is in memory, because exactly one proxy uses a spool directory (flock). What is in memory
changes only after the disk has: a crash at any point leaves an open upload, a committed one, or none.

    open ──commit──▶ closing ──manifest written──▶ committed ──discard──▶ gone
      ▲                 │ the disk failed                        (also from open)
      └─────────────────┘

Uploads run side by side. Only publishing and closing exclude each other: once `closing` is set nothing more is published,
and commit waits for what is just being published, so the manifest is the whole truth. A request whose file comes too late
hears that the task no longer exists; its file was never in the dataset.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import msgspec
import structlog

from libs.common.clocks import Clock, InstantCache, read, seen_s
from libs.common.errors import BusFailed, NotFound, Refused
from libs.common.identity import may_touch
from libs.common.lifecycle import SystemClock
from libs.common.messages import SentAhead
from libs.common.model import Incarnation, InstanceId, Owner, TaskId, Upload
from libs.common.ports import Bucket
from services.proxy.errors import SpoolFull, SpoolLost
from services.proxy.splice.pipes import Movers
from services.proxy.spool.adapters import disk
from services.proxy.spool.adapters.announcements import Notices
from services.proxy.spool.adapters.entries import Entry, Index, load_entries
from services.proxy.spool.adapters.notes import NotesRoom
from services.proxy.spool.adapters.publishing import Lanes
from services.proxy.spool.adapters.receipt import DiskReceipt
from services.proxy.spool.core.history import History
from services.proxy.spool.core.upload import NO_SUCH_UPLOAD, SEED, Draft, Held, Manifest, Mark, is_image, wanted_bytes

log = structlog.get_logger()

Args = ParamSpec("Args")
Result = TypeVar("Result")

THREADS_COUNT: Final = 16
"""They wait for the disk more than they work."""
MOVERS_COUNT: Final = 32
"""Uploads whose bytes move inside the kernel at the same time; the others are copied."""
RESERVE_BYTES: Final = 64 << 20
"""Uploads stop before the disk is full: commits and logs need room too."""


class DiskSpool:
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
        self._root = root
        self._threads = threads
        self._clock = clock or SystemClock()
        self._reserve_bytes = reserve_bytes
        self._write = write
        self._movers = Movers(MOVERS_COUNT)
        self._lanes = Lanes(threads)
        self._notes_room = NotesRoom(root / disk.ROOM)
        disk.require_links(root)
        self._identity = disk.identity(root)
        self._instance = disk.instance_id(root)
        self._incarnations = disk.incarnations(root)
        self._index = Index()
        self._notices = Notices(uploads, self._instance, url)
        self._entries: dict[TaskId, Entry] = {}
        self._orphans: InstantCache[str] = InstantCache()
        self._expected_bytes = 0
        """What the requests under way have announced."""

    def __repr__(self) -> str:
        """Show where it is and how much it holds."""
        return f"DiskSpool({self._root} entries={len(self._entries)})"

    @property
    def instance(self) -> InstanceId:
        """Whose spool this is."""
        return self._instance

    @property
    def incarnation(self) -> Incarnation | None:
        """The store that its tasks were submitted to."""
        return self._incarnations[-1] if self._incarnations else None

    async def join(self, incarnation: Incarnation) -> None:
        """Keep durably to which store its tasks are submitted from now on."""
        known = (*self._incarnations, incarnation)
        await self._run(self._notes_room.write, self._root / disk.INCARNATIONS, msgspec.json.encode(known))
        self._incarnations = known

    # --- init ------------------------------------------------------------------------------------------------------

    async def create(self, draft: Draft) -> None:
        """Begin an upload, or give an open one a new draft."""
        entry = self._entries.get(draft.task)
        if entry is None:
            self._require_room()
            entry = self._entries[draft.task] = Entry(draft, self._clock.instant())
            self._index.put(entry)
            async with entry.lock:
                await self._create(entry)
            return
        async with entry.lock:
            if not entry.takes_files or not may_touch(draft.owner, entry.draft.owner):
                raise Refused(f"Invalid set-uuid: {draft.task}")
            await self._run(disk.write_durably, self._file(draft.task, disk.DRAFT), msgspec.json.encode(draft))
            self._index.drop(entry)
            entry.draft, entry.active = draft, self._clock.instant()
            self._index.put(entry)

    async def _create(self, entry: Entry) -> None:
        try:
            await self._run(disk.make_entry, self._root, entry.draft.task, msgspec.json.encode(entry.draft))
            await self._notices.put_up(entry.draft)
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

    def draft(self, task: TaskId) -> Draft:
        """Say what init fixed."""
        return self._entry(task).draft

    # --- upload ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def receive(self, task: TaskId, expected_bytes: int = 0) -> AsyncIterator[DiskReceipt]:
        """Take one upload request."""
        entry = self._entry(task)
        if not entry.takes_files:
            raise NotFound(NO_SUCH_UPLOAD)
        self._require_room(self._expected_bytes + expected_bytes)
        self._expected_bytes += expected_bytes
        receipt = DiskReceipt(self._root / task, self._movers, self._write, self._require_room)
        entry.receiving_count += 1
        try:
            yield receipt
            await self._publish(entry, receipt)
        finally:
            receipt.discard()
            self._expected_bytes -= expected_bytes
            entry.receiving_count -= 1
            entry.active = self._clock.instant()

    async def _publish(self, entry: Entry, receipt: DiskReceipt) -> None:
        if not entry.takes_files:
            raise NotFound(NO_SUCH_UPLOAD)
        entry.publishing_count += 1
        entry.quiet.clear()
        try:
            await self._lanes.publish(receipt)
            entry.arrived_bytes += sum(file.size_bytes for file in receipt.published)
        finally:
            entry.publishing_count -= 1
            if not entry.publishing_count:
                entry.quiet.set()

    def _require_room(self, expected_bytes: int = 0) -> None:
        """Raise SpoolFull before the disk is full."""
        if not self.has_room(expected_bytes):
            raise SpoolFull(disk.NO_ROOM)

    def has_room(self, expected_bytes: int = 0) -> bool:
        """Say whether so much more fits."""
        try:
            return shutil.disk_usage(self._root).free - expected_bytes >= self._reserve_bytes
        except FileNotFoundError:  # it is gone: `require_there` ends this proxy
            return False

    async def require_there(self) -> None:
        """Raise SpoolLost when the directory was taken away from under this proxy: nothing that it knows is there any more."""
        try:
            found = await self._run(disk.identity, self._root)
        except OSError:  # a disk that does not answer now may do so later
            return
        if found != self._identity:
            raise SpoolLost(f"the spool {self._root} was removed while this proxy was running")

    def wanted_bytes(self) -> int:
        """Say how much should be freed."""
        return wanted_bytes(shutil.disk_usage(self._root).free, self._reserve_bytes)

    # --- commit ----------------------------------------------------------------------------------------------------

    async def manifest(self, task: TaskId) -> Manifest:
        """List what is there now."""
        try:
            return self._entry(task).manifest or await self._list(task, None)
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

    async def _close(self, entry: Entry, at_ms: int, check: Callable[[Manifest], None] | None) -> Manifest:
        task = entry.draft.task
        entry.closing = True
        try:
            await entry.quiet.wait()
            manifest = await self._list(task, at_ms)
            await self._examine(entry, manifest, check)
            await self._run(self._notes_room.write, self._file(task, disk.MANIFEST), msgspec.json.encode(manifest))
        except FileNotFoundError:
            raise NotFound(NO_SUCH_UPLOAD) from None
        finally:
            entry.closing = False
        return manifest

    async def _examine(self, entry: Entry, manifest: Manifest, check: Callable[[Manifest], None] | None) -> None:
        """Refuse what cannot be a task, and drop it."""
        try:
            require_files(entry.draft, manifest)
            if check:
                check(manifest)
        except Refused:
            await self._take_out(entry)
            raise

    async def _list(self, task: TaskId, committed_at_ms: int | None) -> Manifest:
        files = await self._run(disk.list_files, self._root / task / disk.FILES)
        return Manifest(
            files=files,
            images_count=sum(1 for file in files if is_image(file.name)),
            size_bytes=sum(file.size_bytes for file in files),
            has_seed=any(file.name == SEED for file in files),
            committed_at_ms=committed_at_ms,
        )

    async def mark(self, task: TaskId, mark: Mark) -> None:
        """Remark something durably."""
        entry = self._entry(task)
        async with entry.lock:
            if mark not in entry.marks and not entry.gone:
                await self._run(self._notes_room.write, self._file(task, mark + disk.MARK_SUFFIX), b"")
                entry.marks.add(mark)
                self._index.put(entry)

    async def unmark(self, task: TaskId, mark: Mark) -> None:
        """Take a remark back."""
        entry = self._entry(task)
        async with entry.lock:
            if mark in entry.marks and not entry.gone:
                entry.marks.remove(mark)
                await self._run(disk.forget, self._file(task, mark + disk.MARK_SUFFIX))

    async def remember(self, task: TaskId, history: History) -> None:
        """Keep durably what was done with a task."""
        entry = self._entry(task)
        async with entry.lock:
            if entry.gone:
                raise NotFound(NO_SUCH_UPLOAD)
            await self._run(self._notes_room.write, self._file(task, disk.HISTORY), msgspec.json.encode(history))
            entry.history = history
            entry.marks.add(Mark.SUBMITTED)
            self._index.put(entry)

    async def note_ahead(self, task: TaskId, ahead: SentAhead | None) -> None:
        """Note durably where files went before the commit."""
        entry = self._entry(task)
        async with entry.lock:
            if entry.gone:
                raise NotFound(NO_SUCH_UPLOAD)
            if ahead is not None:
                await self._run(self._notes_room.write, self._file(task, disk.AHEAD), msgspec.json.encode(ahead))
            elif entry.ahead is not None:
                await self._run(disk.forget, self._file(task, disk.AHEAD))
            entry.ahead = ahead

    async def give_up(self, task: TaskId) -> None:
        """Delete the files, keep the rest."""
        await self.mark(task, Mark.INPUTS_GONE)
        with contextlib.suppress(FileNotFoundError):
            await self._run(disk.empty, self._root / task / disk.FILES)

    # --- afterwards ------------------------------------------------------------------------------------------------

    def path(self, task: TaskId, name: str) -> Path:
        """Say where a stored file lies."""
        return self._root / self._entry(task).draft.task / disk.FILES / name

    def find(self, task: TaskId) -> Held | None:
        """Look up one entry."""
        entry = self._entries.get(task)
        return entry.held if entry is not None and not entry.gone else None

    def held(self) -> Sequence[Held]:
        """List every entry, the oldest first."""
        entries = sorted(self._entries.values(), key=lambda entry: entry.draft.received_at_ms)
        return [entry.held for entry in entries if not entry.gone]

    def open_count(self, owner: Owner, but: TaskId) -> int:
        """Count an owner's open uploads."""
        return self._index.open_count(owner, but)

    def unsubmitted(self) -> Sequence[Held]:
        """List what the scheduler has not acknowledged."""
        return [self._entries[task].held for task in self._index.unsubmitted]

    async def discard(self, task: TaskId) -> None:
        """Remove everything of a task."""
        entry = self._entries.get(task)
        if entry is not None and not entry.gone:
            await self._take_out(entry)

    async def _take_out(self, entry: Entry, *, announced: bool = True) -> None:
        task = entry.draft.task
        entry.gone = True
        self._index.drop(entry)
        await entry.quiet.wait()
        aside = await self._run(disk.set_aside, self._root, task)
        self._entries.pop(task, None)
        await self._run(disk.remove, aside)
        if announced:
            await self._notices.take_down(task)

    async def announce(self) -> list[Upload]:
        """Make KV `uploads` say what is here and nothing else of ours; what others hold. Raises BusFailed."""
        return await self._notices.reconcile(
            lambda: [entry.draft for entry in self._entries.values() if not entry.gone]
        )

    async def forget(self, lost: Upload) -> None:
        """Remove the notice of an upload whose proxy is gone for good. Raises BusFailed."""
        await self._notices.remove(lost.task)

    async def remove_orphans(self, idle_s: float) -> None:
        """Remove directories that hold no readable draft, were never committed, and have been untouched for so long."""
        await self._run(self._remove_orphans, idle_s)

    def _remove_orphans(self, idle_s: float) -> None:
        now = read(self._clock)
        for folder in self._root.iterdir():
            ours = folder.name.startswith(".") or TaskId(folder.name) in self._entries
            if not folder.is_dir() or ours or (folder / disk.MANIFEST).exists():
                continue  # what cannot be read but was committed stays: nobody has decided that it may go
            changed_at_ms = int(folder.stat().st_mtime * 1000)
            touched = self._orphans.since(folder.name, changed_at_ms, now, idle_s - seen_s(idle_s))
            if now.instant - touched > idle_s:
                log.info("orphaned upload removed", folder=folder.name)
                disk.remove(folder)

    def close(self) -> None:
        """End the threads that move bytes."""
        self._movers.close()

    def load(self) -> None:
        """Take in what an earlier run has left. Runs in a thread, before anything else."""
        disk.remove_leftovers(self._root)
        self._notes_room.take()
        self._entries = load_entries(self._root, read(self._clock))
        for entry in self._entries.values():
            self._index.put(entry)

    # --- common ----------------------------------------------------------------------------------------------------

    def _entry(self, task: TaskId) -> Entry:
        entry = self._entries.get(task)
        if entry is None or entry.gone:
            raise NotFound(NO_SUCH_UPLOAD)
        return entry

    def _file(self, task: TaskId, name: str) -> Path:
        return self._root / task / name

    async def _run(self, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Work in a thread. Cancelled, it ends the work first: what is half done would surprise the next one."""
        running = asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise


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
    with disk.locked(root), ThreadPoolExecutor(THREADS_COUNT, thread_name_prefix="spool") as threads:
        spool = DiskSpool(root, uploads, url, threads, clock=clock, reserve_bytes=reserve_bytes, write=write)
        try:
            await asyncio.get_running_loop().run_in_executor(threads, spool.load)
            yield spool
        finally:
            spool.close()
