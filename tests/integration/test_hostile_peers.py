"""Nodes and proxies that answer without end, without haste, or with more than they were asked for."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.http_io.origins import Timeouts
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.nodeodm.client import NodeClient
from clusterodm.services.proxy.errors import UploadOwnerUnavailable
from clusterodm.services.proxy.forwarding.adapters.node_call import CallTimeouts
from clusterodm.services.proxy.forwarding.adapters.sender import open_sender
from clusterodm.services.proxy.nodes.adapters import NodeConnections
from clusterodm.services.proxy.nodes.ports import NodeRequest
from clusterodm.services.proxy.peers.adapters import PeerClient
from clusterodm.services.proxy.peers.ports import ForwardedRequest
from tests.proxies import ProxyUnderTest, ScriptedNode, parse
from tests.waiting import until

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
IN_TIME_S = 0.5
Says = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Hostile:
    """Somebody who says what they like to whoever asks."""

    def __init__(self, says: Says) -> None:
        self._says = says
        self.port = 0
        self.serving: set[asyncio.Task[None]] = set()

    @property
    def node(self) -> Node:
        return Node(id=NodeId("n"), hostname="127.0.0.1", port=self.port)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await reader.readuntil(b"\r\n\r\n")
                await self._says(writer)
        finally:
            writer.transport.abort()
            self.serving.discard(task)


@asynccontextmanager
async def hostile(says: Says) -> AsyncIterator[Hostile]:
    peer = Hostile(says)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in peer.serving:
            task.cancel()
        await until(lambda: not peer.serving)


def without_end(beginning: bytes, line: bytes) -> Says:
    """Begin an answer, and go on for ever."""

    async def says(writer: asyncio.StreamWriter) -> None:
        writer.write(beginning)
        while True:
            writer.write(line * 1_000)
            await writer.drain()

    return says


async def drips(writer: asyncio.StreamWriter) -> None:
    """Send a head, byte by byte, and never its end."""
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"y")
        await writer.drain()
        await asyncio.sleep(IN_TIME_S / 10)


ENDLESS = [
    pytest.param(without_end(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), id="lines of the head"),
    pytest.param(without_end(b"HTTP/1.1 200 OK\r\nX: ", b"yyyyyyyyy"), id="one line of the head"),
    pytest.param(without_end(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), id="informational heads"),
    pytest.param(
        without_end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\n", b"X: y\r\n"), id="trailers"
    ),
    pytest.param(
        without_end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"yyyyyyyy"), id="a chunk's extension"
    ),
    pytest.param(without_end(b"HTTP/1.1 200 OK\r\n\r\n", b"1111111111"), id="a body without a length"),
    pytest.param(without_end(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"1111"), id="a long body"),
]


@pytest.mark.parametrize("says", ENDLESS)
async def test_an_answer_without_end_is_a_failure_at_once_however_it_is_asked_for(says: Says) -> None:
    async with hostile(says) as peer, NodeClient() as client, NodeConnections(4) as upstream, open_sender(1) as sender:
        with pytest.raises(NodeFailed):
            await client.info(peer.node, timeout_s=30)
        with pytest.raises(NodeFailed):
            async with upstream.ask(peer.node, NodeRequest(b"GET", b"/info", Timeouts(5, 30, 30))) as reply:
                await reply.read(1 << 20)
        with pytest.raises(NodeFailed):
            await sender.count_images(peer.node, ON_NODE)


async def test_a_head_that_drips_fails_in_its_time_however_it_is_asked_for() -> None:
    limits = CallTimeouts(connect_timeout_s=5.0, stall_timeout_s=IN_TIME_S)
    async with (
        hostile(drips) as peer,
        NodeClient() as client,
        NodeConnections(4) as upstream,
        open_sender(1, limits=limits) as sender,
    ):
        began_s = time.monotonic()
        with pytest.raises(NodeFailed, match="in time"):
            await client.info(peer.node, timeout_s=IN_TIME_S)
        with pytest.raises(NodeFailed, match="in time"):
            async with upstream.ask(peer.node, NodeRequest(b"GET", b"/info", Timeouts(5, IN_TIME_S, 30))):
                pass
        with pytest.raises(NodeFailed, match="timed out"):
            await sender.count_images(peer.node, ON_NODE)

    assert time.monotonic() - began_s < 3 * IN_TIME_S + 15


async def download(proxy: ProxyUnderTest, *said: bytes) -> bytes:
    """Let a client download what a node says."""
    async with ScriptedNode().at_work() as script:
        script.say(f"/task/{ON_NODE}/download/all.zip", *said)
        await proxy.ran(script.port, TASK, ON_NODE)
        return await proxy.raw(
            f"GET /task/{TASK}/download/all.zip HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
        )


async def test_trailers_of_a_node_are_never_head_lines(proxy: ProxyUnderTest) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = await download(proxy, head + b"3\r\nzip\r\n0\r\ncontent-disposition: evil\r\nset-cookie: a=b\r\n\r\n")

    status, headers, body = parse(answer)
    assert (status, body) == (200, b"zip")
    ours = {"x-content-type-options", "content-security-policy"}
    assert headers.keys() == {"date", "content-type", "transfer-encoding", "connection"} | ours


async def test_two_answers_of_a_node_are_one(proxy: ProxyUnderTest) -> None:
    one = b"HTTP/1.1 200 OK\r\ncontent-type: application/zip\r\ncontent-length: 3\r\n\r\nzip"

    answer = await download(proxy, one + one.replace(b"3", b"4") + b"!")

    assert (parse(answer)[2], answer.lower().count(b"content-length")) == (b"zip", 1)


async def test_another_proxy_that_stops_reading_is_away() -> None:
    async def reads_nothing(writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a reading one
        await asyncio.Event().wait()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)

    async with hostile(reads_nothing) as peer:
        with pytest.raises(UploadOwnerUnavailable):
            await PeerClient(stall_s=IN_TIME_S).post(
                f"http://127.0.0.1:{peer.port}", ForwardedRequest(b"/task/new/upload/x", [], body(), chunked=True)
            )
