"""Archives whose number of images nobody knows, on nodes that take only so many."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyodm.types import TaskStatus

from clusterodm.libs.common.messages.tasks import LIST_TASKS, ListTasks
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.autoscaled import autoscaled, content_of
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.rented import machines_of
from tests.seaweed import Seaweed
from tests.served_zip import served_zip
from tests.waiting import until

pytestmark = pytest.mark.slow

IMAGES_COUNT = 7


def images(folder: Path) -> list[Path]:
    return make_images(folder / "images", IMAGES_COUNT)


async def info(http: httpx.AsyncClient, task: str) -> dict[str, Any]:
    said: dict[str, Any] = (await http.get(f"/task/{task}/info", params={"with_output": 0})).json()
    return said


async def has_code(http: httpx.AsyncClient, task: str, code: TaskStatus) -> dict[str, Any]:
    async def reached() -> dict[str, Any] | None:
        said = await info(http, task)
        return said if said["status"]["code"] == code.value else None

    found: dict[str, Any] = await until(reached, timeout_s=40, step_s=0.1, what=f"{task} to be {code.name}")
    return found


async def test_a_zip_that_is_too_large_for_the_free_node_is_done_by_the_larger_one_that_was_busy(tmp_path: Path):
    async with (
        Cluster(tmp_path) as cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=20) as http,
        served_zip(tmp_path, images(tmp_path)) as url,
    ):
        with NodeSimProcess(max_images=2) as small, NodeSimProcess(max_images=100, task_time_s=600) as large:
            await cluster.add_node(large)
            files = [("images", (f"{number}.jpg", b"x")) for number in range(5)]
            other = (await http.post("/task/new", files=files)).json()["uuid"]
            await has_code(http, other, TaskStatus.RUNNING)
            await cluster.add_node(small)

            task = (await http.post("/task/new", data={"zipurl": url})).json()["uuid"]
            await until(lambda: small.events("task_refused"), timeout_s=30, what="the small node to refuse it")
            assert "8 images uploaded" in small.events("task_refused")[0]["error"]

            waits = await has_code(http, task, TaskStatus.QUEUED)
            assert waits["imagesCount"] == -1
            assert [each.images_count for each in await listed(cluster, task)] == [None]
            await asyncio.to_thread(large.set, task_time_s=0.2)
            await http.post("/task/cancel", data={"uuid": other})

            ended = await has_code(http, task, TaskStatus.COMPLETED)
            assert ended["imagesCount"] == IMAGES_COUNT
            assert [each.images_count for each in await listed(cluster, task)] == [IMAGES_COUNT]
            assert len(small.events("task_refused")) == 1


async def listed(cluster: Cluster, task: str) -> list[Any]:
    return [each for each in (await cluster.bus.request(LIST_TASKS, ListTasks())).tasks if each.id == task]


async def test_a_zip_that_is_too_large_for_every_node_fails_with_one_sentence(tmp_path: Path):
    async with (
        Cluster(tmp_path) as cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=20) as http,
        served_zip(tmp_path, images(tmp_path)) as url,
    ):
        with NodeSimProcess(max_images=2) as node:
            await cluster.add_node(node)
            task = (await http.post("/task/new", data={"zipurl": url})).json()["uuid"]

            failed = await has_code(http, task, TaskStatus.FAILED)
            assert failed["status"]["errorMessage"] == (
                "No node takes 8 images (the largest limit is 2), and no machine that does can be rented"
            )
            assert len(node.events("task_refused")) == 1


async def test_a_zip_that_is_too_large_for_every_node_is_done_by_a_machine_for_as_many_images(
    tmp_path: Path, seaweed: Seaweed
):
    sizes = [
        {"maxImages": 5, "slug": "s-small"},
        {"maxImages": 20, "slug": "s-medium"},
        {"maxImages": 90, "slug": "s-large"},
    ]
    content = content_of("digitalocean", seaweed) | {"imageSizeMapping": sizes}
    async with (
        autoscaled(tmp_path, content) as (cluster, _),
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=20) as http,
        served_zip(tmp_path, images(tmp_path)) as url,
    ):
        with NodeSimProcess(max_images=2) as small:
            await cluster.add_node(small)
            task = (await http.post("/task/new", data={"zipurl": url})).json()["uuid"]

            ended = await has_code(http, task, TaskStatus.COMPLETED)
            assert ended["imagesCount"] == IMAGES_COUNT
            assert len(small.events("task_refused")) == 1
            assert [machine.size for machine in await machines_of(cluster)] == ["s-medium"]
