"""What machines report and ask, over HTTP: believed with their own secret only."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog.testing

from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.messages.placement import FINISH_REPORTED, FinishReported
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, TaskId
from clusterodm.services.proxy.metrics import MACHINE_CALLS_REFUSED
from tests.proxies import ProxyUnderTest, running_proxy
from tests.waiting import until

OWN, WRONG = "made-up-machine-secret", "made-up-wrong-secret"
FIRST, SECOND = NodeTaskId("aaaaaaaa-1111-4111-8111-111111111111"), NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
STATIC = NodeTaskId("cccccccc-3333-4333-8333-333333333333")


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    async with running_proxy(tmp_path / "spool", token="clients-token") as proxy:
        await proxy.scheduler.put(task(FIRST, ("node", FIRST, None), ("rented", SECOND, MachineId("m"))))
        await proxy.scheduler.put(task(STATIC, ("node", STATIC, None)))
        await put(proxy)
        await until(lambda: proxy.cluster.attempt(STATIC) and proxy.cluster.machine(MachineId("m")))
        yield proxy


@pytest.fixture
async def heard(proxy: ProxyUnderTest) -> AsyncIterator[list[NodeTaskId]]:
    found: list[NodeTaskId] = []

    async def hear(told: FinishReported) -> None:
        found.append(told.node_task_id)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(proxy.bus.subscribe(FINISH_REPORTED, hear))
        yield found


def task(task_id: str, *attempts: tuple[str, NodeTaskId, MachineId | None]) -> Task:
    made = tuple(
        Attempt(number=number, node=NodeId(node), node_task_id=there, machine=machine, state=AttemptState.RUNNING)
        for number, (node, there, machine) in enumerate(attempts, start=1)
    )
    return Task(
        id=TaskId(task_id),
        name="mine",
        upload_owner=InstanceId("i"),
        created_at_ms=1,
        committed_at_ms=1,
        images_count=1,
        state=TaskState.RUNNING,
        attempts=made,
    )


async def put(proxy: ProxyUnderTest, state: MachineState = MachineState.BUSY) -> None:
    """Write the machine's record."""
    record = Machine(
        id=MachineId("m"),
        provider="docker",
        state=state,
        requested_at_ms=1,
        webhook_digest=hashlib.sha256(OWN.encode()).hexdigest(),
    )
    await (await proxy.bus.bucket(MACHINES)).put("m", record)


async def report(proxy: ProxyUnderTest, node_task: NodeTaskId, query: str) -> tuple[int, Any]:
    return await proxy.json("POST", f"/commit{query}", msgspec.json.encode({"uuid": node_task}))


def refused_count(call: str) -> float:
    return MACHINE_CALLS_REFUSED.values.get((call,), 0.0)


@pytest.mark.parametrize(
    ("node_task", "query", "status"),
    [
        pytest.param(SECOND, f"?token={OWN}", 200, id="the machine itself"),
        pytest.param(SECOND, "", 401, id="nobody says who"),
        pytest.param(SECOND, f"?token={WRONG}", 403, id="a wrong secret"),
        pytest.param(SECOND, "?token=clients-token", 403, id="a client's token"),
        pytest.param(STATIC, "", 200, id="a node without machine"),
        pytest.param(STATIC, "?token=anything", 200, id="a node without machine, and a token"),
        pytest.param(FIRST, "", 200, id="an attempt before, on a node without machine"),
        pytest.param(NodeTaskId("unknown"), "", 200, id="a task that is not known here"),
    ],
)
async def test_a_webhook_counts_with_the_secret_of_its_machine(
    proxy: ProxyUnderTest, heard: list[NodeTaskId], node_task: NodeTaskId, query: str, status: int
):
    before = refused_count("webhook")
    with structlog.testing.capture_logs() as lines:
        found, said = await report(proxy, node_task, query)
    assert (found, list(said)) == (status, ["ok"] if status == 200 else ["error"])
    assert heard == ([node_task] if status == 200 else [])
    assert refused_count("webhook") - before == (status != 200)
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["webhook.refused"] * (status != 200)
    assert not any(secret in repr(lines) + repr(said) for secret in (OWN, WRONG, "clients-token"))


@pytest.mark.parametrize(
    ("state", "query", "status"),
    [
        pytest.param(MachineState.SETTING_UP, f"?token={OWN}", 200, id="starting"),
        pytest.param(MachineState.DRAINING, f"?token={OWN}", 200, id="still at work"),
        pytest.param(MachineState.DESTROYING, f"?token={OWN}", 410, id="to go"),
        pytest.param(MachineState.GONE, f"?token={OWN}", 410, id="gone"),
        pytest.param(MachineState.BUSY, f"?token={WRONG}", 403, id="a wrong secret"),
        pytest.param(MachineState.BUSY, "?token=clients-token", 403, id="a client's token"),
        pytest.param(MachineState.BUSY, "", 403, id="no secret"),
    ],
)
async def test_a_lease_is_renewed_as_long_as_the_machine_is_wanted(
    proxy: ProxyUnderTest, state: MachineState, query: str, status: int
):
    await put(proxy, state)
    await until(lambda: (known := proxy.cluster.machine(MachineId("m"))) and known.state is state)
    with structlog.testing.capture_logs() as lines:
        found, said = await proxy.json("GET", f"/machine/lease{query}")
    assert (found, list(said)) == (status, ["ok"] if status == 200 else ["error"])
    assert not any(secret in repr(lines) + repr(said) for secret in (OWN, WRONG))


async def test_a_machine_of_yesterday_has_no_lease(proxy: ProxyUnderTest):
    await (await proxy.bus.bucket(MACHINES)).delete("m")
    await until(lambda: proxy.cluster.machine(MachineId("m")) is None)
    assert (await proxy.json("GET", f"/machine/lease?token={OWN}"))[0] == 403
