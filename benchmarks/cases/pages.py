"""What operators' pages cost in a large cluster: the time to the first byte, and their size."""

import asyncio
import http.client
import time
from collections.abc import Sequence
from functools import partial

from benchmarks.cases.case import Case, Contender, Metric
from benchmarks.cases.history import ENDED_COUNT, READ_S, SETTLE_S, SLOTS_COUNT, lists
from benchmarks.figures import percentile
from benchmarks.history import PER_OWNER_COUNT, RUNNING_COUNT, WAITING_COUNT, write_history
from benchmarks.stages import NODES_COUNT, Bare
from benchmarks.subjects import stub
from tests.cluster import Cluster
from tests.waiting import until

PAGES = {
    "overview": "/",
    "tasks": "/tasks",
    "failed": "/tasks?state=failed",
    "searched": "/tasks?search=1234",
    "queue": "/queue",
    "nodes": "/nodes",
}
TIMES_COUNT = 20
ONLINE_S = 30.0


class Pages(Case[Bare]):
    """The web page of a large cluster."""

    name = "pages"
    sentence = (
        f"The pages of a cluster with {NODES_COUNT:,} nodes, {RUNNING_COUNT:,} running and {WAITING_COUNT:,} waiting tasks, after "
        f"{ENDED_COUNT:,} tasks have ended and after none has: the time to the first byte of each (nine of ten of {TIMES_COUNT}), one after the "
        "other, and the largest page. *Searched* is a list for which every task is looked at."
    )
    metrics = (*(Metric(page, "ms", 0) for page in PAGES), Metric("largest", "KB", 0))
    stage = Bare
    rounds_limit_count = 1
    warms_up = False

    async def contenders(self) -> Sequence[Contender]:
        """Only ours, with and without a past."""
        return [
            Contender(f"{ENDED_COUNT:,} ended", "a store with a past", partial(self.measure, ENDED_COUNT)),
            Contender("none ended", "the same without", partial(self.measure, 0)),
        ]

    async def measure(self, ended_count: int) -> dict[str, float]:
        """Fill a store, start, and open each page."""
        folder = self.on.folder / f"pages{ended_count}"
        with stub(addresses_count=NODES_COUNT, slots_count=SLOTS_COUNT, size_mb=1) as port:
            running = Cluster(
                folder, services=("scheduler", "proxy", "admin"), probe_every_s=5, tasks_per_owner_count=PER_OWNER_COUNT
            )
            await write_history(running.nats, port, ended_count)
            async with running:
                await until(lambda: lists(running.bus), timeout_s=READ_S, what="the ended tasks to be read")
                await until(partial(asyncio.to_thread, opens, running.web_port), timeout_s=ONLINE_S, what="the pages")
                await asyncio.sleep(SETTLE_S)
                return await asyncio.to_thread(opened, running.web_port)


def opens(port: int) -> bool:
    """Whether pages are served."""
    try:
        first_byte(port, "/tasks")
    except OSError:
        return False
    return True


def opened(port: int) -> dict[str, float]:
    """Open each page some times."""
    figures: dict[str, float] = {}
    largest = 0
    for page, path in PAGES.items():
        times = [first_byte(port, path) for _ in range(TIMES_COUNT)]
        figures[page] = percentile([took_s for took_s, _ in times], 90) * 1e3
        largest = max(largest, *(size for _, size in times))
    return figures | {"largest": largest / 1e3}


def first_byte(port: int, path: str) -> tuple[float, int]:
    """Open a page: how long until its first byte, and how many there are. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        began_s = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        took_s = time.perf_counter() - began_s
        content = response.read()
        if response.status != http.client.OK:
            raise OSError(f"{path}: {response.status}")
        return took_s, len(content)
    finally:
        connection.close()
