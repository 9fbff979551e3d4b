"""The received files, and who sends them on.

An upload's life in the spool, and who moves it on:

    create(draft) ──▶ receive(task) ... ──▶ commit(task) ──▶ mark(SUBMITTED) ──▶ mark(WEBHOOK_DONE) ──▶ discard(task)
    init              one per upload        files are fixed   the scheduler       the task has ended
                      request               for ever          knows the task

Each step is durable before it is answered. `discard` may come at any point; afterwards nothing of the task is left.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from clusterodm.libs.common.http_io.lending import LentSocket
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.cluster import Incarnation
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.services.proxy.spool.core.history import History
from clusterodm.services.proxy.spool.core.upload import Draft, Manifest, Mark, SpooledUpload, StoredFile


class Stored(Protocol):
    """Hears, once, what became of an upload request that was handed over as a whole."""

    def __call__(self, published: Sequence[StoredFile] | None) -> None:
        """Take the names under which its files are kept; None: that failed, and nothing of it is promised."""


class Part(Protocol):
    """One file of an upload request, not yet complete."""

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append a chunk (at most 256 KiB; a plain write on the loop is the cheapest way). Raises SpoolFull."""

    async def fill(self, lent: LentSocket, delimiter: bytes) -> bytes | None:
        """Append what a socket brings up to a delimiter, without a look at it by the caller. Raises SpoolFull.

        Returns what has been taken beyond the file: where a delimiter begins, or may begin, and what follows. It also
        returns when nothing comes for a second, the client has gone, or everything has come. None: cannot be done now.
        """

    def close(self) -> None:
        """Complete the file. It appears under its name when the whole request is complete."""


class Receipt(Protocol):
    """One upload request: all of its files appear together at the end, or none."""

    @property
    def files_count(self) -> int:
        """Files opened so far."""

    @property
    def published(self) -> Sequence[StoredFile]:
        """Under which names its files are kept, for ever; none before the request is complete."""

    async def open(self, filename: str) -> Part:
        """Begin a file. Raises Refused for a name that cannot be kept, SpoolFull."""

    def keep(self, filename: str, content: bytes) -> None:
        """Take a small file, all of it. Raises Refused for a name that cannot be kept, SpoolFull (then, at `hand_over`, or when the request is complete)."""

    async def hand_over(self) -> None:
        """Let what was kept go to the disk where that should not wait for the end; called between pieces of a request. Raises NotFound, SpoolFull, OSError."""


