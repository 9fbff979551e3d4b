"""What the proxy needs from the world, as Protocols: the spool, the way to a node, the view of the cluster.

An upload's life in the spool, and who moves it on:

    create(draft) ──▶ receive(task) ... ──▶ commit(task) ──▶ mark(SUBMITTED) ──▶ mark(WEBHOOK_DONE) ──▶ discard(task)
    init              one per upload        files are fixed   the scheduler       the task has ended
                      request               for ever          knows the task

Each step is durable before it is answered. `discard` may come at any point; afterwards nothing of the task is left.
The errors at the end are the proxy's own: they never cross the bus.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from libs.common.errors import ClusterError, NodeFailed, NotFound, Refused
from libs.common.messages import TaskRecord
from libs.common.model import (
    Attempt,
    ClusterSummary,
    Frozen,
    InstanceId,
    Machine,
    MachineId,
    Node,
    NodeId,
    NodeOption,
    NodeTaskId,
    OptionValue,
    Owner,
    Task,
    TaskId,
    Upload,
)

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
    """The scheduler has answered SUBMIT_TASK: from now on "unknown" means removed."""
    WEBHOOK_DONE = "webhook-done"
    """The client's webhook was delivered, or given up."""
    INPUTS_GONE = "inputs-gone"
    """The files were given up; what else is known of the task is still here."""


class Held(Frozen, frozen=True, kw_only=True):
    """One entry of the spool, as the loops behind it see it."""

    draft: Draft
    committed: bool
    marks: frozenset[Mark] = frozenset()
    active_at_ms: int
    """When something last arrived."""
    size_bytes: int = 0
    """Of its files, once committed."""
    receiving: bool = False
    """An upload request is open at this moment."""


@dataclass(slots=True)
class Tap:
    """A client's socket, lent to who takes the rest of a body straight from it."""

    descriptor: int
    left_bytes: int
    """What is still to come; whoever takes some of it says so here."""


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

    async def discard(self, task: TaskId) -> None:
        """Remove everything of a task, and its entry in KV `uploads`; nothing happens when it is not here."""
        ...


class Forwarding(Protocol):
    """The loops behind the spool, as the HTTP side sees them."""

    async def adopt(self, task: TaskId) -> None:
        """Take over a task that the scheduler has just acknowledged (SUBMIT_TASK); again: nothing happens."""
        ...


class ClusterView(Protocol):
    """The mirror of the scheduler's tasks (KV `tasks`); what is not mirrored is asked over the bus."""

    @property
    def ready(self) -> bool:
        """Whether the mirror has been loaded: only then does a missing task mean anything."""
        ...

    def task(self, task: TaskId) -> TaskRecord | None:
        """Look up the last known record, with the revision at which it was seen."""
        ...

    def on_task(self, listener: Callable[[TaskId], None]) -> None:
        """Call `listener` (quick, never raising) after every change or disappearance of a task in the mirror."""
        ...


class Cluster(ClusterView, Protocol):
    """The mirrors as the HTTP side sees them: all that is published of tasks, nodes and machines, from memory."""

    def node(self, node: NodeId) -> Node | None:
        """Look up a registered (or retired) node."""
        ...

    def attempt(self, node_task: NodeTaskId) -> Attempt | None:
        """Look up an attempt by the id that its task has on the node."""
        ...

    def machine(self, machine: MachineId) -> Machine | None:
        """Look up a rented machine, alive or ended within the last day."""
        ...

    def machines(self) -> Iterable[Machine]:
        """List these machines."""
        ...

    def summary(self) -> ClusterSummary:
        """Say the honest totals; zeros while nothing is known."""
        ...

    def options(self) -> tuple[NodeOption, ...]:
        """List the options that the cluster last saw on a node; empty when it never saw one."""
        ...

    def tasks(self) -> Iterable[Task]:
        """List the tasks in the order of their commits."""
        ...

    def position(self, task: Task) -> int:
        """Say a waiting task's place in the queue, from 1."""
        ...

    def learn(self, record: TaskRecord) -> None:
        """Take over what the scheduler answered, when it is newer than what the mirror has."""
        ...

    def forget(self, task: TaskId) -> None:
        """Drop a task whose removal the scheduler has confirmed."""
        ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one request may take on its way to a node."""

    connect_s: float
    head_s: float
    """From the request to the head of the answer."""
    silence_s: float
    """Between two pieces of the body."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a node, without body."""

    method: bytes
    """GET or HEAD."""
    path: bytes
    """Percent-encoded, as it goes over the wire."""
    patience: Patience
    query: Mapping[str, str] = field(default_factory=dict)
    with_token: bool = True
    """Whether the node's token is added to the query."""
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Poured:
    """What has come of moving a body straight into a socket."""

    given_bytes: int
    """Written into the socket."""
    rest: bytes
    """Taken from the node, not written any more: it comes next."""


