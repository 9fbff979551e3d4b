"""What an upload is: its fields, its files and what they are called, and what the scheduler is told of it. Pure.

What an uploaded file is called, and whether it is an image. Pure.

A client's file name is kept to the byte where a file system and NodeODM can: the folders in front are dropped, and a name
that NodeODM uses itself is changed. What cannot be kept is refused instead of being bent into something else: a photo that
arrives under a name that nobody gave it is hard to find again.
"""

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.tasks import StagedFiles, SubmitTask
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.values import Frozen, InstanceId, Owner, TaskId
from clusterodm.services.proxy.spool.core.history import History, Holding, is_removed

NO_SUCH_UPLOAD: Final = "Invalid taskId: the task no longer exists."
"""The original's words for an upload that is unknown, committed, or gone."""

LONGEST_BYTES: Final = 255
"""NAME_MAX of every file system in use here and on nodes."""
NAMELESS: Final = "_"
RESERVED: Final = "body.json"
"""NodeODM keeps the fields of an upload in a file of this name, beside the images."""
SEED: Final = "seed.zip"
"""The beginning of a sub-model; NodeODM unpacks it into the project."""
ARCHIVE: Final = "zipurl.zip"
"""What a node fetches from a `zipurl`. It unpacks a file of this name among the images, whoever sent it; other archives it deletes."""
UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
"""Control characters (a tab may stay) and halves of UTF-16 pairs, which no UTF-8 name can hold."""
USUAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ -]{0,80}\.(?:jpe?g|tiff?|png|dng)", re.IGNORECASE)
"""Names of photos to which nothing needs to be done."""
NO_IMAGE: Final = re.compile(r".*\.txt|align\.(las|laz|tif)|.*\.zip", re.IGNORECASE | re.DOTALL)
"""Ground control, alignment and archives: NodeODM takes them out of the images before it counts."""

EASE: Final = 2
"""Kept inputs begin to go at so many times the minimum."""


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
    account: str = ""
    """The client's token, where whoever checks it is told of the end with it; else nothing."""
    trace: str = ""
    """The `traceparent` that came with init; empty: its trace follows from its id."""

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
    """Files that count as images (is_image)."""
    size_bytes: int = 0
    has_seed: bool = False
    """There is a `seed.zip`: a sub-model of a split-merge run."""
    committed_at_ms: int | None = None
    """None while the upload is open."""


class Mark(StrEnum):
    """A durable remark about a committed task."""

    SUBMITTED = "submitted"
    """The scheduler has answered SUBMIT_TASK: from now on only a record or a tombstone says that the inputs may go."""
    ACCOUNT_TOLD = "account-told"
    """Whoever checks tokens was told of the end, or that was given up."""
    WEBHOOK_DONE = "webhook-done"
    """The client's webhook was delivered, or given up."""
    INPUTS_GONE = "inputs-gone"
    """The files were given up; what else is known of the task is still here."""


class SpooledUpload(Frozen, frozen=True, kw_only=True):
    """One entry of the spool, as the loops behind it see it."""

    draft: Draft
    committed: bool
    marks: frozenset[Mark] = frozenset()
    active: Instant
    """When something last arrived, or its commit."""
    size_bytes: int = 0
    """Of its files, once committed."""
    receiving: bool = False
    """An upload request is open at this moment."""
    arrived_bytes: int = 0
    """What upload requests have brought since this proxy was started."""
    arrived_count: int = 0
    """And how many files."""
    stored_bytes: int = 0
    """What its files take now, open or committed; 0 once they are given up."""
    images_count: int = 0
    """How many of its files count as images, open or committed."""
    ahead: StagedFiles | None = None
    """Where files of it went before the commit, and have not been removed or taken over yet."""
    history: History | None = None
    """What was done with it since the scheduler has acknowledged it; None: it has not, or an earlier version did not keep it."""


def holding(held: SpooledUpload | None, owner: Owner | None = None) -> Holding:
    """Say what a spool has of a task. `owner`: of another's, nothing."""
    if held is None or not held.committed or (owner is not None and not may_touch(owner, held.draft.owner)):
        return Holding()
    is_submitted = Mark.SUBMITTED in held.marks
    if is_removed(held.history):
        return Holding(history=held.history)
    return Holding(is_held=True, is_submitted=is_submitted, history=held.history if is_submitted else None)


def safe_name(filename: str) -> str:
    """Turn what the client sent into the name of a file in one folder. Raises Refused."""
    if USUAL.fullmatch(filename):
        return filename
    name = re.split(r"[/\\]", filename)[-1] or NAMELESS
    if UNPRINTABLE.search(name):
        raise Refused(f"Invalid file name: {printable(name)} (control characters)")
    if name in {".", ".."}:
        return next_name(name)
    if name.lower() == RESERVED:
        name = "_" + name
    return fitting(name)


def candidates(name: str) -> Iterator[str]:
    """Yield the names under which a file may be kept, best first: `a.jpg`, `a_.jpg`, `a__.jpg` ... Raises Refused."""
    while True:
        yield fitting(name)
        name = next_name(name)


def next_name(name: str) -> str:
    """Make another name by the original's scheme: an underscore before the last dot, or at the end."""
    stem, dot, extension = name.rpartition(".")
    return f"{stem}_.{extension}" if dot else f"{name}_"


def unique_name(name: str, taken: frozenset[str]) -> str:
    """Find the first of its names that is free."""
    return next(candidate for candidate in candidates(name) if candidate not in taken)


def fitting(name: str) -> str:
    """Return the name if a file system can hold it. Raises Refused."""
    if len(name.encode()) > LONGEST_BYTES:
        raise Refused(f"Invalid file name: {name[:40]}... (longer than {LONGEST_BYTES} bytes)")
    return name


def printable(name: str) -> str:
    """Show a strange name without sending its control characters on."""
    return ascii(name[:40])


def is_image(name: str) -> bool:
    """Say whether NodeODM counts a file of this name as an image."""
    return not NO_IMAGE.fullmatch(name)


def manifest_of(files: tuple[StoredFile, ...], committed_at_ms: int | None) -> Manifest:
    """Say what an upload holds."""
    return Manifest(
        files=files,
        images_count=sum(1 for file in files if is_image(file.name)),
        size_bytes=sum(file.size_bytes for file in files),
        has_seed=any(file.name == SEED for file in files),
        committed_at_ms=committed_at_ms,
    )


def submission_of(draft: Draft, manifest: Manifest, upload_owner: InstanceId) -> SubmitTask:
    """Say what a commit says. The same upload says the same for ever, so that it is known again."""
    return SubmitTask(
        task=draft.task,
        owner=draft.owner,
        name=draft.name,
        upload_owner=upload_owner,
        created_at_ms=draft.created_at_ms,
        images_count=None if hides_images(draft, manifest) else manifest.images_count,
        size_bytes=manifest.size_bytes,
        options=draft.options,
        outputs=draft.outputs,
        skip_post_processing=draft.skip_post_processing,
        zip_url=draft.zip_url,
        submodel=manifest.has_seed and bool(draft.outputs),
        trace=draft.trace,
    )


def hides_images(draft: Draft, manifest: Manifest) -> bool:
    """Whether there are images in an archive that only the node unpacks, so that nobody knows yet how many."""
    return bool(draft.zip_url) or any(file.name == ARCHIVE for file in manifest.files)


def wanted_bytes(free_bytes: int, min_bytes: int) -> int:
    """Say how much should be freed."""
    return max(0, EASE * min_bytes - free_bytes)
