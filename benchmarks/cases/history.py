"""What a hundred thousand ended tasks cost: memory, the start, a take-over, the store."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from functools import partial

from benchmarks.cases.case import Case, Contender, Metric
from benchmarks.history import PER_OWNER_COUNT, RUNNING_COUNT, WAITING_COUNT, write_history
from benchmarks.processes import resident_bytes
from benchmarks.programs import Broken
from benchmarks.stages import NODES_COUNT, Bare
from benchmarks.subjects import stub
from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.placement import PLACE_TASK, Placed, PlaceTask
from clusterodm.libs.common.messages.tasks import LIST_TASKS, SUBMIT_TASK, ListTasks, SubmitTask
from clusterodm.libs.common.model.values import InstanceId, TaskId
from tests.cluster import Cluster
from tests.waiting import until

ENDED_COUNT = 100_000
UPLOAD_OWNER = InstanceId("bench")
SLOTS_COUNT = 4
READ_S = 60.0
SETTLE_S = 5.0


class History(Case[Bare]):
    """A cluster with a past."""

    name = "history"
    sentence = (
        f"A cluster with {NODES_COUNT:,} nodes, {RUNNING_COUNT:,} running and {WAITING_COUNT:,} waiting tasks, after "
        f"{ENDED_COUNT:,} tasks have ended and after none has: when it answers after a start, what proxy and scheduler "
        "take when all is read, and, after `kill -9` of the leader of two schedulers, how long a commit that is sent at that "
        "moment takes, and when that task is placed."
    )
    metrics = (
        Metric("healthy", "s", 2),
        Metric("proxy", "MB", 0),
        Metric("scheduler", "MB", 0),
        Metric("all listed", "s", 2),
        Metric("commit at the kill", "s", 2),
        Metric("placed after it", "s", 2),
        Metric("store per ended task", "KB", 2),
    )
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
        """Fill a store, start, look, kill, look."""
        folder = self.on.folder / f"history{ended_count}"
        with stub(addresses_count=NODES_COUNT, slots_count=SLOTS_COUNT, size_mb=1) as port:
            running = Cluster(
                folder,
                services=("scheduler", "scheduler#2", "proxy"),
                log_level="info",
                probe_every_s=5,
                tasks_per_owner_count=PER_OWNER_COUNT,
            )
            stored_bytes = await write_history(running.nats, port, ended_count)
            began_s = time.monotonic()
            async with running:
                healthy_s = time.monotonic() - began_s
                await until(lambda: lists(running.bus), timeout_s=READ_S, what="the ended tasks to be read")
                listed_s = time.monotonic() - began_s
                await asyncio.sleep(SETTLE_S)  # what starting takes is given back by then
                leader = await leading(running)
                proxy, scheduler = (resident_bytes([running.pid(name)]) for name in ("proxy", leader))
                commit_s, placed_s = await killed(running, leader)
        return {
            "healthy": healthy_s,
            "proxy": proxy / 1e6,
            "scheduler": scheduler / 1e6,
            "all listed": listed_s,
            "commit at the kill": commit_s,
            "placed after it": placed_s,
            "store per ended task": stored_bytes / 1e3,
        }


async def lists(bus: NatsBus) -> bool:
    """Whether the scheduler lists tasks, which it does once it has read the ended ones."""
    with contextlib.suppress(BusFailed):
        return bool((await bus.request(LIST_TASKS, ListTasks(limit_count=1), timeout_s=5)).tasks)
    return False


async def leading(running: Cluster) -> str:
    """Find the scheduler that leads: it has the records in memory."""
    sizes = {name: resident_bytes([running.pid(name)]) for name in ("scheduler", "scheduler#2")}
    return max(sizes, key=lambda name: sizes[name])


async def killed(running: Cluster, leader: str) -> tuple[float, float]:
    """Kill the leader, commit at once; when that is answered, and when the task is placed."""
    task = TaskId(str(uuid.uuid4()))
    asked = SubmitTask(task=task, name="late", upload_owner=UPLOAD_OWNER, created_at_ms=1, images_count=10)
    await asyncio.to_thread(running.kill, leader)
    began_s = time.monotonic()
    while True:
        with contextlib.suppress(BusFailed):
            await running.bus.request(SUBMIT_TASK, asked)
            break
        if time.monotonic() - began_s > READ_S:
            raise Broken("nobody takes the commit")
    committed_s = time.monotonic() - began_s
    while time.monotonic() - began_s < READ_S:
        with contextlib.suppress(BusFailed):
            answer = await running.bus.request(PLACE_TASK, PlaceTask(task=task, upload_owner=UPLOAD_OWNER))
            if isinstance(answer, Placed):
                return committed_s, time.monotonic() - began_s
        await asyncio.sleep(0.05)
    raise Broken("the task is not placed")
