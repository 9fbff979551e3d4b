"""The received files, and who sends them on.

An upload's life in the spool, and who moves it on:

    create(draft) ──▶ receive(task) ... ──▶ commit(task) ──▶ mark(SUBMITTED) ──▶ mark(WEBHOOK_DONE) ──▶ discard(task)
    init              one per upload        files are fixed   the scheduler       the task has ended
                      request               for ever          knows the task

Each step is durable before it is answered. `discard` may come at any point; afterwards nothing of the task is left.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from libs.common.clocks import Instant
from libs.common.http_cycle import Tap
from libs.common.messages import SentAhead
from libs.common.model import Frozen, InstanceId, OptionValue, Owner, TaskId
from services.proxy.core.history import History

NO_SUCH_UPLOAD: Final = "Invalid taskId: the task no longer exists."
"""The original's words for an upload that is unknown, committed, or gone."""


class Draft(Frozen, frozen=True, kw_only=True):
    """What `init` fixed about a task."""

    task: TaskId
    name: str
    options: tuple[OptionValue, ...] = ()
    outputs: str = ""
    """JSON array of paths as the client sent it, or empty."""
    skip_post_processing: bool = False
    webhook: str = ""
    """Where the client wants to be told of the end; may hold a secret: never logged, never sent to a node."""
    zip_url: str = ""
    """The node fetches the images from here; there are no files."""
    owner: Owner = Owner("")
    created_at_ms: int
    """The client's dateCreated, or when init came."""
    received_at_ms: int = 0
    """When init came, by our clock."""

    def __repr__(self) -> str:
        """Show no URL: both may hold secrets."""
        return f"Draft({self.task} options={len(self.options)}{' zip_url' if self.zip_url else ''})"


class StoredFile(Frozen, frozen=True, kw_only=True):
    """One complete file of an upload."""

    name: str
    size_bytes: int


class Manifest(Frozen, frozen=True, kw_only=True):
    """What an upload holds; after commit it never changes again."""

    files: tuple[StoredFile, ...] = ()
    """In the order of their names."""
    images_count: int = 0
    """Files that count as images (core/names.py)."""
    size_bytes: int = 0
    has_seed: bool = False
    """There is a `seed.zip`: a sub-model of a split-merge run."""
    committed_at_ms: int | None = None
    """None while the upload is open."""


class Mark(StrEnum):
    """A durable remark about a committed task."""

    SUBMITTED = "submitted"
    """The scheduler has answered SUBMIT_TASK: from now on only a record or a tombstone says that the inputs may go."""
    WEBHOOK_DONE = "webhook-done"
    """The client's webhook was delivered, or given up."""
    INPUTS_GONE = "inputs-gone"
    """The files were given up; what else is known of the task is still here."""


class Held(Frozen, frozen=True, kw_only=True):
    """One entry of the spool, as the loops behind it see it."""

    draft: Draft
    committed: bool
    marks: frozenset[Mark] = frozenset()
    active: Instant
    """When something last arrived."""
    size_bytes: int = 0
    """Of its files, once committed."""
    receiving: bool = False
    """An upload request is open at this moment."""
    arrived_bytes: int = 0
    """What upload requests have brought since this proxy was started."""
    ahead: SentAhead | None = None
    """Where files of it went before the commit, and have not been removed or taken over yet."""
    history: History | None = None
    """What was done with it since the scheduler has acknowledged it; None: it has not, or an earlier version did not keep it."""


