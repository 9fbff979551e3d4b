"""What tasks cost while they run and while they wait: bytes in NATS, and what a small task pays for a long queue."""

import asyncio
import contextlib
import json
import time
import urllib.request
from collections.abc import Sequence
from functools import partial

import nats
from nats.aio.msg import Msg

from benchmarks.active import running_on, spooled, write_active
from benchmarks.cases.case import P50, P99, Case, Contender, Metric
from benchmarks.processes import cpu_s
from benchmarks.programs import told_by
from benchmarks.stages import Bare
from benchmarks.subjects import stub
from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.nodes import LIST_NODES, ListNodes
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId
from tests.cluster import Cluster
from tests.waiting import until

NODES_COUNT = 10
LINES_COUNT = 50
WINDOW_S = 20.0
SETTLE_S = 12.0
"""Longer than it takes until every task has been looked at once."""
SMALL_COUNT = 300
CLIENTS_COUNT = 16
STARTED_COUNT = 10 * CLIENTS_COUNT
WARM_COUNT = 3 * CLIENTS_COUNT
"""Tasks before those that count: with the first ones come modules, connections and threads."""
RUNNING_COUNT = 1_000
SETTLED_S = 0.1
"""CPU seconds of all processes in one second."""
READ_S = 90.0
SERVICES = ("scheduler", "proxy")


class RunningTasks(Case[Bare]):
    """Tasks that run and talk."""

    name = "running-tasks"
    sentence = (
        f"What {RUNNING_COUNT:,} tasks cost while they run, each with {LINES_COUNT} new lines in its console whenever the scheduler "
        "looks (every 10 s), with nobody polling: what is published into the buckets of NATS, and the CPU of scheduler and "
        "nats-server."
    )
    metrics = (
        Metric("published", "KB/s", 0),
        Metric("messages", "1/s", 0),
        Metric("scheduler", "% of a core", 1),
        Metric("nats-server", "% of a core", 1),
    )
    stage = Bare
    rounds_limit_count = 1
    warms_up = False

    async def contenders(self) -> Sequence[Contender]:
        """Only ours."""
        return [Contender("clusterodm", "looks, keeps what nodes said", self.measure)]

    async def measure(self) -> dict[str, float]:
        """Let them run for a while and listen."""
        slots_count = RUNNING_COUNT // NODES_COUNT
        with stub(addresses_count=NODES_COUNT, slots_count=slots_count, size_mb=1, lines_count=LINES_COUNT) as port:
            running = Cluster(self.on.folder / "running", services=SERVICES, log_level="info", probe_every_s=5)
            await write_active(running.nats, port, NODES_COUNT, running_on(NODES_COUNT, RUNNING_COUNT, port))
            async with running:
                await until(lambda: all_run(running.bus), timeout_s=READ_S, what="all tasks to run")
                await asyncio.sleep(SETTLE_S)
                return await listened(running)


class SmallTasks(Case[Bare]):
    """Small tasks behind a queue."""

    name = "small-tasks"
    sentence = (
        "What a small task (init, one file of a few bytes, commit) costs proxy, scheduler and nats-server together, and how long the "
        f"answer to its commit takes, while 50,000 and while 10 tasks wait, all of them in this proxy's spool; {SMALL_COUNT} of "
        "them, one after the other."
    )
    metrics = (Metric("CPU", "ms/task", 2), P99, P50)
    stage = Bare
    rounds_limit_count = 1
    warms_up = False

    async def contenders(self) -> Sequence[Contender]:
        """Ours with queues of different lengths."""
        self._number = 0
        return [
            Contender("50,000 waiting", "a long queue", partial(self.measure, 50_000)),
            Contender("10 waiting", "a short one", partial(self.measure, 10)),
        ]

    async def measure(self, waiting_count: int) -> dict[str, float]:
        """Let tasks wait for a node whose only slot is taken, and commit more."""
        self._number += 1
        with stub(addresses_count=1, slots_count=1, size_mb=1) as port:
            running = Cluster(
                self.on.folder / f"queue{self._number}", services=SERVICES, log_level="info", probe_every_s=5
            )
            waiting = await asyncio.to_thread(spooled, running.spool, waiting_count, port)
            await write_active(running.nats, port, 1, [*running_on(1, 1, port), *waiting])
            async with running:
                await until(
                    lambda: is_known(running.bus, waiting[-1].id), timeout_s=READ_S, what="the queue to be read"
                )
                await until(lambda: asyncio.to_thread(is_settled, running), timeout_s=READ_S, what="calm")
                return await committed(running)


