"""A node that answers nonsense, as the scheduler sees it: offline with one line of the log, however often it is asked; then it is back."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from clusterodm.libs.common.messages.nodes import AddNode
from clusterodm.libs.common.nodeodm.client import NodeClient
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus, MemoryTerm
from clusterodm.services.scheduler.main import Scheduler, wired
from clusterodm.services.scheduler.node_client.adapters import NodeODMAdapter
from clusterodm.services.scheduler.registry.node_state import NodeState
from tests.scheduling import NOW, settings
from tests.waiting import until

PROBES_COUNT = 8


def said(content: bytes) -> bytes:
    """Write an answer with a length."""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(content), content)


def info(**fields: object) -> bytes:
    """Write what a node says of itself."""
    return said(msgspec.json.encode({"version": "2.2.4", "engine": "odm", "engineVersion": "3.5.6", **fields}))


class Node:
    """Answers everything with the same."""

    def __init__(self) -> None:
        self.answer = info()
        self.port = 0
        self.serving: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self.answer)
                await writer.drain()
        writer.transport.abort()
        self.serving.discard(task)


@asynccontextmanager
async def at_work() -> AsyncIterator[tuple[Node, Scheduler]]:
    """Run a node that the test leads, and a scheduler that asks it over real HTTP, when the test says so."""
    node = Node()
    server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
    node.port = server.sockets[0].getsockname()[1]
    clock = FakeClock(NOW.wall_ms, instant_s=NOW.instant)
    async with NodeClient() as client:
        api = NodeODMAdapter(client)
        scheduler = await wired(MemoryBus(), api, settings(), MemoryTerm(1), clock, lambda: str(uuid.uuid4()))
        await scheduler.nodes.commands.add(AddNode(hostname="127.0.0.1", port=node.port))
        yield node, scheduler
    server.close()
    for task in node.serving:
        task.cancel()
    await until(lambda: not node.serving)


def only(scheduler: Scheduler) -> NodeState:
    """Look at the node as the scheduler sees it."""
    (node,) = scheduler.state.nodes.listed()
    return node


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: said(b'{"version":"\xff"}'), id="not UTF-8"),
        pytest.param(lambda: said(b"[" * 100_000), id="nested deeply"),
        pytest.param(lambda: said(b'{"version":"' + b"x" * (8 << 20) + b'"}'), id="megabytes"),
        pytest.param(lambda: info(engine="x" * 500_000), id="a long name of an engine"),
        pytest.param(lambda: info(maxParallelTasks=-5), id="fewer slots than none"),
        pytest.param(lambda: info(maxParallelTasks=10**18), id="more slots than there can be"),
        pytest.param(lambda: info(taskQueueCount=-1), id="less than nothing in its queue"),
        pytest.param(lambda: info(totalMemory=10**30), id="more memory than there can be"),
        pytest.param(lambda: info(maxImages=10**30), id="more images than there can be"),
        pytest.param(lambda: info(maxParallelTasks="many"), id="a number that is none"),
        pytest.param(lambda: said(b"[]"), id="another shape"),
        pytest.param(lambda: said(b"<html>Welcome</html>"), id="a page"),
        pytest.param(lambda: b"\x00\xff" * 5_000, id="no HTTP"),
        pytest.param(lambda: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", id="another protocol"),
        pytest.param(lambda: b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, id="an endless head"),
    ],
)
async def test_a_node_that_answers_nonsense_is_offline_with_one_line_and_comes_back(
    answer: Callable[[], bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    async with at_work() as (node, scheduler):
        await scheduler.nodes.prober.probe_all()
        assert only(scheduler).online
        capsys.readouterr()

        node.answer = answer()
        for _ in range(PROBES_COUNT):
            await scheduler.nodes.prober.probe(only(scheduler))
        lines = capsys.readouterr().out.splitlines()
        assert not only(scheduler).online
        assert ["node.went_offline" in line for line in lines] == [True]
        assert len(lines[0]) < 500

        node.answer = info()
        for _ in range(PROBES_COUNT):
            await scheduler.nodes.prober.probe(only(scheduler))
        lines = capsys.readouterr().out.splitlines()
        assert only(scheduler).online
        assert ["node.came_online" in line for line in lines] == [True]


async def test_a_list_of_options_that_cannot_be_had_is_mentioned_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with at_work() as (_, scheduler):
        await scheduler.nodes.prober.probe_all()
        for _ in range(PROBES_COUNT):
            await scheduler.totals.refresh_options()

        assert capsys.readouterr().out.count("options.fetch_failed") == 1
