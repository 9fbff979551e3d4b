"""The power goes while commits are answered: what was answered before is in the store, however the store looks then.

A power cut is a store that stops in the middle of anything. Here it is copied file by file at random moments while commits
go on, which is worse than a disk that stops: the copy's files are from different moments. A fresh nats-server opens it and must
hold every task whose commit had been answered when the copy began. That an answer comes only after the disk has it is
what `sync_interval: always` is for; that every nats-server of ours is started with it is tested too.
"""

import asyncio
import random
import re
import shutil
from pathlib import Path

import httpx
import pytest

from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.model.values import TaskId
from tests.chaos.clients import Dataset, Raw
from tests.chaos.saying import say
from tests.cluster import Cluster
from tests.datasets import make_images
from tests.forked import REPOSITORY
from tests.nats import NatsServer
from tests.recorded import recorded_tasks
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COPIES_COUNT = 6
CLIENTS_COUNT = 8


async def test_a_copy_of_the_store_taken_at_any_moment_holds_every_commit_that_was_answered(
    tmp_path: Path, chance: random.Random
):
    images = make_images(tmp_path / "images", 1, size_bytes=500)
    answered: list[str] = []
    copies: list[tuple[Path, list[str]]] = []
    async with Cluster(tmp_path, services=("scheduler", "proxy")) as cluster, asyncio.TaskGroup() as group:
        clients = [
            group.create_task(commit_for_ever(cluster, images, answered), name=f"client {number}")
            for number in range(CLIENTS_COUNT)
        ]
        for number in range(COPIES_COUNT):
            await until(lambda number=number: len(answered) > 5 * number, what="more commits")  # type: ignore[misc]
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            before, copy = list(answered), tmp_path / f"copy{number}"
            await asyncio.to_thread(shutil.copytree, cluster.nats.store / "js", copy / "js")
            copies.append((copy, before))
            say(f"copy {number}: {len(before)} commits answered before, {len(answered)} when it was done")
        for client in clients:
            client.cancel()
    assert len(copies[-1][1]) > 20
    for copy, before in copies:
        held = await tasks_in(copy)
        assert set(before) - held == set(), f"lost in {copy.name}"
        say(f"{copy.name}: opened, holds {len(held)} tasks, all {len(before)} answered ones")


async def commit_for_ever(cluster: Cluster, images: list[Path], answered: list[str]) -> None:
    """Commit one task after the other, and note each that was answered."""
    async with httpx.AsyncClient(base_url=cluster.url, trust_env=False, timeout=10) as http:
        while True:
            data = Dataset(images)
            await Raw(cluster.url).commit(http, data)
            answered.append(data.task)


async def tasks_in(store: Path) -> set[TaskId]:
    """Open a store in a fresh nats-server and list its tasks."""
    server = NatsServer(store)
    await asyncio.to_thread(server.start)
    try:
        async with connect(server.url, "test") as bus:
            return set(await recorded_tasks(bus))
    finally:
        await asyncio.to_thread(server.stop)


def test_every_nats_server_of_ours_writes_before_it_answers():
    stores = [
        (path, block)
        for folder in ("deploy", "tests")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and path.suffix in {".py", ".conf", ".yml", ".yaml", ".j2"} and path != Path(__file__)
        for block in re.findall(r"jetstream\s*:?\s*\{+[^}]*store_dir[^}]*\}?[^}]*\}", path.read_text())
    ]
    assert {path.parts[len(REPOSITORY.parts)] for path, _ in stores} == {"deploy", "tests"}
    for path, block in stores:
        assert re.search(r"sync_interval:\s*always", block) or is_a_parameter(block, path), path


def is_a_parameter(block: str, path: Path) -> bool:
    """Whether whoever starts that server says how it writes, and none does unless told otherwise."""
    return "sync_interval: {sync_interval}" in block and 'sync_interval: str = "always"' in path.read_text()
