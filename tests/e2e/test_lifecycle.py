"""What happens to tasks when things are locked, away, restarted, or asked twice."""

import asyncio
import json
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pyodm
import pytest
from pyodm.types import TaskStatus

from clusterodm.libs.common.messages.nodes import LOCK_NODE, UNLOCK_NODE, LockNode, NodeRef
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster
from tests.datasets import expected, make_images, processed
from tests.served_zip import served_zip
from tests.waiting import until

pytestmark = pytest.mark.slow


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path, webhook_allow="127.0.0.1") as cluster:
        yield cluster


@pytest.fixture
async def http(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=20) as http:
        yield http


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return make_images(tmp_path / "images", 4)


async def upload(http: httpx.AsyncClient, images: list[Path]) -> str:
    """Begin a task and send its images; not committed yet."""
    task: str = (await http.post("/task/new/init", data={"name": "test"})).json()["uuid"]
    for path in images:
        answer = await http.post(f"/task/new/upload/{task}", files={"images": (path.name, path.read_bytes())})
        assert answer.json() == {"success": True}
    return task


async def info(http: httpx.AsyncClient, task: str) -> dict[str, Any]:
    answer = await http.get(f"/task/{task}/info", params={"with_output": 0})
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    assert "error" not in told
    return told


async def completed(http: httpx.AsyncClient, task: str, timeout_s: float = 30) -> None:
    async def done() -> bool:
        code = (await info(http, task))["status"]["code"]
        assert code in (TaskStatus.QUEUED.value, TaskStatus.RUNNING.value, TaskStatus.COMPLETED.value)
        return bool(code == TaskStatus.COMPLETED.value)

    await until(done, timeout_s=timeout_s, step_s=0.1, what=f"{task} to be completed")


async def says(http: httpx.AsyncClient, task: str, words: str) -> bool:
    """Whether a task's console says this."""
    return any(words in line for line in (await info(http, task))["output"])


async def all_offline(cluster: Cluster) -> bool:
    """Whether every node is known not to answer."""
    return not any(node.online for node in await cluster.nodes())


async def result(http: httpx.AsyncClient, task: str, folder: Path) -> dict[str, str]:
    path = folder / f"{task}.zip"
    path.write_bytes((await http.get(f"/task/{task}/download/all.zip")).content)
    return processed(path)


async def test_a_commit_sent_twice_runs_once(cluster: Cluster, http: httpx.AsyncClient, images: list[Path]):
    async with NodeSimProcess(task_time_s=0.2, parallel_tasks=4) as one, NodeSimProcess(parallel_tasks=4) as two:
        await cluster.add_node(one)
        await cluster.add_node(two)
        task = await upload(http, images)
        answers = await asyncio.gather(*(http.post(f"/task/new/commit/{task}") for _ in range(5)))
        assert [answer.json() for answer in answers] == [{"uuid": task}] * 5
        await completed(http, task)
        assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        assert len(one.events("task_started") + two.events("task_started")) == 1


async def test_a_commit_without_any_node_waits_and_runs_when_one_appears(
    cluster: Cluster, http: httpx.AsyncClient, images: list[Path], tmp_path: Path
):
    task = await upload(http, images)
    assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
    told = await info(http, task)
    assert told["status"]["code"] == TaskStatus.QUEUED.value
    assert any("no node" in line.lower() for line in told["output"])
    async with NodeSimProcess(task_time_s=0.2) as node:
        await cluster.add_node(node)
        await completed(http, task)
        assert await result(http, task, tmp_path) == expected(images)


async def test_a_commit_while_every_node_is_locked_waits_for_the_unlock(
    cluster: Cluster, http: httpx.AsyncClient, images: list[Path], tmp_path: Path
):
    async with NodeSimProcess(task_time_s=0.2) as node:
        view = await cluster.add_node(node)
        await cluster.bus.request(LOCK_NODE, LockNode(node=view.id))
        task = await upload(http, images)
        assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        await until(lambda: says(http, task, "the only node online is locked"), what="the queue to have been looked at")
        assert (await info(http, task))["status"]["code"] == TaskStatus.QUEUED.value
        assert not node.events("task_committed")
        await cluster.bus.request(UNLOCK_NODE, NodeRef(node=view.id))
        await completed(http, task)
        assert await result(http, task, tmp_path) == expected(images)


async def test_a_commit_while_every_node_is_down_waits_for_one_to_come_back(
    cluster: Cluster, http: httpx.AsyncClient, images: list[Path], tmp_path: Path
):
    async with NodeSimProcess(task_time_s=0.2) as node:
        await cluster.add_node(node)
        node.kill()
        task = await upload(http, images)
        assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        await until(lambda: all_offline(cluster), timeout_s=45, what="the node to be missed")
        assert (await info(http, task))["status"]["code"] in (TaskStatus.QUEUED.value, TaskStatus.RUNNING.value)
        node.start()
        await completed(http, task)
        assert await result(http, task, tmp_path) == expected(images)


@pytest.mark.parametrize("service", ["scheduler", "proxy", "autoscaler", "admin"])
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_tasks_in_flight_finish_over_a_restart(
    cluster: Cluster, http: httpx.AsyncClient, tmp_path: Path, service: str, how: str
):
    async with NodeSimProcess(task_time_s=1.0) as one, NodeSimProcess(task_time_s=1.0) as two:
        await cluster.add_node(one)
        await cluster.add_node(two)
        datasets = {await upload(http, images): images for images in batches(tmp_path, 5)}
        open_upload = await upload(http, make_images(tmp_path / "open", 2, seed=99))
        for task in datasets:
            assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        await until(lambda: one.events("task_started") + two.events("task_started"), what="a task to run")
        await asyncio.to_thread(getattr(cluster, how), service)
        cluster.start(service)
        await cluster.ready()
        assert (await http.post(f"/task/new/commit/{open_upload}")).json() == {"uuid": open_upload}
        for task, images in datasets.items():
            await completed(http, task)
            assert await result(http, task, tmp_path) == expected(images)
        await completed(http, open_upload)
        assert_never_on_two_nodes(one, two)


