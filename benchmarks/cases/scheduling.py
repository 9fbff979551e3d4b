"""The scheduler with 1,000 nodes and 20,000 tasks."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence

from benchmarks.cases.case import P50, P99, Case, Contender, Metric
from benchmarks.core import burst, looks, one_by_one
from benchmarks.figures import percentile
from benchmarks.programs import Broken, told_by
from benchmarks.stages import NODES_COUNT, TASKS_COUNT, Bare, Crowd
from clusterodm.libs.common.messages.placement import PLACE_TASK, Placed, PlaceTask
from clusterodm.libs.common.messages.tasks import REMOVE_TASK, SUBMIT_TASK, SubmitTask, TaskRef
from clusterodm.libs.common.model.values import InstanceId, TaskId

UPLOAD_OWNER = InstanceId("bench")
IN_FLIGHT = 64


class CorePlacements(Case[Bare]):
    """Decisions alone."""

    name = "core-placements"
    sentence = (
        "What deciding takes, without store and bus: 20,000 waiting tasks on 1,000 nodes, placed as slots become free one "
        "after the other (on nodes that are alike, and on nodes of four known speeds), and as many as fit at once on 4,000 "
        "free slots."
    )
    metrics = (
        Metric("one by one", "ms/placement", 3),
        Metric("rate", "placements/s", 0),
        Metric("uneven nodes", "placements/s", 0),
        Metric("burst", "placements/s", 0),
    )
    stage = Bare
    rounds_limit_count = 3

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        return [Contender("clusterodm", "Board, queue and placement", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Fill three boards."""
        steady = one_by_one(NODES_COUNT, TASKS_COUNT, placements_count=2_000)
        return {
            "one by one": 1000 / steady,
            "rate": steady,
            "uneven nodes": one_by_one(NODES_COUNT, TASKS_COUNT, placements_count=2_000, uneven=True),
            "burst": burst(NODES_COUNT, TASKS_COUNT, slots_count=4),
        }


class CoreQueue(Case[Bare]):
    """A queue that is long."""

    name = "core-queue"
    sentence = (
        "What a long queue costs while nothing can be done for it (one slot is free, on a node that is too small for all): a walk, "
        "which every change of a node or a task causes, and a snapshot of demand, twice a second; with 10 and with 50,000 waiting "
        "tasks, and with 50,000 of 100 owners who are limited."
    )
    metrics = (Metric("walk", "ms", 3), Metric("demand", "ms", 3))
    stage = Bare
    rounds_limit_count = 3

    async def contenders(self) -> Sequence[Contender]:
        """Ours with queues of different lengths."""
        return [
            Contender("10 waiting", "a short queue", lambda: self.measure(120)),
            Contender("50,000 waiting", "a long one", lambda: self.measure(50_000)),
            Contender("of limited owners", "50,000 waiting tasks of 100 owners", lambda: self.measure(50_000, 10)),
        ]

    async def measure(self, tasks_count: int, per_owner_count: int = 0) -> dict[str, float]:
        """Look at the queue and take a snapshot."""
        walk_ms, demand_ms = looks(tasks_count, per_owner_count=per_owner_count)
        return {"walk": walk_ms, "demand": demand_ms}


