"""A proxy is frozen between the placement of a small task and its commit on the node: the task runs once, whatever is decided meanwhile.

The answer that places a small task lets it begin, and confirms its commit (decision 154). One that is read late must do neither.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset, Raw
from tests.chaos.relay import Relay
from tests.chaos.saying import say
from tests.chaos.storm import QUICK
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.recorded import recorded_task
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SILENCE_S = 6.0
SETTINGS = QUICK | {"forward_silence_s": SILENCE_S, "commit_settle_s": 1, "send_ahead_from_mb": 100}
DELAY_S = 1.0
"""An answer is on its way for so long."""


@dataclass
class Scene:
    """A cluster with one node, and a task whose files are uploaded."""

    cluster: Cluster
    node: NodeSimProcess
    to_node: Relay
    to_nats: Relay
    """From the proxy."""
    http: httpx.AsyncClient
    data: Dataset

    async def record(self) -> Task | None:
        """Say what KV has of the task."""
        return await recorded_task(self.cluster.bus, self.data.task)

    async def until_state(self, wanted: TaskState) -> Task:
        """Wait until KV says so."""

        async def reached() -> Task | None:
            record = await self.record()
            return record if record and record.state is wanted else None

        return await until(reached, timeout_s=60, what=f"the task to be {wanted}")


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    services = ("scheduler", "proxy")
    cluster = Cluster(tmp_path, services=services, **SETTINGS)
    async with (
        Relay(cluster.nats.port) as to_nats,
        NodeSimProcess(task_time_s=0.5) as node,
        Relay(node.port) as to_node,
    ):
        cluster.overrides.setdefault("proxy", {})["CLUSTERODM_NATS_URL"] = f"nats://127.0.0.1:{to_nats.port}"
        async with cluster, httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=30) as http:
            await cluster.add_node(node, port=to_node.port)
            data = Dataset(make_images(tmp_path / "images", 3, size_bytes=60_000))
            await Raw(cluster.url).upload(http, data)
            yield Scene(cluster, node, to_node, to_nats, http, data)


async def before_it_reads_where_the_task_goes(scene: Scene) -> None:
    """The task is placed; the answer is on its way."""
    scene.to_nats.delay_s = DELAY_S
    async with asyncio.TaskGroup() as group:
        group.create_task(scene.http.post(f"/task/new/commit/{scene.data.task}"))
        await scene.until_state(TaskState.FORWARDING)
    assert scene.node.events("task_initialised") == []


async def while_it_sends_the_files(scene: Scene) -> None:
    """Its node has half of a file."""
    scene.to_node.rate_bytes_per_s = 60_000
    before_bytes = scene.to_node.passed_bytes
    await scene.http.post(f"/task/new/commit/{scene.data.task}")
    await until(lambda: scene.to_node.passed_bytes > before_bytes + 60_000, what="a file is under way")


@pytest.mark.parametrize("where", [before_it_reads_where_the_task_goes, while_it_sends_the_files])
@pytest.mark.parametrize(("frozen_s", "attempts_count"), [(SILENCE_S / 2, 1), (SILENCE_S * 2 + 3, 2)])
async def test_a_task_whose_proxy_was_frozen_before_its_commit_runs_once(
    scene: Scene, where: Callable[[Scene], Awaitable[None]], frozen_s: float, attempts_count: int
):
    await where(scene)
    scene.cluster.send("proxy", signal.SIGSTOP)
    scene.to_node.well()
    scene.to_nats.well()
    await asyncio.sleep(frozen_s)
    if attempts_count > 1:
        await scene.until_state(TaskState.WAITING)
    scene.cluster.send("proxy", signal.SIGCONT)
    record = await scene.until_state(TaskState.COMPLETED)
    say(repr([(attempt.number, attempt.outcome, attempt.reason) for attempt in record.attempts]))
    assert len(record.attempts) == attempts_count
    assert [event["task"] for event in scene.node.events("task_committed")] == [record.attempts[-1].node_task_id]
