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
from clusterodm.libs.common.model.values import MachineId, NodeId, NodeTaskId, TaskId
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.metrics import MACHINE_CALLS_REFUSED
from tests.proxies import ProxyUnderTest, running_proxy, tried_task
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
    made = (
        Attempt(number=number, node=NodeId(node), node_task_id=there, machine=machine, state=AttemptState.RUNNING)
        for number, (node, there, machine) in enumerate(attempts, start=1)
    )
    return tried_task(TaskId(task_id), *made, state=TaskState.RUNNING)


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
    ("node_task", "query", "counts"),
    [
        pytest.param(SECOND, f"?token={OWN}", True, id="the machine itself"),
        pytest.param(SECOND, "", False, id="nobody says who"),
        pytest.param(SECOND, f"?token={WRONG}", False, id="a wrong secret"),
        pytest.param(SECOND, "?token=clients-token", False, id="a client's token"),
        pytest.param(STATIC, "", True, id="a node without machine"),
        pytest.param(STATIC, "?token=anything", True, id="a node without machine, and a token"),
        pytest.param(FIRST, "", True, id="an attempt before, on a node without machine"),
        pytest.param(NodeTaskId("unknown"), "", True, id="a task that is not known here"),
    ],
)
async def test_a_webhook_counts_with_the_secret_of_its_machine(
    proxy: ProxyUnderTest, heard: list[NodeTaskId], node_task: NodeTaskId, query: str, counts: bool
):
    before = refused_count("webhook")
    with structlog.testing.capture_logs() as lines:
        found, said = await report(proxy, node_task, query)
    assert (found, said) == (200, {"ok": True})  # a stranger does not learn what is on machines
    assert heard == ([node_task] if counts else [])
    assert refused_count("webhook") - before == (not counts)
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["webhook.refused"] * (not counts)
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


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes that requests had in memory, each time that one took more."""
    sizes, keep = [0], RequestContext.keep

    def recorded(exchange: RequestContext, kept_bytes: int) -> None:
        sizes.append(kept_bytes)
        keep(exchange, kept_bytes)

    monkeypatch.setattr(RequestContext, "keep", recorded)
    return sizes


@pytest.mark.parametrize("path", ["/machine/boot-output", "/machine/boot-log"])
@pytest.mark.parametrize("query", ["", f"?token={WRONG}"])
async def test_nothing_is_kept_of_what_a_stranger_says_of_a_boot(
    proxy: ProxyUnderTest, kept: list[int], path: str, query: str
):
    for size_bytes in (3_000, 100_000):
        assert (await proxy.json("POST", path + query, b"x" * size_bytes))[0] == 403
    assert max(kept) == 0


@pytest.mark.parametrize("size_bytes", [1_000, 100_000, 3_000_000])
async def test_of_a_long_webhook_the_beginning_is_kept_and_counts(
    proxy: ProxyUnderTest, kept: list[int], heard: list[NodeTaskId], size_bytes: int
):
    body = b'{"uuid":"%s","images":["%s"]}' % (STATIC.encode(), b"x" * size_bytes)
    assert await proxy.json("POST", "/commit", body) == (200, {"ok": True})
    assert heard == [STATIC]
    assert await proxy.json("POST", "/commit", b"[" * size_bytes) == (200, {"error": "Malformed /commit request"})
    assert max(kept) <= 17_000
