"""Three servers of NATS that were started with one replica of everything: scheduler and proxy are restarted with the setting."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster
from tests.nats_cluster import ServersAsOne
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SETTING = {"CLUSTERODM_NATS_REPLICAS_COUNT": "3"}
IMAGE = b"\xff\xd8" + bytes(2000)
ENOUGH_COUNT = 15
"""Streams that there are at least."""


async def test_after_a_restart_with_the_setting_any_server_may_go(tmp_path: Path):
    servers: Any = ServersAsOne(tmp_path / "nats")
    cluster = Cluster(tmp_path, services=("scheduler", "proxy", "autoscaler", "admin"), nats_wait_s=60)
    cluster.nats = servers
    async with (
        cluster,
        NodeSimProcess(task_time_s=3.0, parallel_tasks=4) as node,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=60) as http,
    ):
        await cluster.add_node(node)
        await completed(http, await committed(http))
        running = await committed(http)
        assert set((await replicas(servers)).values()) == {1}
        for service in cluster.services:
            cluster.overrides[service] = SETTING
            cluster.stop(service)
            cluster.start(service)
            await cluster.ready()
        await until(lambda: all_have_three(servers), timeout_s=30, step_s=0.2, what="three replicas of every stream")
        await completed(http, running)
        async with asyncio.timeout(60):
            await asyncio.to_thread(servers.kill, await server_of(servers, "KV_observations"))
            cluster.kill("scheduler")
            cluster.start("scheduler")
            await completed(http, await committed(http))
        assert "under_replicated" not in cluster.log("scheduler") + cluster.log("proxy")


async def committed(http: httpx.AsyncClient) -> str:
    """Commit a task, as often as needed."""
    while True:
        answer = await http.post("/task/new", files={"images": ("a.jpg", IMAGE)})
        if "uuid" in answer.json():
            return str(answer.json()["uuid"])
        await asyncio.sleep(0.5)


async def completed(http: httpx.AsyncClient, task: str) -> None:
    async def is_completed() -> bool:
        try:
            answer = await http.get(f"/task/{task}/info")
        except httpx.RemoteProtocolError:
            return False
        return bool(answer.json()["status"]["code"] == 40)

    await until(is_completed, timeout_s=60, step_s=0.2, what="the task to be completed")


async def replicas(servers: ServersAsOne) -> dict[str, int]:
    """Say how many replicas each stream has."""
    client = await nats.connect(servers.url.split(","))
    found = await client.jetstream().streams_info()
    await client.close()
    return {each.config.name or "": each.config.num_replicas or 1 for each in found}


async def all_have_three(servers: ServersAsOne) -> bool:
    counts = await replicas(servers)
    return len(counts) >= ENOUGH_COUNT and set(counts.values()) == {3}


async def server_of(servers: ServersAsOne, stream: str) -> int:
    """Say which server leads a stream."""
    client = await nats.connect(servers.url.split(","))
    found = (await client.jetstream().stream_info(stream)).cluster
    await client.close()
    assert found is not None
    assert found.leader is not None
    return int(found.leader[1:])
