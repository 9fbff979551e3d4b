"""What nodes say, as the scheduler understands it: the adapter against a simulated node over real HTTP."""

import uuid
from collections.abc import AsyncIterator

import httpx
import pytest

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.libs.common.model.values import NodeId, NodeTaskId
from clusterodm.libs.common.nodeodm.client import NodeClient
from clusterodm.libs.nodesim.testing import NodeSimProcess
from clusterodm.services.scheduler.node_client.adapters import NodeODMAdapter
from tests.ports import free_port
from tests.waiting import until

UNKNOWN = NodeTaskId(str(uuid.uuid4()))


@pytest.fixture
async def nodes() -> AsyncIterator[NodeODMAdapter]:
    async with NodeClient() as client:
        yield NodeODMAdapter(client)


@pytest.fixture
async def sim() -> AsyncIterator[NodeSimProcess]:
    async with NodeSimProcess(task_time_s=0.3, token="sesame") as process:
        yield process


def record(sim: NodeSimProcess, **changes: object) -> Node:
    fields = {"hostname": sim.hostname, "port": sim.port, "token": sim.token, **changes}
    return Node(id=NodeId("sim"), **fields)  # type: ignore[arg-type]


async def started(sim: NodeSimProcess) -> NodeTaskId:
    async with httpx.AsyncClient(trust_env=False) as http:
        files = [("images", ("a.jpg", b"a"))]
        answer = await http.post(f"{sim.url}/task/new?token={sim.token}", files=files, data={"name": "one"})
    return NodeTaskId(answer.json()["uuid"])


async def test_a_task_is_seen_with_its_console(nodes: NodeODMAdapter, sim: NodeSimProcess):
    task = await started(sim)

    async def completed() -> bool:
        observation = await nodes.observe(record(sim), task, 0, 5)
        return observation is not None and observation.code is StatusCode.COMPLETED

    await until(completed)
    observation = await nodes.observe(record(sim), task, 0, 5)
    assert observation is not None
    assert (observation.name, observation.images_count, observation.progress) == ("one", 1, 100)
    assert observation.lines == await nodes.output(record(sim), task, 0, 5)
    tail = await nodes.observe(record(sim), task, len(observation.lines) - 1, 5)
    assert tail is not None
    assert tail.lines == observation.lines[-1:]
    without = await nodes.observe(record(sim), task, None, 5)
    assert without is not None
    assert without.lines == ()


async def test_a_task_that_the_node_does_not_know_is_none_or_false(nodes: NodeODMAdapter, sim: NodeSimProcess):
    assert await nodes.observe(record(sim), UNKNOWN, 0, 5) is None
    assert await nodes.output(record(sim), UNKNOWN, 0, 5) is None
    assert await nodes.cancel(record(sim), UNKNOWN, 5) is False
    assert await nodes.remove(record(sim), UNKNOWN, 5) is False
    assert await nodes.restart(record(sim), UNKNOWN, None, 5) is False


async def test_canceling_twice_is_a_success(nodes: NodeODMAdapter, sim: NodeSimProcess):
    sim.set(task_time_s=30)
    task = await started(sim)
    assert await nodes.cancel(record(sim), task, 5) is True
    assert await nodes.cancel(record(sim), task, 5) is True
    assert await nodes.remove(record(sim), task, 5) is True


async def test_the_words_of_a_refusal_are_kept(nodes: NodeODMAdapter, sim: NodeSimProcess):
    sim.set(task_time_s=30)
    task = await started(sim)
    with pytest.raises(Refused, match="Task cannot be restarted"):
        await nodes.restart(record(sim), task, None, 5)
    await nodes.cancel(record(sim), task, 5)
    with pytest.raises(Refused, match="Cannot convert maybe to boolean"):
        await nodes.restart(record(sim), task, (OptionValue("dsm", "maybe"),), 5)
    assert await nodes.restart(record(sim), task, (OptionValue("dsm", True),), 5) is True


async def test_a_wrong_token_is_trouble_and_not_a_missing_task(nodes: NodeODMAdapter, sim: NodeSimProcess):
    with pytest.raises(Refused, match="authentication token"):
        await nodes.observe(record(sim, token="wrong"), UNKNOWN, 0, 5)


async def test_info_and_options_are_read(nodes: NodeODMAdapter, sim: NodeSimProcess):
    assert (await nodes.info(record(sim), 5)).engine == "odm"
    assert "dsm" in {option.name for option in await nodes.options(record(sim), 5)}


async def test_trouble_is_one_of_two_classes_that_may_cross_the_bus(nodes: NodeODMAdapter, sim: NodeSimProcess):
    with pytest.raises(NodeUnreachable) as nobody:
        await nodes.info(record(sim, port=free_port()), 1)
    assert type(nobody.value) is NodeUnreachable
    sim.set(frozen=True)
    with pytest.raises(NodeFailed) as hung:
        await nodes.info(record(sim), 0.3)
    assert type(hung.value) is NodeFailed
    assert "sesame" not in str(hung.value)
