"""Images on their way in."""

import asyncio
import shutil
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import ClassVar

from benchmarks.cases.case import CPU_PER_GB, CPU_PER_REQUEST, MB, RATE_MB, Case, Contender, Metric, moving
from benchmarks.programs import Broken, told_by
from benchmarks.stages import Doors, Receiving
from benchmarks.subjects import Subject
from tests.datasets import make_images

STORES = {
    "clusterodm": "parses, stores each file, compares files of one name, publishes them all together",
    "nginx": "stores the body as it is, parses nothing",
    "HAProxy": "relays to the node, stores nothing",
    "Node.js": "parses with busboy, stores each file",
}


class Uploads(Case[Doors]):
    """Large images, one per request."""

    name = "uploads"
    sentence = "What receiving 128 images of 8 MB costs per gigabyte: one per request and connection, 16 at once."
    metrics: ClassVar[tuple[Metric, ...]] = (CPU_PER_GB, RATE_MB)
    stage = Doors
    rounds_limit_count = 3
    count: ClassVar[int] = 128
    size_bytes: ClassVar[int] = 8 * MB
    parts_count: ClassVar[int] = 1
    """Files per request."""
    removes: ClassVar[bool] = True
    """What was stored goes after each round. Not where thousands of files are: for seconds ext4 without a journal gives away no inode
    that was just deleted, and a search past thousands of them would be most of what is measured."""

    async def contenders(self) -> Sequence[Contender]:
        """Write the images; name all doors."""
        self._images, self._numbers = self.on.folder / f"images-{self.name}", count(1)
        await asyncio.to_thread(make_images, self._images, self.count, size_bytes=self.size_bytes - 6)
        on = self.on
        return [Contender(on.ours.name, STORES[on.ours.name], self.to_us)] + [
            Contender(peer.name, STORES[peer.name], partial(self.to_peer, peer)) for peer in on.peers
        ]

    async def to_us(self) -> dict[str, float]:
        """Upload one dataset, not committed; look whether it is there; remove it."""
        task = await self.on.new_upload()
        numbers = await self.send(self.on.ours, self.on.ours.url(f"/task/new/upload/{task}"))
        self.require_stored(self.on.running.spool / task)
        return numbers

    async def to_peer(self, peer: Subject, query: str = "") -> dict[str, float]:
        """Upload one dataset to a peer; remove it."""
        task = f"22222222-2222-4222-8222-{next(self._numbers):012}"
        door = "store" if peer.name == "nginx" else ""
        numbers = await self.send(peer, peer.url(f"/task/new/upload/{task}{query}", door))
        if peer.name == "Node.js":
            self.require_stored(self.on.folder / "node" / task)
        if peer.name == "nginx" and self.removes:
            shutil.rmtree(self.on.folder / "nginx" / "body")
            (self.on.folder / "nginx" / "body").mkdir()
        return numbers

    async def send(self, subject: Subject, url: str) -> dict[str, float]:
        """Run the load."""
        options = ["--folder", str(self._images), "--connections", "16", "--parts", str(self.parts_count)]
        await asyncio.to_thread(touch_frames, self.on.folder / "frames", self.count * self.size_bytes)
        return await moving(subject, told_by("benchmarks.load", "upload", url, *options))

    def require_stored(self, place: Path) -> None:
        """Require that every file is there in full."""
        sizes = [path.stat().st_size for path in place.rglob("IMG_*")]
        if sizes != [self.size_bytes] * self.count:
            raise Broken(f"{place} holds {len(sizes)} files, {sum(sizes)} bytes")
        if self.removes:
            for path in place.rglob("IMG_*"):
                path.unlink()


def touch_frames(place: Path, size_bytes: int) -> None:
    """Write as much as will be stored, and remove it.

    On a virtual machine whose host takes back memory that is free, who touches a page frame first pays for having it again. That
    doubles what storing a gigabyte costs, and would be counted for whoever happens to come first.
    """
    with place.open("wb") as file:
        for _ in range(-(-size_bytes // MB)):
            file.write(bytes(MB))
    place.unlink()


class SmallFiles(Uploads):
    """Small images, one per request."""

    name = "uploads-small-files"
    stage = Receiving
    sentence = "What receiving 2,000 images of 16 KB costs each: one per request and connection, 16 at once."
    metrics = (CPU_PER_REQUEST, Metric("rate", "files/s", 0))
    count = 2_000
    size_bytes = 16 * 1024
    removes = False

    async def contenders(self) -> Sequence[Contender]:
        """Name all doors, and busboy with the durability of ours."""
        made = list(await super().contenders())
        if self.on.node:
            does = "parses with busboy, stores each file, and syncs it and its name"
            made.append(Contender("Node.js, durable", does, partial(self.to_peer, self.on.node, "?durable")))
        return made

    async def send(self, subject: Subject, url: str) -> dict[str, float]:
        """Run the load and count files instead of bytes."""
        numbers = await super().send(subject, url)
        size_gb, size_mb = self.size_bytes / 1e9, self.size_bytes / MB
        return {"CPU": numbers["CPU"] * size_gb * 1e6, "rate": numbers["rate"] / size_mb}


class SmallParts(SmallFiles):
    """Small images, many per request."""

    name = "uploads-small-parts"
    sentence = "What receiving 8,000 images of 16 KB costs each: 250 per request, 16 requests at once."
    metrics = (Metric("CPU", "µs/file", 0), Metric("rate", "files/s", 0))
    count = 8_000
    parts_count = 250
