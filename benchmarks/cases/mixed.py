"""Small answers while large ones pass."""

import asyncio
from collections.abc import Sequence
from functools import partial

from benchmarks.cases.case import MB, P50, P99, RATE_MB, Case, Contender
from benchmarks.programs import told_by
from benchmarks.stages import Doors
from benchmarks.subjects import Subject, remove_folder
from tests.datasets import make_images

SECONDS = 5
AT_ONCE = 16


class InfoUnderLoad(Case[Doors]):
    """How long `/info` takes when the proxy is busy."""

    name = "info-under-load"
    sentence = "How long GET /info takes, asked up to 100 times a second, while 16 uploads and 16 downloads run as fast as they can."
    metrics = (P99, P50, RATE_MB)
    stage = Doors
    rounds_limit_count = 3

    async def contenders(self) -> Sequence[Contender]:
        """Write the images; name those that take uploads and answer /info."""
        self._images = self.on.folder / "images-mixed"
        await asyncio.to_thread(make_images, self._images, AT_ONCE, size_bytes=8 * MB)
        made = [Contender("clusterodm", "parses and stores, relays, answers from memory", self.ours)]
        if self.on.node:
            peer = partial(self.peer, self.on.node, "")
            made.append(Contender("Node.js", "busboy and http-proxy, answers from memory", peer))
        if self.on.nginx:
            made.append(Contender("nginx", "relays all three", partial(self.peer, self.on.nginx, "")))
        return made

    async def ours(self) -> dict[str, float]:
        """Measure our proxy."""
        task = await self.on.new_upload()
        numbers = await self.measured(self.on.ours, f"/task/new/upload/{task}")
        await remove_folder(self.on.running.spool / task)
        return numbers

    async def peer(self, peer: Subject, door: str) -> dict[str, float]:
        """Measure a peer."""
        task = "44444444-4444-4444-8444-444444444444"
        numbers = await self.measured(peer, f"/task/new/upload/{task}", door)
        await remove_folder(self.on.folder / "node" / task)
        return numbers

    async def measured(self, subject: Subject, upload: str, door: str = "") -> dict[str, float]:
        """Ask while both loads run."""
        options = ["--connections", str(AT_ONCE), "--seconds", str(SECONDS + 1.5)]
        result = subject.url(f"/task/{self.on.task}/download/all.zip", door)
        async with asyncio.TaskGroup() as group:
            up = group.create_task(
                told_by("benchmarks.load", "upload", subject.url(upload, door), "--folder", str(self._images), *options)
            )
            down = group.create_task(told_by("benchmarks.load", "download", result, "--part-mb", "16", *options))
            await asyncio.sleep(1)  # both are at work by then; what comes before is no load
            asked = await told_by("benchmarks.load", "ask", subject.url("/info", door), "--seconds", str(SECONDS))
        moved = sum(load["bytes"] / MB / load["seconds"] for load in (up.result(), down.result()))
        return {"p50": asked["p50"], "p99": asked["p99"], "rate": moved}