class StartedTasks(Case[Bare]):
    """Small tasks that begin at once."""

    name = "started-tasks"
    sentence = (
        "What a small task costs proxy, scheduler and nats-server together from its init until its node has taken it, with slots for all: "
        f"{STARTED_COUNT} of them, by one client after the other (each part of the system falls asleep between two of its steps, and wakes with cold caches), "
        f"and by {CLIENTS_COUNT} at once. The ids are the cluster's, as PyODM has them unless told otherwise; those that run are not looked at meanwhile, "
        "which `running-tasks` measures."
    )
    metrics = (
        Metric("CPU", "ms/task", 2),
        Metric("proxy", "ms/task", 2),
        Metric("scheduler", "ms/task", 2),
        Metric("nats-server", "ms/task", 2),
    )
    stage = Bare
    rounds_limit_count = 2
    warms_up = False

    async def contenders(self) -> Sequence[Contender]:
        """Ours, by how busy it is."""
        self._number = 0
        return [
            Contender("one after the other", "takes in, stores, places, sends, commits", partial(self.measure, 1)),
            Contender(f"{CLIENTS_COUNT} at once", "the same", partial(self.measure, CLIENTS_COUNT)),
        ]

    async def measure(self, clients_count: int) -> dict[str, float]:
        """Commit tasks and wait until all run."""
        self._number += 1
        slots_count = (WARM_COUNT + STARTED_COUNT) // NODES_COUNT + 1
        with stub(addresses_count=NODES_COUNT, slots_count=slots_count, size_mb=1) as port:
            folder = self.on.folder / f"started{self._number}"
            running = Cluster(folder, services=SERVICES, log_level="info", probe_every_s=5, poll_first_s=READ_S)
            await write_active(running.nats, port, NODES_COUNT, [])
            async with running:
                await until(lambda: all_online(running.bus), timeout_s=READ_S, what="the nodes to be online")
                load = partial(self._start, running, port, clients_count)
                await load(WARM_COUNT, WARM_COUNT)
                await until(lambda: asyncio.to_thread(is_settled, running), timeout_s=READ_S, what="calm")
                before_s = used_s(running)
                await load(STARTED_COUNT, WARM_COUNT + STARTED_COUNT)
                used = {name: (at_s - before_s[name]) / STARTED_COUNT * 1000 for name, at_s in used_s(running).items()}
                return used | {"CPU": sum(used.values())}

    async def _start(self, running: Cluster, stub_port: int, clients_count: int, count: int, all_count: int) -> None:
        asked = ("--count", str(count), "--connections", str(clients_count))
        await told_by("benchmarks.load", "commit", running.url, *asked)
        taken = partial(asyncio.to_thread, all_taken, stub_port, all_count)
        await until(taken, timeout_s=READ_S, what="all tasks to run")


def used_s(running: Cluster) -> dict[str, float]:
    """Say what CPU time each process has used, in seconds."""
    return {name: cpu_s([running.pid(name)]) for name in SERVICES} | {"nats-server": cpu_s([running.nats.pid])}


async def all_online(bus: NatsBus) -> bool:
    """Whether all nodes are online."""
    return sum(node.online for node in (await bus.request(LIST_NODES, ListNodes(), timeout_s=30)).nodes) == NODES_COUNT


def all_taken(port: int, count: int) -> bool:
    """Ask the nodes whether they have so many tasks."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stub/told") as answer:
        return len(json.load(answer)["committed_at_s"]) >= count


async def all_run(bus: NatsBus) -> bool:
    """Whether every node has its tasks and is online."""
    nodes = (await bus.request(LIST_NODES, ListNodes(), timeout_s=30)).nodes
    return sum(node.slots_used_count for node in nodes if node.online) >= RUNNING_COUNT


async def is_known(bus: NatsBus, task: TaskId) -> bool:
    """Whether the scheduler has a task in its queue."""
    with contextlib.suppress(BusFailed):
        return (await bus.request(GET_TASK, TaskRef(task=task), timeout_s=5)).task.state is TaskState.WAITING
    return False


def is_settled(running: Cluster) -> bool:
    """Look for a second whether everything that a start brings is done."""
    before_s = cpu_s(processes_of(running))
    time.sleep(1)
    return cpu_s(processes_of(running)) - before_s < SETTLED_S


def processes_of(running: Cluster) -> list[int]:
    """List scheduler, proxy and nats-server."""
    return [*(running.pid(name) for name in SERVICES), running.nats.pid]


async def listened(running: Cluster) -> dict[str, float]:
    """Count what is published into buckets for a while."""
    sizes: list[int] = []

    async def count(published: Msg) -> None:
        sizes.append(len(published.data))

    client = await nats.connect(running.nats.url)
    for subject in ("$KV.>", "$O.>"):
        await client.subscribe(subject, cb=count)
    await client.flush()
    sizes.clear()
    scheduler, server = [running.pid("scheduler")], [running.nats.pid]
    before = cpu_s(scheduler), cpu_s(server)
    await asyncio.sleep(WINDOW_S)
    used = cpu_s(scheduler) - before[0], cpu_s(server) - before[1]
    await client.close()
    return {
        "published": sum(sizes) / WINDOW_S / 1000,
        "messages": len(sizes) / WINDOW_S,
        "scheduler": used[0] / WINDOW_S * 100,
        "nats-server": used[1] / WINDOW_S * 100,
    }


async def committed(running: Cluster) -> dict[str, float]:
    """Commit small tasks one after the other."""
    before_s = cpu_s(processes_of(running))
    told = await told_by("benchmarks.load", "commit", running.url, "--count", str(SMALL_COUNT), "--connections", "1")
    return {
        "CPU": (cpu_s(processes_of(running)) - before_s) / SMALL_COUNT * 1000,
        "p99": told["p99"],
        "p50": told["p50"],
    }
