"""What is streamed from a node to a client: results, and the pages of NodeODM's web interface.

A result is relayed as the node sends it, ranges included. NodeODM knows no ranges and sends everything: the part that was asked for is cut
out here as it passes (core/ranges.py). That is not announced (`Accept-Ranges`), because the node sends all that comes before it each time, and
clients that see it announced ask for many parts at once. What a node says instead of a result (200 `{"error"}`, 403, 404)
must not look like one, because clients save what they get: it becomes NoResult, to be answered with another status. When the
node dies half-way the body raises NodeFailed, and the client's connection is closed: never a short success.

The pages are public on a node, so its token is not sent along with them: nobody gets at a node's tasks through a page's name.

Results are on nodes and machines, also on those of which the mirror has not heard yet (`ResultHosts`). A node that has just been registered may have completed its first task before this proxy's mirror shows the node. So one that is not in the mirror is
looked for where it is written, and only what is not there either is gone. While that cannot be said, it is no answer (BusFailed).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from clusterodm.libs.common.console import attempt_on_node
from clusterodm.libs.common.errors import NodeFailed, NotFound
from clusterodm.libs.common.http_io.origins import Timeouts
from clusterodm.libs.common.messages.buckets import MACHINES, NODES
from clusterodm.libs.common.messages.nodes import FIND_UI_NODE, FindUiNode
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import MachineId, NodeId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.untrusted import Malformed, decode_json
from clusterodm.libs.http1.lines import Header, find
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.exchange.nodeodm_api import NO_NODES, no_route
from clusterodm.services.proxy.nodes.ports import NodeReply, NodeRequest, Upstream
from clusterodm.services.proxy.results.core.answers import ANSWERS_TO, for_node, of_page, of_result, passes
from clusterodm.services.proxy.results.core.ranges import ByteRange, span_wanted

RESULT_TIMEOUTS: Final = Timeouts(connect_s=5.0, head_s=30.0, silence_s=60.0)
PAGE_TIMEOUTS: Final = Timeouts(connect_s=3.0, head_s=10.0, silence_s=30.0)
ERROR_LIMIT_BYTES: Final = 64 * 1024
"""A JSON answer that is longer is a result, not an error."""
OK: Final = 200
NOT_FOUND: Final = 404
SERVER_ERROR: Final = 500


class NoResult(NotFound):
    """The node has no such result (yet); the message is its own."""


class ErrorAnswer(msgspec.Struct):
    """NodeODM's way of saying no."""

    error: str


@dataclass(frozen=True, slots=True)
class RelayRequest:
    """What a client wants of a node."""

    method: bytes
    path: bytes
    """Percent-encoded, as it came: of a page the whole path, of a result what follows the task's id."""
    headers: Sequence[Header]


@dataclass(frozen=True, slots=True)
class Relayed:
    """An answer to pass on: reading the body raises NodeFailed when the node breaks off."""

    status: int
    headers: Sequence[Header]
    body: AsyncIterator[bytes]
    reply: NodeReply
    to_end: bool = True
    """All that the node sends from here on belongs to it; else it is a part, and ends before."""


class ResultHosts:
    """Finds the nodes and machines that have results."""

    def __init__(self, bus: Bus, cluster: Cluster) -> None:
        self._bus = bus
        self._cluster = cluster

    async def node(self, node: NodeId) -> Node | None:
        """Find a node, registered or retired; None: there is none. Raises BusFailed when that cannot be said."""
        if found := self._cluster.node(node):
            return found
        entry = await (await self._bus.bucket(NODES)).get(node)
        return entry.value if entry else None

    async def machine(self, machine: MachineId) -> Machine | None:
        """Find a machine, alive or ended within the last day; None: there is none. Raises BusFailed when that cannot be said."""
        if found := self._cluster.machine(machine):
            return found
        entry = await (await self._bus.bucket(MACHINES)).get(machine)
        return entry.value if entry else None


