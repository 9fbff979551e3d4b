"""Downloads of results that lie in a bucket: sent on or streamed, and never an error that looks like a result."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound, ProviderFailed, Refused
from clusterodm.libs.common.identity import owner_of
from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.messages.machines import FIND_RESULT, FindResult, ResultFound
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import Attempt, AttemptState
from clusterodm.libs.common.model.values import MachineId, NodeId, NodeTaskId, TaskId
from tests.proxies import ProxyUnderTest, ScriptedNode, response, running_proxy, tried_task
from tests.waiting import until

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
ZIP = f"/task/{TASK}/download/all.zip"
NO_SUCH_KEY = response(b"<Error><Code>NoSuchKey</Code></Error>", "404 Not Found", "content-type: application/xml")


class FakeAutoscaler:
    """Says where results are, as told."""

    def __init__(self) -> None:
        self.answer: ResultFound | ClusterError = NotFound("Invalid asset")
        self.asked: list[FindResult] = []

    async def find(self, asked: FindResult) -> ResultFound:
        self.asked.append(asked)
        if isinstance(self.answer, ClusterError):
            raise self.answer
        return self.answer


@pytest.fixture
async def storage() -> AsyncIterator[ScriptedNode]:
    async with ScriptedNode().at_work() as server:
        yield server


@pytest.fixture
async def proxy(tmp_path: Path, storage: ScriptedNode) -> AsyncIterator[ProxyUnderTest]:
    prefix = f"http://127.0.0.1:{storage.port}/bucket"
    async with running_proxy(tmp_path / "spool", downloads_from_s3=prefix) as proxy:
        yield proxy


@pytest.fixture
async def autoscaler(proxy: ProxyUnderTest) -> AsyncIterator[FakeAutoscaler]:
    fake = FakeAutoscaler()
    async with proxy.bus.serve("autoscaler-results", {FIND_RESULT: fake.find}):
        yield fake


async def ran(proxy: ProxyUnderTest, node: str = "gone", token: str = "", **values: Any) -> None:
    """Put a task there that has run on a node, which is gone unless it is named."""
    attempt = Attempt(
        number=1, node=NodeId(node), node_task_id=ON_NODE, state=AttemptState.ENDED, running_at_ms=5, **values
    )
    await proxy.scheduler.put(tried_task(TASK, attempt, owner=owner_of(token)))
    await until(lambda: proxy.cluster.task(TASK))


async def on_machine(proxy: ProxyUnderTest) -> None:
    await ran(proxy, machine=MachineId("m"))


async def test_a_result_of_a_machine_is_fetched_where_the_autoscaler_says(
    proxy: ProxyUnderTest, autoscaler: FakeAutoscaler
):
    await on_machine(proxy)
    autoscaler.answer = ResultFound(url="https://s3.x/b/k?X-Amz-Signature=1")
    status, headers, body = await proxy.ask("GET", ZIP, headers={"range": "bytes=0-9"})
    assert (status, headers["location"], body) == (302, "https://s3.x/b/k?X-Amz-Signature=1", b"")
    assert headers["cache-control"] == "no-store"
    assert autoscaler.asked == [FindResult(node_task_id=ON_NODE, asset="all.zip")]
    assert (await proxy.ask("HEAD", ZIP))[0] == 302
    assert autoscaler.asked[-1].head


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param(NotFound("Invalid asset"), 404, id="it is not there"),
        pytest.param(Refused("results are kept nowhere"), 404, id="there is no bucket"),
        pytest.param(ProviderFailed("S3 cannot be reached: ConnectError"), 502, id="the storage is away"),
    ],
)
async def test_without_a_result_there_is_no_success(
    proxy: ProxyUnderTest, autoscaler: FakeAutoscaler, answer: ClusterError, status: int
):
    await on_machine(proxy)
    autoscaler.answer = answer
    found, said = await proxy.json("GET", ZIP)
    assert (found, list(said)) == (status, ["error"])


async def test_while_nobody_can_tell_the_connection_is_closed(proxy: ProxyUnderTest, autoscaler: FakeAutoscaler):
    await on_machine(proxy)
    autoscaler.answer = BusFailed("no answer")
    assert await proxy.raw(f"GET {ZIP} HTTP/1.1\r\nhost: x\r\n\r\n".encode()) == b""


async def test_a_result_is_streamed_with_ranges_when_the_file_says_so(
    proxy: ProxyUnderTest, autoscaler: FakeAutoscaler, storage: ScriptedNode
):
    await on_machine(proxy)
    autoscaler.answer = ResultFound(url=f"http://127.0.0.1:{storage.port}/b/k?X-Amz-Signature=1", stream=True)
    storage.say("/b/k", response(b"part", "206 Partial Content", "content-range: bytes 4-7/100"))
    status, headers, body = await proxy.ask("GET", f"{ZIP}?token=", headers={"range": "bytes=4-7", "cookie": "mine"})
    assert (status, headers["content-range"], body) == (206, "bytes 4-7/100", b"part")
    head = storage.requests[0]
    assert head.startswith("GET /b/k?X-Amz-Signature=1 HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{storage.port}\r\n" in head
    assert "range: bytes=4-7\r\n" in head
    assert "mine" not in head


@pytest.mark.parametrize(
    ("said", "status"),
    [
        pytest.param(NO_SUCH_KEY, 404, id="gone meanwhile"),
        pytest.param(response(b"<Error/>", "403 Forbidden"), 404, id="forbidden"),
        pytest.param(response(b"<Error/>", "503 Slow Down"), 502, id="busy"),
        pytest.param(response(b"<Error/>", "301 Moved Permanently"), 502, id="elsewhere"),
    ],
)
async def test_an_error_of_the_storage_is_never_streamed_as_a_result(
    proxy: ProxyUnderTest, autoscaler: FakeAutoscaler, storage: ScriptedNode, said: bytes, status: int
):
    await on_machine(proxy)
    autoscaler.answer = ResultFound(url=f"http://127.0.0.1:{storage.port}/b/k", stream=True)
    storage.say("/b/k", said)
    found, answer = await proxy.json("GET", ZIP)
    assert (found, list(answer)) == (status, ["error"])


async def test_a_storage_that_breaks_off_closes_the_connection(
    proxy: ProxyUnderTest, autoscaler: FakeAutoscaler, storage: ScriptedNode
):
    await on_machine(proxy)
    autoscaler.answer = ResultFound(url=f"http://127.0.0.1:{storage.port}/b/k", stream=True)
    storage.say("/b/k", response(b"x" * 10, length=100))
    storage.keep_open = False
    answer = await proxy.raw(f"GET {ZIP} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    assert b"content-length: 100" in answer
    assert len(answer.partition(b"\r\n\r\n")[2]) < 100


@pytest.mark.parametrize(
    ("asset", "key"), [("all.zip", "all.zip"), ("orthophoto.tif", "odm_orthophoto/odm_orthophoto.tif")]
)
async def test_under_a_prefix_a_result_is_seen_before_the_client_is_sent_there(
    proxy: ProxyUnderTest, storage: ScriptedNode, asset: str, key: str
):
    await ran(proxy)
    storage.say(f"/bucket/{ON_NODE}/{key}", response(b"", length=5))
    status, headers, _ = await proxy.ask("GET", f"/task/{TASK}/download/{asset}")
    assert (status, headers["location"]) == (302, f"http://127.0.0.1:{storage.port}/bucket/{ON_NODE}/{key}")
    assert storage.requests[0].startswith("HEAD ")


@pytest.mark.parametrize(
    ("said", "status"),
    [pytest.param(NO_SUCH_KEY, 404, id="not there"), pytest.param(response(b"", "500 Oops"), 502, id="broken")],
)
async def test_nobody_is_sent_to_an_error_under_the_prefix(
    proxy: ProxyUnderTest, storage: ScriptedNode, said: bytes, status: int
):
    await ran(proxy)
    storage.say("/bucket/", said)
    found, answer = await proxy.json("GET", ZIP)
    assert (found, list(answer)) == (status, ["error"])


async def test_what_is_not_under_the_prefix_comes_from_its_node(proxy: ProxyUnderTest, storage: ScriptedNode):
    async with ScriptedNode().at_work() as script:
        node = await proxy.scheduler.add_node("127.0.0.1", script.port)
        await until(lambda: proxy.cluster.node(node.id))
        await ran(proxy, node=node.id)
        storage.say("/bucket/", NO_SUCH_KEY)
        script.say(f"/task/{ON_NODE}/download/all.zip", response(b"result", "200 OK", "content-type: application/zip"))
        assert (await proxy.ask("GET", ZIP))[::2] == (200, b"result")


@pytest.mark.parametrize(
    ("state", "found"),
    [
        pytest.param(MachineState.DRAINING, (200, b"result"), id="still there"),
        pytest.param(MachineState.DESTROYING, (404, b'{"error":"Invalid asset"}'), id="about to go"),
        pytest.param(MachineState.GONE, (404, b'{"error":"Invalid asset"}'), id="gone"),
        pytest.param(None, (404, b'{"error":"Invalid asset"}'), id="gone for long"),
    ],
)
async def test_the_node_of_a_machine_is_asked_while_the_machine_stays(
    proxy: ProxyUnderTest, autoscaler: FakeAutoscaler, state: MachineState | None, found: tuple[int, bytes]
):
    async with ScriptedNode().at_work() as script:
        node = await proxy.scheduler.add_node("127.0.0.1", script.port)
        if state:
            machine = Machine(id=MachineId("m"), provider="docker", state=state, requested_at_ms=1)
            await (await proxy.bus.bucket(MACHINES)).put("m", machine)
            await until(lambda: proxy.cluster.machine(MachineId("m")))
        await until(lambda: proxy.cluster.node(node.id))
        await ran(proxy, node=node.id, machine=MachineId("m"))
        script.say(f"/task/{ON_NODE}/download/all.zip", response(b"result", "200 OK", "content-type: application/zip"))
        assert (await proxy.ask("GET", ZIP))[::2] == found


async def test_another_clients_result_is_not_found(proxy: ProxyUnderTest, autoscaler: FakeAutoscaler):
    await ran(proxy, token="mine", machine=MachineId("m"))
    autoscaler.answer = ResultFound(url="https://s3.x/b/k")
    assert (await proxy.ask("GET", f"{ZIP}?token=other"))[0] == 404
    assert autoscaler.asked == []
