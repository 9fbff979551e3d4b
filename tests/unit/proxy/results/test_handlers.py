"""results/handlers.py: results and pages on their way from nodes and storages to clients, played in memory."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from clusterodm.libs.common.errors import BusFailed, ClusterError, NodeFailed, NotFound, ProviderFailed, Refused
from clusterodm.libs.common.messages.machines import FIND_RESULT, FindResult, ResultFound
from clusterodm.libs.common.messages.nodes import FIND_UI_NODE, FindUiNode, UiNode
from clusterodm.libs.common.messages.tasks import CONFIRM_TASKS, GET_TASK, TaskRecord, TaskRef
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.results.core.answers import RUNS_NOTHING, TYPE_COUNTS
from clusterodm.services.proxy.results.handlers.download import ResultLocation, Results
from clusterodm.services.proxy.results.handlers.relay import NoResult, Relay, RelayRequest, ResultHosts
from tests.proxy_ports import FakeCluster, FakeReply, FakeUpstream, says

TASK = TaskId("t")
ANNE = Owner("anne")
NODE = Node(id=NodeId("n"), hostname="n", port=3000)
MACHINE = MachineId("m")
ASSET = b"/task/on-node/download/all.zip"
ZIP = FakeReply(200, ((b"content-type", b"application/zip"), (b"set-cookie", b"x")), (b"PK", b"zip"))
WANTED = RelayRequest(b"GET", b"download/all.zip", ((b"range", b"bytes=0-1"), (b"cookie", b"secret")))
HEAD = RelayRequest(b"HEAD", b"download/all.zip", ())
WHOLE = RelayRequest(b"GET", b"download/all.zip", ())


def a_task(state: TaskState = TaskState.COMPLETED, machine: MachineId | None = None, **more: Any) -> Task:
    attempt = Attempt(number=1, node=NODE.id, node_task_id=NodeTaskId("on-node"), running_at_ms=2, machine=machine)
    fields: dict[str, Any] = {"attempts": (attempt,), "owner": ANNE, **more}
    return Task(
        id=TASK,
        name="field",
        state=state,
        upload_owner=InstanceId("p"),
        created_at_ms=5,
        committed_at_ms=8,
        images_count=2,
        **fields,
    )


@dataclass
class World:
    """Nodes, storages, and who knows where results lie."""

    bus: MemoryBus = field(default_factory=MemoryBus)
    cluster: FakeCluster = field(default_factory=FakeCluster)
    nodes: FakeUpstream = field(default_factory=FakeUpstream)
    storages: FakeUpstream = field(default_factory=FakeUpstream)
    found: ResultFound | ClusterError = field(default_factory=lambda: NotFound("nobody knows"))
    ui: NodeId = NODE.id

    def __post_init__(self) -> None:
        self.cluster.nodes[NODE.id] = NODE
        self.cluster.put(a_task())
        self.nodes.answers[ASSET] = ZIP
        self.finder = TaskFinder(self.bus, self.cluster, FakeClock())
        self.hosts = ResultHosts(self.bus, self.cluster)
        self.relay = Relay(self.bus, self.cluster, self.nodes, self.hosts)

    def results(self, prefix: str = "") -> Results:
        return Results(self.bus, self.hosts, self.finder, self.relay, self.storages, prefix)

    async def find_result(self, _asked: FindResult) -> ResultFound:
        if isinstance(self.found, ClusterError):
            raise self.found
        return self.found

    async def find_ui(self, _asked: FindUiNode) -> UiNode:
        return UiNode(node=self.ui)

    async def get_task(self, asked: TaskRef) -> TaskRecord:
        """The scheduler knows no more than the mirror: what is another's is not there."""
        raise NotFound(f"{asked.task} is not a task of this owner")

    def rents(self, state: MachineState = MachineState.ONLINE) -> None:
        self.cluster.put(a_task(machine=MACHINE))
        self.cluster.rented[MACHINE] = Machine(id=MACHINE, state=state, provider="docker", requested_at_ms=1)

    async def gets(
        self, wanted: RelayRequest = WANTED, prefix: str = "", owner: Owner = ANNE
    ) -> bytes | ResultLocation:
        async with self.results(prefix).download(TASK, owner, wanted) as opened:
            if isinstance(opened, ResultLocation):
                return opened
            return b"".join([piece async for piece in opened.body])


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    handlers = {
        FIND_RESULT: made.find_result,
        FIND_UI_NODE: made.find_ui,
        CONFIRM_TASKS: made.cluster.confirm,
        GET_TASK: made.get_task,
    }
    async with made.bus.serve("cluster", handlers):
        yield made


