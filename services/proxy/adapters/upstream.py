"""The way to the nodes for everything that is relayed while a client waits: keep-alive connections on httptools.

Why not a library: this path is what the proxy exists for. A relayed poll costs about a sixth of one through aiohttp and a
hundredth of one through httpx (docs/performance.md), and a time limit per phase is easier to state than to configure.

    Upstream      one pool per node; a limit on connections to each, so that one node cannot use up the proxy
    Pool          the connections to one node (adapters/pool.py)
    Connection    one TCP or TLS connection, one request at a time (adapters/connection.py)
    Reply         the head of an answer, and its body as it comes

One request, in order:
  1. take an idle connection (the one used last: it is the least likely to have been closed), else open one; when the node has
     its limit already, wait in line. All of it within `connect_s`, else NodeUnreachable: the node has not seen the request.
  2. write the request in one piece (requests have no body here) and wait `head_s` for the head of the answer.
     A kept connection that closes before the first byte of an answer was closed by the node while it was idle: the
     request is sent once more, on a new connection. All requests here are GET or HEAD, so that is safe.
  3. hand the body on as it comes, `silence_s` at most between two pieces. Back-pressure: with more than HIGH_WATER_BYTES
     waiting the socket is no longer read, until the reader has caught up.
  4. leaving the context with the answer complete gives the connection back; leaving it at any other moment (client gone,
     time is up, cancelled) closes it, so the node stops sending.

How an answer ends (RFC 9112, 6.3): HEAD, 204 and 304 have no body whatever their head says; else chunked, else
Content-Length, else the end of the connection. A connection that ends before its answer does is NodeFailed: what has been
relayed so far is then not to be taken for a whole (the caller drops the client). 1xx answers are skipped.

Idle connections are closed after IDLE_S, before NodeODM does it (Node.js: 5 s). Tokens are in the target and nowhere else:
no error names the target. A URL with https means TLS, certificate checked: libs.common.model.Node.url says when.

A body of known length does not go through the parser, which would copy it. What is left of one may also go into the client's
socket inside the kernel (`Reply.pour`, by adapters/splice.py): meanwhile nothing is read here, and where the move ends,
early or not, step 3 goes on. TLS and chunked bodies are copied.
"""

import ssl
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode

from libs.common.errors import NodeFailed
from libs.common.model import Node
from services.proxy.adapters.connection import Connection
from services.proxy.adapters.movers import Movers
from services.proxy.adapters.pool import Pool
from services.proxy.adapters.splice import Pour
from services.proxy.core.headers import Header
from services.proxy.ports import Call, Poured

POUR_FROM_BYTES: Final = 256 * 1024
"""With less to come a thread is not worth it."""
MOVERS_COUNT: Final = 32
"""Answers that move inside the kernel at the same time; the others are copied."""
POOLS_TIDIED_AT_COUNT: Final = 256
"""With so many pools, those of nodes that nobody talks to any more are forgotten."""


class Reply:
    """An answer under way; implements ports.NodeReply."""

    def __init__(self, connection: Connection, silence_s: float, movers: Movers) -> None:
        self._connection = connection
        self._silence_s = silence_s
        self._movers = movers
        self._move: Pour | None = None
        self.status = connection.status
        self.headers: Sequence[Header] = connection.headers

    def __repr__(self) -> str:
        """Show where it comes from."""
        return f"Reply({self.status} {self._connection!r})"

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        while chunk := await self._connection.next_chunk(self._silence_s):
            yield chunk

    async def read(self, limit_bytes: int) -> bytes:
        """Take the body as a whole."""
        parts: list[bytes] = []
        size_bytes = 0
        while chunk := await self._connection.next_chunk(self._silence_s):
            size_bytes += len(chunk)
            if size_bytes > limit_bytes:
                raise NodeFailed(f"{self._connection.name} answered with more than {limit_bytes} bytes")
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    @property
    def arrived(self) -> bool:
        """Whether all of it is here."""
        return self._connection.complete

    @property
    def may_pour(self) -> bool:
        """Whether enough is left, and a thread is free."""
        return self._connection.left_bytes >= POUR_FROM_BYTES and self._movers.free

    async def pour(self, target: int) -> Poured | None:
        """Move what is left of the body into a socket."""
        connection = self._connection
        source = connection.lend() if self.may_pour else None
        if source is None:
            return None
        move = self._move = Pour(source, target, connection.left_bytes)
        try:
            await self._movers.run(move)
        finally:
            self._move = None
        connection.skip(move.drawn_bytes)
        return Poured(move.given_bytes, move.rest)

    def abort(self) -> None:
        """Close the connection; whoever reads the body gets NodeFailed."""
        if self._move is not None:
            self._move.stop()
        self._connection.close()
        self._connection._wake()  # noqa: SLF001 two halves of one thing


class Asking:
    """One request under way: an async context manager, written out because this is the hottest of all paths."""

    def __init__(self, pool: Pool, request: bytes, call: Call, movers: Movers) -> None:
        self._pool = pool
        self._request = request
        self._call = call
        self._movers = movers
        self._connection: Connection | None = None

    async def __aenter__(self) -> Reply:
        """Ask, and wait for the head of the answer."""
        self._connection = await self._pool.take(self._request, self._call)
        return Reply(self._connection, self._call.patience.silence_s, self._movers)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the connection back, or close it when the answer is not complete."""
        if self._connection is not None:
            self._pool.give_back(self._connection)


class Upstream:
    """All pools of one kind of traffic; implements ports.Upstream. An async context manager."""

    def __init__(self, limit_count: int) -> None:
        self._limit_count = limit_count
        """Connections to one node at the same time."""
        self._movers = Movers(MOVERS_COUNT)
        self._pools: dict[str, Pool] = {}
        self._context: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what is idle."""
        for pool in self._pools.values():
            pool.close()
        self._movers.close()

    def ask(self, node: Node, call: Call) -> "Asking":
        """Send one request; the reply lives as long as the context."""
        return Asking(self._pool(node), encode(node, call), call, self._movers)

    def _pool(self, node: Node) -> Pool:
        pool = self._pools.get(node.name)
        if pool is None:
            if len(self._pools) >= POOLS_TIDIED_AT_COUNT:
                self._pools = {name: kept for name, kept in self._pools.items() if not kept.unused}
            pool = self._pools[node.name] = Pool(node, self._limit_count, self._tls)
        return pool

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


def encode(node: Node, call: Call) -> bytes:
    """Write a request as it goes over the wire."""
    query = {**call.query, "token": node.token} if call.with_token and node.token else call.query
    target = call.path + (b"?" + urlencode(query).encode() if query else b"")
    lines = [call.method + b" " + target + b" HTTP/1.1", b"host: " + authority(node)]
    lines.extend(name + b": " + value for name, value in call.headers)
    return b"\r\n".join([*lines, b"", b""])


def authority(node: Node) -> bytes:
    """Write a node's Host line."""
    return node.url.partition("://")[2].encode("ascii", "replace")
