"""callbacks/handlers.py: what machines report, and whether they are wanted."""

import hashlib

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.boot_logs import REPORT_BOOT_OUTPUT, BootOutputHeard, ReportBootOutput
from clusterodm.libs.common.messages.machines import REPORT_BOOT_FAILURE, BootFailureHeard, ReportBootFailure
from clusterodm.libs.common.messages.placement import FINISH_REPORTED
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.callbacks.core import CallbackDecision
from clusterodm.services.proxy.callbacks.handlers import MachineCallbacks
from tests.proxy_ports import FakeCluster, a_task

TASK = TaskId("t")
ANNE = Owner("anne")


def rent(cluster: FakeCluster, state: MachineState = MachineState.ONLINE) -> None:
    digest = hashlib.sha256(b"s3cret").hexdigest()
    machine = Machine(id=MachineId("m"), state=state, provider="docker", requested_at_ms=1, webhook_digest=digest)
    cluster.rented[machine.id] = machine
    cluster.put(a_task(TASK, ANNE, machine.id))


@pytest.mark.parametrize(
    ("secret", "decision", "told_count"),
    [
        pytest.param("s3cret", CallbackDecision.WELCOME, 1, id="its own"),
        pytest.param("another", CallbackDecision.WRONG, 0, id="wrong"),
        pytest.param("", CallbackDecision.NAMELESS, 0, id="none"),
    ],
)
async def test_a_machine_reports_with_its_secret(
    bus: MemoryBus, cluster: FakeCluster, secret: str, decision: CallbackDecision, told_count: int
) -> None:
    rent(cluster)
    assert await MachineCallbacks(bus, cluster).finished(NodeTaskId("on-node"), secret) is decision
    assert [name for name, _ in bus.published] == [FINISH_REPORTED.name] * told_count


async def test_a_node_of_its_own_reports_without(bus: MemoryBus, cluster: FakeCluster) -> None:
    cluster.put(a_task(TASK, ANNE))
    assert await MachineCallbacks(bus, cluster).finished(NodeTaskId("on-node"), "") is CallbackDecision.WELCOME
    assert await MachineCallbacks(bus, cluster).finished(NodeTaskId("unknown"), "") is CallbackDecision.WELCOME


async def test_what_anybody_reports_as_often_as_it_likes_is_kept_nowhere(bus: MemoryBus, cluster: FakeCluster) -> None:
    await MachineCallbacks(bus, cluster).finished(NodeTaskId("unknown"), "")
    assert [name for name, _ in bus.published] == [FINISH_REPORTED.name]
    assert (await bus.stored_events(0, 10)).events == ()


def test_a_machine_hears_whether_it_is_wanted(bus: MemoryBus, cluster: FakeCluster) -> None:
    machines = MachineCallbacks(bus, cluster)
    rent(cluster)
    assert [machines.wanted(secret) for secret in ("s3cret", "another", "")] == [
        CallbackDecision.WELCOME,
        CallbackDecision.WRONG,
        CallbackDecision.NAMELESS,
    ]
    rent(cluster, MachineState.DESTROYING)
    assert machines.wanted("s3cret") is CallbackDecision.OVER


async def test_before_the_mirror_is_loaded_nothing_is_said(bus: MemoryBus, cluster: FakeCluster) -> None:
    cluster.ready = False
    with pytest.raises(BusFailed):
        MachineCallbacks(bus, cluster).wanted("s3cret")
    with pytest.raises(BusFailed):
        await MachineCallbacks(bus, cluster).finished(NodeTaskId("on-node"), "")


@pytest.mark.parametrize(
    ("secret", "state", "decision", "told"),
    [
        pytest.param("s3cret", MachineState.SETTING_UP, CallbackDecision.WELCOME, ["no room"], id="its own"),
        pytest.param("s3cret", MachineState.DESTROYING, CallbackDecision.OVER, [], id="of one that goes already"),
        pytest.param("another", MachineState.SETTING_UP, CallbackDecision.WRONG, [], id="wrong"),
        pytest.param("", MachineState.SETTING_UP, CallbackDecision.NAMELESS, [], id="none"),
    ],
)
async def test_the_last_words_of_a_boot_need_the_machines_secret(
    bus: MemoryBus, cluster: FakeCluster, secret: str, state: MachineState, decision: CallbackDecision, told: list[str]
) -> None:
    heard: list[ReportBootFailure] = []

    async def hear(report: ReportBootFailure) -> BootFailureHeard:
        heard.append(report)
        return BootFailureHeard(destroyed=True)

    rent(cluster, state)
    async with bus.serve("autoscaler", {REPORT_BOOT_FAILURE: hear}):
        assert await MachineCallbacks(bus, cluster).boot_failed(secret, b"no room\n") is decision
    assert [(each.machine, each.last_words) for each in heard] == [("m", words) for words in told]


@pytest.mark.parametrize(
    ("secret", "state", "decision", "told"),
    [
        pytest.param("s3cret", MachineState.SETTING_UP, CallbackDecision.WELCOME, [(3, ("pulling",))], id="its own"),
        pytest.param("s3cret", MachineState.DESTROYING, CallbackDecision.OVER, [], id="of one that goes already"),
        pytest.param("another", MachineState.SETTING_UP, CallbackDecision.WRONG, [], id="wrong"),
        pytest.param("", MachineState.SETTING_UP, CallbackDecision.NAMELESS, [], id="none"),
    ],
)
async def test_the_output_of_a_boot_needs_the_machines_secret(
    bus: MemoryBus,
    cluster: FakeCluster,
    secret: str,
    state: MachineState,
    decision: CallbackDecision,
    told: list[object],
) -> None:
    heard: list[ReportBootOutput] = []

    async def hear(report: ReportBootOutput) -> BootOutputHeard:
        heard.append(report)
        return BootOutputHeard(kept=True)

    rent(cluster, state)
    async with bus.serve("autoscaler", {REPORT_BOOT_OUTPUT: hear}):
        assert await MachineCallbacks(bus, cluster).boot_output(secret, b"ng\npulling\n", 2) is decision
    assert [(each.first_line, each.lines) for each in heard] == told
