"""Results on their way to clients."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from benchmarks.cases.case import CPU_PER_GB, RATE_MB, Case, Contender, moving
from benchmarks.programs import Broken, told_by
from benchmarks.stages import RESULT_MB, Doors
from benchmarks.subjects import Subject

BUFFERS = "relays, default buffering"


class Downloads(Case[Doors]):
    """`all.zip` (256 MB) from the node."""

    metrics = (CPU_PER_GB, RATE_MB)
    stage = Doors
    connections_count: ClassVar[int]
    ranges: ClassVar[bool] = False
    repeats: ClassVar[int] = 1

    async def contenders(self) -> Sequence[Contender]:
        """Name all doors; nginx twice, because its default costs the most."""
        ours, on = self.on.ours, self.on
        made = [Contender(ours.name, "relays, checks whose task it is", partial(self.fetch, ours, ""))]
        if on.nginx:
            made.append(Contender("nginx", BUFFERS, partial(self.fetch, on.nginx, "")))
            unbuffered = partial(self.fetch, on.nginx, "unbuffered")
            made.append(Contender("nginx unbuffered", "relays, proxy_buffering off", unbuffered))
        if on.haproxy:
            made.append(Contender("HAProxy", "relays, splice-auto", partial(self.fetch, on.haproxy, "")))
        if on.node:
            made.append(Contender("Node.js", "relays with http-proxy", partial(self.fetch, on.node, "")))
        return made

    async def fetch(self, subject: Subject, door: str) -> dict[str, float]:
        """Run one round."""
        return await moving(subject, self.load(subject.url(f"/task/{self.on.task}/download/all.zip", door)))

    async def load(self, url: str) -> dict[str, float]:
        """Fetch, and require that all of it came."""
        options = ["--connections", str(self.connections_count), "--size-mb", str(RESULT_MB)]
        total = {"bytes": 0.0, "seconds": 0.0}
        for _ in range(self.repeats):
            moved = await told_by("benchmarks.load", "download", url, *options, *(["--ranges"] if self.ranges else []))
            total = {name: total[name] + moved[name] for name in total}
        files = 1 if self.ranges else self.connections_count
        if total["bytes"] != RESULT_MB * 1024 * 1024 * files * self.repeats:
            raise Broken(f"{url}: {total['bytes']} bytes came")
        return total


class DownloadsOne(Downloads):
    """One client."""

    name = "downloads-1"
    sentence = "What a GET of all.zip (256 MB) costs per gigabyte, one connection."
    connections_count = 1
    repeats = 3


class Downloads8(Downloads):
    """Eight clients."""

    name = "downloads-8"
    sentence = "The same, eight clients at once."
    connections_count = 8


class DownloadsRanges(Downloads):
    """One client as PyODM does it."""

    name = "downloads-16-ranges"
    sentence = "One client that fetches the file in 16 ranges at once, as PyODM does."
    connections_count = 16
    ranges = True
    repeats = 3
