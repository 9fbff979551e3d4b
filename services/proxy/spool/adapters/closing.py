"""How an upload of the spool ends: it is closed for ever by its commit, or taken out. Over `directory` and `announcements`.

Only publishing and closing exclude each other: once `closing` is set nothing more is published, and commit waits for what is just being published, so the manifest
is the whole truth. A request whose file comes too late hears that the task no longer exists; its file was never in the dataset.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import msgspec

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.services.proxy.spool.adapters import disk
from clusterodm.services.proxy.spool.adapters.announcements import UploadAnnouncements
from clusterodm.services.proxy.spool.adapters.directory import SpoolDirectory
from clusterodm.services.proxy.spool.adapters.entries import SpoolEntry
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, Draft, Manifest, manifest_of


class ClosingDirectory(SpoolDirectory):
    """A spool directory whose uploads end."""

    def __init__(  # noqa: PLR0913, PLR0917 the world it stands in has this many parts
        self, root: Path, threads: Executor, clock: Clock, reserve_bytes: int, uploads: Bucket[Upload], url: str
    ) -> None:
        super().__init__(root, threads, clock, reserve_bytes)
        self._announcements = UploadAnnouncements(uploads, self._instance, url)

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
            entry.active = self._clock.instant()
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
        """List the files and close the upload, in a thread, all in one go; or say why it cannot be a task. Raises SpoolFull, OSError: then it stays open."""
        manifest = manifest_of(disk.list_files(self._root / draft.task / disk.FILES), at_ms)
        try:
            require_files(draft, manifest)
            if check:
                check(manifest)
        except Refused as refused:
            return refused
        path = self._file(draft.task, disk.MANIFEST)
        try:
            self._notes_room.write(path, msgspec.json.encode(manifest))
        except BaseException:  # it may have its name all the same, and the next start would take the upload for closed
            path.unlink(missing_ok=True)
            raise
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
        if announced and task not in self._entries:  # else its client has begun anew meanwhile
            await self._announcements.withdraw(task)

    async def announce(self) -> list[Upload]:
        """Make KV `uploads` say what is here and nothing else of ours; what others hold. Raises BusFailed."""
        return await self._announcements.reconcile(
            lambda: [entry.draft for entry in self._entries.values() if not entry.gone]
        )

    async def withdraw_owed(self) -> None:
        """Withdraw announcements of uploads that went while NATS was away. Raises BusFailed."""
        await self._announcements.withdraw_owed(self._entries.__contains__)

    async def forget(self, lost: Upload) -> None:
        """Remove the announcement of an upload whose proxy is gone for good. Raises BusFailed."""
        await self._announcements.remove(lost.task)


def require_files(draft: Draft, manifest: Manifest) -> None:
    """Raise Refused for a task without anything to process."""
    if not manifest.files and not draft.zip_url:
        raise Refused("Not enough images (0 files uploaded)")