class SchedulerStart(Case[Crowd]):
    """How long the cluster is without a scheduler."""

    name = "scheduler-start"
    sentence = "How long a scheduler takes from its start to its first answer, with the records of 1,000 nodes and 20,000 tasks."
    metrics = (Metric("first answer", "s", 2), Metric("CPU", "s", 2), Metric("memory", "MB", 0))
    stage = Crowd
    rounds_limit_count = 3

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        return [Contender("clusterodm", "reads the records, builds its board", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Restart it."""
        await asyncio.to_thread(self.on.running.stop, "scheduler")
        began_s = time.monotonic()
        self.on.running.start("scheduler")
        await self.on.scheduler_answers()
        took_s = time.monotonic() - began_s
        scheduler = self.on.scheduler
        return {"first answer": took_s, "CPU": scheduler.cpu_s(), "memory": scheduler.peak_bytes() / 1e6}


class IdleNodes(Case[Crowd]):
    """What nodes cost that nobody uses."""

    name = "idle-nodes"
    sentence = "What the scheduler uses while 1,000 nodes are registered, probed every 5 s, and nothing else happens."
    metrics = (Metric("CPU", "% of a core", 1), Metric("CPU per node", "ms per 5 s", 2), Metric("nodes online", "", 0))
    stage = Crowd
    rounds_limit_count = 2
    warms_up = False
    SECONDS = 10
    PROBE_EVERY_S = 5

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        await self.on.all_online()
        return [Contender("clusterodm", "probes each node, keeps totals", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Wait and look."""
        before_s, began_s = self.on.scheduler.cpu_s(), time.monotonic()
        await asyncio.sleep(self.SECONDS)
        took_s = time.monotonic() - began_s
        used_s = self.on.scheduler.cpu_s() - before_s
        return {
            "CPU": used_s / took_s * 100,
            "CPU per node": used_s / took_s * self.PROBE_EVERY_S / NODES_COUNT * 1000,
            "nodes online": await self.on.online_count(),
        }


class Placements(Case[Crowd]):
    """Decisions with their durable writes."""

    name = "placements"
    sentence = (
        "How many tasks a second the scheduler takes in, and places, over the bus with every durable write; 64 in flight, "
        "1,000 nodes, 20,000 tasks on record."
    )
    metrics = (
        Metric("place", "ms each", 2),
        Metric("placed", "1/s", 0),
        Metric("submitted", "1/s", 0),
        Metric("p50", "ms", 1),
        Metric("p99", "ms", 1),
    )
    stage = Crowd
    rounds_limit_count = 3
    count = 2_000

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        await self.on.all_online()
        return [Contender("clusterodm", "decides, writes, answers", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Submit, place, remove."""
        tasks = [TaskId(str(uuid.uuid4())) for _ in range(self.count)]
        submitted_s, _ = await many(self.submit, tasks)
        placed_s, took_ms = await many(self.place, tasks)
        await many(self.remove, tasks)
        return {
            "place": placed_s / self.count * 1000,
            "placed": self.count / placed_s,
            "submitted": self.count / submitted_s,
            "p50": percentile(took_ms, 50),
            "p99": percentile(took_ms, 99),
        }

    async def submit(self, task: TaskId) -> None:
        """Commit one."""
        asked = SubmitTask(task=task, name="bench", upload_owner=UPLOAD_OWNER, created_at_ms=1, images_count=50)
        await self.on.running.bus.request(SUBMIT_TASK, asked, timeout_s=30)

    async def place(self, task: TaskId) -> None:
        """Ask where one goes."""
        answer = await self.on.running.bus.request(
            PLACE_TASK, PlaceTask(task=task, upload_owner=UPLOAD_OWNER), timeout_s=30
        )
        if not isinstance(answer, Placed):
            raise Broken(f"not placed: {answer}")

    async def remove(self, task: TaskId) -> None:
        """Clean up."""
        await self.on.running.bus.request(REMOVE_TASK, TaskRef(task=task), timeout_s=30)


async def many(act: Callable[[TaskId], Awaitable[None]], tasks: Iterable[TaskId]) -> tuple[float, list[float]]:
    """Do something for each, so many at once: seconds for all, milliseconds for each."""
    waiting, took_ms = iter(tasks), []

    async def worker() -> None:
        for task in waiting:
            began_s = time.monotonic()
            await act(task)
            took_ms.append((time.monotonic() - began_s) * 1000)

    began_s = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(worker())
    return time.monotonic() - began_s, took_ms


class Commits(Case[Crowd]):
    """What a client waits for at the end of its upload."""

    name = "commits"
    sentence = (
        "How long the answer to a commit takes, with 1,000 registered nodes of which one hangs: a client that begins, uploads "
        "one small file, commits, again and again; and four of them, and 64 at once."
    )
    metrics = (
        P99,
        P50,
        Metric("longest", "ms", 1),
        Metric("p99 of four", "ms", 1),
        Metric("p50 of four", "ms", 1),
        Metric("p99 of 64", "ms", 1),
    )
    stage = Crowd
    rounds_limit_count = 3

    async def contenders(self) -> Sequence[Contender]:
        """Let a node hang; only ours."""
        await self.on.hang_one()
        return [Contender("clusterodm", "one durable write, then the answer", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Commit tasks."""
        one, four, many = await self.commits(1), await self.commits(4), await self.commits(64, 640)
        return {
            "p50": one["p50"],
            "p99": one["p99"],
            "longest": one["max"],
            "p99 of four": four["p99"],
            "p50 of four": four["p50"],
            "p99 of 64": many["p99"],
        }

    async def commits(self, clients_count: int, count: int = 300) -> dict[str, float]:
        """Let so many clients commit."""
        asked = ["--count", str(count), "--connections", str(clients_count)]
        told = await told_by("benchmarks.load", "commit", self.on.running.url, *asked)
        await self.on.finish_all()
        return told
