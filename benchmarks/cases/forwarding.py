"""Files on their way to the node."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.cases.case import CPU_PER_GB, MB, RATE_MB, Case, Contender, Metric, per_gigabyte
from benchmarks.load import begin, commit
from benchmarks.programs import output_of, program, told_by
from benchmarks.stages import Bare, Doors, told
from benchmarks.subjects import PEERS, cluster, has_libcurl, remove_folder, stub
from clusterodm.libs.common.messages.nodes import ADD_NODE, AddNode
from tests.datasets import make_images
from tests.waiting import until

AT_ONCE = 20


class Forwarding(Case[Doors]):
    """The sender alone."""

    name = "forwarding"
    sentence = "What sending 128 staged images of 8 MB to a node costs per gigabyte, one per request, 20 at once."
    metrics = (CPU_PER_GB, RATE_MB)
    stage = Doors

    async def contenders(self) -> Sequence[Contender]:
        """Write the images; name who sends."""
        self._images = self.on.folder / "images-forwarding"
        await asyncio.to_thread(make_images, self._images, 128, size_bytes=8 * MB)
        ours = Contender("clusterodm", "the proxy's sender", partial(self.by_ours, "sender"))
        packages = self.on.packages
        if packages and has_libcurl(packages):
            return [ours, Contender("node-libcurl", "as the original sends", partial(self.by_libcurl, packages))]
        return [
            ours,
            Contender("curl", "one program per file, in place of node-libcurl", partial(self.by_ours, "curl")),
        ]

    async def by_ours(self, how: str) -> dict[str, float]:
        """Run one of our own senders."""
        arguments = (how, "127.0.0.1", str(self.on.node_port), str(self._images), str(AT_ONCE))
        moved = await told_by("benchmarks.forward", *arguments)
        return per_gigabyte(moved["cpu_s"], moved)

    async def by_libcurl(self, packages: Path) -> dict[str, float]:
        """Run the peer in Node.js, in the directory of its packages."""
        url = f"http://127.0.0.1:{self.on.node_port}/task/new/upload/11111111-1111-4111-8111-111111111111"
        arguments = (program("node"), str(PEERS / "forward.js"), url, str(self._images), str(AT_ONCE))
        moved = msgspec.json.decode(await output_of(*arguments, folder=packages), type=dict[str, float])
        return per_gigabyte(moved["cpu_s"], moved)


class HandOver(Case[Bare]):
    """How long a committed task waits for its transfer."""

    name = "hand-over"
    sentence = (
        "How long a node waits for a dataset of 128 images of 8 MB after its commit, when the link to the node takes 100 MB/s "
        "and the client sends 50 MB/s over 8 connections: size ÷ link speed when nothing goes ahead of the commit."
    )
    metrics = (Metric("commit to running", "s", 2), Metric("size ÷ link speed", "s", 2))
    stage = Bare
    rounds_limit_count = 2
    warms_up = False
    LINK_MB, CLIENT_MB, SIZE_MB = 100, 50, 1024

    async def contenders(self) -> Sequence[Contender]:
        """Write the images; only ours is measured."""
        self._images = self.on.folder / "images"
        await asyncio.to_thread(make_images, self._images, self.SIZE_MB // 8, size_bytes=8 * MB)
        return [Contender("clusterodm", "uploads, commits, waits for the node's commit", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Send one dataset through a cluster of its own."""
        async with self.door() as (url, node_port):
            task = "33333333-3333-4333-8333-333333333333"
            await asyncio.to_thread(begin, url, task)
            options = ["--folder", str(self._images), "--connections", "8", "--speed", str(self.CLIENT_MB)]
            await told_by("benchmarks.load", "upload", f"{url}/task/new/upload/{task}", *options)
            committed_at_s = await asyncio.to_thread(commit, url, task)

            async def arrived() -> dict[str, float]:
                return await asyncio.to_thread(told, node_port)

            await until(arrived, timeout_s=60, step_s=0.05, what="the node to be given the task")
            given_at_s = next(iter((await arrived()).values()))
        return {"commit to running": given_at_s - committed_at_s, "size ÷ link speed": self.SIZE_MB / self.LINK_MB}

    @asynccontextmanager
    async def door(self) -> AsyncIterator[tuple[str, int]]:
        """Run a cluster whose link to its node is slow."""
        folder = self.on.folder / "hand-over"
        with stub() as node_port:
            async with cluster(folder, upload_max_speed=self.LINK_MB * MB) as (running, _):
                await running.bus.request(ADD_NODE, AddNode(hostname="127.0.0.1", port=node_port), timeout_s=10)
                yield running.url, node_port
        await remove_folder(folder)
