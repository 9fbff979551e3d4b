"""The client of the NodeODM API against a node."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.libs.common.nodeodm.client import NodeClient, NodeRefused
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sim() -> Iterator[NodeSimProcess]:
    with NodeSimProcess(task_time_s=0.1, token="ntok", total_memory_mb=1024, max_images=50) as sim:
        yield sim


@pytest.fixture
async def client() -> AsyncIterator[NodeClient]:
    async with NodeClient(timeout_s=5) as client:
        yield client


@pytest.fixture
def node(sim: NodeSimProcess) -> Node:
    return at(sim.port, token="ntok")


def at(port: int, token: str = "") -> Node:
    return Node(id=NodeId(f"127.0.0.1-{port}"), hostname="127.0.0.1", port=port, token=token)


async def new_task(node: Node) -> NodeTaskId:
    async with httpx.AsyncClient(base_url=node.url, params={"token": node.token}, trust_env=False) as http:
        task = (await http.post("/task/new", files={"images": ("a.jpg", b"x")}, data={"name": "t"})).json()["uuid"]
    return NodeTaskId(task)


async def test_info_is_read(client: NodeClient, node: Node):
    info = await client.info(node)
    assert (info.version, info.max_images, info.max_parallel_tasks) == ("2.2.4", 50, 1)
    assert info.total_memory == 1024 * 1024 * 1024


async def test_options_are_read(client: NodeClient, node: Node):
    assert "dsm" in {option.name for option in await client.options(node)}


async def test_a_task_is_followed_and_acted_on(client: NodeClient, node: Node):
    task = await new_task(node)

    async def ended() -> bool:
        return (await client.task_info(node, task)).status.code == StatusCode.COMPLETED

    await until(ended)
    told = await client.task_info(node, task, from_line=0)
    assert told.output == await client.output(node, task)
    assert (await client.task_info(node, task)).output == []
    await client.restart(node, task, [OptionValue("dsm", True)])
    await client.cancel(node, task)
    await client.remove(node, task)
    with pytest.raises(NodeRefused, match="not found"):
        await client.task_info(node, task)


async def test_a_wrong_token_is_refused_without_being_shown(client: NodeClient, sim: NodeSimProcess):
    with pytest.raises(NodeRefused) as caught:
        await client.info(at(sim.port, token="wrongtoken"))
    assert "wrongtoken" not in caught.value.message


async def test_nobody_there_is_unreachable(client: NodeClient):
    with pytest.raises(NodeUnreachable):
        await client.info(at(free_port()))


async def test_a_hung_node_fails_within_the_time_limit(client: NodeClient):
    with NodeSimProcess() as hung:
        hung.freeze()
        async with asyncio.timeout(3):
            with pytest.raises(NodeFailed):
                await client.info(at(hung.port), timeout_s=0.3)
        hung.thaw()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"<htm>", "a web page and not as a NodeODM does", id="a page"),
        pytest.param(b'{"version":"\xff"}', "something that NodeODM does not", id="no UTF-8"),
        pytest.param(b'{"version":' + b"[" * 100_000, "something that NodeODM does not", id="bottomless"),
        pytest.param(b'{"version":"' + b"x" * (1 << 20) + b'"}', "too much", id="endless"),
    ],
)
async def test_nonsense_is_a_failure(client: NodeClient, content: bytes, words: str):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(content) + content)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NodeFailed, match=words):
            await client.info(at(server.sockets[0].getsockname()[1]))


@pytest.mark.parametrize("content", [b"{}", b'{"success":false}', b'{"success":"yes"}', b'{"uuid":"x"}'])
async def test_nothing_is_done_that_a_node_does_not_say_it_has_done(client: NodeClient, content: bytes):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(content) + content)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        node = at(server.sockets[0].getsockname()[1])
        for act in (client.cancel, client.remove, client.restart):
            with pytest.raises(NodeFailed, match="something else than NodeODM"):
                await act(node, NodeTaskId("x"))


@pytest.mark.skipif(os.geteuid() != 0, reason="port 443 is root's")
async def test_a_node_on_port_443_is_asked_over_tls(
    client: NodeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.77").configure_cert(context)
    body = b'{"version":"2.2.4","maxImages":7}'

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    node = Node(id=NodeId("tls"), hostname="127.0.0.77", port=443)
    async with await asyncio.start_server(answer, node.hostname, node.port, ssl=context):
        with pytest.raises(NodeUnreachable, match="TLS: CERTIFICATE_VERIFY_FAILED"):
            await client.info(node)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with NodeClient(timeout_s=5) as trusting:
            assert (await trusting.info(node)).max_images == 7