class NodeReply(Protocol):
    """A node's answer under way: its head, and its body as it comes. Reading raises NodeFailed when it breaks off."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    """Names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes; not reading holds the node back."""
        ...

    @property
    def may_pour(self) -> bool:
        """Whether it is worth trying to move the rest of the body without copying it."""
        ...

    async def pour(self, target: int) -> Poured | None:
        """Move the body straight into a socket that nobody else writes to; None: that cannot be done at this moment.

        Returns when all is moved, one side breaks off, or either is silent for a second; `chunks` says how it goes on.
        """
        ...

    async def read(self, limit_bytes: int) -> bytes:
        """Take the body as a whole. Raises NodeFailed when it is longer."""
        ...

    def abort(self) -> None:
        """Close the connection to the node at once."""
        ...


@dataclass(frozen=True, slots=True)
class Passed:
    """A client's request on its way to the proxy that holds the upload."""

    target: bytes
    """Path and query as the client wrote them."""
    headers: Sequence[tuple[bytes, bytes]]
    body: AsyncIterator[bytes]
    chunked: bool = False
    """The length of the body is not known beforehand."""


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What the other proxy answered."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Peers(Protocol):
    """The way to the other proxies."""

    async def post(self, url: str, passed: Passed) -> PeerAnswer:
        """Pass a request on as its body comes. Raises HolderAway, and what reading the body raises."""
        ...


class Holders(Protocol):
    """Which proxy holds which upload (KV `uploads`)."""

    async def elsewhere(self, task: TaskId) -> Upload | None:
        """Find another proxy that holds it; None: none does, or we do. Raises BusFailed when nobody can tell."""
        ...


class Upstream(Protocol):
    """The way to the nodes for what is relayed while a client waits."""

    def ask(self, node: Node, call: Call) -> AbstractAsyncContextManager[NodeReply]:
        """Send a request. Raises NodeUnreachable, NodeFailed; leaving before the end closes the connection."""
        ...


class Sender(Protocol):
    """The way to a node: the calls of one attempt.

    Every call raises NodeUnreachable (not one byte went out), NodeRefused (the node answered and said no) or NodeFailed
    (anything else: the outcome is unknown).
    """

    async def begin(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        """`POST /task/new/init` with `set-uuid`."""
        ...

    async def send(self, node: Node, attempt: NodeTaskId, name: str, path: Path) -> None:
        """`POST /task/new/upload/<id>` with exactly one file."""
        ...

    async def commit(self, node: Node, attempt: NodeTaskId) -> None:
        """`POST /task/new/commit/<id>`."""
        ...

    async def submit_zip(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        """`POST /task/new` with `zipurl`: begin and commit at once."""
        ...


class Webhook(Protocol):
    """Telling the client's own server that a task has ended."""

    async def post(self, url: str, body: bytes) -> None:
        """POST JSON once, http(s) only, within 10 s. Raises WebhookFailed."""
        ...


class SpoolFull(Refused):
    """The disk cannot take more. To be answered as non-2xx (507) with `{"error"}`: clients then try again."""


class SpoolLocked(Refused):
    """Another proxy is using this spool directory: the program ends with this sentence and exit code 1."""


class HolderAway(ClusterError):
    """The proxy that holds the upload cannot be reached now; to be answered as 503: the client may try again."""


class NodeRefused(NodeFailed):
    """The node answered with a reason why it will not take this; the message holds its words."""


class WebhookFailed(Refused):
    """The client's server did not take the message; the text names no more than its host."""


__all__ = [
    "NO_SUCH_UPLOAD",
    "Call",
    "Cluster",
    "ClusterView",
    "Draft",
    "Forwarding",
    "Held",
    "HolderAway",
    "Holders",
    "Manifest",
    "Mark",
    "NodeRefused",
    "NodeReply",
    "NotFound",
    "Part",
    "Passed",
    "Patience",
    "PeerAnswer",
    "Peers",
    "Receipt",
    "Sender",
    "Spool",
    "SpoolFull",
    "SpoolLocked",
    "StoredFile",
    "Upstream",
    "Webhook",
    "WebhookFailed",
]
