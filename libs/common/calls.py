"""Calls to nodes over HTTP/1.1: a few kept connections per node, one call at a time on each, the whole answer at once.

For what is small and goes to very many nodes: probes, polls, actions. A call costs what it costs however many nodes there are;
a general client walks all of its connections for each call, and with a thousand nodes that is most of what it does.

* A connection is found by its node. It stays open for `KEPT_S` after an answer, or until the node closes it (NodeODM: 5 s).
* A GET on a kept connection that the node closes before a byte of the answer has come is asked again on a new one. Everything
  else has a connection of its own: on a used one nobody could tell such an end from a request that the node has seen.
* One time limit covers the whole call, and a shorter one its connecting. A call that is cancelled closes its connection.
* `NodeUnreachable`: no connection came about. `NodeFailed`: anything else that is no HTTP answer. The target (it may hold a token)
  is in no message.

RFC 9112: https://www.rfc-editor.org/rfc/rfc9112
"""

import asyncio
import os
import ssl
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

import httptools

from libs.common.errors import NodeFailed, NodeUnreachable
from libs.common.model import Node

CONNECT_TIMEOUT_S: Final = 3.0
KEPT_S: Final = 30.0
LIMIT_BYTES: Final = 1 << 20
"""Of one answer, its head included, unless the caller expects more."""
INFORMATIONAL_BELOW: Final = 200
URLENCODED: Final = "application/x-www-form-urlencoded"
TLS_PORT: Final = 443

Door = tuple[str, int]
"""Host and port."""


class Answer(NamedTuple):
    """What a node said."""

    status: int
    content: bytes


class Stale(NodeFailed):
    """A kept connection turned out to be closed; nothing of an answer has come."""


