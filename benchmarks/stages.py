"""What cases are played on; each is opened when its first case comes and closed after its last.

Doors      one node that keeps nothing, our cluster in front of it with a task that runs, and the same node behind each peer
Receiving  the same, where nothing is sent ahead
Crowd      our cluster with 1,000 registered nodes and the records of 20,000 tasks
Bare       a directory
"""

import asyncio
import contextlib
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from typing import ClassVar, Self

import msgspec

from benchmarks.load import begin, commit_ms
from benchmarks.programs import MissingProgram
from benchmarks.stub import address
from benchmarks.subjects import Subject, cluster, haproxy, has_libcurl, nginx, node_peer, packages_for_node, stub
from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.buckets import ENDED, NODES
from clusterodm.libs.common.messages.nodes import ADD_NODE, LIST_NODES, AddNode, ListNodes
from clusterodm.libs.common.messages.tasks import LIST_TASKS, ListTasks
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import (
    Attempt,
    AttemptState,
    Ended,
    LastKnown,
    Moment,
    StatusCode,
    Task,
    TaskState,
)
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.process.lifecycle import now_ms
from tests.cluster import Cluster
from tests.nats import NatsServer
from tests.waiting import until

RESULT_MB = 256
NODES_COUNT, TASKS_COUNT = 1_000, 20_000
SLOTS_COUNT = 30
RUNNING_COUNT = 64
HUNG = address(NODES_COUNT - 1)
WRITES_AT_ONCE = 200
BEGAN_MS = now_ms() - 8 * 3_600_000
"""So that all of the tasks have ended, and none so long ago that its record would be deleted while something is measured."""
READY_S = 90.0
ONLINE_S = 30.0


class Stage(ABC):
    """Something to measure on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.missing: list[str] = []
        """A line for each program that is not there."""
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True)
        try:
            await self.build(self._stack)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @abstractmethod
    async def build(self, stack: AsyncExitStack) -> None:
        """Start what is needed; the stack takes it down."""


class Bare(Stage):
    """A directory."""

    async def build(self, stack: AsyncExitStack) -> None:
        """Leave it empty."""


class Doors(Stage):
    """Ours and the peers, before one node."""

    settings: ClassVar[dict[str, object]] = {}
    """Of our cluster."""
    node_port: int
    running: Cluster
    ours: Subject
    task: str
    tasks: list[str]
    """All that run."""
    packages: Path | None = None
    nginx: Subject | None = None
    haproxy: Subject | None = None
    node: Subject | None = None

    async def build(self, stack: AsyncExitStack) -> None:
        """Start all; a peer that is not installed is left out with a line."""
        self.node_port = stack.enter_context(stub(size_mb=RESULT_MB, slots_count=2 * RUNNING_COUNT))
        self.running, self.ours = await stack.enter_async_context(cluster(self.folder / "cluster", **self.settings))
        await self.running.bus.request(ADD_NODE, AddNode(hostname="127.0.0.1", port=self.node_port), timeout_s=10)
        self.tasks = await tasks_that_run(self.running, RUNNING_COUNT)
        self.task = self.tasks[0]
        self.nginx = self._start(stack, lambda: nginx(self.folder / "nginx", self.node_port))
        self.haproxy = self._start(stack, lambda: haproxy(self.folder / "haproxy", self.node_port))
        try:
            self.packages = packages = await packages_for_node()
        except MissingProgram as error:
            self.missing.append(str(error))
            return
        self.node = self._start(stack, lambda: node_peer(self.folder / "node", packages, self.node_port))
        if not has_libcurl(packages):
            self.missing.append("node-libcurl is not built (it needs g++, make, libcurl4-openssl-dev): curl stands in")

    def _start(self, stack: AsyncExitStack, make: Callable[[], AbstractContextManager[Subject]]) -> Subject | None:
        try:
            return stack.enter_context(make())
        except MissingProgram as error:
            self.missing.append(str(error))
            return None

    @property
    def peers(self) -> list[Subject]:
        """Those that are there."""
        return [peer for peer in (self.nginx, self.haproxy, self.node) if peer is not None]

    async def new_upload(self) -> str:
        """Begin a task that is never committed; its id."""
        return await asyncio.to_thread(begin, self.ours.url())


class Receiving(Doors):
    """The same, but nothing goes ahead to the node: files are received, as the peers do, and not sent as well."""

    settings: ClassVar[dict[str, object]] = {"send_ahead_of_commit": False}


class Crowd(Stage):
    """A thousand nodes and the records of twenty thousand tasks."""

    stub_port: int
    running: Cluster

    async def build(self, stack: AsyncExitStack) -> None:
        """Write the records first, so that the scheduler finds them when it starts."""
        self.stub_port = stack.enter_context(stub(addresses_count=NODES_COUNT, slots_count=SLOTS_COUNT, size_mb=1))
        self.running = Cluster(self.folder / "cluster", log_level="warn", probe_every_s=5)
        await write_records(self.running.nats, self.stub_port)
        await stack.enter_async_context(self.running)
        await self.all_online()

    @property
    def scheduler(self) -> Subject:
        """The scheduler as it runs now."""
        return Subject("scheduler", 0, self.running.pid("scheduler"))

    async def scheduler_answers(self) -> None:
        """Wait until the scheduler knows the records: it answers only then."""
        await until(self._lists_tasks, timeout_s=READY_S, step_s=0.02, what="the scheduler to answer")

    async def all_online(self) -> int:
        """Wait until the scheduler has heard of every node, or long enough; how many are online."""

        async def all_there() -> bool:
            return await self.online_count() >= NODES_COUNT - 1

        with contextlib.suppress(AssertionError):
            await until(all_there, timeout_s=ONLINE_S, step_s=0.2)
        return await self.online_count()

    async def online_count(self) -> int:
        """Count the nodes online, as the scheduler sees them."""
        try:
            nodes = (await self.running.bus.request(LIST_NODES, ListNodes(), timeout_s=30)).nodes
        except BusFailed:
            return 0
        return sum(node.online for node in nodes)

    async def hang_one(self) -> None:
        """Let one node take connections and answer nothing from now on; wait until the scheduler has seen it."""
        await asyncio.to_thread(post, f"http://127.0.0.1:{self.stub_port}/stub/hang/{HUNG}")

        async def seen() -> bool:
            return await self.online_count() < NODES_COUNT

        await until(seen, timeout_s=READY_S, step_s=0.5, what="the hung node to be offline")

    async def finish_all(self) -> None:
        """Let every task end, and wait until the scheduler has seen it; what hangs keeps what it has."""

        async def none_runs() -> bool:
            # some may be on their way to their nodes still
            await asyncio.to_thread(post, f"http://127.0.0.1:{self.stub_port}/stub/finish/all")
            nodes = (await self.running.bus.request(LIST_NODES, ListNodes(), timeout_s=30)).nodes
            return not any(node.slots_used_count for node in nodes if node.online)

        await until(none_runs, timeout_s=READY_S, step_s=0.5, what="the tasks to end")

    async def _lists_tasks(self) -> bool:
        try:
            return bool((await self.running.bus.request(LIST_TASKS, ListTasks(limit_count=1), timeout_s=1)).tasks)
        except ClusterError:  # not yet, whatever the reason; there is a deadline
            return False


async def tasks_that_run(running: Cluster, count: int) -> list[str]:
    """Commit tasks and wait until their node has them all."""

    def commit() -> list[str]:
        return [commit_ms(running.url)[0] for _ in range(count)]

    tasks = await asyncio.to_thread(commit)

    async def run() -> bool:
        listed = (await running.bus.request(LIST_TASKS, ListTasks(limit_count=2 * count))).tasks
        return {one.id for one in listed if one.state is TaskState.RUNNING}.issuperset(tasks)

    await until(run, timeout_s=60, step_s=0.1, what="tasks to run")
    return tasks


def post(url: str) -> bytes:
    """POST nothing."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data=b"", method="POST"), timeout=10) as answer:
        content: bytes = answer.read()
    return content


