"""What a hundred thousand ended tasks cost: memory, the start, a take-over, the store."""

import asyncio
import contextlib
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import nats
from nats.js.errors import NotFoundError

from benchmarks.cases.case import Case, Contender, Metric
from benchmarks.history import PER_OWNER_COUNT, RUNNING_COUNT, WAITING_COUNT, write_history
from benchmarks.processes import resident_bytes
from benchmarks.programs import Broken, told_by
from benchmarks.stages import NODES_COUNT, Bare
from benchmarks.subjects import stub
from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import ENDED, TASKS, UPLOADS
from clusterodm.libs.common.messages.placement import PLACE_TASK, Placed, PlaceTask
from clusterodm.libs.common.messages.tasks import (
    LIST_TASKS,
    REMOVE_TASK,
    SUBMIT_TASK,
    ListTasks,
    SubmitTask,
    TaskRef,
    TaskSummary,
)
from clusterodm.libs.common.model.values import InstanceId, TaskId
from tests.cluster import Cluster
from tests.waiting import until

ENDED_COUNT = 100_000
UPLOAD_OWNER = InstanceId("bench")
SLOTS_COUNT = 4
READ_S = 60.0
SETTLE_S = 5.0
REMOVED_COUNT = 50
LEASE_S = 5
"""The default of `--lease-s`."""


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
                commit_s, placed_s = await taken_over(running, lambda: running.kill(leader))
        return {
            "healthy": healthy_s,
            "proxy": proxy / 1e6,
            "scheduler": scheduler / 1e6,
            "all listed": listed_s,
            "commit at the kill": commit_s,
            "placed after it": placed_s,
            "store per ended task": stored_bytes / 1e3,
        }


class LostComputer(Case[Bare]):
    """A leader that is gone with its computer."""

    name = "lost-computer"
    sentence = (
        f"The store of `history` with {ENDED_COUNT:,} ended tasks, and two schedulers of which the one that leads is gone as with its computer: frozen "
        "(SIGSTOP), so that its connections stay open, nothing answers, and the other, which would see at once that a process of its own "
        f"computer has ended, learns of it by the end of the lease alone ({LEASE_S} s, as it is unless set otherwise; it was renewed up to a third of that before). "
        "How long a commit that is sent at that moment takes, and when that task is placed."
    )
    metrics = (Metric("placed after it", "s", 2), Metric("commit at that moment", "s", 2))
    stage = Bare
    rounds_limit_count = 1
    warms_up = False

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        return [Contender("clusterodm", "waits for the lease, reads what is active, places", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Fill a store, start, freeze, look."""
        with stub(addresses_count=NODES_COUNT, slots_count=SLOTS_COUNT, size_mb=1) as port:
            running = Cluster(
                self.on.folder / "lost",
                services=("scheduler", "scheduler#2", "proxy"),
                log_level="info",
                probe_every_s=5,
                tasks_per_owner_count=PER_OWNER_COUNT,
                lease_s=LEASE_S,
            )
            await write_history(running.nats, port, ENDED_COUNT)
            async with running:
                await until(lambda: lists(running.bus), timeout_s=READ_S, what="the ended tasks to be read")
                await asyncio.sleep(SETTLE_S)
                leader = await leading(running)
                commit_s, placed_s = await taken_over(running, lambda: running.send(leader, signal.SIGSTOP))
        return {"placed after it": placed_s, "commit at that moment": commit_s}


class RemovedTasks(Case[Bare]):
    """Tasks that are over and removed."""

    name = "removed-tasks"
    sentence = (
        f"What {REMOVED_COUNT} tasks leave in NATS for ever that have run to their end and been removed: the bytes of each message under a "
        "subject that was not there before, in streams that keep messages without limit, and without a time to live of its own. What "
        "expires (events, tombstones, markers of deletions, consoles) is none of it."
    )
    metrics = (Metric("left for ever", "B/task", 0), Metric("until it expires", "B/task", 0))
    stage = Bare
    rounds_limit_count = 1
    warms_up = False

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        return [Contender("clusterodm", "deletes records, keeps tombstones for a time", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Let a task run and go, then many, and compare."""
        running = Cluster(self.on.folder / "removed", services=("scheduler", "proxy"), log_level="info")
        async with running, running.node(task_time_s=0.1, parallel_tasks=SLOTS_COUNT):
            await run_and_removed(
                running, 1
            )  # with it come the records that there are once: totals, options, the month's account
            before = await stored_messages(running.nats.url)
            await run_and_removed(running, REMOVED_COUNT)
            after = await stored_messages(running.nats.url)
        new = [after[key] for key in after.keys() - before.keys()]
        return {
            "left for ever": sum(each.size_bytes for each in new if not each.expires) / REMOVED_COUNT,
            "until it expires": sum(each.size_bytes for each in new if each.expires) / REMOVED_COUNT,
        }


class Stored(NamedTuple):
    """A message of a stream."""

    size_bytes: int
    expires: bool


async def stored_messages(url: str) -> dict[tuple[str, str, int], Stored]:
    """Read all messages, by stream and subject; those that expire by their sequence too."""
    client = await nats.connect(url)
    js, found = client.jetstream(), dict[tuple[str, str, int], Stored]()
    for info in await js.streams_info():
        name = info.config.name or ""
        for sequence in range(max(1, info.state.first_seq), info.state.last_seq + 1):
            with contextlib.suppress(NotFoundError):
                message = await js.get_msg(name, sequence)
                expires = bool(info.config.max_age) or "Nats-TTL" in (message.headers or {})
                size_bytes = len(message.data or b"") + len(message.subject or "")
                found[name, message.subject or "", sequence if expires else 0] = Stored(size_bytes, expires)
    await client.close()
    return found


async def run_and_removed(running: Cluster, count: int) -> None:
    """Have tasks run to their end, and remove them."""
    await told_by("benchmarks.load", "commit", running.url, "--count", str(count), "--connections", "1")

    async def ended() -> tuple[TaskSummary, ...]:
        tasks = (await running.bus.request(LIST_TASKS, ListTasks(limit_count=count))).tasks
        return tasks if len(tasks) == count and all(task.state.ended for task in tasks) else ()

    for task in await until(ended, timeout_s=READ_S, what="all tasks to end"):
        await running.bus.request(REMOVE_TASK, TaskRef(task=task.id))
    await until(lambda: holds_none(running.bus), timeout_s=READ_S, what="their records to be gone")


async def holds_none(bus: NatsBus) -> bool:
    """Whether there is no record of a task."""
    return not any([await (await bus.bucket(name)).load() for name in (TASKS, ENDED, UPLOADS)])


async def lists(bus: NatsBus) -> bool:
    """Whether the scheduler lists tasks, which it does once it has read the ended ones."""
    with contextlib.suppress(BusFailed):
        return bool((await bus.request(LIST_TASKS, ListTasks(limit_count=1), timeout_s=5)).tasks)
    return False


async def leading(running: Cluster) -> str:
    """Find the scheduler that leads: it has the records in memory."""
    sizes = {name: resident_bytes([running.pid(name)]) for name in ("scheduler", "scheduler#2")}
    return max(sizes, key=lambda name: sizes[name])


async def taken_over(running: Cluster, end_leader: Callable[[], None]) -> tuple[float, float]:
    """End the leader, commit at once; when that is answered, and when the task is placed."""
    task = TaskId(str(uuid.uuid4()))
    asked = SubmitTask(task=task, name="late", upload_owner=UPLOAD_OWNER, created_at_ms=1, images_count=10)
    await asyncio.to_thread(end_leader)
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
