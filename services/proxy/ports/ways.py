"""The ways out: to the nodes, for what is relayed and for what is sent; to the other proxies; to clients' webhooks."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from libs.common.clocks import Instant
from libs.common.http_link import Patience
from libs.common.model import Node, NodeTaskId, TaskId, Upload
from services.proxy.core.forwarding import ImagesCount
from services.proxy.ports.spool import Draft


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
    def arrived(self) -> bool:
        """Whether all of it is here: reading it waits for nothing."""
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


class Upstream(Protocol):
    """The way to the nodes for what is relayed while a client waits."""

    def ask(self, node: Node, call: Call) -> AbstractAsyncContextManager[NodeReply]:
        """Send a request. Raises NodeUnreachable, NodeFailed; leaving before the end closes the connection."""
        ...


class Sender(Protocol):
    """The way to a node: the calls of one attempt.

    Every call raises NodeUnreachable (nothing of the body went out, so nothing has happened), NodeRefused (the node answered and
    said no), NodeErred (it answered with an error that may pass) or NodeFailed (anything else: the outcome is unknown).
    """

    async def begin(self, node: Node, attempt: NodeTaskId, draft: Draft) -> None:
        """`POST /task/new/init` with `set-uuid`."""
        ...

    async def send(self, node: Node, attempt: NodeTaskId, name: str, path: Path) -> None:
        """`POST /task/new/upload/<id>` with exactly one file."""
        ...

    async def commit(self, node: Node, attempt: NodeTaskId, by: Instant | None = None) -> None:
        """`POST /task/new/commit/<id>`. Later than `by` (monotonic clock) no byte goes out: NodeUnreachable."""
        ...

    async def discard(self, node: Node, attempt: NodeTaskId) -> None:
        """Remove what was sent and never committed; nothing happens to what was committed."""
        ...

    async def count_images(self, node: Node, attempt: NodeTaskId) -> ImagesCount:
        """`GET /task/<id>/info`: how many images the node counts; NodeRefused when it knows no such task."""
        ...

    async def remove(self, node: Node, attempt: NodeTaskId) -> None:
        """`POST /task/remove`; NodeRefused when it knows no such task."""
        ...

    async def submit_zip(self, node: Node, attempt: NodeTaskId, draft: Draft, by: Instant | None = None) -> None:
        """`POST /task/new` with `zipurl`: begin and commit at once; `by` as with `commit`."""
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


class Webhook(Protocol):
    """Telling the client's own server that a task has ended."""

    async def post(self, url: str, body: bytes) -> None:
        """POST JSON once, http(s) only, within 10 s. Raises WebhookFailed, WebhookRefused when no try would help."""
        ...