class Relay:
    """Streams from nodes."""

    def __init__(
        self, bus: Bus, cluster: Cluster, nodes: Upstream, hosts: ResultHosts, timeouts: Timeouts = RESULT_TIMEOUTS
    ) -> None:
        self._bus = bus
        self._cluster = cluster
        self._nodes = nodes
        self._hosts = hosts
        self.timeouts = timeouts
        """With a node that is to send a result."""

    @asynccontextmanager
    async def download(self, task: Task, wanted: RelayRequest) -> AsyncIterator[Relayed]:
        """Stream `download/<asset>` of a task. Raises NoResult, NodeRefused, NodeFailed, BusFailed."""
        node, path = await self._where(task, wanted.path)
        call = NodeRequest(wanted.method, path, self.timeouts, headers=for_node(wanted.headers))
        async with self._nodes.ask(node, call) as reply:
            body = await self._checked(reply, node, call)
            headers = of_result(reply.status, reply.headers)
            span = span_wanted(wanted.headers, headers) if reply.status == OK and wanted.method == b"GET" else None
            if span is None:
                yield Relayed(reply.status, headers, body, reply)
            else:
                part = Relayed(span.status, span.headers(headers), cut(body, span), reply, to_end=span.reaches_the_end)
                yield part

    @asynccontextmanager
    async def page(self, wanted: RelayRequest) -> AsyncIterator[Relayed]:
        """Stream a page of the web interface. Raises NoNode, NodeRefused, NodeFailed, BusFailed."""
        found = await self._bus.request(FIND_UI_NODE, FindUiNode())
        node = self._cluster.node(found.node)
        if node is None:
            raise NodeFailed(NO_NODES)
        call = NodeRequest(
            wanted.method, wanted.path, PAGE_TIMEOUTS, with_token=False, headers=for_node(wanted.headers)
        )
        async with self._nodes.ask(node, call) as reply:
            unasked = reply.status in ANSWERS_TO and not passes(reply.status, call.headers, reply.headers)
            if unasked or reply.status >= SERVER_ERROR:
                raise NodeRefused(f"The node answered with status {reply.status}")
            yield Relayed(reply.status, of_page(reply.status, reply.headers), reply.chunks(), reply)

    async def _where(self, task: Task, raw_action: bytes) -> tuple[Node, bytes]:
        attempt = attempt_on_node(task)
        node = await self._hosts.node(attempt.node) if attempt else None
        if node is None or attempt is None:
            raise NoResult(no_route(task.id, unquote_to_bytes(raw_action).decode(errors="replace")))
        return node, b"/task/" + attempt.node_task_id.encode() + b"/" + raw_action

    async def _checked(self, reply: NodeReply, node: Node, call: NodeRequest) -> AsyncIterator[bytes]:
        """Tell a result from an excuse."""
        if reply.status == NOT_FOUND:
            raise NoResult("Invalid asset")
        if not passes(reply.status, call.headers, reply.headers):
            raise NodeRefused(f"The node answered with status {reply.status}")
        if reply.status != OK or not may_be_error(reply.headers):
            return reply.chunks()
        if call.method == b"HEAD":
            await self._check_by_get(node, call)
            return reply.chunks()
        body = await reply.read(ERROR_LIMIT_BYTES)
        require_no_error(body)
        return once(body)

    async def _check_by_get(self, node: Node, call: NodeRequest) -> None:
        """Read what a HEAD only announces: an error looks the same from outside."""
        async with self._nodes.ask(node, NodeRequest(b"GET", call.path, call.timeouts)) as reply:
            require_no_error(await reply.read(ERROR_LIMIT_BYTES))


def may_be_error(headers: Sequence[Header]) -> bool:
    """Whether an answer with status 200 looks like NodeODM's errors: short JSON that is no attachment."""
    if b"json" not in (find(headers, b"content-type") or b"") or find(headers, b"content-disposition"):
        return False
    length = find(headers, b"content-length")
    return length is None or int(length) <= ERROR_LIMIT_BYTES


def require_no_error(body: bytes) -> None:
    """Raise NoResult when a body is an error in NodeODM's words."""
    try:
        answer = decode_json(body, ErrorAnswer)
    except Malformed:
        return
    raise NoResult(answer.error)


async def once(body: bytes) -> AsyncIterator[bytes]:
    """Yield a body that has been read already."""
    if body:
        yield body


async def cut(body: AsyncIterator[bytes], span: ByteRange) -> AsyncIterator[bytes]:
    """Take a part out of a body as it passes; what is in front of it is read and dropped, one piece at a time."""
    skip_bytes, left_bytes = span.first, span.count_bytes
    if not left_bytes:
        return
    async for piece in body:
        part = piece[skip_bytes : skip_bytes + left_bytes] if skip_bytes < len(piece) else b""
        skip_bytes = max(0, skip_bytes - len(piece))
        left_bytes -= len(part)
        if part:
            yield part
        if not left_bytes:
            return
