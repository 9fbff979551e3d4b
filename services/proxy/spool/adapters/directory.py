"""A spool directory: which entries it has, what is noted of each, how much room there is. The life of uploads in it is spool.py's.

Everything that is asked often is in memory, because exactly one proxy uses a spool directory (flock). What is in memory
changes only after the disk has.
"""

import contextlib
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock, InstantCache, read, seen_s
from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.process.threads import in_thread
from clusterodm.services.proxy.errors import SpoolFull, SpoolLost
from clusterodm.services.proxy.spool.adapters import disk, ownership
from clusterodm.services.proxy.spool.adapters.entries import Index, SpoolEntry, load_entries, with_arriving
from clusterodm.services.proxy.spool.adapters.free_space import FreeSpace
from clusterodm.services.proxy.spool.adapters.notes import NotesRoom
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.stored import SpoolFigures
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, Draft, Mark, SpooledUpload, wanted_bytes

log = structlog.get_logger()

Args = ParamSpec("Args")
Result = TypeVar("Result")


class SpoolDirectory:
    """The entries of one directory, in memory as on disk."""

    def __init__(self, root: Path, threads: Executor, clock: Clock, reserve_bytes: int) -> None:
        self._root = root
        self._threads = threads
        self._clock = clock
        self._notes_room = NotesRoom(root / disk.ROOM)
        self._free_space = FreeSpace(root, clock, reserve_bytes)
        ownership.require_links(root)
        self._identity = ownership.identity(root)
        self._instance = ownership.instance_id(root)
        self._incarnations = ownership.incarnations(root)
        self._index = Index()
        self._entries: dict[TaskId, SpoolEntry] = {}
        self._orphans: InstantCache[str] = InstantCache()

    def load(self) -> None:
        """Take in what an earlier run has left. Runs in a thread, before anything else."""
        disk.remove_leftovers(self._root)
        self._notes_room.take()
        self._entries = load_entries(self._root, read(self._clock))
        for entry in self._entries.values():
            self._index.put(entry)

    @property
    def instance(self) -> InstanceId:
        """Whose spool this is."""
        return self._instance

    @property
    def incarnation(self) -> Incarnation | None:
        """The store that its tasks were submitted to."""
        return self._incarnations[-1] if self._incarnations else None

    @property
    def has_former_store(self) -> bool:
        """Whether its tasks were submitted to another store before that one."""
        return len(self._incarnations) > 1

    async def join(self, incarnation: Incarnation) -> None:
        """Keep durably to which store its tasks are submitted from now on."""
        known = (*self._incarnations, incarnation)
        await self._run(self._notes_room.write, self._root / disk.INCARNATIONS, msgspec.json.encode(known))
        self._incarnations = known

    # --- looked up --------------------------------------------------------------------------------------------------

    def draft(self, task: TaskId) -> Draft:
        """Say what init fixed."""
        return self._entry(task).draft

    def path(self, task: TaskId, name: str) -> Path:
        """Say where a stored file lies."""
        return self._root / self._entry(task).draft.task / disk.FILES / name

    def find(self, task: TaskId) -> SpooledUpload | None:
        """Look up one entry."""
        entry = self._entries.get(task)
        return entry.held if entry is not None and not entry.gone else None

    def held(self) -> Sequence[SpooledUpload]:
        """List every entry, the oldest first."""
        entries = sorted(self._entries.values(), key=lambda entry: entry.draft.received_at_ms)
        return [entry.held for entry in entries if not entry.gone]

    def open_count(self, owner: Owner, but: TaskId) -> int:
        """Count an owner's open uploads."""
        return self._index.open_count(owner, but)

    def stored_bytes(self, owner: Owner) -> int:
        """Say what an owner's files take."""
        return self._index.stored_bytes(owner)

    def being_uploaded(self) -> Sequence[SpooledUpload]:
        """List the uploads that are open, with what is arriving at this moment."""
        return [with_arriving(self._entries[task]) for task in self._index.all_open()]

    @property
    def entries_count(self) -> int:
        """How many uploads and kept inputs there are."""
        return len(self._entries)

    def unsubmitted(self) -> Sequence[SpooledUpload]:
        """List what the scheduler has not acknowledged."""
        return [self._entries[task].held for task in self._index.unsubmitted]

    # --- noted ------------------------------------------------------------------------------------------------------

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
                self._index.put(entry)
                await self._run(disk.forget, self._file(task, mark + disk.MARK_SUFFIX))

    async def remember(self, task: TaskId, history: History, *, durably: bool = True) -> None:
        """Keep what was done with a task."""
        entry = self._entry(task)
        async with entry.lock:
            if entry.gone:
                raise NotFound(NO_SUCH_UPLOAD)
            path, known_bytes = self._file(task, disk.HISTORY), entry.history_bytes
            entry.history_bytes = 0  # should this fail, nobody knows how the file ends
            entry.history_bytes = await self._run(self._notes_room.add, path, history, known_bytes, durably=durably)
            entry.history = history
            entry.marks.add(Mark.SUBMITTED)
            self._index.put(entry)

    async def note_staged(self, task: TaskId, ahead: StagedFiles | None) -> None:
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

    # --- room -------------------------------------------------------------------------------------------------------

    def _require_room(self) -> None:
        """Raise SpoolFull before the disk is full."""
        if not self.has_room():
            raise SpoolFull(disk.NO_ROOM)

    def has_room(self) -> bool:
        """Say whether more fits; the disk itself is asked."""
        return self._free_space.present_bytes() >= 0

    def figures(self) -> SpoolFigures:
        """Say how full it is."""
        try:
            usage = shutil.disk_usage(self._root)
            free_bytes, size_bytes = usage.free, usage.total
        except FileNotFoundError:
            free_bytes = size_bytes = 0
        return SpoolFigures(
            open_count=self._index.all_open_count(),
            tasks_count=len(self._entries),
            unsubmitted_count=len(self._index.unsubmitted),
            free_bytes=free_bytes,
            size_bytes=size_bytes,
            reserve_bytes=self._free_space.reserve_bytes,
        )

    async def require_there(self) -> None:
        """Raise SpoolLost when the directory was taken away from under this proxy: nothing that it knows is there any more."""
        try:
            found = await self._run(ownership.identity, self._root)
        except OSError:  # a disk that does not answer now may do so later
            return
        if found != self._identity:
            raise SpoolLost(f"the spool {self._root} was removed while this proxy was running")

    def wanted_bytes(self) -> int:
        """Say how much should be freed."""
        return wanted_bytes(shutil.disk_usage(self._root).free, self._free_space.reserve_bytes)

    async def remove_orphans(self, idle_s: float) -> None:
        """Remove directories that hold no readable draft, were never committed, and have been untouched for so long."""
        await self._run(self._remove_orphans, idle_s)

    def _remove_orphans(self, idle_s: float) -> None:
        now = read(self._clock)
        for folder in disk.task_folders(self._root):
            if TaskId(folder.name) in self._entries or (folder / disk.MANIFEST).exists():
                continue  # what cannot be read but was committed stays: nobody has decided that it may go
            changed_at_ms = int(folder.stat().st_mtime * 1000)
            touched = self._orphans.since(folder.name, changed_at_ms, now, idle_s - seen_s(idle_s))
            if now.instant - touched > idle_s:
                log.info("upload.orphan_removed", folder=folder.name)
                disk.remove(folder)

    # --- common ----------------------------------------------------------------------------------------------------

    def _entry(self, task: TaskId) -> SpoolEntry:
        entry = self._entries.get(task)
        if entry is None or entry.gone:
            raise NotFound(NO_SUCH_UPLOAD)
        return entry

    def _file(self, task: TaskId, name: str) -> Path:
        return self._root / task / name

    async def _run(self, work: Callable[Args, Result], *args: Args.args, **kwargs: Args.kwargs) -> Result:
        """Work in a thread. Cancelled, it ends the work first."""
        return await in_thread(self._threads, partial(work, *args, **kwargs))
