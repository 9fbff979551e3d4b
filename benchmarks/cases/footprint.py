"""What the cluster takes when it does nothing, and at most."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.cases.case import MB, Case, Contender, Metric
from benchmarks.processes import cpu_s, proportional_bytes, resident_bytes
from benchmarks.programs import told_by
from benchmarks.stages import Bare, Doors
from benchmarks.subjects import Subject, remove_folder
from tests.datasets import make_images
from tests.e2e.up import Up
from tests.waiting import until_sync

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
        return [Contender("clusterodm", "nats-server, four services, their keepers", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Start, settle, look, stop."""
        self._number += 1
        return await asyncio.to_thread(started_up, self.on.folder / f"data{self._number}")


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
