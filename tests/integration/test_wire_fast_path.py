"""Connections that only poll: answered on the fast path exactly as by the router, and handed on with the first other request."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, LastKnown, StatusCode, TaskState
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from tests.proxies import ProxyUnderTest, ScriptedNode, parse, response, running_proxy, tried_task
from tests.waiting import until

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
SAYS = {"uuid": ON_NODE, "name": "x", "dateCreated": 1, "processingTime": 1, "status": {"code": 20}, "progress": 42.5}
INSIDE = "te: trailers\r\n"
"""With this line a request goes in."""


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    async with running_proxy(tmp_path / "spool", head_timeout_s=1.0) as proxy:
        yield proxy


@pytest.fixture
async def node(proxy: ProxyUnderTest, script: ScriptedNode) -> Node:
    script.say(f"/task/{ON_NODE}/info", response(msgspec.json.encode(SAYS)))
    return await proxy.scheduler.add_node("127.0.0.1", script.port)


async def put(proxy: ProxyUnderTest, node: Node, *, ended: bool = False, token: str = "") -> None:
    """Write a task down."""
    attempt = Attempt(number=1, node=node.id, node_task_id=ON_NODE, state=AttemptState.RUNNING, running_at_ms=5)
    last = LastKnown(code=StatusCode.COMPLETED, progress=100.0, console_count=2, console_tail=("one", "two"))
    state, known = (TaskState.COMPLETED, last) if ended else (TaskState.RUNNING, None)
    task = tried_task(TASK, attempt, owner=owner_of(token), images_count=3, state=state, known=known)
    await proxy.scheduler.put(task)
    await until(lambda: (found := proxy.cluster.task(TASK)) and found.task == task)


def poll(target: str, *lines: str) -> bytes:
    """Write a request."""
    return f"GET {target} HTTP/1.1\r\nhost: x\r\n{''.join(lines)}\r\n".encode()


CLOSE = "connection: close\r\n"
INFO = f"/task/{TASK}/info"


@pytest.mark.parametrize("ended", [False, True], ids=["running", "ended"])
@pytest.mark.parametrize(
    "target",
    [
        "/info",
        INFO,
        f"{INFO}?with_output=1",
        f"{INFO}?token=other",
        f"/task/{TASK}/output?line=1",
        f"/task/{str(TASK).replace('a', 'c')}/info",
    ],
)
async def test_the_fast_path_answers_byte_for_byte_as_the_router(
    proxy: ProxyUnderTest, node: Node, target: str, ended: bool
) -> None:
    await put(proxy, node, ended=ended, token="mine")

    def timeless(answer: bytes) -> bytes:
        head, _, body = answer.partition(b"\r\n\r\n")
        return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"date: ")) + b"\r\n\r\n" + body

    outside = await proxy.raw(poll(target, CLOSE))
    inside = await proxy.raw(poll(target, CLOSE, INSIDE))

    assert outside.startswith(b"HTTP/1.1 200 OK\r\n")
    assert timeless(outside) == timeless(inside)


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Read one answer from a connection that is kept."""
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(int(parse(head)[1]["content-length"]))


async def test_a_connection_may_poll_upload_and_poll_again(proxy: ProxyUnderTest, node: Node) -> None:
    await put(proxy, node)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    begin = b"POST /task/new/init HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    init = begin + b"content-length: 6\r\n\r\nname=a"
    for request in (poll("/info"), poll(INFO), poll("/options"), poll(INFO), init, poll("/info")):
        writer.write(request)
        assert parse(await read_answer(reader))[0] == 200
    writer.close()


@pytest.mark.parametrize("step", [1, 7, 40, 1000], ids=lambda step: f"{step} bytes at once")
async def test_pipelined_requests_are_answered_in_their_order(proxy: ProxyUnderTest, node: Node, step: int) -> None:
    await put(proxy, node)
    sent = poll("/info") + poll(INFO) + poll("/options") + poll("/nowhere") + poll(INFO, CLOSE)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for at in range(0, len(sent), step):
        writer.write(sent[at : at + step])
        await asyncio.sleep(0)

    answers = [msgspec.json.decode(parse(await read_answer(reader))[2]) for _ in range(5)]

    assert ["version" in answers[0], answers[1]["uuid"], len(answers[2]), answers[3], answers[4]["progress"]] == [
        True, TASK, 4, {"error": "Cannot handle /nowhere"}, 42.5,
    ]  # fmt: skip
    assert await reader.read() == b""
    writer.close()


async def test_what_comes_while_an_answer_is_under_way_waits(
    proxy: ProxyUnderTest, node: Node, script: ScriptedNode
) -> None:
    await put(proxy, node)
    script.say(f"/task/{ON_NODE}/info", 0.2, response(msgspec.json.encode(SAYS)))
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(poll(INFO))
    await until(lambda: script.requests)
    writer.write(poll("/info"))
    await asyncio.sleep(0.05)
    writer.write(poll("/nowhere", CLOSE))

    answers = [msgspec.json.decode(parse(await read_answer(reader))[2]) for _ in range(3)]

    assert [answers[0]["uuid"], "version" in answers[1], answers[2]] == [
        TASK,
        True,
        {"error": "Cannot handle /nowhere"},
    ]
    writer.close()


async def test_who_has_seen_a_change_is_never_told_the_time_before_it(
    proxy: ProxyUnderTest, node: Node, script: ScriptedNode
) -> None:
    await put(proxy, node)
    script.say(f"/task/{ON_NODE}/info", 0.3, response(msgspec.json.encode(SAYS)))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(proxy.json("GET", INFO))
        await until(lambda: script.requests)
        await proxy.scheduler.change(TASK, state=TaskState.CANCELED)
        await until(lambda: (found := proxy.cluster.task(TASK)) and found.task.state is TaskState.CANCELED)
        second = group.create_task(proxy.json("GET", INFO))

    assert first.result()[1]["status"]["code"] == 50, "its node had said that it goes on"
    assert second.result()[1]["status"]["code"] == 50


async def test_a_silent_connection_is_closed_and_one_that_waits_is_not(
    proxy: ProxyUnderTest, node: Node, script: ScriptedNode
) -> None:
    await put(proxy, node)
    script.say(f"/task/{ON_NODE}/info", 0.4, response(msgspec.json.encode(SAYS)))
    began_s = time.monotonic()

    assert await proxy.raw(b"") == b""

    assert 0.9 < time.monotonic() - began_s < 8
    assert parse(await proxy.raw(poll(INFO, CLOSE)))[0] == 200