class Spool(Protocol):
    """The received files of this proxy. Every method raises NotFound(NO_SUCH_UPLOAD) for an upload that it lacks."""

    @property
    def instance(self) -> InstanceId:
        """Whose spool this is: lives in the spool directory, so it survives restarts."""

    async def create(self, draft: Draft) -> None:
        """Begin an upload and announce in KV `uploads` that it is here.

        An open upload of the same owner under the same id is kept with its files and gets the new draft (as the
        original does); any other id in use raises Refused("Invalid set-uuid: <id>"). Raises BusFailed, SpoolFull.
        """

    def draft(self, task: TaskId) -> Draft:
        """Say what init fixed, open or committed; from memory. Whoever calls compares the owner."""

    def receive(self, task: TaskId, expected_bytes: int = 0) -> AbstractAsyncContextManager[Receipt]:
        """Take one upload request; leave without error to publish, with one (or cancelled) to discard.

        `expected_bytes` is the length of its body as far as known. SpoolFull where that does not fit. NotFound on entering when there is no open upload, and on leaving when it was committed meanwhile.
        """

    def store(self, task: TaskId, files: Sequence[tuple[str, bytes]], expected_bytes: int, ended: Stored) -> None:
        """Take one upload request all of whose files have come, names and contents; `ended` is called later, from the loop.

        Raises as `receive` on entering and as `Receipt.keep`; then `ended` is not called, and nothing is kept.
        """

    async def manifest(self, task: TaskId) -> Manifest:
        """List what is there now, open or committed."""

    async def commit(self, task: TaskId, at_ms: int, check: Callable[[Manifest], None] | None = None) -> Manifest:
        """Close the upload for ever; again: the same manifest, without another check.

        Raises Refused("Not enough images (0 files uploaded)"), or the Refused of `check`, which runs in a thread; then the
        upload is discarded, as the original does.
        """

    async def mark(self, task: TaskId, mark: Mark) -> None:
        """Remark something about a committed task, durably; again: nothing happens."""

    async def unmark(self, task: TaskId, mark: Mark) -> None:
        """Take a remark back; nothing happens where there is none."""

    async def note_staged(self, task: TaskId, ahead: StagedFiles | None) -> None:
        """Note durably to where files go before the commit; None: nothing of that is left."""

    async def remember(self, task: TaskId, history: History, *, durably: bool = True) -> None:
        """Keep what was done with a task that the scheduler has acknowledged (Mark.SUBMITTED).

        Not `durably`: only a power cut soon after may take it back, so that what was kept before is the last that is known.
        """

    async def give_up(self, task: TaskId) -> None:
        """Delete the files of a committed task, and keep the rest (Mark.INPUTS_GONE)."""

    def has_room(self) -> bool:
        """Whether new uploads are taken."""

    def wanted_bytes(self) -> int:
        """How much should be freed on the disk before it gets scarce; 0: there is room."""

    def path(self, task: TaskId, name: str) -> Path:
        """Where a stored file lies."""

    def find(self, task: TaskId) -> SpooledUpload | None:
        """Look up one entry, open or committed; from memory."""

    def held(self) -> Sequence[SpooledUpload]:
        """List every entry, open or committed, the oldest first; from memory."""

    def open_count(self, owner: Owner, but: TaskId) -> int:
        """Count an owner's open uploads, all but one; without a walk."""

    def stored_bytes(self, owner: Owner) -> int:
        """Say what an owner's files take, open or committed, in bytes; those that were given up take nothing. Without a walk."""

    def being_uploaded(self) -> Sequence[SpooledUpload]:
        """List the uploads that are open, with what is arriving at this moment."""

    @property
    def received_bytes(self) -> int:
        """What has come of files since the start, unfinished ones included: it only grows."""

    @property
    def entries_count(self) -> int:
        """How many uploads and kept inputs there are."""

    def unsubmitted(self) -> Sequence[SpooledUpload]:
        """List the entries that the scheduler has not acknowledged, open or committed; without a walk through the others."""

    async def discard(self, task: TaskId) -> None:
        """Remove everything of a task, and its entry in KV `uploads`; nothing happens when it is not here."""


class SweptSpool(Spool, Protocol):
    """What sweeping needs of the spool beyond ports.Spool."""

    async def announce(self) -> list[Upload]:
        """Put KV `uploads` right; what the other proxies hold."""

    async def withdraw_owed(self) -> None:
        """Withdraw announcements of uploads that went while NATS was away. Raises BusFailed."""

    async def forget(self, lost: Upload) -> None:
        """Remove another proxy's announcement."""

    async def remove_orphans(self, idle_s: float) -> None:
        """Remove directories that are no uploads and have been untouched for so long."""


class RecoveredSpool(Protocol):
    """What recovering needs of the spool."""

    @property
    def instance(self) -> InstanceId:
        """Whose spool this is."""

    @property
    def incarnation(self) -> Incarnation | None:
        """The store that its tasks were submitted to; None: it is not known, for a new spool or one of an earlier version."""

    @property
    def has_former_store(self) -> bool:
        """Whether its tasks were submitted to another store before that one."""

    async def join(self, incarnation: Incarnation) -> None:
        """Keep durably to which store its tasks are submitted from now on, beside those before."""

    def find(self, task: TaskId) -> SpooledUpload | None:
        """Look up one entry."""

    def held(self) -> Sequence[SpooledUpload]:
        """List every entry, open or committed, the oldest first; from memory."""

    async def announce(self) -> list[Upload]:
        """Put KV `uploads` right."""


class WholeSpool(SweptSpool, RecoveredSpool, Protocol):
    """All of it."""
