"""Calls to nodes byte by byte: framing, kept connections, ends of every kind, time limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from clusterodm.libs.common.errors import ClusterError, NodeFailed, NodeUnreachable
from clusterodm.libs.common.http_io.client import Client
from clusterodm.libs.common.http_io.link import HIGH_WATER_BYTES
from clusterodm.libs.common.http_io.origins import Timeouts
from clusterodm.libs.common.http_io.room import ROOM, ROOM_BYTES
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.nodeodm.calls import LIMIT_BYTES, CallAnswer, Calls, named_origin, question
from clusterodm.libs.common.nodeodm.client import NodeClient
from clusterodm.libs.common.nodeodm.rounds import ask_all
from clusterodm.services.proxy.nodes.adapters import NodeConnections
from clusterodm.services.proxy.nodes.ports import NodeRequest
from clusterodm.services.proxy.settings import ProxySettings
from tests.ports import free_port
from tests.waiting import until

KEEP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Wire:
    """A node that answers with given bytes, and remembers what it was asked."""

    answers: list[bytes] = field(default_factory=list)
    """One for each request; the last again and again. Empty bytes: close without a word."""
    closes_after: int = 1_000_000
    """Requests on one connection, then it closes."""
    asked: list[bytes] = field(default_factory=list)
    connections_count: int = 0
    open_count: int = 0
    port: int = 0
    piece_bytes: int = 7

    @property
    def node(self) -> Node:
        return Node(id=NodeId("n"), hostname="127.0.0.1", port=self.port, token="secret")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_count += 1
        self.open_count += 1
        try:
            for _ in range(self.closes_after):
                if not await self._answered(reader, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.open_count -= 1
            writer.close()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")), 0)
        self.asked.append(head + await reader.readexactly(length))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == b"(silence)":
            await reader.read()
            return False
        for at in range(0, len(answer), self.piece_bytes):
            writer.write(answer[at : at + self.piece_bytes])
            await writer.drain()
        return bool(answer) and b"Connection: close" not in answer and b"(closes)" not in answer


@asynccontextmanager
async def wire(*answers: bytes, closes_after: int = 1_000_000, piece_bytes: int = 7) -> AsyncIterator[Wire]:
    wire = Wire(list(answers), closes_after, piece_bytes=piece_bytes)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        server.close()


class Alone:
    """How one node is asked."""

    async def get(
        self, calls: Calls, node: Node, target: str, limit_s: float, limit_bytes: int = LIMIT_BYTES
    ) -> CallAnswer:
        return await calls.get(node, target, limit_s, limit_bytes=limit_bytes)


class InARound(Alone):
    """How it is asked together with others."""

    async def get(
        self, calls: Calls, node: Node, target: str, limit_s: float, limit_bytes: int = LIMIT_BYTES
    ) -> CallAnswer:
        heard: list[CallAnswer | ClusterError] = []
        await ask_all(calls, [(node, target)], limit_s, lambda _, said: heard.append(said), limit_bytes)
        [said] = heard
        if isinstance(said, ClusterError):
            raise said
        return said


@pytest.fixture(params=[pytest.param(Alone(), id="alone"), pytest.param(InARound(), id="in a round")])
def ask(request: pytest.FixtureRequest) -> Alone:
    asked: Alone = request.param
    return asked


@pytest.mark.parametrize(
    ("answer", "status", "content"),
    [
        pytest.param(KEEP, 200, b"ok", id="with a length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            200,
            b"ok",
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\nok(closes)", 200, b"ok(closes)", id="until the connection ends"),
        pytest.param(b"HTTP/1.0 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 404, b"", id="HTTP/1.0"),
        pytest.param(b"HTTP/1.1 102 Processing\r\n\r\n" + KEEP, 200, b"ok", id="behind an informational answer"),
    ],
)
async def test_an_answer_is_read_however_it_is_framed(ask: Alone, answer: bytes, status: int, content: bytes):
    async with wire(answer) as node, Calls() as calls:
        for _ in range(2):
            assert await ask.get(calls, node.node, "/info", 5) == CallAnswer(status, content)


async def test_a_connection_is_kept_for_the_next_question(ask: Alone):
    async with wire(KEEP) as node, Calls() as calls:
        for _ in range(5):
            await ask.get(calls, node.node, "/info?token=secret", 5)
        assert node.connections_count == 1
        assert node.asked[0].startswith(b"GET /info?token=secret HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_questions_at_the_same_time_have_a_connection_each():
    async with wire(KEEP) as node, Calls() as calls:
        await asyncio.gather(*(calls.get(node.node, "/info", 5) for _ in range(4)))
        assert node.connections_count == 4
        await asyncio.gather(*(calls.get(node.node, "/info", 5) for _ in range(4)))
        assert node.connections_count == 4


async def test_every_connection_is_closed_at_the_end():
    async with wire(KEEP) as node:
        async with Calls() as calls:
            await asyncio.gather(*(calls.get(node.node, "/info", 5) for _ in range(4)))
        await until(lambda: node.open_count == 0)


async def test_a_kept_connection_that_the_node_has_closed_costs_no_answer(ask: Alone):
    async with wire(KEEP, closes_after=1) as node, Calls() as calls:
        for _ in range(5):
            assert (await ask.get(calls, node.node, "/info", 5)).content == b"ok"
        assert (len(node.asked), node.connections_count) == (5, 5)


async def test_a_question_is_asked_again_when_its_kept_connection_ends_without_a_byte(ask: Alone):
    async with wire(KEEP, b"", KEEP) as node, Calls() as calls:
        await ask.get(calls, node.node, "/info", 5)
        assert (await ask.get(calls, node.node, "/info", 5)).content == b"ok"
        assert (len(node.asked), node.connections_count) == (3, 2)


async def test_a_form_is_sent_once_on_a_connection_of_its_own():
    async with wire(KEEP, b"") as node, Calls() as calls:
        await calls.get(node.node, "/info", 5)
        with pytest.raises(NodeFailed, match="closed the connection"):
            await calls.post(node.node, "/task/cancel", b"uuid=1", 5)
        assert [asked[:4] for asked in node.asked] == [b"GET ", b"POST"]
        assert node.asked[1].endswith(b"\r\n\r\nuuid=1")
        assert node.connections_count == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(b"", "closed the connection", id="not a word"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok(closes)", "closed", id="half an answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n(closes)", "not HTTP", id="no chunk"),
        pytest.param(b"SSH-2.0-OpenSSH\r\n\r\n", "not HTTP", id="another protocol"),
        pytest.param(b"(silence)", "in time", id="silence"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "in time", id="a body that stops"),
    ],
)
@pytest.mark.parametrize("before", [pytest.param((), id="new"), pytest.param((KEEP,), id="kept")])
async def test_anything_but_a_whole_answer_is_a_failure_that_does_not_show_the_token(
    ask: Alone, before: tuple[bytes, ...], answer: bytes, words: str
):
    async with wire(*before, answer) as node, Calls() as calls:
        for _ in before:
            await ask.get(calls, node.node, "/info?token=secret", 5)
        with pytest.raises(NodeFailed, match=words) as caught:
            await ask.get(calls, node.node, "/info?token=secret", 0.3 if words == "in time" else 5)
        assert "secret" not in caught.value.message
        await until(lambda: node.open_count == 0)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="without an end"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 33000\r\n\r\n", id="with a length"),
    ],
)
async def test_an_answer_that_is_too_long_is_cut_off(ask: Alone, head: bytes):
    async with wire(KEEP, head + bytes(HIGH_WATER_BYTES + 2), piece_bytes=5_000) as node, Calls() as calls:
        await ask.get(calls, node.node, "/info", 5)
        with pytest.raises(NodeFailed, match="too much"):
            await ask.get(calls, node.node, "/task/1/output", 5, limit_bytes=100)


async def test_what_comes_unasked_ends_the_connection(ask: Alone):
    async with wire(KEEP + b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad") as node, Calls() as calls:
        for _ in range(3):
            assert (await ask.get(calls, node.node, "/info", 5)).content == b"ok"


async def test_a_call_that_is_cancelled_closes_its_connection(ask: Alone):
    async with wire(b"(silence)") as node, Calls() as calls:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ask.get(calls, node.node, "/info", 5)
        await until(lambda: node.open_count == 0)


@pytest.mark.parametrize(
    "hostname",
    [pytest.param("127.0.0.1", id="nobody listens"), pytest.param("no.such.host.invalid", id="no such name")],
)
async def test_no_connection_means_that_the_node_has_not_seen_it(ask: Alone, hostname: str):
    async with Calls() as calls:
        with pytest.raises(NodeUnreachable, match="cannot be reached"):
            await ask.get(calls, Node(id=NodeId("n"), hostname=hostname, port=free_port()), "/info", 5)


async def test_a_hung_node_delays_nobody_else():
    async def asked(act: Callable[[], Awaitable[CallAnswer]]) -> float:
        began_s = asyncio.get_running_loop().time()
        await act()
        return asyncio.get_running_loop().time() - began_s

    async with wire(KEEP) as well, wire(b"(silence)") as hung, Calls() as calls, asyncio.TaskGroup() as group:
        waits = [group.create_task(calls.get(hung.node, "/info", 30)) for _ in range(20)]
        await until(lambda: len(hung.asked) == 20)
        took_s = [await asked(lambda: calls.get(well.node, "/info", 5)) for _ in range(20)]
        assert sorted(took_s)[10] < 0.1
        for wait in waits:
            wait.cancel()


Heard = list[tuple[int, CallAnswer | ClusterError]]


async def test_a_round_asks_over_kept_connections_and_opens_none():
    async with wire(KEEP) as one, wire(KEEP) as two, Calls() as calls:
        heard: Heard = []
        for _ in range(3):
            questions = [(one.node, "/info"), (two.node, "/info")]
            await ask_all(calls, questions, 5, lambda node, said: heard.append((node.port, said)))
        assert sorted(heard, key=lambda each: each[0]) == sorted(
            [(each.port, CallAnswer(200, b"ok")) for each in (one, two)] * 3
        )
        assert (one.connections_count, two.connections_count) == (1, 1)


async def test_a_large_answer_is_read_to_its_end(ask: Alone):
    body = bytes(range(256)) * 1_000
    async with (
        wire(KEEP, b"HTTP/1.1 200 OK\r\nContent-Length: 256000\r\n\r\n" + body, piece_bytes=50_000) as node,
        Calls() as calls,
    ):
        await ask.get(calls, node.node, "/info", 5)
        assert (await ask.get(calls, node.node, "/info", 5)).content == body


async def test_answers_that_stay_half_read_leave_no_room_for_long_ones_and_short_ones_come_through():
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + bytes(40_000_000)
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(1_000_000)
    async with (
        wire(half, piece_bytes=1 << 20) as dripping,
        wire(long, piece_bytes=1 << 20) as good,
        wire(KEEP) as short,
        Calls() as calls,
        asyncio.TaskGroup() as group,
    ):
        waiting = [
            group.create_task(calls.get(dripping.node, "/task/x/output", 60, limit_bytes=64_000_000)) for _ in range(2)
        ]
        await until(lambda: left_of_room() < 0, what="one of them to be beyond the room")
        with pytest.raises(NodeFailed, match="no room in memory"):
            await calls.get(good.node, "/task/y/output", 1)
        assert (await calls.get(short.node, "/info", 5)).content == b"ok"
        waiting[0].cancel()
        waiting[1].cancel()
        assert len((await calls.get(good.node, "/task/y/output", 5)).content) == 1_000_000
    assert left_of_room() == ROOM_BYTES


def left_of_room() -> int:
    """How many bytes are left of the room of this process."""
    return int(repr(ROOM).partition("left=")[2].split(" ", 1)[0])


async def test_in_a_round_each_is_heard_when_it_answers_and_the_hung_one_when_time_is_up():
    async with wire(KEEP) as well, wire(KEEP, b"(silence)") as hung, Calls() as calls, asyncio.TaskGroup() as group:
        heard: dict[int, CallAnswer | ClusterError] = {}
        questions = [(hung.node, "/info"), (well.node, "/info")]
        await ask_all(calls, questions, 5, lambda _, __: None)
        asking = ask_all(calls, questions, 2.0, lambda node, said: heard.update({node.port: said}))
        asked = group.create_task(asking)
        await until(lambda: heard == {well.port: CallAnswer(200, b"ok")})
        assert not asked.done()
        await asked
        said = heard[hung.port]
        assert isinstance(said, NodeFailed)
        assert "in time" in said.message
        await until(lambda: hung.open_count == 0)


async def test_a_round_that_is_cancelled_closes_its_connections_and_tells_nothing():
    async with wire(KEEP, b"(silence)") as node, Calls() as calls:
        heard: Heard = []
        await calls.get(node.node, "/info", 5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ask_all(calls, [(node.node, "/info")], 5, lambda _, said: heard.append((0, said)))
        await until(lambda: node.open_count == 0)
        assert not heard


async def test_a_connection_that_nobody_uses_is_closed():
    async with wire(KEEP) as node, wire(KEEP) as other, Client(4, idle_s=1.0) as client:
        for each in (node, other):
            asked = question(each.node, "/info")
            async with client.ask(named_origin(each.node)[0], "n", asked, Timeouts(5, 5, 5)) as link:
                assert await link.read(10, 5) == b"ok"
        assert (node.open_count, other.open_count) == (1, 1)
        await until(lambda: not (node.open_count or other.open_count))


async def test_how_long_a_connection_to_a_node_is_kept_can_be_said():
    polled = NodeRequest(b"GET", b"/info", Timeouts(5, 5, 5))
    async with (
        wire(KEEP) as node,
        wire(KEEP) as kept,
        NodeConnections(4, keep_alive_s=0.2) as upstream,
        NodeConnections(4, keep_alive_s=3600) as usual,
        Calls(keep_alive_s=0.2) as calls,
    ):
        for connections, each in ((upstream, node), (usual, kept)):
            async with connections.ask(each.node, polled) as reply:
                assert await reply.read(10) == b"ok"
        await calls.get(node.node, "/info", 5)
        assert (node.open_count, kept.open_count) == (2, 1)
        await until(lambda: not node.open_count)
        assert kept.open_count == 1


def test_connections_to_nodes_are_kept_for_less_than_nodes_keep_theirs_unless_said_otherwise():
    assert ProxySettings().node_keep_alive_timeout_s < 5
    assert ProxySettings(node_keep_alive_timeout_s=60).node_keep_alive_timeout_s == 60


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"taskQueueCount": -1}', "a number is impossible", id="an impossible number"),
        pytest.param(b'{"error": "not today"}', "not today", id="a refusal"),
        pytest.param(b"[[[[", "something that NodeODM does not", id="no JSON"),
        pytest.param(b'{"version": [[]]}', "something that NodeODM does not", id="another shape"),
    ],
)
async def test_what_a_node_says_of_itself_is_judged_alike_alone_and_in_a_round(body: bytes, words: str):
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    async with wire(answer) as node, NodeClient() as client:
        for _ in range(2):
            heard: list[NodeInfo | ClusterError] = []
            await client.infos([node.node], lambda _, said, heard=heard: heard.append(said))  # type: ignore[misc]
            with pytest.raises(NodeFailed, match=words) as caught:
                await client.info(node.node)
            [said] = heard
            assert isinstance(said, NodeFailed)
            assert said.message == caught.value.message


async def test_what_goes_wrong_in_taking_an_answer_ends_the_round():
    def fails(_: Node, __: CallAnswer | ClusterError) -> None:
        raise ZeroDivisionError

    async with wire(KEEP) as node, Calls() as calls:
        await calls.get(node.node, "/info", 5)
        with pytest.raises(ExceptionGroup) as caught:
            await ask_all(calls, [(node.node, "/info")], 5, fails)
        assert caught.group_contains(ZeroDivisionError)
