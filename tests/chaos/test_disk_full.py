"""The disk is full, to the last byte: clients hear it clearly, nothing is corrupt, and with the space everything comes back.

A small tmpfs is the disk, a ballast file fills it; that takes root, so without it these tests are skipped.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import NODES
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.ports import Bucket
from clusterodm.libs.nodesim.testing import NodeSimProcess
from clusterodm.services.proxy.errors import SpoolFull
from clusterodm.services.proxy.spool.adapters.disk import write_durably
from clusterodm.services.proxy.spool.adapters.notes import NotesRoom
from tests.chaos.clients import Dataset, Raw, decoded
from tests.chaos.saying import say
from tests.cluster import Cluster
from tests.datasets import make_images, processed
from tests.e2e.up import Up
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

MB = 1 << 20
NODE = Node(id=NodeId("a-3000"), hostname="a", port=3000)


class Disk:
    """A small file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def free_bytes(self) -> int:
        """What is left."""
        space = os.statvfs(self.folder)
        return space.f_bavail * space.f_frsize

    def fill(self) -> None:
        """Take every byte that is left."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for block in (b"\0" * MB, b"\0" * 4096):
                with contextlib.suppress(OSError):
                    while True:
                        ballast.write(block)
        say(f"the disk is full: {self.free_bytes} bytes are free")

    def leave(self, free_bytes: int) -> None:
        """Take all but so much."""
        with self._ballast.open("ab", buffering=0) as ballast:
            while self.free_bytes > free_bytes:
                ballast.write(b"\0" * min(MB, self.free_bytes - free_bytes))
        say(f"{self.free_bytes / MB:.1f} MB are left")

    def free(self) -> None:
        """Give it back."""
        self._ballast.unlink()
        say(f"there is room again: {self.free_bytes / MB:.1f} MB")


@contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Disk]:
    """Mount a tmpfs of this size."""
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "small", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        yield http


def require_refusal(answer: httpx.Response) -> str:
    """A clear one: not a success, and JSON with a reason."""
    told = decoded(answer)
    assert answer.status_code >= 400, answer.text
    assert told["error"], answer.text
    return f"{answer.status_code} {told['error']}"


async def require_info(http: httpx.AsyncClient, cluster: Cluster) -> None:
    """`/info` answers, soon."""
    began_s = time.monotonic()
    answer = await http.get(f"{cluster.url}/info")
    assert answer.status_code == 200
    assert "version" in answer.json()
    assert time.monotonic() - began_s < 15


async def post(http: httpx.AsyncClient, cluster: Cluster, path: str, **more: Any) -> httpx.Response:
    return await http.post(f"{cluster.url}{path}", **more)


async def result(http: httpx.AsyncClient, cluster: Cluster, data: Dataset, folder: Path) -> dict[str, str]:
    path = folder / f"{data.task}.zip"
    path.write_bytes((await http.get(f"{cluster.url}/task/{data.task}/download/all.zip")).content)
    return processed(path)


async def test_a_full_spool_refuses_clearly_and_recovers(tmp_path: Path, http: httpx.AsyncClient):
    small = make_images(tmp_path / "small", 3, size_bytes=200_000)
    big = make_images(tmp_path / "big", 30, size_bytes=MB, seed=1)
    with small_disk(tmp_path / "data", 24 * MB) as disk:
        async with (
            NodeSimProcess(task_time_s=0.3) as node,
            Cluster(tmp_path, services=("scheduler", "proxy"), min_free_disk="4MB", keep_failed_inputs_h=0) as cluster,
        ):
            raw = Raw(cluster.url)
            before, half, greedy = Dataset(small), Dataset(small[:2]), Dataset(big)
            async with raw._http() as client:
                await raw.commit(client, before)
                await raw.upload(client, half)
            refusal = await fill_by_uploads(http, cluster, greedy)
            say(f"uploads are refused at {disk.free_bytes / MB:.1f} MB free: {refusal}")
            assert disk.free_bytes > MB
            disk.fill()
            image = {"images": ("late.JPG", small[0].read_bytes())}
            for path, more in {
                f"/task/new/upload/{half.task}": {"files": image},
                "/task/new/init": {"data": {"name": "late"}},
                "/task/new": {"files": image},
            }.items():
                say(f"{path}: {require_refusal(await post(http, cluster, path, **more))}")
            await require_info(http, cluster)
            committed = await post(http, cluster, f"/task/new/commit/{half.task}")
            say(f"commit: {committed.status_code} {committed.text}")
            if committed.status_code != 200:
                require_refusal(committed)
            await asyncio.to_thread(cluster.kill, "proxy")
            cluster.start("proxy")
            await cluster.ready()
            say("the proxy started on the full disk")
            await require_info(http, cluster)
            assert await polled(raw, before) == 10
            await cluster.add_node(node)
            await until(lambda: polled_as(raw, before, 40), timeout_s=30, what="the task from before to be completed")
            assert await result(http, cluster, before, tmp_path) == before.digests
            disk.free()
            assert (await post(http, cluster, f"/task/new/commit/{half.task}")).json() == {"uuid": half.task}
            await until(lambda: polled_as(raw, half, 40), timeout_s=30, what="the half-sent task to be completed")
            assert await result(http, cluster, half, tmp_path) == half.digests
            kept = sorted((cluster.spool / greedy.task / "files").iterdir())
            assert [path.stat().st_size for path in kept] == [MB + 6] * len(kept)
            greedy.images = big[: len(kept)]
            assert (await post(http, cluster, f"/task/new/commit/{greedy.task}")).json() == {"uuid": greedy.task}
            await until(lambda: polled_as(raw, greedy, 40), timeout_s=30, what="the greedy task to be completed")
            assert await result(http, cluster, greedy, tmp_path) == greedy.digests
            assert before.lies + half.lies + greedy.lies == []


async def fill_by_uploads(http: httpx.AsyncClient, cluster: Cluster, data: Dataset) -> str:
    """Upload until it is refused; the refusal."""
    answer = await post(http, cluster, "/task/new/init", data={"name": "big"}, headers={"set-uuid": data.task})
    assert answer.status_code == 200, answer.text
    for image in data.images:
        files = {"images": (image.name, image.read_bytes())}
        answer = await post(http, cluster, f"/task/new/upload/{data.task}", files=files)
        if answer.status_code != 200:
            return require_refusal(answer)
    raise AssertionError("everything went in")


async def polled(raw: Raw, data: Dataset) -> int | None:
    """Poll once."""
    async with raw._http() as client:
        return await raw.poll(client, data)


async def polled_as(raw: Raw, data: Dataset, code: int) -> bool:
    """Poll once and compare."""
    return await polled(raw, data) == code


async def test_of_two_uploads_that_do_not_fit_together_one_is_kept_and_the_other_leaves_nothing(
    tmp_path: Path, http: httpx.AsyncClient
):
    photo = os.urandom(40 * MB)
    with small_disk(tmp_path / "data", 64 * MB) as disk:
        async with Cluster(tmp_path, services=("scheduler", "proxy"), min_free_disk="4MB") as cluster:
            tasks = [(await post(http, cluster, "/task/new/init")).json()["uuid"] for _ in range(2)]
            answers = await asyncio.gather(
                *(post(http, cluster, f"/task/new/upload/{task}", files={"images": ("a.JPG", photo)}) for task in tasks)
            )
            assert sorted(answer.status_code for answer in answers) == [200, 507], [each.text for each in answers]
            won, lost = sorted(range(2), key=lambda number: answers[number].status_code)
            say(f"one is kept, the other hears {require_refusal(answers[lost])}")
            (kept,) = (cluster.spool / tasks[won] / "files").iterdir()
            assert kept.read_bytes() == photo
            await until(lambda: disk.free_bytes > 20 * MB, what="nothing of the other one to be left")
            assert (await post(http, cluster, f"/task/new/commit/{tasks[won]}")).json() == {"uuid": tasks[won]}
            small = {"images": ("b.JPG", photo[:MB])}
            assert (await post(http, cluster, f"/task/new/upload/{tasks[lost]}", files=small)).status_code == 200


def test_notes_about_what_is_there_are_written_on_a_full_disk(tmp_path: Path):
    with small_disk(tmp_path / "spool", MB) as disk, ThreadPoolExecutor(16) as threads:
        room, notes = NotesRoom(disk.folder / "room"), [disk.folder / f"{number}.mark" for number in range(16)]
        room.take()
        for note in notes:
            room.write(note, b"first")
        disk.fill()
        with pytest.raises(SpoolFull):
            write_durably(notes[0], b"second")
        for number in range(50):
            content = f"note {number}".encode()
            list(threads.map(lambda note, content=content: room.write(note, content), notes))  # type: ignore[misc]
            assert {note.read_bytes() for note in notes} == {content}
        assert sorted(path.name for path in disk.folder.iterdir()) == sorted(
            ["ballast", "room", *(note.name for note in notes)]
        )


async def test_a_full_disk_of_nats_refuses_commits_and_recovers_with_a_restart_of_nats(
    tmp_path: Path, http: httpx.AsyncClient
):
    images = make_images(tmp_path / "images", 2)
    with small_disk(tmp_path / "nats" / "js", 400 * MB) as disk:
        async with (
            NodeSimProcess(task_time_s=0.1, parallel_tasks=4) as node,
            Cluster(tmp_path, services=("scheduler", "proxy"), commit_wait_s=2) as cluster,
        ):
            raw = Raw(cluster.url)
            late, before = [Dataset(images) for _ in range(20)], Dataset(images)
            async with raw._http() as client:
                await raw.commit(client, before)
                for data in late:
                    await raw.upload(client, data)
            disk.fill()
            refusal = await commit_until_refused(http, cluster, late)
            say(f"commit: {refusal}, after {sum(data.committed for data in late)} that found room")
            await require_info(http, cluster)
            for data in [before, *(data for data in late if data.committed)]:
                assert await polled(raw, data) == 10
            disk.free()
            await asyncio.to_thread(cluster.nats.stop)
            await asyncio.to_thread(cluster.nats.start)
            for data in late:
                await until(lambda data=data: committed(http, cluster, data), timeout_s=30, step_s=0.3, what="a commit")  # type: ignore[misc]
            await cluster.add_node(node)
            for data in (before, *late):
                await until(lambda data=data: polled_as(raw, data, 40), timeout_s=30, what="completion")  # type: ignore[misc]
                assert await result(http, cluster, data, tmp_path) == data.digests
                assert data.lies == []
            assert len(node.events("task_finished")) == 21


async def commit_until_refused(http: httpx.AsyncClient, cluster: Cluster, late: list[Dataset]) -> str:
    """Commit one after the other; the refusal."""
    for data in late:
        answer = await post(http, cluster, f"/task/new/commit/{data.task}")
        if answer.status_code != 200:
            return require_refusal(answer)
        data.committed = True
    raise AssertionError("every commit was taken")


async def committed(http: httpx.AsyncClient, cluster: Cluster, data: Dataset) -> bool:
    """Commit, perhaps again."""
    answer = await post(http, cluster, f"/task/new/commit/{data.task}")
    return answer.status_code == 200 and answer.json() == {"uuid": data.task}


async def test_nats_of_up_writes_again_when_there_is_room_again(tmp_path: Path):
    with small_disk(tmp_path / "disk", 64 * MB) as disk, Up(disk.folder / "data") as up:
        url = json.loads((up.data_dir / "cluster.json").read_text())["nats_url"]
        async with connect(url, "test") as bus:
            bucket = await bus.bucket(NODES)
            await bucket.put(NODE.id, NODE)
            disk.fill()
            await until(lambda: fails(bucket), timeout_s=40, step_s=0, what="a write to be refused")
            say("nats-server refuses to write")
            disk.free()
            began_s = time.monotonic()
            await until(lambda: works(bucket), timeout_s=40, step_s=0.5, what="a write to be taken")
            say(f"it takes writes again {time.monotonic() - began_s:.1f} s after there was room")
            entry = await bucket.get(NODE.id)
            assert entry is not None
            assert entry.value == NODE


async def fails(bucket: Bucket[Node]) -> bool:
    """Write once; whether that was refused."""
    return not await works(bucket)


async def works(bucket: Bucket[Node]) -> bool:
    """Write once; whether that was taken."""
    try:
        await bucket.put(NODE.id, NODE)
    except BusFailed:
        return False
    return True


async def test_kept_inputs_go_oldest_first_when_the_disk_gets_scarce(tmp_path: Path, http: httpx.AsyncClient):
    images = make_images(tmp_path / "images", 3, size_bytes=2 * MB)
    canceled, old, young = (Dataset(images) for _ in range(3))
    with small_disk(tmp_path / "data", 80 * MB) as disk:
        async with (
            NodeSimProcess(task_time_s=600, parallel_tasks=3) as node,
            NodeSimProcess(task_time_s=1, parallel_tasks=3) as other,
            Cluster(
                tmp_path, services=("scheduler", "proxy"), min_free_disk="8MB", node_grace_s=5, retry_first_s=0.2
            ) as cluster,
        ):
            raw = Raw(cluster.url)
            await cluster.add_node(node)
            async with raw._http() as client:
                for data in (old, canceled, young):
                    await raw.commit(client, data)
                    await until(lambda data=data: is_running(node, data), timeout_s=30, what="the task to run")  # type: ignore[misc]
            assert (await post(http, cluster, "/task/cancel", data={"uuid": canceled.task})).json() == {"success": True}
            assert kept(cluster, canceled, old, young) == [3, 3, 3]
            disk.leave(15 * MB)
            await until(lambda: kept(cluster, canceled, old, young) == [0, 3, 3], timeout_s=45, what="the canceled one")
            say("what is kept for a restart goes first")
            disk.leave(15 * MB)
            await until(lambda: kept(cluster, canceled, old, young) == [0, 0, 3], timeout_s=45, what="the older one")
            say("then the oldest of those that run")
            assert (await post(http, cluster, "/task/restart", data={"uuid": canceled.task})).json() == {
                "success": True
            }
            await cluster.add_node(other)
            await asyncio.to_thread(node.kill)
            await until(
                lambda: polled_as(raw, young, 40), timeout_s=40, what="the one with its inputs to go on elsewhere"
            )
            failed = await until(lambda: failed_info(http, cluster, old), timeout_s=30, what="the one without to fail")
            say(f"without its inputs: {failed}")
            assert "inputs" in failed
            lines = (await http.get(f"{cluster.url}/task/{old.task}/output")).json()
            assert "Its inputs are not kept any more: the disk of the server that kept them is full" in lines
            assert await result(http, cluster, young, tmp_path) == young.digests


def is_running(node: NodeSimProcess, data: Dataset) -> bool:
    """Whether the node has begun with a task."""
    return bool(node.events("task_started", task=data.task))


def kept(cluster: Cluster, *datasets: Dataset) -> list[int]:
    """How many files the spool has of each task."""
    folders = (cluster.spool / data.task / "files" for data in datasets)
    return [len(list(folder.iterdir())) if folder.exists() else 0 for folder in folders]


async def failed_info(http: httpx.AsyncClient, cluster: Cluster, data: Dataset) -> str:
    """The reason of a task's failure; empty when it has not failed."""
    status = (await http.get(f"{cluster.url}/task/{data.task}/info")).json()["status"]
    return status["errorMessage"] if status["code"] == 30 else ""
