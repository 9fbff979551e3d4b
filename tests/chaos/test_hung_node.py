"""Hung nodes delay nobody: commits, lists and polls of others take no millisecond longer for each, their own polls under a second.

What is compared is measured in turns on the same machine: all nodes well; one of them frozen (SIGSTOP: connections are
accepted by the kernel and never answered), and a crowd of others that never answered anything; all well again, and so on. Medians
decide: on a computer so busy that they are long, a difference counts from half of them on.
"""

import asyncio
import socket
import statistics
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    LOCK_NODE,
    REMOVE_NODE,
    UNLOCK_NODE,
    AddNode,
    LockNode,
    NodeRef,
)
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.chaos.clients import Dataset, Raw
from tests.chaos.saying import say
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

ROUNDS = 4
EACH_COUNT = 25
MUTE_COUNT = 39
SLOWER_S = 0.001 * (1 + MUTE_COUNT)
"""A millisecond for each hung node."""
DRIFT = 1.5
"""So much the load of a busy computer may change from round to round."""


class Bench:
    """A cluster with a task on a node that will hang and a task on a healthy one."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient, sick: NodeSimProcess, images: list[Path]) -> None:
        self.cluster = cluster
        self.http = http
        self.sick = sick
        self.images = images
        self.raw = Raw(cluster.url)
        self.on_sick, self.on_healthy = Dataset(images), Dataset(images)
        self.took_s: defaultdict[tuple[str, bool], list[float]] = defaultdict(list)

    async def timed(self, what: str, hung: bool, act: Callable[[], Awaitable[object]]) -> None:
        """Note how long it takes."""
        began_s = time.monotonic()
        await act()
        self.took_s[what, hung].append(time.monotonic() - began_s)

    async def go_round(self, *, hung: bool) -> None:
        """Measure everything a few times, with several clients of the hung node's task at work beside."""
        async with self.polling_the_sick(hung=hung):
            for _ in range(EACH_COUNT):
                fresh = Dataset(self.images)
                await self.raw.upload(self.http, fresh)
                await self.timed("commit", hung, lambda task=fresh.task: self.post(f"/task/new/commit/{task}"))  # type: ignore[misc]
                await self.timed("list", hung, lambda: self.get("/task/list"))
                await self.timed("poll of a healthy task", hung, lambda: self.raw.poll(self.http, self.on_healthy))
                await self.timed("info of the cluster", hung, lambda: self.get("/info"))

    @asynccontextmanager
    async def polling_the_sick(self, *, hung: bool) -> AsyncIterator[None]:
        """Poll the task of the sick node all the time, as its clients do."""

        async def poll() -> None:
            while True:
                await self.timed("poll of the sick node's task", hung, lambda: self.raw.poll(self.http, self.on_sick))
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            polls = [group.create_task(poll(), name=f"poll {number}") for number in range(3)]
            yield
            for polling in polls:
                polling.cancel()

    async def get(self, path: str) -> None:
        """One request that must succeed."""
        answer = await self.http.get(path)
        assert answer.status_code == 200
        assert "error" not in answer.json()

    async def post(self, path: str) -> None:
        """One request that must succeed."""
        answer = await self.http.post(path)
        assert answer.status_code == 200, answer.text
        assert "error" not in answer.json()

    def median_s(self, what: str, *, hung: bool) -> float:
        """The figure that counts."""
        return statistics.median(self.took_s[what, hung])


async def test_hung_nodes_delay_nobody(tmp_path: Path):
    async with (
        NodeSimProcess(task_time_s=300) as sick,
        NodeSimProcess(task_time_s=300) as healthy,
        NodeSimProcess(task_time_s=0.05, parallel_tasks=4) as busy,
        Cluster(tmp_path, services=("scheduler", "proxy"), node_grace_s=600, log_level="info") as cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=20) as http,
    ):
        bench = Bench(cluster, http, sick, make_images(tmp_path / "images", 1, size_bytes=2_000))
        await settle(bench, sick, bench.on_sick)
        await settle(bench, healthy, bench.on_healthy)
        await cluster.add_node(busy)
        for _ in range(ROUNDS):
            await bench.go_round(hung=False)
            sick.freeze()
            async with mutes(cluster):
                await bench.go_round(hung=True)
            sick.thaw()
        check(bench)


@asynccontextmanager
async def mutes(cluster: Cluster) -> AsyncIterator[None]:
    """Have nodes in the cluster whose port takes connections and nobody is behind it."""
    with ExitStack() as stack:
        doors = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(MUTE_COUNT)]
        asked = [AddNode(hostname="127.0.0.1", port=door.getsockname()[1]) for door in doors]
        views = await asyncio.gather(
            *(cluster.bus.request(ADD_NODE, each) for each in asked)
        )  # each is looked at for 2 s
        try:
            yield
        finally:
            for view in views:
                await cluster.bus.request(REMOVE_NODE, NodeRef(node=view.id))


async def settle(bench: Bench, node: NodeSimProcess, data: Dataset) -> None:
    """Bring a long task onto a node, and lock it."""
    view = await bench.cluster.add_node(node)
    await bench.cluster.bus.request(UNLOCK_NODE, NodeRef(node=view.id))
    await bench.raw.commit(bench.http, data)
    await until(lambda: node.events("task_started", task=data.task), what="the task to start")

    async def seen_running() -> bool:
        return await bench.raw.poll(bench.http, data) == 20

    await until(seen_running, what=f"the task to be {TaskState.RUNNING}")
    await bench.cluster.bus.request(LOCK_NODE, LockNode(node=view.id))


def check(bench: Bench) -> None:
    """Compare."""
    slower = []
    for what in ("commit", "list", "poll of a healthy task", "info of the cluster"):
        well_s, hung_s = bench.median_s(what, hung=False), bench.median_s(what, hung=True)
        say(f"{what:30} median {well_s * 1000:7.1f} ms well, {hung_s * 1000:7.1f} ms with {1 + MUTE_COUNT} hung nodes")
        if hung_s > max(well_s + SLOWER_S, DRIFT * well_s):
            slower.append(what)
    own_s = bench.took_s["poll of the sick node's task", True]
    say(
        f"{len(own_s)} polls of the hung node's task: median {statistics.median(own_s):.2f} s, longest {max(own_s):.2f} s"
    )
    assert slower == []
    assert statistics.median(own_s) < 1.0
    assert statistics.quantiles(own_s, n=20)[-1] < 2.0
    assert bench.on_sick.lies + bench.on_healthy.lies == []
    assert bench.on_sick.broken_count == 0
