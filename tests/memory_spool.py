"""A spool in memory: held to the same promises as the one on disk by tests/contract/test_spool.py."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from errno import ENOENT
from os import strerror
from pathlib import Path

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed, Conflict, NotFound, Refused
from clusterodm.libs.common.http_io.lending import LentSocket
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import (
    NO_SUCH_UPLOAD,
    SEED,
    Draft,
    Manifest,
    Mark,
    SpooledUpload,
    StoredFile,
    candidates,
    is_image,
    safe_name,
)
from clusterodm.services.proxy.spool.ports import Stored


class MemoryPart:
    """A file that is arriving. Implements ports.Part."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.content = bytearray()
        self.closed = False

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        if self.closed:
            raise ValueError("this part is complete")
        self.content += chunk

    async def fill(self, lent: LentSocket, delimiter: bytes) -> bytes | None:
        del lent, delimiter
        return None

    def close(self) -> None:
        self.closed = True


@dataclass(eq=False)
class MemoryEntry:
    """One upload."""

    draft: Draft
    active: Instant
    files: dict[str, bytes] = field(default_factory=dict)
    manifest: Manifest | None = None
    marks: set[Mark] = field(default_factory=set)
    ahead: StagedFiles | None = None
    history: History | None = None
    arrived_bytes: int = 0
    arrived_count: int = 0
    receiving_count: int = 0

    @property
    def stored_bytes(self) -> int:
        return sum(map(len, self.files.values()))

    @property
    def held(self) -> SpooledUpload:
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
            images_count=self.manifest.images_count if self.manifest else sum(map(is_image, self.files)),
            ahead=self.ahead,
            history=self.history,
        )


class MemoryReceipt:
    """One upload request. Implements ports.Receipt."""

    def __init__(self, spool: "MemorySpool") -> None:
        self._spool = spool
        self.parts: list[MemoryPart] = []
        self.published: list[StoredFile] = []

    @property
    def files_count(self) -> int:
        return len(self.parts)

    async def open(self, filename: str) -> MemoryPart:
        part = MemoryPart(safe_name(filename))
        self._spool.require_room()
        self.parts.append(part)
        return part

    def keep(self, filename: str, content: bytes) -> None:
        part = MemoryPart(safe_name(filename))
        self._spool.require_room()
        part.write(content)
        part.close()
        self.parts.append(part)

    async def hand_over(self) -> None:
        self._spool.require_room()

    def publish(self, files: dict[str, bytes]) -> None:
        if not all(part.closed for part in self.parts):
            raise ValueError("a part of this request is not complete")
        found, published = dict(files), []
        for part in self.parts:
            content = bytes(part.content)
            name = next(name for name in candidates(part.name) if found.get(name, content) == content)
            found[name] = content
            published.append(StoredFile(name=name, size_bytes=len(content)))
        files.update(found)
        self.published = published


def require_files(draft: Draft, manifest: Manifest) -> None:
    if not manifest.files and not draft.zip_url:
        raise Refused("Not enough images (0 files uploaded)")


