"""NATS is away for a while: what runs goes on, what is known is answered, what must wait waits, and nothing happens twice."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyodm.types import TaskStatus

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster
from tests.datasets import expected, make_images, processed
from tests.waiting import until

pytestmark = pytest.mark.slow


class Site:
    """A cluster, and a client of it."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient) -> None:
        self.cluster = cluster
        self.http = http

    async def upload(self, images: list[Path]) -> str:
        """Begin a task and send its images."""
        task: str = (await self.http.post("/task/new/init", data={"name": "t"})).json()["uuid"]
        for path in images:
            assert (await self.send(task, path)).json() == {"success": True}
        return task

    async def send(self, task: str, path: Path) -> httpx.Response:
        files = {"images": (path.name, await asyncio.to_thread(path.read_bytes))}
        return await self.http.post(f"/task/new/upload/{task}", files=files)

    async def commit(self, task: str) -> httpx.Response:
        return await self.http.post(f"/task/new/commit/{task}")

    async def info(self, task: str) -> dict[str, Any]:
        answer = await self.http.get(f"/task/{task}/info", params={"with_output": 0})
        told: dict[str, Any] = answer.json()
        assert (answer.status_code, "error" in told) == (200, False), told
        assert told["status"]["code"] in (10, 20, 40), told
        return told

    async def completed(self, task: str) -> None:
        async def done() -> bool:
            return bool((await self.info(task))["status"]["code"] == TaskStatus.COMPLETED.value)

        await until(done, timeout_s=60, step_s=0.1, what=f"{task} to be completed")

    async def result(self, task: str, folder: Path) -> dict[str, str]:
        path = folder / f"{task}.zip"
        path.write_bytes((await self.http.get(f"/task/{task}/download/all.zip")).content)
        return processed(path)

    async def without_nats(self) -> None:
        """Kill nats-server and wait until the proxy has noticed."""
        await asyncio.to_thread(self.cluster.nats.stop, signal.SIGKILL)
        await until(self.bus_is_away, what="the proxy notices")

    async def bus_is_away(self) -> bool:
        answer = await self.http.get("/healthz")
        assert answer.status_code == 200, "a balancer must not take out a proxy that can answer polls"
        return not answer.json()["bus"]

    async def with_nats(self) -> None:
        await asyncio.to_thread(self.cluster.nats.start)


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"commit_wait_s": 3}


@pytest.fixture
async def site(tmp_path: Path, settings: dict[str, Any]) -> AsyncIterator[Site]:
    async with (
        Cluster(tmp_path, **settings) as cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=40) as http,
    ):
        yield Site(cluster, http)


def started_count(*nodes: NodeSimProcess) -> int:
    return sum(len(node.events("task_started")) for node in nodes)


async def test_uploads_and_polls_go_on_and_commits_are_refused_until_nats_is_back(site: Site, tmp_path: Path):
    images = make_images(tmp_path / "images", 3)
    async with NodeSimProcess(task_time_s=8, parallel_tasks=2) as node:
        await site.cluster.add_node(node)
        running = await site.upload(images[:1])
        await site.commit(running)
        await until(lambda: node.events("task_started"))
        task = await site.upload(images[:1])
        assert {"uuid": running} in (await site.http.get("/task/list")).json()
        await site.without_nats()

        for path in images[1:]:
            assert (await site.send(task, path)).json() == {"success": True}
        assert (await site.info(running))["status"]["code"] in (10, 20)
        assert {"uuid": running} in (await site.http.get("/task/list")).json()
        refused = [await site.commit(task), await site.http.post("/task/new/init", data={"name": "x"})]
        assert [(answer.status_code, answer.headers["retry-after"]) for answer in refused] == [(503, "5")] * 2
        assert all("try again" in answer.json()["error"] for answer in refused)

        await site.with_nats()
        await until(lambda: committed(site, task), timeout_s=30)
        await site.completed(task)
        await site.completed(running)
        assert await site.result(task, tmp_path) == expected(images)
        assert started_count(node) == 2


async def committed(site: Site, task: str) -> bool:
    return (await site.commit(task)).json() == {"uuid": task}


@pytest.mark.parametrize("settings", [{"commit_wait_s": 35}], ids=["patient"])
async def test_an_init_and_a_commit_wait_for_nats_and_happen_once(site: Site, tmp_path: Path):
    images = make_images(tmp_path / "images", 2)
    async with NodeSimProcess(task_time_s=0.2, parallel_tasks=4) as node:
        await site.cluster.add_node(node)
        task = await site.upload(images)
        await site.without_nats()
        async with asyncio.TaskGroup() as group:
            commits = [group.create_task(site.commit(task)) for _ in range(3)]
            begun = group.create_task(site.upload(images))
            await until(
                lambda: "leadership.term_ended" in site.cluster.log("scheduler"), what="the scheduler's term to be over"
            )
            assert not any(request.done() for request in (*commits, begun))
            await site.with_nats()
        assert [commit.result().json() for commit in commits] == [{"uuid": task}] * 3
        await site.completed(task)
        await site.commit(begun.result())
        await site.completed(begun.result())
        assert started_count(node) == 2


@pytest.mark.parametrize("settings", [{"upload_max_speed": 400_000}], ids=["slow"])
async def test_a_forward_under_way_goes_on_and_no_file_is_doubled(site: Site, tmp_path: Path):
    images = make_images(tmp_path / "images", 4, size_bytes=500_000)
    async with NodeSimProcess(task_time_s=0.2) as node:
        await site.cluster.add_node(node)
        task = await site.upload(images)
        await site.commit(task)
        await until(lambda: "forwarding.started" in site.cluster.log("proxy"), what="files are under way")
        await site.without_nats()
        await asyncio.sleep(2)
        await site.with_nats()
        await site.completed(task)
        assert await site.result(task, tmp_path) == expected(images)
        assert started_count(node) == 1


async def test_a_download_under_way_goes_on(site: Site, tmp_path: Path):
    images = make_images(tmp_path / "images", 1)
    async with NodeSimProcess(task_time_s=0.2, result_size_mb=40) as node:
        await site.cluster.add_node(node)
        task = await site.upload(images)
        await site.commit(task)
        await site.completed(task)
        size_bytes = 0
        async with site.http.stream("GET", f"/task/{task}/download/all.zip") as answer:
            chunks = answer.aiter_raw()
            size_bytes += len(await anext(chunks))
            await site.without_nats()
            async for chunk in chunks:
                size_bytes += len(chunk)
        assert size_bytes == int(answer.headers["content-length"])
        assert (await site.http.get(f"/task/{task}/download/all.zip")).status_code == 200
        await site.with_nats()


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("settings", [{"upload_max_speed": 400_000}], ids=["slow"])
async def test_a_forward_cut_off_with_the_proxy_is_begun_anew_under_a_fresh_id(site: Site, tmp_path: Path, how: str):
    images = make_images(tmp_path / "images", 4, size_bytes=500_000)
    async with NodeSimProcess(task_time_s=0.2) as node:
        await site.cluster.add_node(node)
        task = await site.upload(images)
        await site.commit(task)
        await until(lambda: "forwarding.started" in site.cluster.log("proxy"), what="files are under way")
        await asyncio.to_thread(getattr(site.cluster, how), "proxy")
        site.cluster.start("proxy")
        await site.cluster.ready()
        await site.completed(task)
        assert await site.result(task, tmp_path) == expected(images)
        [started] = node.events("task_started")
        assert started["task"] != task, "the first id was burned"
