"""adapters/sender.py against a simulated NodeODM, and against servers that misbehave."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.nodesim.testing import NodeSimProcess
from clusterodm.services.proxy.errors import NodeErred
from clusterodm.services.proxy.forwarding.adapters.node_call import CallTimeouts
from clusterodm.services.proxy.forwarding.adapters.sender import NodeSender, open_sender
from clusterodm.services.proxy.forwarding.core.decisions import ImagesCount
from clusterodm.services.proxy.spool.core.upload import Draft
from tests.waiting import until

ATTEMPT = NodeTaskId("11111111-2222-4333-8444-555555555555")
DRAFT = Draft(
    task=TaskId(ATTEMPT),
    name="Überflug",
    options=(OptionValue("dsm", True), OptionValue("orthophoto-resolution", 2.5)),
    webhook="http://secret.example/?key=hidden",
    created_at_ms=1_700_000_000_000,
)
FAST = CallTimeouts(connect_timeout_s=2.0, stall_timeout_s=1.0)
PATIENT = CallTimeouts(connect_timeout_s=60.0, stall_timeout_s=120.0)
"""Longer than any test: what ends with these ended for another reason."""


def as_node(simulated: NodeSimProcess, token: str = "") -> Node:
    return a_node(simulated.port, token)


def a_node(port: int, token: str = "") -> Node:
    return Node(id=NodeId("n"), hostname="127.0.0.1", port=port, token=token)


@pytest.fixture
def simulated() -> Iterator[NodeSimProcess]:
    with NodeSimProcess(task_time_s=0.1) as node:
        yield node


@pytest.fixture
async def sender() -> AsyncIterator[NodeSender]:
    async with open_sender(8, limits=PATIENT) as opened:
        yield opened


def a_file(folder: Path, name: str = "a.jpg", size_bytes: int = 10_000) -> Path:
    path = folder / name
    path.write_bytes(hashlib.sha256(name.encode()).digest() * (size_bytes // 32))
    return path


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


LOOP_ROUNDS_COUNT = 10
"""More than the loop needs from accepting a connection to serving it."""


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[Node]:
    """A server that answers every connection as told."""
    serving: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(writer)
        try:
            await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            serving.discard(writer)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield a_node(listening.sockets[0].getsockname()[1], token="s3cret")
        for _ in range(LOOP_ROUNDS_COUNT):
            await asyncio.sleep(0)
        await until(lambda: not serving, what="all connections are closed")


async def test_a_task_arrives_at_a_node_as_it_was_sent(
    simulated: NodeSimProcess, sender: NodeSender, tmp_path: Path
) -> None:
    node = as_node(simulated)
    await sender.begin(node, ATTEMPT, DRAFT)
    files = [a_file(tmp_path, f"{number}.jpg", 100_000 * number) for number in range(5)]
    await asyncio.gather(*(sender.send(node, ATTEMPT, file.name, file) for file in files))
    await sender.commit(node, ATTEMPT)
    stored = {event["file"]: event["sha256"] for event in simulated.events("file_stored")}
    assert stored == {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert [event["files"] for event in simulated.events("task_committed", task=ATTEMPT)] == [5]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param('qu"ote.jpg', id="quote"),
        pytest.param("per%22cent%2F%.jpg", id="percent"),
        pytest.param("Überflug 東京 🛩.jpg", id="UTF-8"),
        pytest.param("a;b=c; filename=x.jpg", id="semicolon"),
        pytest.param("$(touch x) & 'y'.jpg", id="shell"),
        pytest.param(" leading and trailing ", id="spaces"),
        pytest.param("tab\there.jpg", id="tab"),
        pytest.param("x" * 251 + ".jpg", id="255 bytes"),
        pytest.param("noext", id="no extension"),
    ],
)
async def test_an_odd_name_arrives_byte_for_byte(
    simulated: NodeSimProcess, sender: NodeSender, tmp_path: Path, name: str
) -> None:
    node = as_node(simulated)
    await sender.begin(node, ATTEMPT, DRAFT)
    await sender.send(node, ATTEMPT, name, a_file(tmp_path, "plain"))
    assert [event["file"] for event in simulated.events("file_stored")] == [name]


async def test_an_empty_file_arrives(simulated: NodeSimProcess, sender: NodeSender, tmp_path: Path) -> None:
    node = as_node(simulated)
    await sender.begin(node, ATTEMPT, DRAFT)
    await sender.send(node, ATTEMPT, "empty.jpg", a_file(tmp_path, size_bytes=0))
    assert [event["size"] for event in simulated.events("file_stored")] == [0]


async def test_the_nodes_token_is_sent(tmp_path: Path, sender: NodeSender) -> None:
    with NodeSimProcess(token="a&b c") as simulated:
        await sender.begin(as_node(simulated, "a&b c"), ATTEMPT, DRAFT)
        with pytest.raises(NodeRefused, match=r"^the node refused the token$"):
            await sender.begin(as_node(simulated, "wrong"), ATTEMPT, DRAFT)


async def test_a_status_401_is_a_refused_token(sender: NodeSender) -> None:
    async def unauthorized(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 unauthorized\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with server(unauthorized) as node:
        with pytest.raises(NodeRefused, match=r"^the node refused the token$"):
            await sender.commit(node, ATTEMPT)


async def test_a_refusal_carries_the_nodes_words(simulated: NodeSimProcess, sender: NodeSender) -> None:
    bad = Draft(task=TaskId(ATTEMPT), name="x", options=(OptionValue("dsm", "maybe"),), created_at_ms=1)
    with pytest.raises(NodeRefused, match="Cannot convert maybe to boolean"):
        await sender.begin(as_node(simulated), ATTEMPT, bad)
    with pytest.raises(NodeRefused, match="Invalid uuid"):
        await sender.commit(as_node(simulated), ATTEMPT)


async def test_two_ways_may_share_one_limit_of_speed() -> None:
    async with (
        open_sender(1, max_bytes_per_s=1_000) as one,
        open_sender(1, beside=one) as beside,
        open_sender(1, max_bytes_per_s=1_000) as other,
    ):
        one.throttle.reserve(5_000)
        assert beside.throttle.reserve(1) > 4
        assert other.throttle.reserve(1) == 0


async def test_what_was_never_committed_can_be_removed(
    simulated: NodeSimProcess, sender: NodeSender, tmp_path: Path
) -> None:
    node = as_node(simulated)
    await sender.begin(node, ATTEMPT, DRAFT)
    await sender.send(node, ATTEMPT, "a.jpg", a_file(tmp_path))
    await sender.discard(node, ATTEMPT)
    assert not list(simulated.data_dir.rglob("*.jpg"))
    with pytest.raises(NodeRefused, match="Invalid uuid"):
        await sender.commit(node, ATTEMPT)
    await sender.discard(node, ATTEMPT)


async def test_what_was_committed_cannot_be_removed_that_way(
    simulated: NodeSimProcess, sender: NodeSender, tmp_path: Path
) -> None:
    node = as_node(simulated)
    await sender.begin(node, ATTEMPT, DRAFT)
    await sender.send(node, ATTEMPT, "a.jpg", a_file(tmp_path))
    await sender.commit(node, ATTEMPT)
    await sender.discard(node, ATTEMPT)
    await until(lambda: simulated.events("task_finished", task=ATTEMPT), what="the task to finish")
    assert [event["status"] for event in simulated.events("task_finished", task=ATTEMPT)] == [40]


async def test_a_task_by_url_is_one_request(simulated: NodeSimProcess, sender: NodeSender) -> None:
    sent: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sent.append(await reader.readuntil(b"\r\n\r\n"))
        sent.append(await reader.readuntil(b"--\r\n"))
        body = b'{"uuid":"%s"}' % ATTEMPT.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    draft = Draft(
        task=TaskId(ATTEMPT),
        name="zip",
        zip_url="http://images.example/a.zip",
        webhook="http://secret.example/?key=hidden",
        outputs='["odm_dem"]',
        skip_post_processing=True,
        created_at_ms=5,
    )
    async with server(take) as node:
        await sender.submit_zip(node, ATTEMPT, draft)
    head, body = sent
    assert head.startswith(b"POST /task/new?token=s3cret HTTP/1.1\r\n")
    assert f"set-uuid: {ATTEMPT}".encode() in head
    for field in ("zipurl", "http://images.example/a.zip", '["odm_dem"]', "skipPostProcessing", "dateCreated"):
        assert field.encode() in body
    assert b"secret.example" not in head + body


async def test_a_node_that_is_not_there_has_seen_nothing(sender: NodeSender) -> None:
    async with server(lambda *_: asyncio.sleep(0)) as node:
        pass
    with pytest.raises(NodeUnreachable, match="cannot be reached"):
        await sender.commit(node, ATTEMPT)


async def test_a_commit_whose_time_is_over_is_not_sent(sender: NodeSender) -> None:
    heard = b""

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard += await reader.read()

    async with server(listen) as node:
        with pytest.raises(NodeUnreachable, match="too late"):
            await sender.commit(node, ATTEMPT, by=monotonic_s() + -0.001)
    assert heard == b""


async def test_a_node_that_cannot_be_found_has_seen_nothing(sender: NodeSender) -> None:
    nowhere = Node(id=NodeId("n"), hostname="no-such-host.invalid", port=3000)
    with pytest.raises(NodeUnreachable):
        await sender.commit(nowhere, ATTEMPT)


async def read_some_and(act: Callable[[asyncio.StreamWriter], None]) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        act(writer)

    return answer


async def test_a_node_that_dies_in_the_middle_of_a_file_leaves_the_outcome_unknown(
    sender: NodeSender, tmp_path: Path
) -> None:
    file = a_file(tmp_path, size_bytes=20_000_000)
    answer = await read_some_and(lambda writer: writer.transport.abort())
    async with server(answer) as node:
        with pytest.raises(NodeFailed, match="did not answer") as failed:
            await sender.send(node, ATTEMPT, file.name, file)
    assert not isinstance(failed.value, NodeUnreachable | NodeRefused)


async def test_a_simulated_node_that_is_killed_while_it_takes_a_file_leaves_the_outcome_unknown(
    simulated: NodeSimProcess, tmp_path: Path
) -> None:
    node = as_node(simulated)
    file = a_file(tmp_path, size_bytes=3_200_000)
    async with open_sender(8, limits=PATIENT, max_bytes_per_s=1_600_000) as slow, asyncio.TaskGroup() as group:
        await slow.begin(node, ATTEMPT, DRAFT)
        sending = group.create_task(expect(NodeFailed, slow.send(node, ATTEMPT, file.name, file)))
        await until(lambda: arriving(simulated.data_dir), what="a part of the file")
        await asyncio.to_thread(simulated.kill)
        failed = await sending
    assert not isinstance(failed, NodeUnreachable | NodeRefused)


def arriving(folder: Path) -> bool:
    return any(path.is_file() and path.stat().st_size > 100_000 for path in folder.rglob("*"))


async def expect(kind: type[Exception], work: Awaitable[None]) -> Exception:
    with pytest.raises(kind) as raised:
        await work
    return raised.value


async def test_a_refusal_that_comes_before_the_end_of_the_file_is_heard(sender: NodeSender, tmp_path: Path) -> None:
    file = a_file(tmp_path, size_bytes=20_000_000)

    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        body = b'{"error":"disk quota exceeded"}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body))
        await writer.drain()
        writer.write_eof()
        while await reader.read(1 << 20):
            pass

    async with server(refuse_early) as node:
        with pytest.raises(NodeRefused, match="disk quota exceeded"):
            await sender.send(node, ATTEMPT, file.name, file)


async def test_a_hung_node_is_given_up_after_the_stall_time(
    simulated: NodeSimProcess, sender: NodeSender, tmp_path: Path
) -> None:
    node = as_node(simulated)
    await sender.begin(node, ATTEMPT, DRAFT)
    simulated.freeze()
    began_s = time.monotonic()
    async with open_sender(8, limits=FAST) as hasty:
        with pytest.raises(NodeFailed, match="timed out") as failed:
            await hasty.send(node, ATTEMPT, "a.jpg", a_file(tmp_path, size_bytes=20_000_000))
    simulated.thaw()
    assert not isinstance(failed.value, NodeUnreachable)
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops", id="gateway"),
        pytest.param(b"HTTP/1.1 504 Timed out\r\nContent-Length: 0\r\n\r\n", id="a gateway that did not wait"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", id="a web page"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", id="somebody else's JSON"),
        pytest.param(b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"uuid":"abc"}', id="another id"),
        pytest.param(b"garbage\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", id="cut off"),
        pytest.param(b"", id="nothing"),
    ],
)
async def test_an_answer_that_is_not_nodeodms_leaves_the_outcome_unknown(sender: NodeSender, raw: bytes) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()

    async with server(say) as node:
        with pytest.raises(NodeFailed) as failed:
            await sender.commit(node, ATTEMPT)
    assert type(failed.value) is NodeFailed
    assert "s3cret" not in failed.value.message


@pytest.mark.parametrize(
    ("raw", "retry_after_s"),
    [
        pytest.param(b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", 0.0, id="NodeODM's --test_drop_uploads"),
        pytest.param(b'HTTP/1.1 503 Busy\r\nContent-Length: 15\r\n\r\n{"error":"bus"}', 0.0, id="busy"),
        pytest.param(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 7.0, id="rate limit"),
        pytest.param(b"HTTP/1.1 503 Busy\r\nRetry-After: 9999\r\nContent-Length: 0\r\n\r\n", 60.0, id="very long"),
        pytest.param(b"HTTP/1.1 503 Busy\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", 0.0, id="no number"),
    ],
)
async def test_an_error_that_may_pass_is_told_from_a_refusal(
    sender: NodeSender, raw: bytes, retry_after_s: float, tmp_path: Path
) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()

    async with server(say) as node:
        with pytest.raises(NodeErred) as failed:
            await sender.send(node, ATTEMPT, "a.jpg", a_file(tmp_path))
    assert failed.value.retry_after_s == retry_after_s


async def test_a_node_counts_the_images_of_a_committed_task_and_removes_it(
    simulated: NodeSimProcess, sender: NodeSender, tmp_path: Path
) -> None:
    node = as_node(simulated)
    simulated.set(init_time_s=0.3, task_time_s=60.0)
    await sender.begin(node, ATTEMPT, DRAFT)
    for name in ("a.jpg", "b.jpg", "gcp.txt"):
        await sender.send(node, ATTEMPT, name, a_file(tmp_path, name))
    await sender.commit(node, ATTEMPT)
    assert await sender.count_images(node, ATTEMPT) == ImagesCount(3, settled=False)

    async def settled() -> bool:
        return await sender.count_images(node, ATTEMPT) == ImagesCount(2, settled=True)

    await until(settled, what="what is no image is sorted out")
    await sender.remove(node, ATTEMPT)
    with pytest.raises(NodeRefused, match="not found"):
        await sender.count_images(node, ATTEMPT)


@pytest.mark.parametrize("named", ["", '"uuid":"another",'], ids=["none", "another"])
async def test_the_images_of_another_task_are_not_counted(sender: NodeSender, named: str) -> None:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{%s"status":{"code":20},"processingTime":5,"imagesCount":3}' % named.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()

    async with server(say) as node:
        with pytest.raises(NodeFailed, match="something else than NodeODM"):
            await sender.count_images(node, ATTEMPT)


async def test_a_file_that_is_missing_here_is_not_the_nodes_fault(sender: NodeSender, tmp_path: Path) -> None:
    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(listen) as node:
        with pytest.raises(FileNotFoundError):
            await sender.send(node, ATTEMPT, "a.jpg", tmp_path / "missing.jpg")


async def test_a_cancelled_transfer_ends_at_once(tmp_path: Path) -> None:
    file = a_file(tmp_path, size_bytes=50_000_000)
    connected, canceled, hung_up = asyncio.Event(), asyncio.Event(), asyncio.Event()
    read_bytes = 0

    async def read_when_canceled(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal read_bytes
        await reader.readexactly(1000)
        connected.set()
        await canceled.wait()
        while chunk := await reader.read(1 << 20):
            read_bytes += len(chunk)
        hung_up.set()

    async with (
        open_sender(2, limits=PATIENT) as sender,
        server(read_when_canceled) as node,
        asyncio.TaskGroup() as group,
    ):
        sending = group.create_task(sender.send(node, ATTEMPT, file.name, file))
        await connected.wait()
        sending.cancel()
        await asyncio.wait([sending])
        canceled.set()
        async with asyncio.timeout(PATIENT.stall_timeout_s / 2):
            await hung_up.wait()
    assert sending.cancelled()
    assert read_bytes < 50_000_000, "the rest was never sent"


@pytest.mark.slow
async def test_all_transfers_together_keep_to_the_speed_limit(simulated: NodeSimProcess, tmp_path: Path) -> None:
    node = as_node(simulated)
    files = [a_file(tmp_path, f"{number}.jpg", 512_000) for number in range(4)]
    async with open_sender(8, limits=PATIENT, max_bytes_per_s=1_024_000) as slow:
        await slow.begin(node, ATTEMPT, DRAFT)
        began_s = time.monotonic()
        await asyncio.gather(*(slow.send(node, ATTEMPT, file.name, file) for file in files))
        took_s = time.monotonic() - began_s
    assert took_s > 2_048_000 / 1_024_000 * 0.85
    assert len(simulated.events("file_stored")) == 4
