"""Three servers of NATS, two proxies, a client that asks both by turns: no answer is ever older than one before it.

One server of NATS is killed or frozen around each commit, so that the mirror of one proxy is fed by a server that is gone, or lags.
It stays frozen for longer than it takes until that is noticed and until a mirror could be believed. Meanwhile PyODM waits for a task
through each proxy, and downloads it at once: for that it asks once for the info of the task, and never again.
"""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pyodm
import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster
from tests.nats import LEAVES_UNCLOSED
from tests.nats_cluster import SERVERS_COUNT, ServersAsOne
from tests.polled import Polled, follow
from tests.ports import free_port
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(840), LEAVES_UNCLOSED]

ROUNDS_COUNT = int(os.environ.get("ROUNDS", "4"))
FROZEN_S = float(os.environ.get("FROZEN_S", "18"))
IMAGE = b"\xff\xd8" + bytes(2000)
TASK_S = 2.0


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSTOP], ids=lambda sent: sent.name)
async def test_no_client_sees_an_earlier_state_after_a_later_one(
    tmp_path: Path, sent: signal.Signals, chance: random.Random
):
    of_polls = random.Random(chance.random())  # as many draws as there are answers: they must not change the others
    cluster = Cluster(tmp_path, services=("scheduler", "proxy"), nats_replicas_count=3, nats_wait_s=60)
    servers: Any = ServersAsOne(tmp_path / "nats")
    cluster.nats = servers
    other = free_port()
    cluster.overrides["proxy#2"] = {"CLUSTERODM_PORT": str(other), "CLUSTERODM_DATA_DIR": str(tmp_path / "second")}
    total = Polled()
    image = tmp_path / "a.jpg"
    image.write_bytes(IMAGE)
    async with (
        cluster,
        NodeSimProcess(task_time_s=TASK_S, parallel_tasks=8) as node,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=60) as http,
    ):
        cluster.start("proxy#2")
        await cluster.add_node(node)
        await until(lambda: serves(other), timeout_s=60, what="the second proxy to answer")
        for _ in range(ROUNDS_COUNT):
            task = (await http.post("/task/new/init", data={"name": "t"})).json()["uuid"]
            files = {"images": ("a.jpg", IMAGE)}
            assert (await http.post(f"/task/new/upload/{task}", files=files)).json() == {"success": True}
            victim, when_s = chance.randrange(SERVERS_COUNT), chance.choice([0.0, 0.0, 0.1, 0.5, 1.0])
            polled = Polled()
            ports = [cluster.port, other]
            pyodms = [await asyncio.to_thread(created, port, image) for port in ports]
            async with asyncio.TaskGroup() as group:
                group.create_task(hit(servers, victim, when_s, sent))
                for each in pyodms:
                    group.create_task(asyncio.to_thread(downloaded, each, tmp_path / "results"))
                assert await committed(http, task)
                await follow(ports, task, polled, FROZEN_S if sent is signal.SIGSTOP else 0, of_polls)
            sys.stdout.write(
                f"{sent.name} n{victim} {when_s} s: {len(polled.codes)} polls, {polled.dropped_count} dropped,"
                f" {len(polled.went_back())} went back {polled.went_back()[:2]}\n"
            )
            total.codes += polled.codes
            total.dropped_count += polled.dropped_count
            assert os.environ.get("COUNT_ONLY") or not polled.went_back()
            await asyncio.to_thread(recover, servers, victim, sent)
            await until(lambda: healthy(cluster), timeout_s=60, step_s=0.2, what="three servers that have caught up")
    sys.stdout.write(f"{len(total.codes)} polls, {total.dropped_count} dropped\n")


def created(port: int, image: Path) -> pyodm.api.Task:
    return pyodm.Node("127.0.0.1", port).create_task([str(image)])


def downloaded(task: pyodm.api.Task, folder: Path) -> None:
    """Wait for a task and download it."""
    task.wait_for_completion(interval=0.3)
    task.download_assets(str(folder / task.uuid))


async def hit(servers: ServersAsOne, victim: int, when_s: float, sent: signal.Signals) -> None:
    await asyncio.sleep(when_s)
    if sent is signal.SIGKILL:
        await asyncio.to_thread(servers.kill, victim)
    else:
        servers.send(victim, sent)


def recover(servers: ServersAsOne, victim: int, sent: signal.Signals) -> None:
    if sent is signal.SIGKILL:
        servers.start_all()
    else:
        servers.send(victim, signal.SIGCONT)


async def committed(http: httpx.AsyncClient, task: str) -> bool:
    for _ in range(20):
        answer = await http.post(f"/task/new/commit/{task}")
        if answer.json() == {"uuid": task}:
            return True
        await asyncio.sleep(0.2)
    return False


async def serves(port: int) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
            return (await http.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
    except httpx.HTTPError:
        return False


def has_caught_up(replicas: Any) -> bool:
    return bool(replicas and replicas.leader and len([each for each in replicas.replicas or () if each.current]) == 2)


async def healthy(cluster: Cluster) -> bool:
    """Whether every stream has three replicas that have caught up: an upload that begins needs other buckets than tasks do."""
    import nats

    try:
        client = await nats.connect(cluster.nats.url.split(","), connect_timeout=2, allow_reconnect=False)
    except (nats.errors.Error, OSError, TimeoutError):
        return False
    try:
        found = [each.cluster for each in await client.jetstream(timeout=2).streams_info()]
        return bool(found) and all(map(has_caught_up, found))
    except (nats.errors.Error, nats.js.errors.Error, TimeoutError):
        return False
    finally:
        await client.close()
