"""What the cluster takes when it does nothing, and at most."""

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.cases.case import MB, Case, Contender, Metric
from benchmarks.processes import cpu_s, proportional_bytes, resident_bytes
from benchmarks.programs import told_by
from benchmarks.stages import NODES_COUNT, Bare, Doors
from benchmarks.stub import address
from benchmarks.subjects import Subject, remove_folder, stub
from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.messages.nodes import ADD_NODE, LIST_NODES, AddNode, ListNodes
from tests.datasets import make_images
from tests.e2e.up import Up
from tests.waiting import until, until_sync

HALF = 100
LARGE_MB = 1024


class ProxyMemory(Case[Doors]):
    """The largest that the proxy becomes."""

    name = "proxy-memory"
    sentence = (
        "The largest resident size of the proxy while 100 uploads and 100 downloads run at once, and while one file of "
        "1 GB comes in."
    )
    metrics = (Metric("200 connections", "MB", 0), Metric("one file of 1 GB", "MB", 0))
    stage = Doors
    rounds_limit_count = 2

    async def contenders(self) -> Sequence[Contender]:
        """Write the images; name those that parse and store."""
        self._images, self._large = self.on.folder / "images-memory", self.on.folder / "image-large"
        await asyncio.to_thread(make_images, self._images, HALF, size_bytes=4 * MB)
        self._large.mkdir()
        with (self._large / "IMG_LARGE.JPG").open("wb") as file:
            file.truncate(LARGE_MB * MB)
        made = [Contender("clusterodm", "parses and stores, relays", self.ours)]
        if self.on.node:
            made.append(Contender("Node.js", "busboy and http-proxy", partial(self.peer, self.on.node)))
        return made

    async def ours(self) -> dict[str, float]:
        """Measure our proxy."""
        task = await self.on.new_upload()
        return await self.measured(self.on.ours, task, self.on.running.spool / task)

    async def peer(self, peer: Subject) -> dict[str, float]:
        """Measure a peer."""
        task = "55555555-5555-4555-8555-555555555555"
        return await self.measured(peer, task, self.on.folder / "node" / task)

    async def measured(self, subject: Subject, task: str, stored: Path) -> dict[str, float]:
        """Load it in two ways and look at its largest size after each."""
        upload, result = subject.url(f"/task/new/upload/{task}"), subject.url(f"/task/{self.on.task}/download/all.zip")
        many = ["--connections", str(HALF)]
        subject.forget_peak()
        async with asyncio.TaskGroup() as group:
            group.create_task(told_by("benchmarks.load", "upload", upload, "--folder", str(self._images), *many))
            group.create_task(told_by("benchmarks.load", "download", result, *many, "--part-mb", "32"))
        connections = subject.peak_bytes()
        subject.forget_peak()
        await told_by("benchmarks.load", "upload", upload, "--folder", str(self._large))
        large = subject.peak_bytes()
        await remove_folder(stored)
        return {"200 connections": connections / 1e6, "one file of 1 GB": large / 1e6}


class StartUp(Case[Bare]):
    """`clusterodm up` in an empty directory."""

    name = "start-up"
    sentence = (
        "`clusterodm up` in an empty directory: when it answers clients, when all is ready, what all of its processes "
        "(NATS too) take ten seconds later."
    )
    metrics = (
        Metric("first answer", "s", 2),
        Metric("ready", "s", 2),
        Metric("memory", "MB", 0),
        Metric("resident", "MB", 0),
        Metric("idle CPU", "% of a core", 1),
    )
    stage = Bare
    rounds_limit_count = 2

    async def contenders(self) -> Sequence[Contender]:
        """Only ours has anything to start."""
        self._number = 0
        return [Contender("clusterodm", "nats-server, four services, their supervisor", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Start, settle, look, stop."""
        self._number += 1
        return await asyncio.to_thread(started_up, self.on.folder / f"data{self._number}")


class IdleCluster(Case[Bare]):
    """`clusterodm up` with many nodes that nobody uses."""

    name = "idle-cluster"
    sentence = (
        "What all processes of `clusterodm up` use while 1,000 nodes are registered, probed every 5 s, and nothing else happens; "
        "and the scheduler alone."
    )
    metrics = (
        Metric("all", "% of a core", 1),
        Metric("scheduler", "% of a core", 1),
        Metric("memory", "MB", 0),
        Metric("nodes online", "", 0),
    )
    stage = Bare
    rounds_limit_count = 1
    warms_up = False
    SECONDS = 20

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        return [Contender("clusterodm", "probes each node, keeps totals", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Start, register, settle, look, stop."""
        up = Up(self.on.folder / "data-idle", environment={"CLUSTERODM_PROBE_EVERY_S": "5"})
        with stub(addresses_count=NODES_COUNT, slots_count=1, size_mb=1) as stub_port:
            await asyncio.to_thread(up.__enter__)
            try:
                online_count = await registered(up, stub_port)
                await asyncio.sleep(self.SECONDS)  # what registering costs is over by then
                used = await asyncio.to_thread(used_percent, up, self.SECONDS)
                return {**used, "nodes online": online_count}
            finally:
                await asyncio.to_thread(up.stop)


async def registered(up: Up, stub_port: int) -> int:
    """Register the nodes and wait until they are online; how many are."""
    url = json.loads((up.data_dir / "cluster.json").read_text())["nats_url"]
    async with connect(url, "bench") as bus:
        for number in range(NODES_COUNT):
            await bus.request(ADD_NODE, AddNode(hostname=address(number), port=stub_port), timeout_s=30)

        async def online_count() -> int:
            return sum(node.online for node in (await bus.request(LIST_NODES, ListNodes(), timeout_s=30)).nodes)

        async def all_online() -> bool:
            return await online_count() >= NODES_COUNT

        with contextlib.suppress(AssertionError):
            await until(all_online, timeout_s=60, step_s=0.5)
        return await online_count()


def used_percent(up: Up, seconds: float) -> dict[str, float]:
    """See what the processes use for a while."""
    processes, scheduler = up.processes(), [up.service("scheduler")]
    all_s, scheduler_s, since_s = cpu_s(processes), cpu_s(scheduler), time.monotonic()
    time.sleep(seconds)
    took_s = time.monotonic() - since_s
    return {
        "all": (cpu_s(processes) - all_s) / took_s * 100,
        "scheduler": (cpu_s(scheduler) - scheduler_s) / took_s * 100,
        "memory": proportional_bytes(processes) / 1e6,
    }


def started_up(folder: Path) -> dict[str, float]:
    """Start one cluster and look at it."""
    up = Up(folder, environment={"CLUSTERODM_PROBE_EVERY_S": "5"})
    began_s = time.monotonic()
    up.start()
    try:
        until_sync(up.healthy, timeout_s=40, step_s=0.01, what="clusterodm up to answer")
        answered_s = time.monotonic() - began_s
        up.ready()
        ready_s = time.monotonic() - began_s
        time.sleep(5)  # what starting up costs is over by then
        processes = up.processes()
        used_s, since_s = cpu_s(processes), time.monotonic()
        time.sleep(5)
        return {
            "first answer": answered_s,
            "ready": ready_s,
            "memory": proportional_bytes(processes) / 1e6,
            "resident": resident_bytes(processes) / 1e6,
            "idle CPU": (cpu_s(processes) - used_s) / (time.monotonic() - since_s) * 100,
        }
    finally:
        up.stop()