def batches(folder: Path, count: int) -> list[list[Path]]:
    return [make_images(folder / f"set{number}", 3, seed=number) for number in range(count)]


def assert_never_on_two_nodes(*nodes: NodeSimProcess) -> None:
    """No task was started on a second node while it ran on a first."""
    started = [(event["task"], node.port) for node in nodes for event in node.events("task_started")]
    assert len({task for task, _ in started}) == len(started), started


async def test_twelve_tasks_on_a_slow_and_two_fast_nodes_take_little_longer_than_the_best_schedule(
    cluster: Cluster, http: httpx.AsyncClient, tmp_path: Path
):
    async with (
        NodeSimProcess(task_time_s=6.0) as slow,
        NodeSimProcess(task_time_s=2.0) as fast,
        NodeSimProcess(task_time_s=2.0) as faster,
    ):
        for node in (slow, fast, faster):
            await cluster.add_node(node)
        tasks = [await upload(http, images) for images in batches(tmp_path, 12)]
        began_s = time.monotonic()
        for task in tasks:
            await http.post(f"/task/new/commit/{task}")
        await asyncio.gather(*(completed(http, task, timeout_s=60) for task in tasks))
        took_s = time.monotonic() - began_s
        worked_s = max(len(node.events("task_started")) * s for node, s in ((slow, 6.0), (fast, 2.0), (faster, 2.0)))
    best_s = 12.0  # two on the slow node, five on each of the fast ones: max(2 * 6, 5 * 2)
    assert worked_s < 1.6 * best_s, f"{worked_s:.1f} s of work on one node, best {best_s} s"
    assert took_s < worked_s + best_s, f"{took_s:.1f} s for {worked_s:.1f} s of work"


async def test_a_client_that_polls_while_the_node_is_frozen_gets_the_last_known_state(
    cluster: Cluster, http: httpx.AsyncClient, images: list[Path]
):
    async with NodeSimProcess(task_time_s=10) as node:
        await cluster.add_node(node)
        task = await upload(http, images)
        await http.post(f"/task/new/commit/{task}")
        await until(lambda: node.events("task_started"))
        await until(lambda: running(http, task))
        node.freeze()
        began_s = time.monotonic()
        assert (await info(http, task))["status"]["code"] == TaskStatus.RUNNING.value
        assert time.monotonic() - began_s < 15, "the node says nothing until it is thawed"
        node.thaw()
        await completed(http, task)


async def running(http: httpx.AsyncClient, task: str) -> bool:
    told = await info(http, task)
    return bool(told["status"]["code"] == TaskStatus.RUNNING.value and told["progress"] > 0)


async def test_the_webhook_is_called_with_the_public_id(cluster: Cluster, http: httpx.AsyncClient, images: list[Path]):
    received: list[dict[str, Any]] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        )
        received.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, NodeSimProcess(task_time_s=0.2) as node:
        await cluster.add_node(node)
        started = await http.post("/task/new/init", data={"webhook": f"http://127.0.0.1:{port}/told"})
        task = started.json()["uuid"]
        for path in images:
            await http.post(f"/task/new/upload/{task}", files={"images": (path.name, path.read_bytes())})
        await http.post(f"/task/new/commit/{task}")
        await until(lambda: received, timeout_s=45)
    assert received[0]["uuid"] == task
    assert received[0]["status"]["code"] == TaskStatus.COMPLETED.value
    assert len(received[0]["images"]) == 4


@pytest.mark.parametrize("kind", ["urlencoded", "multipart"])
async def test_a_zip_from_a_url_is_processed(cluster: Cluster, http: httpx.AsyncClient, tmp_path: Path, kind: str):
    images = make_images(tmp_path / "images", 3)
    async with served_zip(tmp_path, images) as url, NodeSimProcess(task_time_s=0.2) as node:
        await cluster.add_node(node)
        form = {"zipurl": url, "name": "zip"}
        parts = {name: (None, value) for name, value in form.items()}
        answer = await http.post("/task/new", **({"data": form} if kind == "urlencoded" else {"files": parts}))
        task = answer.json()["uuid"]
        await completed(http, task)
        assert await result(http, task, tmp_path) == expected(images)


async def test_the_web_page_comes_from_a_node_through_the_proxy(cluster: Cluster, http: httpx.AsyncClient):
    assert (await http.get("/")).json() == {"error": "No nodes available"}
    async with NodeSimProcess() as node:
        await cluster.add_node(node)
        page = await http.get("/")
        direct = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{node.url}/", timeout=5).read())
        assert page.content == direct


async def test_a_task_created_through_pyodm_is_found_by_a_second_client(
    cluster: Cluster, http: httpx.AsyncClient, images: list[Path]
):
    async with NodeSimProcess(task_time_s=0.2) as node:
        await cluster.add_node(node)
        client = pyodm.Node("127.0.0.1", cluster.port)
        task = await asyncio.to_thread(client.create_task, [str(path) for path in images])
        again = await asyncio.to_thread(client.get_task, task.uuid)
        assert (await asyncio.to_thread(again.info)).uuid == task.uuid
        await completed(http, task.uuid)