class MemorySpool:
    """Uploads in a dict. Implements ports.Spool, and what sweeping needs. A test may say how much room there is."""

    def __init__(self, uploads: Bucket[Upload], clock: Clock, instance: str = "p") -> None:
        self._uploads = uploads
        self._clock = clock
        self.instance = InstanceId(instance)
        self.received_bytes = 0
        self.entries: dict[TaskId, MemoryEntry] = {}
        self._owed: set[TaskId] = set()
        self.incarnation: Incarnation | None = None
        self.has_former_store = False
        self.room = True
        self.wanted = 0
        self.orphans_idle_s: list[float] = []
        """After how long directories that are no uploads were asked to go."""

    async def create(self, draft: Draft) -> None:
        entry = self.entries.get(draft.task)
        if entry is None:
            self.require_room()
            await self._announce(draft)
            self.entries[draft.task] = MemoryEntry(draft, self._clock.instant())
            return
        if entry.manifest or not may_touch(draft.owner, entry.draft.owner):
            raise Refused(f"Invalid set-uuid: {draft.task}")
        entry.draft, entry.active = draft, self._clock.instant()

    async def _announce(self, draft: Draft) -> None:
        try:
            await self._uploads.create(draft.task, self._notice(draft))
        except Conflict:
            found = await self._uploads.get(draft.task)
            if found is None or found.value.instance != self.instance:
                raise Refused(f"Invalid set-uuid: {draft.task}") from None

    def draft(self, task: TaskId) -> Draft:
        return self._entry(task).draft

    @asynccontextmanager
    async def receive(self, task: TaskId, expected_bytes: int = 0) -> AsyncIterator[MemoryReceipt]:
        entry = self._entry(task)
        if entry.manifest:
            raise NotFound(NO_SUCH_UPLOAD)
        self.require_room(expected_bytes)
        receipt = MemoryReceipt(self)
        entry.receiving_count += 1
        try:
            yield receipt
            if entry.manifest or self.entries.get(task) is not entry:
                raise NotFound(NO_SUCH_UPLOAD)
            self._publish(entry, receipt)
        finally:
            entry.receiving_count -= 1
            entry.active = self._clock.instant()

    def store(self, task: TaskId, files: Sequence[tuple[str, bytes]], expected_bytes: int, ended: Stored) -> None:
        entry = self._entry(task)
        if entry.manifest:
            raise NotFound(NO_SUCH_UPLOAD)
        self.require_room(expected_bytes)
        receipt = MemoryReceipt(self)
        for name, content in files:
            receipt.keep(name, content)
        entry.receiving_count += 1
        asyncio.get_running_loop().call_soon(self._stored, entry, receipt, ended)

    def _stored(self, entry: MemoryEntry, receipt: MemoryReceipt, ended: Stored) -> None:
        entry.receiving_count -= 1
        entry.active = self._clock.instant()
        try:
            if self.entries.get(entry.draft.task) is not entry:
                raise NotFound(NO_SUCH_UPLOAD)
            self._publish(entry, receipt)
        except Refused:
            ended(None)
        else:
            ended(receipt.published)

    def _publish(self, entry: MemoryEntry, receipt: MemoryReceipt) -> None:
        receipt.publish(entry.files)
        published_bytes = sum(file.size_bytes for file in receipt.published)
        entry.arrived_bytes += published_bytes
        entry.arrived_count += len(receipt.published)
        self.received_bytes += published_bytes

    async def manifest(self, task: TaskId) -> Manifest:
        entry = self._entry(task)
        return entry.manifest or self._list(entry, None)

    async def commit(self, task: TaskId, at_ms: int, check: Callable[[Manifest], None] | None = None) -> Manifest:
        entry = self._entry(task)
        entry.active = self._clock.instant()
        if entry.manifest is None:
            manifest = self._list(entry, at_ms)
            try:
                require_files(entry.draft, manifest)
                if check:
                    check(manifest)
            except Refused:
                await self.discard(task)
                raise
            entry.manifest = manifest
        return entry.manifest

    def _list(self, entry: MemoryEntry, committed_at_ms: int | None) -> Manifest:
        files = tuple(StoredFile(name=name, size_bytes=len(entry.files[name])) for name in sorted(entry.files))
        return Manifest(
            files=files,
            images_count=sum(1 for file in files if is_image(file.name)),
            size_bytes=sum(file.size_bytes for file in files),
            has_seed=SEED in entry.files,
            committed_at_ms=committed_at_ms,
        )

    async def mark(self, task: TaskId, mark: Mark) -> None:
        self._entry(task).marks.add(mark)

    async def unmark(self, task: TaskId, mark: Mark) -> None:
        self._entry(task).marks.discard(mark)

    async def note_staged(self, task: TaskId, ahead: StagedFiles | None) -> None:
        self._entry(task).ahead = ahead

    async def remember(self, task: TaskId, history: History, *, durably: bool = True) -> None:
        del durably
        self._entry(task).history = history
        await self.mark(task, Mark.SUBMITTED)

    async def give_up(self, task: TaskId) -> None:
        await self.mark(task, Mark.INPUTS_GONE)
        self._entry(task).files.clear()

    def has_room(self) -> bool:
        return self.room

    def require_room(self, expected_bytes: int = 0) -> None:
        del expected_bytes
        if not self.room:
            raise SpoolFull("no room")

    def wanted_bytes(self) -> int:
        return self.wanted

    def path(self, task: TaskId, name: str) -> Path:
        return Path("/memory") / self._entry(task).draft.task / name

    def content(self, path: Path) -> bytes:
        """Read what lies at a path of ours."""
        files = self._entry(TaskId(path.parent.name)).files
        if path.name not in files:
            raise FileNotFoundError(ENOENT, strerror(ENOENT), str(path))
        return files[path.name]

    def find(self, task: TaskId) -> SpooledUpload | None:
        entry = self.entries.get(task)
        return entry.held if entry else None

    def held(self) -> Sequence[SpooledUpload]:
        return [entry.held for entry in sorted(self.entries.values(), key=lambda entry: entry.draft.received_at_ms)]

    def open_count(self, owner: Owner, but: TaskId) -> int:
        return sum(1 for each in self._open() if each.owner == owner and each.task != but)

    def stored_bytes(self, owner: Owner) -> int:
        return sum(entry.stored_bytes for entry in self.entries.values() if entry.draft.owner == owner)

    def _open(self) -> list[Draft]:
        return [entry.draft for entry in self.entries.values() if entry.manifest is None]

    def being_uploaded(self) -> Sequence[SpooledUpload]:
        return [held for held in self.held() if not held.committed]

    @property
    def entries_count(self) -> int:
        return len(self.entries)

    def unsubmitted(self) -> Sequence[SpooledUpload]:
        return [held for held in self.held() if Mark.SUBMITTED not in held.marks]

    async def join(self, incarnation: Incarnation) -> None:
        self.has_former_store = self.incarnation is not None
        self.incarnation = incarnation

    async def discard(self, task: TaskId) -> None:
        if self.entries.pop(task, None) is None:
            return
        self._owed.add(task)
        with suppress(BusFailed):
            await self.withdraw_owed()

    async def withdraw_owed(self) -> None:
        for task in self._owed - self.entries.keys():
            found = await self._uploads.get(task)
            if found is not None and found.value.instance == self.instance:
                await self._uploads.delete(task)
        self._owed.clear()

    async def announce(self) -> list[Upload]:
        known = await self._uploads.load()
        for entry in self.entries.values():
            if entry.draft.task not in known:
                await self._uploads.create(entry.draft.task, self._notice(entry.draft))
        for key, found in known.items():
            if found.value.instance == self.instance and TaskId(key) not in self.entries:
                await self._uploads.delete(key)
        return [found.value for found in known.values() if found.value.instance != self.instance]

    async def forget(self, lost: Upload) -> None:
        await self._uploads.delete(lost.task)

    async def remove_orphans(self, idle_s: float) -> None:
        self.orphans_idle_s.append(idle_s)

    def _notice(self, draft: Draft) -> Upload:
        return Upload(
            task=draft.task,
            instance=self.instance,
            url="http://p",
            created_at_ms=draft.received_at_ms,
            owner=draft.owner,
        )

    def _entry(self, task: TaskId) -> MemoryEntry:
        if task not in self.entries:
            raise NotFound(NO_SUCH_UPLOAD)
        return self.entries[task]