# --- from a node ---------------------------------------------------------------------------------------------------


async def test_a_result_is_relayed_as_it_comes_with_the_lines_that_may_pass(world: World) -> None:
    async with world.relay.download(a_task(), WANTED) as relayed:
        assert relayed.status == 200
        assert relayed.headers == [(b"content-type", b"application/zip"), TYPE_COUNTS, RUNS_NOTHING]
        assert b"".join([piece async for piece in relayed.body]) == b"PKzip"
    ((_, call),) = world.nodes.asked
    assert call.headers == [(b"range", b"bytes=0-1")]


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        pytest.param(FakeReply(404), NoResult, "Invalid asset", id="not there"),
        pytest.param(FakeReply(500), NodeRefused, "answered with status 500", id="an error"),
        pytest.param(FakeReply(403), NodeRefused, "answered with status 403", id="forbidden"),
        pytest.param(says({"error": "Asset not ready"}), NoResult, "Asset not ready", id="an excuse under 200"),
        pytest.param(NodeFailed("n did not answer"), NodeFailed, "did not answer", id="silent"),
    ],
)
async def test_what_is_no_result_never_looks_like_one(
    world: World, answer: FakeReply | Exception, error: type[Exception], words: str
) -> None:
    world.nodes.answers[ASSET] = answer
    with pytest.raises(error, match=words):
        await world.gets()


async def test_a_head_of_json_is_checked_by_a_get(world: World) -> None:
    world.nodes.answers[ASSET] = says({"error": "Asset not ready"})
    with pytest.raises(NoResult, match="Asset not ready"):
        await world.gets(HEAD)
    world.nodes.answers[ASSET] = says({"fine": 1})
    assert await world.gets(HEAD) == b'{"fine":1}'
    assert [call.method for _, call in world.nodes.asked] == [b"HEAD", b"GET"] * 2


async def test_json_that_is_a_result_passes(world: World) -> None:
    world.nodes.answers[ASSET] = says({"cameras": []})
    assert await world.gets(WHOLE) == b'{"cameras":[]}'
    assert await world.gets() == b'{"', "the range that was asked for, although the node knows none"
    world.nodes.answers[ASSET] = FakeReply(200, ((b"content-type", b"application/json"),), ())
    assert await world.gets() == b""
    attachment = ((b"content-type", b"application/json"), (b"content-disposition", b"attachment"))
    world.nodes.answers[ASSET] = FakeReply(200, attachment, (b'{"error":"in a result"}',))
    assert await world.gets(WHOLE) == b'{"error":"in a result"}'


async def test_a_node_that_breaks_off_is_no_short_success(world: World) -> None:
    world.nodes.answers[ASSET] = FakeReply(200, (), (b"PK",), breaks_off=True)
    with pytest.raises(NodeFailed):
        await world.gets()


async def test_only_the_owner_gets_a_result_and_only_of_a_task_on_a_node(world: World) -> None:
    with pytest.raises(NotFound, match="no task table entry"):
        await world.gets(owner=Owner("bert"))
    world.cluster.put(a_task(TaskState.WAITING, attempts=()))
    with pytest.raises(NoResult, match="no valid route possible"):
        await world.gets()
    world.cluster.put(a_task())
    world.cluster.nodes.clear()
    with pytest.raises(NoResult, match="no valid route possible"):
        await world.gets()