class Part(Protocol):
    """One file of an upload request, not yet complete."""

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append a chunk (at most 256 KiB; a plain write on the loop is the cheapest way). Raises SpoolFull."""
        ...

    async def fill(self, tap: Tap, delimiter: bytes) -> bytes | None:
        """Append what a socket brings up to a delimiter, without a look at it by the caller. Raises SpoolFull.

        Returns what has been taken beyond the file: where a delimiter begins, or may begin, and what follows. It also
        returns when nothing comes for a second, the client has gone, or everything has come. None: cannot be done now.
        """
        ...

    def close(self) -> None:
        """Complete the file. It appears under its name when the whole request is complete."""
        ...


class Receipt(Protocol):
    """One upload request: all of its files appear together at the end, or none."""

    @property
    def files_count(self) -> int:
        """Files opened so far."""
        ...

    @property
    def published(self) -> Sequence[StoredFile]:
        """Under which names its files are kept, for ever; none before the request is complete."""
        ...

    async def open(self, filename: str) -> Part:
        """Begin a file. Raises Refused for a name that cannot be kept, SpoolFull."""
        ...


class Spool(Protocol):
    """The received files of this proxy. Every method raises NotFound(NO_SUCH_UPLOAD) for an upload that it lacks."""

    @property
    def instance(self) -> InstanceId:
        """Whose spool this is: lives in the spool directory, so it survives restarts."""
        ...

    async def create(self, draft: Draft) -> None:
        """Begin an upload and announce in KV `uploads` that it is here.

        An open upload of the same owner under the same id is kept with its files and gets the new draft (as the
        original does); any other id in use raises Refused("Invalid set-uuid: <id>"). Raises BusFailed, SpoolFull.
        """
        ...

    def draft(self, task: TaskId) -> Draft:
        """Say what init fixed, open or committed; from memory. Whoever calls compares the owner."""
        ...

    def receive(self, task: TaskId, expected_bytes: int = 0) -> AbstractAsyncContextManager[Receipt]:
        """Take one upload request; leave without error to publish, with one (or cancelled) to discard.

        `expected_bytes` is the length of its body as far as known. SpoolFull where that does not fit. NotFound on entering when there is no open upload, and on leaving when it was committed meanwhile.
        """
        ...

    async def manifest(self, task: TaskId) -> Manifest:
        """List what is there now, open or committed."""
        ...

    async def commit(self, task: TaskId, at_ms: int, check: Callable[[Manifest], None] | None = None) -> Manifest:
        """Close the upload for ever; again: the same manifest, without another check.

        Raises Refused("Not enough images (0 files uploaded)"), or what `check` raises; then the upload is discarded,
        as the original does.
        """
        ...

    async def mark(self, task: TaskId, mark: Mark) -> None:
        """Remark something about a committed task, durably; again: nothing happens."""
        ...

    async def unmark(self, task: TaskId, mark: Mark) -> None:
        """Take a remark back; nothing happens where there is none."""
        ...

    async def note_ahead(self, task: TaskId, ahead: SentAhead | None) -> None:
        """Note durably to where files go before the commit; None: nothing of that is left."""
        ...

    async def remember(self, task: TaskId, history: History) -> None:
        """Keep durably what was done with a task that the scheduler has acknowledged (Mark.SUBMITTED)."""
        ...

    async def give_up(self, task: TaskId) -> None:
        """Delete the files of a committed task, and keep the rest (Mark.INPUTS_GONE)."""
        ...

    def has_room(self) -> bool:
        """Whether new uploads are taken."""
        ...

    def wanted_bytes(self) -> int:
        """How much should be freed on the disk before it gets scarce; 0: there is room."""
        ...

    def path(self, task: TaskId, name: str) -> Path:
        """Where a stored file lies."""
        ...

    def find(self, task: TaskId) -> Held | None:
        """Look up one entry, open or committed; from memory."""
        ...

    def held(self) -> Sequence[Held]:
        """List every entry, open or committed, the oldest first; from memory."""
        ...

    def open_count(self, owner: Owner, but: TaskId) -> int:
        """Count an owner's open uploads, all but one; without a walk."""
        ...

    def unsubmitted(self) -> Sequence[Held]:
        """List the entries that the scheduler has not acknowledged, open or committed; without a walk through the others."""
        ...

    async def discard(self, task: TaskId) -> None:
        """Remove everything of a task, and its entry in KV `uploads`; nothing happens when it is not here."""
        ...


class Forwarding(Protocol):
    """The loops behind the spool, as the HTTP side sees them."""

    async def adopt(self, task: TaskId) -> None:
        """Take over a task that the scheduler has just acknowledged (SUBMIT_TASK); again: nothing happens."""
        ...

    async def ahead_of(self, task: TaskId) -> SentAhead | None:
        """Say with what an attempt of a committed task could go on; None: nothing of use went ahead."""
        ...

    async def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> None:
        """Take note that files of an open upload are complete."""
        ...