def get(url: str) -> bytes:
    """GET something small."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content


# --- records -------------------------------------------------------------------------------------------------------


def node_record(number: int, port: int) -> Node:
    """Make the record of a node of the crowd."""
    host = address(number)
    return Node(id=NodeId(f"{host}-{port}"), hostname=host, port=port, added_at_ms=BEGAN_MS + number)


def task_record(number: int, port: int) -> Task:
    """Make the record of a task that has ended, as large as they are after a run."""
    at_ms = BEGAN_MS + number * 1000
    task = TaskId(str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))))
    attempt = Attempt(
        number=1,
        node=node_record(number % NODES_COUNT, port).id,
        node_task_id=NodeTaskId(task),
        state=AttemptState.ENDED,
        started_at_ms=at_ms + 10,
        running_at_ms=at_ms + 500,
        ended_at_ms=at_ms + 3_600_000,
    )
    return Task(
        id=task,
        owner=Owner(f"owner{number % 7}"),
        name=f"Field {number}",
        state=TaskState.COMPLETED,
        upload_owner=InstanceId("gone"),
        created_at_ms=at_ms - 60_000,
        committed_at_ms=at_ms,
        ended_at_ms=at_ms + 3_600_000,
        images_count=100 + number % 400,
        size_bytes=800_000_000,
        attempts=(attempt,),
        known=LastKnown(
            code=StatusCode.COMPLETED,
            progress=100.0,
            processing_time_ms=3_600_000,
            console_count=2_000,
            console_tail=tuple(f"[INFO]    running stage {line} of the pipeline" for line in range(20)),
            seen_at_ms=at_ms + 3_600_000,
        ),
        timeline=tuple(Moment(at_ms=at_ms + step, text=f"Attempt 1: step {step} on a node") for step in range(4)),
    )


async def write_records(nats: NatsServer, port: int) -> None:
    """Fill an empty store: nodes that listen on `port`, and tasks that have ended."""
    await asyncio.to_thread(nats.start)
    try:
        async with connect(nats.url, "bench") as bus:
            nodes, ended = await bus.bucket(NODES), await bus.bucket(ENDED)
            for number in range(NODES_COUNT):
                record = node_record(number, port)
                await nodes.put(record.id, record)
            for numbers in batches(TASKS_COUNT, WRITES_AT_ONCE):
                records = [Ended(task=task_record(number, port), revision=1) for number in numbers]
                await asyncio.gather(*(ended.put(record.task.id, record) for record in records))
    finally:
        await asyncio.to_thread(nats.stop)


def batches(count: int, size: int) -> Iterator[range]:
    """Divide a count."""
    return (range(at, min(at + size, count)) for at in range(0, count, size))


def told(stub_port: int) -> dict[str, float]:
    """Ask the node when it was given which task: seconds since 1970."""
    answer = msgspec.json.decode(get(f"http://127.0.0.1:{stub_port}/stub/told"))
    return dict(answer["committed_at_s"])
