"""Two proxy processes behind no balancer at all: a client may ask either, whatever happens to the other."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyodm.types import TaskStatus

from clusterodm.libs.common.messages.nodes import LOCK_NODE, UNLOCK_NODE, LockNode, NodeRef
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster, answers
from tests.datasets import expected, make_images, processed
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.slow

SECOND = "proxy#2"


class Pair:
    """A cluster with two proxies, and a client of each."""

    def __init__(self, cluster: Cluster, port: int, one: httpx.AsyncClient, two: httpx.AsyncClient) -> None:
        self.cluster = cluster
        self.port = port
        self.one = one
        self.two = two

    async def ready(self) -> None:
        await until(lambda: asyncio.to_thread(answers, f"http://127.0.0.1:{self.port}/healthz"), timeout_s=60)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    async with a_pair(tmp_path) as pair:
        yield pair


@asynccontextmanager
async def a_pair(tmp_path: Path, **settings: Any) -> AsyncIterator[Pair]:
    async with Cluster(tmp_path, holder_silence_s=2, **settings) as cluster:
        port = free_port()
        cluster.overrides = {
            "proxy": {"CLUSTERODM_PROXY_URL": cluster.url},
            SECOND: {
                "CLUSTERODM_PORT": str(port),
                "CLUSTERODM_SPOOL_DIR": str(tmp_path / "spool2"),
                "CLUSTERODM_PROXY_URL": f"http://127.0.0.1:{port}",
            },
        }
        await asyncio.to_thread(cluster.stop, "proxy")
        cluster.start("proxy")
        cluster.start(SECOND)
        async with client(cluster.url) as one, client(f"http://127.0.0.1:{port}") as two:
            pair = Pair(cluster, port, one, two)
            await cluster.ready()
            await pair.ready()
            yield pair


@asynccontextmanager
async def client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        yield http


def send(http: httpx.AsyncClient, task: str, path: Path) -> Awaitable[httpx.Response]:
    return http.post(f"/task/new/upload/{task}", files={"images": (path.name, path.read_bytes())})


async def completed(http: httpx.AsyncClient, task: str) -> None:
    async def done() -> bool:
        told: dict[str, Any] = (await http.get(f"/task/{task}/info")).json()
        assert told["status"]["code"] in (10, 20, 40), told
        return bool(told["status"]["code"] == TaskStatus.COMPLETED.value)

    await until(done, timeout_s=30, step_s=0.1, what=f"{task} to be completed")


async def test_every_request_of_a_task_may_go_to_another_proxy(pair: Pair, tmp_path: Path):
    images = make_images(tmp_path / "images", 6)
    async with pair.cluster.node(task_time_s=0.3):
        task = (await pair.one.post("/task/new/init", data={"name": "both"})).json()["uuid"]
        for number, path in enumerate(images):
            answer = await send((pair.one, pair.two)[number % 2], task, path)
            assert answer.json() == {"success": True}
        assert (await pair.two.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        assert (await pair.one.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        assert {"uuid": task} in (await pair.two.get("/task/list")).json()
        await completed(pair.two, task)
        (tmp_path / "all.zip").write_bytes((await pair.two.get(f"/task/{task}/download/all.zip")).content)
        assert processed(tmp_path / "all.zip") == expected(images)
        assert (await pair.two.post("/task/remove", data={"uuid": task})).json() == {"success": True}
        await until(lambda: not list(pair.cluster.spool.glob("*-*")), what="the spool of the holder to be empty")


async def test_an_upload_owner_killed_in_the_middle_of_an_upload_takes_it_up_again(pair: Pair, tmp_path: Path):
    images = make_images(tmp_path / "images", 4)
    async with pair.cluster.node(task_time_s=0.3):
        task = (await pair.one.post("/task/new/init", data={"name": "killed"})).json()["uuid"]
        assert (await send(pair.two, task, images[0])).json() == {"success": True}

        await asyncio.to_thread(pair.cluster.kill, "proxy")
        refused = [await send(pair.two, task, images[1]), await pair.two.post(f"/task/new/commit/{task}")]
        assert [(answer.status_code, "try again" in answer.json()["error"]) for answer in refused] == [(503, True)] * 2
        other = (await pair.two.post("/task/new/init", data={"name": "meanwhile"})).json()
        assert "uuid" in other

        pair.cluster.start("proxy")
        await pair.cluster.ready()
        for path in images[1:]:
            assert (await send(pair.two, task, path)).json() == {"success": True}
        assert (await pair.two.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        await completed(pair.two, task)
        (tmp_path / "all.zip").write_bytes((await pair.two.get(f"/task/{task}/download/all.zip")).content)
        assert processed(tmp_path / "all.zip") == expected(images)


async def test_polls_and_actions_work_while_the_upload_owner_is_dead(pair: Pair, tmp_path: Path):
    [image] = make_images(tmp_path / "images", 1)
    async with NodeSimProcess(task_time_s=60) as node:
        await pair.cluster.add_node(node)
        task = (await pair.one.post("/task/new/init", data={"name": "running"})).json()["uuid"]
        await send(pair.one, task, image)
        await pair.one.post(f"/task/new/commit/{task}")
        await until(lambda: node.events("task_started"))
        await asyncio.to_thread(pair.cluster.kill, "proxy")

        assert (await pair.two.get(f"/task/{task}/info")).json()["status"]["code"] in (10, 20)
        assert (await pair.two.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
        assert (await pair.two.post("/task/cancel", data={"uuid": task})).json() == {"success": True}
        assert (await pair.two.get(f"/task/{task}/info")).json()["status"]["code"] == TaskStatus.CANCELED.value


async def commit(http: httpx.AsyncClient, name: str, image: Path) -> str:
    task: str = (await http.post("/task/new/init", data={"name": name})).json()["uuid"]
    await send(http, task, image)
    assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
    return task


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_slot_that_became_free_for_a_proxy_that_has_just_died_goes_to_one_that_lives(
    pair: Pair, tmp_path: Path, how: signal.Signals
):
    [image] = make_images(tmp_path / "images", 1)
    async with NodeSimProcess(task_time_s=0.3) as node:
        view = await pair.cluster.add_node(node)
        await pair.cluster.bus.request(LOCK_NODE, LockNode(node=view.id))
        older, younger = await commit(pair.one, "older", image), await commit(pair.two, "younger", image)
        pair.cluster.send("proxy", how)
        await pair.cluster.bus.request(UNLOCK_NODE, NodeRef(node=view.id))
        await completed(pair.two, younger)
        lines: list[str] = (await pair.two.get(f"/task/{older}/output")).json()
        assert any("its proxy has not taken it up within 3 s" in line for line in lines), lines
        if how is signal.SIGKILL:
            await asyncio.to_thread(pair.cluster.kill, "proxy")
            pair.cluster.start("proxy")
        else:
            pair.cluster.send("proxy", signal.SIGCONT)
        await completed(pair.two, older)
        assert len(node.events("task_started")) == 2


async def test_a_task_says_that_it_waits_for_its_proxy_and_another_on_that_spool_goes_on_with_it(
    pair: Pair, tmp_path: Path
):
    images = make_images(tmp_path / "images", 2)
    task = (await pair.one.post("/task/new/init", data={"name": "waiting"})).json()["uuid"]
    for path in images:
        await send(pair.one, task, path)
    assert (await pair.one.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
    await asyncio.to_thread(pair.cluster.kill, "proxy")
    async with pair.cluster.node(task_time_s=0.3):
        line = f"Waiting for proxy {pair.cluster.url}, which holds the photos and does not answer"

        async def is_told() -> bool:
            return any(shown.startswith(line) for shown in (await pair.two.get(f"/task/{task}/output")).json())

        await until(is_told, timeout_s=60, step_s=0.2, what="the console to say so")
        assert (await pair.two.get(f"/task/{task}/info")).json()["status"]["code"] == TaskStatus.QUEUED.value
        port = free_port()
        pair.cluster.overrides["proxy#3"] = {
            "CLUSTERODM_PORT": str(port),
            "CLUSTERODM_SPOOL_DIR": str(pair.cluster.spool),
            "CLUSTERODM_PROXY_URL": f"http://127.0.0.1:{port}",
        }
        pair.cluster.start("proxy#3")
        await completed(pair.two, task)
        (tmp_path / "all.zip").write_bytes((await pair.two.get(f"/task/{task}/download/all.zip")).content)
        assert processed(tmp_path / "all.zip") == expected(images)


async def committed(http: httpx.AsyncClient, images: list[Path]) -> str:
    task: str = (await http.post("/task/new/init", data={"name": "one of two"})).json()["uuid"]
    for path in images:
        assert (await send(http, task, path)).json() == {"success": True}
    assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
    return task


async def test_a_task_behind_one_that_came_past_the_cluster_is_never_earlier_than_it_was(tmp_path: Path):
    images = make_images(tmp_path / "images", 2)
    told: list[int] = []
    async with (
        a_pair(tmp_path, probe_every_s=600, services=("scheduler", "proxy")) as pair,
        pair.cluster.node(task_time_s=600) as node,
        client(node.url) as past_the_cluster,
    ):
        other = await committed(past_the_cluster, images)
        await until(lambda: bool(node.events("task_started")), what="the node to be at work")
        node.set(task_time_s=0.3)
        task = await committed(pair.one, images)

        async def polled() -> list[int]:
            answers_of_both = [(await http.get(f"/task/{task}/info")).json() for http in (pair.one, pair.two)]
            told.extend(answer["status"]["code"] for answer in answers_of_both)
            return told[-2:]

        async def is_seen_queued() -> bool:
            await polled()
            known = (await pair.cluster.bus.request(GET_TASK, TaskRef(task=TaskId(task)))).task.known
            return known is not None and known.code is StatusCode.QUEUED

        async def is_completed() -> bool:
            return await polled() == [StatusCode.COMPLETED] * 2

        await until(is_seen_queued, timeout_s=60, what="the scheduler to see it queued on its node")
        for _ in range(3):
            await polled()
        assert (await past_the_cluster.post("/task/cancel", data={"uuid": other})).json() == {"success": True}
        await until(is_completed, timeout_s=60, what="it to be completed")
    assert told == sorted(told)
