"""The wall clock of a whole cluster steps by two hours, back and forth, and its computer sleeps for one, while tasks run that nobody polls.

Polls would hide the fault, since each makes the scheduler look at its task. The library that shifts the clock is preloaded into all
services; nats-server is linked statically and keeps its clock (that leases hold when its clock steps is tested in tests/contract).
"""

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset, Raw
from tests.chaos.clock import ShiftedClock
from tests.cluster import SERVICES, Cluster
from tests.datasets import make_images
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

HOURS_S, HOUR_S = 7200, 3600
READ_BOTH = "import time; print(int(time.time()), int(time.monotonic()))"


def test_only_the_wall_clock_is_shifted(tmp_path: Path):
    clock = ShiftedClock(tmp_path / "clock")
    clock.step_to(-HOURS_S)
    run = subprocess.run(
        [sys.executable, "-c", READ_BOTH], env=clock.environment, capture_output=True, text=True, check=True, timeout=30
    )
    wall_s, monotonic_s = map(int, run.stdout.split())
    assert abs(time.time() - HOURS_S - wall_s) < 30  # noqa: TID251 the clock is what is tested
    assert abs(time.monotonic() - monotonic_s) < 30


async def test_a_cluster_does_not_notice_that_its_wall_clock_steps_nor_that_its_computer_sleeps(tmp_path: Path):
    clock = ShiftedClock(tmp_path / "clock")
    images = make_images(tmp_path / "images", 2)
    cluster = Cluster(tmp_path, lease_s=10, node_grace_s=20, forward_silence_s=35)
    cluster.overrides = dict.fromkeys(SERVICES, clock.environment)
    tasks: list[Dataset] = []
    async with (
        NodeSimProcess(task_time_s=6.0) as first,
        NodeSimProcess(task_time_s=6.0) as second,
        cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=10) as http,
    ):
        for node in (first, second):
            await cluster.add_node(node)
        client, opened = Raw(cluster.url), Dataset(images)
        await client.upload(http, opened)
        for shift_s, sleeps in ((-HOURS_S, False), (HOURS_S, False), (0, False), (HOUR_S, True)):
            begun = [Dataset(images) for _ in range(3)]  # two of them run now, and one waits
            for data in begun:
                await client.commit(http, data)
            await until(lambda begun=begun: running(cluster, begun[0]), what="a task to run")
            if sleeps:
                sleep(cluster, (first, second), clock, shift_s)
            else:
                clock.step_to(shift_s)
            await until(lambda shift_s=shift_s: probed(cluster, shift_s), what="nodes to be probed")
            late = Dataset(images)
            await client.commit(http, late)
            tasks += [*begun, late]
            for data in tasks:
                await until(lambda data=data: completed(cluster, data), timeout_s=40, what="an unpolled task to end")
        await client.commit(http, opened)
        await until(lambda: completed(cluster, opened), timeout_s=40, what="the upload that was open all the time")
        for data in tasks:
            assert [attempt.number for attempt in (await record(cluster, data)).attempts] == [1]
        order = [(await record(cluster, data)).committed_at_ms for data in [*tasks, opened]]
        assert order == sorted(set(order)), "the order of the commits"
        for word in (
            "leadership.ended",
            "leadership.term_ended",
            "went_offline",
            "upload.expired",
            "attempt.uncertain",
            "was lost",
        ):
            assert word not in cluster.log("scheduler") + cluster.log("proxy"), word


def sleep(cluster: Cluster, nodes: Sequence[NodeSimProcess], clock: ShiftedClock, shift_s: int) -> None:
    """Suspend everything for a moment: the monotonic clock of Linux stands still while a computer sleeps, the wall clock has gone on."""
    for node in nodes:
        node.freeze()
    for service in SERVICES:
        cluster.send(service, signal.SIGSTOP)
    cluster.nats.send(signal.SIGSTOP)
    clock.step_to(shift_s)
    cluster.nats.send(signal.SIGCONT)
    for service in SERVICES:
        cluster.send(service, signal.SIGCONT)
    for node in nodes:
        node.thaw()


async def record(cluster: Cluster, data: Dataset) -> Task:
    """Read what is recorded of a task; that makes nobody look at it."""
    return (await cluster.bus.request(GET_TASK, TaskRef(task=TaskId(data.task)))).task


async def running(cluster: Cluster, data: Dataset) -> bool:
    """Whether it runs."""
    return (await record(cluster, data)).state is TaskState.RUNNING


async def completed(cluster: Cluster, data: Dataset) -> bool:
    """Whether it is recorded as completed."""
    return (await record(cluster, data)).state is TaskState.COMPLETED


async def probed(cluster: Cluster, shift_s: int) -> bool:
    """Whether every node was heard of after the clock had stepped, by the scheduler's clock."""
    now_ms = (time.time() + shift_s) * 1000  # noqa: TID251 the scheduler's clock, as the test has set it
    return all(abs(now_ms - (node.info_at_ms or 0)) < 60_000 for node in await cluster.nodes())
