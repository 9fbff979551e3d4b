"""The way to the nodes for what is relayed while a client waits: a request without a body, and its answer under way."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from clusterodm.libs.common.http_io.origins import Timeouts
from clusterodm.libs.common.model.nodes import Node


@dataclass(frozen=True, slots=True)
class NodeRequest:
    """One request to a node, without body."""

    method: bytes
    """GET or HEAD."""
    path: bytes
    """Percent-encoded, as it goes over the wire."""
    timeouts: Timeouts
    query: Mapping[str, str] = field(default_factory=dict)
    with_token: bool = True
    """Whether the node's token is added to the query."""
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True, slots=True)
class Spliced:
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

    @property
    def arrived(self) -> bool:
        """Whether all of it is here: reading it waits for nothing."""

    @property
    def may_splice(self) -> bool:
        """Whether it is worth trying to move the rest of the body without copying it."""

    async def splice(self, target: int) -> Spliced | None:
        """Move the body straight into a socket that nobody else writes to; None: that cannot be done at this moment.

        Returns when all is moved, one side breaks off, or either is silent for a second; `chunks` says how it goes on.
        """

    async def read(self, limit_bytes: int) -> bytes:
        """Take the body as a whole. Raises NodeFailed when it is longer."""

    def abort(self) -> None:
        """Close the connection to the node at once."""


class Upstream(Protocol):
    """The way to the nodes for what is relayed while a client waits."""

    def ask(self, node: Node, call: NodeRequest) -> AbstractAsyncContextManager[NodeReply]:
        """Send a request. Raises NodeUnreachable, NodeFailed; leaving before the end closes the connection."""