class Connection(asyncio.Protocol):
    """One connection to a node, with at most one call under way."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._limit_bytes = LIMIT_BYTES
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._body: list[bytes] = []
        self._received_bytes = 0
        self._used = False
        self._final = False
        """The head that counts is there, not only an informational one."""
        self._framed = False
        """The body has an end of its own, not just that of the connection."""
        self.reusable = False

    def __repr__(self) -> str:
        """Show the state in one line."""
        state = "closed" if self._transport is None else "asking" if self._waiter else "idle"
        return f"Connection({self._name} {state})"

    async def ask(self, request: bytes, until_s: float, limit_bytes: int) -> Answer:
        """Send a request and wait for the whole answer, until a time of the loop's clock. Raises NodeFailed."""
        if self._transport is None or self._transport.is_closing():
            raise Stale(f"{self._name} closed the connection")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Answer] = loop.create_future()
        self._waiter = waiter
        self._parser, self._body, self._received_bytes = httptools.HttpResponseParser(self), [], 0
        self._final = self._framed = self.reusable = False
        self._limit_bytes = limit_bytes
        self._transport.write(request)
        alarm = loop.call_at(until_s, self._fail, "did not answer in time")
        try:
            return await waiter
        finally:
            alarm.cancel()
            self._waiter, self._parser, self._used = None, None, True

    def close(self) -> None:
        """End it at once."""
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    # --- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse; what comes unasked ends the connection."""
        if self._parser is None or self._waiter is None or self._waiter.done():
            self.close()
            return
        self._received_bytes += len(data)
        if self._received_bytes > self._limit_bytes:
            self._fail("answered with too much")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("answered with something that is not HTTP")

    def connection_lost(self, error: Exception | None) -> None:
        """Know how an answer under way ends by that."""
        self._transport, self.reusable = None, False
        if self._waiter is None or self._waiter.done():
            return
        if self._final and not self._framed and error is None:
            self._complete()
        elif self._used and not self._received_bytes:
            self._waiter.set_exception(Stale(f"{self._name} closed the connection"))
        else:
            self._fail("closed the connection")

    # --- what the parser calls

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look for what frames the body."""
        del value
        if name.lower() in {b"content-length", b"transfer-encoding"}:
            self._framed = True

    def on_headers_complete(self) -> None:
        """Know whether this is the head that counts."""
        assert self._parser is not None  # noqa: S101 it is the one that calls
        self._final = self._parser.get_status_code() >= INFORMATIONAL_BELOW

    def on_body(self, data: bytes) -> None:
        """Collect."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """End the answer."""
        if self._final:
            assert self._parser is not None  # noqa: S101 it is the one that calls
            self.reusable = self._parser.should_keep_alive()
            self._complete()

    def _complete(self) -> None:
        if self._waiter is not None and not self._waiter.done() and self._parser is not None:
            self._waiter.set_result(Answer(self._parser.get_status_code(), b"".join(self._body)))

    def _fail(self, trouble: str) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(NodeFailed(f"{self._name} {trouble}"))
        self.close()


class Calls:
    """Asks nodes. One per process."""

    def __init__(self) -> None:
        self._idle: dict[Door, list[tuple[Connection, asyncio.TimerHandle]]] = {}
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        """Show how much is kept."""
        return f"Calls({sum(map(len, self._idle.values()))} connections kept to {len(self._idle)} nodes)"

    async def __aenter__(self) -> Self:
        """Nothing to open yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection that is kept."""
        for door in list(self._idle):
            for connection, alarm in self._idle.pop(door):
                alarm.cancel()
                connection.close()

    async def get(self, node: Node, target: str, limit_s: float, *, limit_bytes: int = LIMIT_BYTES) -> Answer:
        """Ask something that may be asked twice. `target`: path and query."""
        request, until_s = head(node, "GET", target, "keep-alive") + b"\r\n", in_time(limit_s)
        while kept := self._take(node):
            try:
                return await self._ask(kept, request, node, until_s, limit_bytes)
            except Stale:
                continue
        return await self._ask(await self._connect(node, limit_s), request, node, until_s, limit_bytes)

    async def post(  # noqa: PLR0913 a request has these parts
        self,
        node: Node,
        target: str,
        form: bytes,
        limit_s: float,
        *,
        content_type: str = URLENCODED,
        set_uuid: str = "",
    ) -> Answer:
        """Send a form, once. `set_uuid`: NodeODM's header that names a task."""
        named = f"set-uuid: {set_uuid}\r\n" if set_uuid else ""
        lines = f"{named}Content-Type: {content_type}\r\nContent-Length: {len(form)}\r\n\r\n".encode("ascii")
        request, until_s = head(node, "POST", target, "close") + lines + form, in_time(limit_s)
        return await self._ask(await self._connect(node, limit_s), request, node, until_s)

    async def _ask(
        self, connection: Connection, request: bytes, node: Node, until_s: float, limit_bytes: int = LIMIT_BYTES
    ) -> Answer:
        try:
            answer = await connection.ask(request, until_s, limit_bytes)
        except BaseException:
            connection.close()
            raise
        self._keep(connection, node)
        return answer

    def _take(self, node: Node) -> Connection | None:
        door = (node.hostname, node.port)
        kept = self._idle.get(door)
        if not kept:
            return None
        connection, alarm = kept.pop()
        alarm.cancel()
        if not kept:
            del self._idle[door]
        return connection

    def _keep(self, connection: Connection, node: Node) -> None:
        if not connection.reusable:
            connection.close()
            return
        door = (node.hostname, node.port)
        alarm = asyncio.get_running_loop().call_later(KEPT_S, self._expire, door)
        self._idle.setdefault(door, []).append((connection, alarm))

    def _expire(self, door: Door) -> None:
        """Close the one that has been idle for the longest."""
        kept = self._idle[door]
        kept.pop(0)[0].close()
        if not kept:
            del self._idle[door]

    async def _connect(self, node: Node, limit_s: float) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(min(limit_s, CONNECT_TIMEOUT_S)):
                _, connection = await loop.create_connection(
                    lambda: Connection(node.name), node.hostname, node.port, ssl=self._tls(node)
                )
        except (OSError, UnicodeError) as error:
            raise NodeUnreachable(f"{node.name} cannot be reached ({in_words(error)})") from None
        return connection

    def _tls(self, node: Node) -> ssl.SSLContext | None:
        if node.port != TLS_PORT:
            return None
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


def in_time(limit_s: float) -> float:
    """Say when a call that begins now has to be over, by the loop's clock."""
    return asyncio.get_running_loop().time() + limit_s


def head(node: Node, method: str, target: str, connection: str) -> bytes:
    """Write the head of a request, but for its last empty line. Raises NodeUnreachable for a name that cannot be one."""
    host = f"[{node.hostname}]" if ":" in node.hostname else node.hostname
    try:
        named = host.encode("ascii")
    except UnicodeError:
        raise NodeUnreachable(f"{node.name} cannot be reached (no valid host name)") from None
    return b"%s %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: clusterodm\r\nAccept: */*\r\nConnection: %s\r\n" % (
        *(method.encode(), target.encode("ascii"), named, node.port, connection.encode()),
    )


def in_words(error: Exception) -> str:
    """Say why no connection came about."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or type(error).__name__}"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return type(error).__name__