# --- pages ---------------------------------------------------------------------------------------------------------


async def test_a_page_comes_from_the_reference_node_without_its_token(world: World) -> None:
    world.nodes.answers[b"/"] = FakeReply(200, ((b"content-type", b"text/html"),), (b"<html>",))
    async with world.relay.page(RelayRequest(b"GET", b"/", ())) as relayed:
        assert [piece async for piece in relayed.body] == [b"<html>"]
    assert not world.nodes.asked[0][1].with_token


async def test_a_page_that_fails_on_the_node_is_said_to(world: World) -> None:
    world.nodes.answers[b"/"] = FakeReply(502)
    with pytest.raises(NodeRefused, match="502"):
        async with world.relay.page(RelayRequest(b"GET", b"/", ())):
            pass
    world.ui = NodeId("unknown")
    with pytest.raises(NodeFailed, match="No nodes available"):
        async with world.relay.page(RelayRequest(b"GET", b"/", ())):
            pass


# --- from elsewhere ------------------------------------------------------------------------------------------------


async def test_the_result_of_a_machine_lies_where_the_autoscaler_says(world: World) -> None:
    world.rents()
    world.found = ResultFound(url="https://bucket/all.zip?signature=secret")
    found = await world.gets()
    assert found == ResultLocation("https://bucket/all.zip?signature=secret")
    assert "secret" not in repr(found)


async def test_a_result_may_be_streamed_through_us(world: World) -> None:
    world.rents()
    world.found = ResultFound(url="https://bucket/all.zip?signature=secret", stream=True)
    world.storages.answers[b"/all.zip?signature=secret"] = ZIP
    assert await world.gets() == b"PKzip"
    world.storages.answers[b"/all.zip?signature=secret"] = FakeReply(403)
    with pytest.raises(NoResult):
        await world.gets()
    world.storages.answers[b"/all.zip?signature=secret"] = FakeReply(500)
    with pytest.raises(NodeRefused):
        await world.gets()


async def test_while_its_machine_lives_the_node_has_it_too(world: World) -> None:
    world.rents()
    assert await world.gets() == b"PKzip"


@pytest.mark.parametrize(
    ("trouble", "error", "words"),
    [
        pytest.param(NotFound("Asset not ready"), NoResult, "Asset not ready", id="not there"),
        pytest.param(Refused("no bucket"), NoResult, "no valid route possible", id="no bucket"),
        pytest.param(ProviderFailed("down"), NodeRefused, "cannot be reached at the moment", id="storage down"),
        pytest.param(BusFailed("nats is away"), BusFailed, "failed|away", id="nobody answers"),
        pytest.param(NodeFailed("x"), NodeFailed, "x", id="silent"),
    ],
)
async def test_when_the_machine_is_gone_the_storage_has_the_last_word(
    world: World, trouble: ClusterError, error: type[Exception], words: str
) -> None:
    world.rents(MachineState.DESTROYING)
    world.found = trouble
    with pytest.raises(error, match=words):
        await world.gets()


async def test_under_a_prefix_nobody_is_sent_where_nothing_is(world: World) -> None:
    prefix = "https://s3.example/results"
    world.storages.answers[b"/results/on-node/all.zip"] = FakeReply(200)
    assert await world.gets(prefix=prefix) == ResultLocation("https://s3.example/results/on-node/all.zip")
    world.storages.answers[b"/results/on-node/all.zip"] = FakeReply(404)
    assert await world.gets(prefix=prefix) == b"PKzip"
    world.cluster.nodes.clear()
    with pytest.raises(NoResult, match="Invalid asset"):
        await world.gets(prefix=prefix)


async def test_a_task_that_is_not_completed_is_asked_for_on_its_node(world: World) -> None:
    world.cluster.put(a_task(TaskState.FAILED))
    assert await world.gets(prefix="https://s3.example") == b"PKzip"
    assert world.storages.asked == []
