"""Files that go to a node before the commit: a whole cluster with real processes, and what may go wrong meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.messages.nodes import LOCK_NODE, LockNode
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster
from tests.datasets import expected, make_images, processed
from tests.waiting import until

pytestmark = pytest.mark.slow

COMPLETED = 40


class Client:
    """Sends one dataset, one image per request, and tries again as clients do."""

    def __init__(self, cluster: Cluster, http: httpx.AsyncClient, images: Sequence[Path]) -> None:
        self.cluster = cluster
        self.http = http
        self.images = images
        self.task = ""

    async def begins(self) -> None:
        self.task = (await self._post("/task/new/init", data={"name": "test"}))["uuid"]

    async def sends(self, images: Sequence[Path]) -> None:
        for path in images:
            files = {"images": (path.name, path.read_bytes())}
            assert await self._post(f"/task/new/upload/{self.task}", files=files) == {"success": True}

    async def commits(self) -> None:
        assert await self._post(f"/task/new/commit/{self.task}") == {"uuid": self.task}

    async def _post(self, path: str, **body: object) -> dict[str, str]:
        found: list[dict[str, str]] = []

        async def answered() -> bool:
            try:
                answer = await self.http.post(path, **body)  # type: ignore[arg-type]
            except httpx.TransportError:
                return False
            if answer.status_code == 200:
                found.append(answer.json())
            return bool(found)

        await until(answered, timeout_s=30, step_s=0.2, what=f"an answer to {path}")
        return found[0]

    async def completes(self, folder: Path) -> dict[str, str]:
        """Wait for the end; names and digests of what was processed."""

        async def done() -> bool:
            try:
                answer = (await self.http.get(f"/task/{self.task}/info")).json()
            except httpx.TransportError:
                return False
            return bool(answer.get("status", {}).get("code") == COMPLETED)

        await until(done, timeout_s=60, step_s=0.1, what="the task to be completed")
        path = folder / "all.zip"
        path.write_bytes((await self.http.get(f"/task/{self.task}/download/all.zip")).content)
        return processed(path)


@asynccontextmanager
async def a_cluster(folder: Path, **settings: object) -> AsyncIterator[tuple[Cluster, Client]]:
    images = make_images(folder / "images", 8)
    async with (
        Cluster(
            folder, services=("scheduler", "proxy"), send_ahead_from_mb=0, commit_settle_s=0.5, **settings
        ) as cluster,
        httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=20) as http,
    ):
        yield cluster, Client(cluster, http, images)


def stored(node: NodeSimProcess) -> dict[str, list[str]]:
    """Say which files came in full, by the id of their task there."""
    files: dict[str, list[str]] = {}
    for event in node.events("file_stored"):
        files.setdefault(event["task"], []).append(event["file"])
    return files


async def has(node: NodeSimProcess, count: int) -> str:
    """Wait until a node has so many files of one task; its id there."""

    def there() -> str:
        return next((task for task, files in stored(node).items() if len(files) == count), "")

    await until(there, what=f"{count} files on {node}")
    return there()


async def is_removed(node: NodeSimProcess, task: str) -> None:
    await until(lambda: node.events("uploads_removed", task=task), timeout_s=30, what=f"{task} to be removed")


async def runs_once(nodes: Sequence[NodeSimProcess]) -> str:
    """See that one task was committed, on one node; its id there."""
    (event,) = [event for node in nodes for event in node.events("task_committed")]
    return str(event["task"])


async def test_the_files_are_there_at_the_commit_and_each_was_sent_once(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as (cluster, client), NodeSimProcess(task_time_s=0.2) as node:
        await cluster.add_node(node)
        await client.begins()
        await client.sends(client.images)
        ahead = await has(node, 8)
        assert node.events("task_committed") == []
        await client.commits()
        assert await client.completes(tmp_path) == expected(client.images)
        assert await runs_once([node]) == ahead != client.task
        assert sorted(stored(node)[ahead]) == [path.name for path in client.images]
        assert list(stored(node)) == [ahead]
        assert "stage_in.confirmed" in cluster.log("proxy")
    assert list((tmp_path / "data" / "spool").rglob("ahead.json")) == []


async def test_a_node_that_is_locked_meanwhile_keeps_nothing_and_the_task_runs_elsewhere(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as (cluster, client), NodeSimProcess() as one, NodeSimProcess() as two:
        view = await cluster.add_node(one)
        await client.begins()
        await client.sends(client.images[:4])
        ahead = await has(one, 4)
        await cluster.add_node(two)
        await cluster.bus.request(LOCK_NODE, LockNode(node=view.id))
        await client.sends(client.images[4:])
        await client.commits()
        assert await client.completes(tmp_path) == expected(client.images)
        await is_removed(one, ahead)
        assert await runs_once([two]) == await runs_once([one, two])
        assert not list(one.data_dir.rglob("*.JPG"))


async def test_a_proxy_that_is_killed_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as (cluster, client), NodeSimProcess() as node:
        await cluster.add_node(node)
        await client.begins()
        await client.sends(client.images[:4])
        before = await has(node, 4)
        cluster.kill("proxy")
        cluster.start("proxy")
        await client.sends(client.images[4:])
        await is_removed(node, before)
        await client.commits()
        assert await client.completes(tmp_path) == expected(client.images)
        assert await runs_once([node]) != before
        assert not list((node.data_dir / "tmp").iterdir())


async def test_a_proxy_that_is_killed_at_the_commit_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as (cluster, client), NodeSimProcess() as node:
        await cluster.add_node(node)
        await client.begins()
        await client.sends(client.images)
        await has(node, 8)
        await client.commits()
        cluster.kill("proxy")
        cluster.start("proxy")
        assert await client.completes(tmp_path) == expected(client.images)
        await runs_once([node])


async def test_a_scheduler_that_is_killed_changes_nothing(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as (cluster, client), NodeSimProcess() as node:
        await cluster.add_node(node)
        await client.begins()
        await client.sends(client.images[:4])
        ahead = await has(node, 4)
        cluster.kill("scheduler")
        await client.sends(client.images[4:])
        await has(node, 8)
        cluster.start("scheduler")
        await client.commits()
        assert await client.completes(tmp_path) == expected(client.images)
        assert await runs_once([node]) in {ahead, client.task}  # the second when it took the node for away


async def test_a_node_that_dies_costs_a_transfer_and_no_file(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as (cluster, client), NodeSimProcess() as one, NodeSimProcess() as two:
        await cluster.add_node(one)
        await client.begins()
        await client.sends(client.images[:4])
        await has(one, 4)
        one.kill()
        await cluster.add_node(two)
        await client.sends(client.images[4:])
        await client.commits()
        assert await client.completes(tmp_path) == expected(client.images)
        await runs_once([one, two])


async def test_two_uploads_at_once_go_to_two_nodes_and_run_there(tmp_path: Path) -> None:
    async with a_cluster(tmp_path) as (cluster, first), NodeSimProcess() as one, NodeSimProcess() as two:
        second = Client(cluster, first.http, first.images)
        await cluster.add_node(one)
        await cluster.add_node(two)
        for client in (first, second):
            await client.begins()
            await client.sends(client.images)
        ahead = await asyncio.gather(has(one, 8), has(two, 8))
        await second.commits()
        await first.commits()
        for client in (first, second):
            assert await client.completes(tmp_path) == expected(client.images)
        assert [await runs_once([node]) for node in (one, two)] == ahead


async def test_what_is_switched_off_sends_nothing_ahead(tmp_path: Path) -> None:
    async with a_cluster(tmp_path, send_ahead_of_commit=False) as (cluster, client), NodeSimProcess() as node:
        await cluster.add_node(node)
        await client.begins()
        await client.sends(client.images)
        await client.commits()
        assert await client.completes(tmp_path) == expected(client.images)
        assert await runs_once([node]) == client.task
