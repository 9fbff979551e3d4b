"""A node that answers with errors, and a client that changes its mind: a whole cluster with real processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster
from tests.datasets import expected, make_images, processed
from tests.waiting import until

pytestmark = pytest.mark.slow

COMPLETED, CANCELED = 40, 50


@asynccontextmanager
async def a_cluster(folder: Path, node: NodeSimProcess, **settings: object) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        Cluster(folder, services=("scheduler", "proxy"), **settings) as cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=30) as http,
    ):
        await cluster.add_node(node)
        yield http


async def commits(http: httpx.AsyncClient, images: list[Path]) -> str:
    task = str((await http.post("/task/new/init", data={"name": "test"})).json()["uuid"])
    for path in images:
        files = {"images": (path.name, path.read_bytes())}
        assert (await http.post(f"/task/new/upload/{task}", files=files)).json() == {"success": True}
    assert (await http.post(f"/task/new/commit/{task}")).json() == {"uuid": task}
    return task


async def ends(http: httpx.AsyncClient, task: str) -> int:
    async def code() -> int:
        found = int((await http.get(f"/task/{task}/info")).json()["status"]["code"])
        return found if found >= COMPLETED else 0

    await until(code, timeout_s=60, step_s=0.1, what="the task to end")
    return await code()


@pytest.mark.parametrize("ahead", [False, True], ids=["after the commit", "ahead of it"])
async def test_with_every_other_upload_answered_500_a_task_runs_in_one_attempt(tmp_path: Path, ahead: bool) -> None:
    images = make_images(tmp_path / "images", 20)
    settings = {"send_ahead_from_mb": 0, "send_ahead_of_commit": ahead}
    with NodeSimProcess(task_time_s=0.2, drop_upload_part=0.5, drop_seed=7) as node:
        async with a_cluster(tmp_path, node, **settings) as http:
            task = await commits(http, images)
            assert await ends(http, task) == COMPLETED
            archive = tmp_path / "all.zip"
            archive.write_bytes((await http.get(f"/task/{task}/download/all.zip")).content)
            assert processed(archive) == expected(images)
        assert len(node.events("task_committed")) == 1
        assert node.events("upload_dropped")
        assert not list((node.data_dir / "tmp").iterdir())


async def test_a_task_canceled_while_it_is_sent_leaves_nothing_on_the_node(tmp_path: Path) -> None:
    images = make_images(tmp_path / "images", 20)
    with NodeSimProcess() as node:
        async with a_cluster(tmp_path, node, send_ahead_of_commit=False) as http:
            node.set(answer_delay_s=1.0)
            task = await commits(http, images)
            await until(lambda: node.events("file_stored"), timeout_s=45, what="files are on their way")
            assert (await http.post("/task/cancel", data={"uuid": task})).json() == {"success": True}
            assert await ends(http, task) == CANCELED
            await until(lambda: not list((node.data_dir / "tmp").iterdir()), timeout_s=45, what="nothing to be left")
        assert not node.events("task_committed")
