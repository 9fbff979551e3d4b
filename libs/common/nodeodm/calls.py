"""Calls to nodes: one small question, the whole answer at once. Over clusterodm.libs.common.http_io.

For what is small and goes to very many nodes: probes, polls, actions. A call costs what it costs however many nodes there are.

* A GET may go over a kept connection, and is asked again when the node closes that before a byte of the answer has come. Everything
  else has a connection of its own: on a used one nobody could tell such an end from a request that the node has seen.
* One time limit covers the whole call behind its connecting, which has a shorter one. A call that is cancelled closes its connection.
* `NodeUnreachable`: no connection came about. `NodeFailed`: anything else that is no HTTP answer. The target (it may hold a token)
  is in no message.
"""

import asyncio
from functools import lru_cache
from typing import Final, NamedTuple, Self

import structlog

from clusterodm.libs.common.errors import NodeUnreachable
from clusterodm.libs.common.hosts import bracketed
from clusterodm.libs.common.http_io.client import Client, Pool
from clusterodm.libs.common.http_io.origins import ClientRequest, Origin, Timeouts
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.telemetry.log import Seldom
from clusterodm.libs.http1.heads import ResponseHead
from clusterodm.libs.http1.lines import find

CONNECT_TIMEOUT_S: Final = 3.0
KEPT_S: Final = 30.0
CONNECTIONS_PER_NODE_COUNT: Final = 256
LIMIT_BYTES: Final = 1 << 20
"""Of one answer, unless the caller expects more."""
URLENCODED: Final = "application/x-www-form-urlencoded"
REDIRECTS: Final = range(300, 400)
OK: Final = 200
REMEMBERED_COUNT: Final = 4096
"""Nodes of which is remembered where they are and what they are asked: all of them are asked every few seconds."""
TLS: Final = "https://"
ANOTHER: Final = "answered about another task than it was asked about"
STRAYS_S: Final = 60.0

log = structlog.get_logger()


class CallAnswer(NamedTuple):
    """What a node said."""

    status: int
    content: bytes
    location: str = ""
    """Where a redirect leads."""


class Calls:
    """Asks nodes. One per process."""

    def __init__(self, keep_alive_s: float = KEPT_S) -> None:
        self._client = Client(CONNECTIONS_PER_NODE_COUNT, keep_alive_s)

    async def __aenter__(self) -> Self:
        """Nothing to open yet."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *left: object) -> None:
        """Close every connection that is kept."""
        await self._client.__aexit__(*left)

    async def get(self, node: Node, target: str, limit_s: float, *, limit_bytes: int = LIMIT_BYTES) -> CallAnswer:
        """Ask something that may be asked twice. `target`: path and query."""
        return await self._ask(node, question(node, target), limit_s, limit_bytes)

    def pool(self, node: Node) -> Pool:
        """Find the connections to a node."""
        return self._client.pool(*named_origin(node))

    async def post(  # noqa: PLR0913 a request has these parts
        self,
        node: Node,
        target: str,
        form: bytes,
        limit_s: float,
        *,
        content_type: str = URLENCODED,
        set_uuid: str = "",
    ) -> CallAnswer:
        """Send a form, once. `set_uuid`: NodeODM's header that names a task."""
        named = f"set-uuid: {set_uuid}\r\n" if set_uuid else ""
        lines = f"{named}Content-Type: {content_type}\r\nContent-Length: {len(form)}\r\n\r\n".encode("ascii")
        asked = ClientRequest(head(node, "POST", target, "close") + lines + form, repeatable=False)
        return await self._ask(node, asked, limit_s, LIMIT_BYTES)

    async def _ask(self, node: Node, asked: ClientRequest, limit_s: float, limit_bytes: int) -> CallAnswer:
        until_s = asyncio.get_running_loop().time() + limit_s
        timeouts = Timeouts(min(limit_s, CONNECT_TIMEOUT_S), limit_s, limit_s)
        async with self._client.ask(*named_origin(node), asked, timeouts) as link:
            content = await link.read(limit_bytes, limit_s, until_s)
            return answer_of(link.head, content)


def answer_of(head: ResponseHead | None, content: bytes) -> CallAnswer:
    """Keep of an answer what is looked at. `head`: None for one that was taken as a whole."""
    if head is None:
        return CallAnswer(OK, content)
    where = find(head.headers, b"location") if head.status in REDIRECTS else None
    return CallAnswer(head.status, content, (where or b"").decode("ascii", "replace"))


@lru_cache(REMEMBERED_COUNT)
def question(node: Node, target: str) -> ClientRequest:
    """Write a GET. Raises NodeUnreachable for a name that cannot be one."""
    return ClientRequest(head(node, "GET", target, "keep-alive") + b"\r\n")


@lru_cache(REMEMBERED_COUNT)
def named_origin(node: Node) -> tuple[Origin, str]:
    """Say where a node is, and how it is called."""
    return Origin(node.hostname, node.port, node.url.startswith(TLS)), node.name


def head(node: Node, method: str, target: str, connection: str) -> bytes:
    """Write the head of a request, but for its last empty line. Raises NodeUnreachable for a name that cannot be one."""
    try:
        named = bracketed(node.hostname).encode("ascii")
    except UnicodeError:
        raise NodeUnreachable(f"{node.name} cannot be reached (no valid host name)") from None
    return b"%s %s HTTP/1.1\r\nHost: %s:%d\r\nUser-Agent: clusterodm\r\nAccept: */*\r\nConnection: %s\r\n" % (
        *(method.encode(), target.encode("ascii"), named, node.port, connection.encode()),
    )


class Strays:
    """Answers about another task than the one that was asked about. They count as none; the log tells of them once a minute."""

    def __init__(self) -> None:
        self._lines = Seldom(STRAYS_S)

    def has(self, node: Node, asked: NodeTaskId, named: object) -> bool:
        """Whether an answer that names a task is one of them."""
        if named == asked:
            return False
        if count := self._lines.passes(asyncio.get_running_loop().time()):
            log.warning("node.answered_amiss", node=node.id, task=asked, reason=ANOTHER, count=count)
        return True
