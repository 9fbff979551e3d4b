"""The spool's memory: one entry per upload, and how it is found again on disk after a restart."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import msgspec
import structlog

from clusterodm.libs.common.clocks import Instant, Now
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.services.proxy.spool.adapters import disk, naming
from clusterodm.services.proxy.spool.adapters.notes import load_history
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.stored import StoredBytes
from clusterodm.services.proxy.spool.core.upload import Draft, Manifest, Mark, SpooledUpload, StoredFile, is_image

log = structlog.get_logger()

LONGEST_IDLE_S: Final = 48 * 3600.0
"""Older than this no file of an upload counts as, whatever the clock was when it came."""


class Arriving(Protocol):
    """An upload request that is open."""

    @property
    def arriving_bytes(self) -> int:
        """What has come of it and is not an upload's yet."""


@dataclass
class SpoolEntry:
    """One upload in memory."""

    draft: Draft
    active: Instant
    manifest: Manifest | None = None
    marks: set[Mark] = field(default_factory=set)
    ahead: StagedFiles | None = None
    history: History | None = None
    history_bytes: int = 0
    """How long the file of it is; 0: this run has not written it yet."""
    arrived_bytes: int = 0
    arrived_count: int = 0
    open_bytes: int = 0
    """What its files take until they are listed at the commit; twins once."""
    open_images_count: int = 0
    receipts: set[Arriving] = field(default_factory=set)
    """The requests that are open."""
    receiving_count: int = 0
    publishing_count: int = 0
    twins: naming.TwinNames = field(default_factory=naming.TwinNames)
    """Names that requests which are being published rely on."""
    closing: bool = False
    gone: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One of create, commit, mark at a time."""
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while nothing is being published."""

    def __post_init__(self) -> None:
        """Begin quietly."""
        self.quiet.set()

    @property
    def takes_files(self) -> bool:
        """Whether an upload is accepted."""
        return not (self.closing or self.gone or self.manifest)

    @property
    def stored_bytes(self) -> int:
        """What its files take now."""
        if Mark.INPUTS_GONE in self.marks:
            return 0
        return self.manifest.size_bytes if self.manifest else self.open_bytes

    @property
    def images_count(self) -> int:
        """How many of its files count as images."""
        return self.manifest.images_count if self.manifest else self.open_images_count

    def begin_publishing(self) -> None:
        """Let no commit come between."""
        self.publishing_count += 1
        self.quiet.clear()

    def end_publishing(self) -> None:
        """Let commits go on that wait for it."""
        self.publishing_count -= 1
        if not self.publishing_count:
            self.twins.clear()
            self.quiet.set()

    def add(self, files: Iterable[StoredFile]) -> None:
        """Count files that are new among those of an open upload."""
        for file in files:
            self.open_bytes += file.size_bytes
            self.open_images_count += is_image(file.name)

    def subtract(self, files: Iterable[StoredFile]) -> None:
        """Count files no longer that were taken back later than they were counted."""
        for file in files:
            self.open_bytes -= file.size_bytes
            self.open_images_count -= is_image(file.name)

    @property
    def held(self) -> SpooledUpload:
        """Show it to the loops behind the spool."""
        return SpooledUpload(
            draft=self.draft,
            committed=self.manifest is not None,
            marks=frozenset(self.marks),
            active=self.active,
            size_bytes=self.manifest.size_bytes if self.manifest else 0,
            receiving=self.receiving_count > 0,
            arrived_bytes=self.arrived_bytes,
            arrived_count=self.arrived_count,
            stored_bytes=self.stored_bytes,
            images_count=self.images_count,
            ahead=self.ahead,
            history=self.history,
        )


def with_arriving(entry: SpoolEntry) -> SpooledUpload:
    """Show an upload with what is arriving at this moment."""
    return msgspec.structs.replace(entry.held, arrived_bytes=entry.arrived_bytes + arriving_bytes(entry))


def arriving_bytes(entry: SpoolEntry) -> int:
    """Say how much of files that are not complete has come."""
    return sum(receipt.arriving_bytes for receipt in entry.receipts)


class Index:
    """Which uploads are open, by owner, which the scheduler has not acknowledged, what files take: nothing walks the whole spool for that."""

    def __init__(self) -> None:
        self._open: dict[Owner, set[TaskId]] = {}
        self.unsubmitted: dict[TaskId, None] = {}
        self._stored = StoredBytes()

    def put(self, entry: SpoolEntry) -> None:
        """Take in how an entry is now; a draft that changes is dropped before. One that is gone stays away."""
        if entry.gone:
            return
        self.drop(entry)
        task = entry.draft.task
        self.count(entry)
        if entry.manifest is None:
            self._open.setdefault(entry.draft.owner, set()).add(task)
        if Mark.SUBMITTED not in entry.marks:
            self.unsubmitted[task] = None

    def drop(self, entry: SpoolEntry) -> None:
        """Forget an entry; nothing happens when it is not here."""
        task, owner = entry.draft.task, entry.draft.owner
        self._stored.drop(task)
        self.unsubmitted.pop(task, None)
        if task in (of_owner := self._open.get(owner, set())):
            of_owner.discard(task)
            if not of_owner:
                del self._open[owner]

    def count(self, entry: SpoolEntry) -> None:
        """Take in what an entry's files take now; nothing happens for one that is gone."""
        if not entry.gone:
            self._stored.put(entry.draft.task, entry.draft.owner, entry.stored_bytes)

    def stored_bytes(self, owner: Owner) -> int:
        """Say what an owner's files take."""
        return self._stored.of(owner)

    def all_open_count(self) -> int:
        """Count all open uploads."""
        return sum(map(len, self._open.values()))

    def all_open(self) -> list[TaskId]:
        """List the open uploads."""
        return [task for of_owner in self._open.values() for task in of_owner]

    def open_count(self, owner: Owner, but: TaskId) -> int:
        """Count an owner's open uploads, all but one."""
        of_owner = self._open.get(owner, ())
        return len(of_owner) - (but in of_owner)


def load_entries(root: Path, now: Now) -> dict[TaskId, SpoolEntry]:
    """Read what an earlier run has left; what cannot be read is logged and stays where it is."""
    found = (load_entry(folder, now) for folder in disk.task_folders(root))
    return {entry.draft.task: entry for entry in found if entry}


def load_entry(folder: Path, now: Now) -> SpoolEntry | None:
    """Read one task's directory."""
    try:
        draft = msgspec.json.decode((folder / disk.DRAFT).read_bytes(), type=Draft)
        entry = SpoolEntry(draft, now.since(disk.active_at_ms(folder), LONGEST_IDLE_S))
        if (folder / disk.MANIFEST).exists():
            entry.manifest = msgspec.json.decode((folder / disk.MANIFEST).read_bytes(), type=Manifest)
        else:
            entry.add(disk.list_files(folder / disk.FILES))
    except (OSError, msgspec.DecodeError) as error:
        log.error("upload.not_read", folder=folder.name, reason=str(error))  # noqa: TRY400 the reason is all
        return None
    entry.ahead = load_staged(folder)
    entry.marks = {mark for mark in Mark if (folder / (mark + disk.MARK_SUFFIX)).exists()}
    entry.history = load_history(folder)
    if Mark.INPUTS_GONE in entry.marks:
        disk.empty(folder / disk.FILES)
    return entry


def load_staged(folder: Path) -> StagedFiles | None:
    """Read to where files went before the commit. One that cannot be read costs room on a node for some days, and nothing else."""
    try:
        return msgspec.json.decode((folder / disk.AHEAD).read_bytes(), type=StagedFiles)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("note.not_read", folder=folder.name, reason=str(error))
        return None
