"""The way to the nodes for everything that is relayed while a client waits: kept connections of clusterodm.libs.common.http_io.client.

A body of known length does not go through a parser, which would copy it. What is left of one may also go into the client's
socket inside the kernel (`Reply.splice`, by splice/moves.py): meanwhile nothing is read here, and where the move ends,
early or not, the copying goes on. TLS and chunked bodies are copied. All requests here are GET or HEAD, so each may be asked twice.

A URL with https means TLS, certificate checked: clusterodm.libs.common.model.Node.url says when.
"""

from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

from clusterodm.libs.common.http_io.client import IDLE_S, Client, PendingRequest
from clusterodm.libs.common.http_io.link import Link
from clusterodm.libs.common.http_io.origins import ClientRequest
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.nodeodm.calls import named_origin
from clusterodm.libs.http1.lines import Header
from clusterodm.services.proxy.nodes.ports import NodeRequest, Spliced
from clusterodm.services.proxy.splice.kernel_pipes import SpliceThreads
from clusterodm.services.proxy.splice.moves import SocketToSocket

SPLICE_FROM_BYTES: Final = 256 * 1024
"""With less to come a thread is not worth it."""
SPLICE_THREADS_COUNT: Final = 32
"""Answers that move inside the kernel at the same time; the others are copied."""


class Reply:
    """An answer under way; implements ports.NodeReply."""

    def __init__(self, link: Link, silence_s: float, splice_threads: SpliceThreads) -> None:
        assert link.head is not None  # noqa: S101 it is lent with its head read
        self._link = link
        self._silence_s = silence_s
        self._splice_threads = splice_threads
        self._move: SocketToSocket | None = None
        self.status = link.head.status
        self.headers: Sequence[Header] = link.head.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        while chunk := await self._link.next_chunk(self._silence_s):
            yield chunk

    async def read(self, limit_bytes: int) -> bytes:
        """Take the body as a whole."""
        return await self._link.read(limit_bytes, self._silence_s)

    @property
    def arrived(self) -> bool:
        """Whether all of it is here."""
        return self._link.complete

    @property
    def may_splice(self) -> bool:
        """Whether enough is left, and a thread is free."""
        return self._link.left_bytes >= SPLICE_FROM_BYTES and self._splice_threads.free

    async def splice(self, target: int) -> Spliced | None:
        """Move what is left of the body into a socket."""
        link = self._link
        source = link.lend() if self.may_splice else None
        if source is None:
            return None
        move = self._move = SocketToSocket(source, target, link.left_bytes)
        try:
            await self._splice_threads.run(move)
        finally:
            self._move = None
        link.skip(move.drawn_bytes)
        return Spliced(move.given_bytes, move.rest)

    def abort(self) -> None:
        """Close the connection; whoever reads the body gets NodeFailed."""
        if self._move is not None:
            self._move.stop()
        self._link.close()


class Relaying:
    """One request under way: an async context manager, written out because this is the hottest of all paths."""

    def __init__(self, asking: PendingRequest, silence_s: float, splice_threads: SpliceThreads) -> None:
        self._asking = asking
        self._silence_s = silence_s
        self._splice_threads = splice_threads

    async def __aenter__(self) -> Reply:
        """Ask, and wait for the head of the answer."""
        return Reply(await self._asking.__aenter__(), self._silence_s, self._splice_threads)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back, or close it when the answer is not complete."""
        await self._asking.__aexit__(kind, error, trace)


class NodeConnections:
    """All connections of one kind of traffic; implements ports.Upstream. An async context manager."""

    def __init__(self, limit_count: int, keep_alive_s: float = IDLE_S) -> None:
        self._client = Client(limit_count, keep_alive_s)
        self._splice_threads = SpliceThreads(SPLICE_THREADS_COUNT)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)
        self._splice_threads.close()

    def ask(self, node: Node, call: NodeRequest) -> Relaying:
        """Send one request; the reply lives as long as the context."""
        asked = ClientRequest(encode(node, call), head_only=call.method == b"HEAD")
        asking = self._client.ask(*named_origin(node), asked, call.timeouts)
        return Relaying(asking, call.timeouts.silence_s, self._splice_threads)


def encode(node: Node, call: NodeRequest) -> bytes:
    """Write a request as it goes over the wire."""
    query = {**call.query, "token": node.token} if call.with_token and node.token else call.query
    target = call.path + (b"?" + urlencode(query).encode() if query else b"")
    lines = [call.method + b" " + target + b" HTTP/1.1", b"host: " + authority(node)]
    lines.extend(name + b": " + value for name, value in call.headers)
    return b"\r\n".join([*lines, b"", b""])


def authority(node: Node) -> bytes:
    """Write a node's Host line."""
    return node.url.partition("://")[2].encode("ascii", "replace")
