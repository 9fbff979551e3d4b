"""A proxy for tests: its real HTTP server, spool and node connections, on a bus in memory with a scheduler that is a fake."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from clusterodm.libs.common.errors import BusFailed, NoNode, NotFound
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.http_io.listening import listen
from clusterodm.libs.common.messages.buckets import NODES, OPTIONS, SUMMARY, SUMMARY_KEY, TASKS, UPLOADS
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.nodes import FIND_UI_NODE, FindUiNode, UiNode
from clusterodm.libs.common.messages.tasks import (
    CANCEL_TASK,
    CONFIRM_TASKS,
    GET_TASK,
    LIST_TASK_IDS,
    REMOVE_TASK,
    RESTART_TASK,
    SUBMIT_TASK,
    ConfirmTasks,
    ListTaskIds,
    RestartTask,
    StagedFiles,
    SubmitTask,
    TaskIds,
    TaskRecord,
    TaskRef,
    TasksConfirmed,
)
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.nodes import Node, NodeOption, ReferenceOptions
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Moment, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.cluster.adapters import ClusterMirror, mirrored
from clusterodm.services.proxy.main import intake
from clusterodm.services.proxy.nodes.adapters import NodeConnections
from clusterodm.services.proxy.peers.adapters import PeerClient, known_locations, shared_secret
from clusterodm.services.proxy.peers.api import open_peers
from clusterodm.services.proxy.server.health import ProxyHealth
from clusterodm.services.proxy.server.listen import ListeningPort, served, tls_context
from clusterodm.services.proxy.server.opening import open_router
from clusterodm.services.proxy.server.router import Router
from clusterodm.services.proxy.settings import ProxySettings
from clusterodm.services.proxy.spool.adapters.spool import DiskSpool, open_spool
from clusterodm.services.proxy.spool.core.upload import StoredFile
from clusterodm.services.proxy.tenants.adapters.choice import token_checker
from clusterodm.services.proxy.uploads.handlers.create import Commits
from tests.waiting import until

Given = TypeVar("Given")
RAW_S = 25.0
"""For a whole answer on a busy computer; less than the 30 s after which a proxy itself cuts off who is silent."""

KNOWN_OPTIONS = (
    NodeOption("dsm", "bool", "false", "", "a surface model"),
    NodeOption("orthophoto-resolution", "float", "5", "float > 0.0", "cm / pixel"),
    NodeOption("split", "int", "999999", "positive integer", "images per part"),
    NodeOption("sm-cluster", "string", "none", "", "address of a cluster"),
)


class FakeScheduler:
    """Owns nodes and tasks, decides nothing: what it is told it writes down."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.submitted: list[SubmitTask] = []
        self.restarted: list[RestartTask] = []
        self.lose_answers = False
        """Write commits down, but leave them unanswered."""
        self.deaf = False
        """Do not even hear them."""
        self.tasks: Bucket[Task]
        self.nodes: Bucket[Node]

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["FakeScheduler"]:
        """Answer while the context is open."""
        self.tasks = await self.bus.bucket(TASKS)
        self.nodes = await self.bus.bucket(NODES)
        handlers = {
            SUBMIT_TASK: self._submit,
            GET_TASK: self._get,
            LIST_TASK_IDS: self._list_ids,
            CONFIRM_TASKS: self._confirm,
            CANCEL_TASK: self._cancel,
            REMOVE_TASK: self._remove,
            RESTART_TASK: self._restart,
            FIND_UI_NODE: self._find_ui_node,
            SCHEDULER_HEALTH: Health("scheduler", dict).answer,
        }
        async with self.bus.serve("scheduler", handlers):
            yield self

    async def publish(
        self, summary: ClusterSummary | None = None, options: tuple[NodeOption, ...] = KNOWN_OPTIONS
    ) -> None:
        """Publish totals and options."""
        await (await self.bus.bucket(SUMMARY)).put(SUMMARY_KEY, summary or ClusterSummary())
        await (await self.bus.bucket(OPTIONS)).put(SUMMARY_KEY, ReferenceOptions(options=options))

    async def add_node(self, hostname: str, port: int, token: str = "") -> Node:
        """Register a node."""
        node = Node(id=NodeId(f"n{port}"), hostname=hostname, port=port, token=token)
        await self.nodes.put(node.id, node)
        return node

    async def put(self, task: Task) -> None:
        """Write a task down."""
        await self.tasks.put(task.id, task)

    async def change(self, task: TaskId, **values: Any) -> Task:
        """Change a task."""
        entry = await self.tasks.get(task)
        assert entry is not None
        changed = msgspec.structs.replace(entry.value, **values)
        await self.tasks.put(task, changed)
        return changed

    async def _record(self, ref: TaskRef) -> TaskRecord:
        entry = await self.tasks.get(ref.task)
        if entry is None or (ref.owner is not None and entry.value.owner != ref.owner):
            raise NotFound("no such task")
        return TaskRecord(task=entry.value, revision=entry.revision)

    async def _submit(self, asked: SubmitTask) -> TaskRecord:
        if self.deaf:
            raise BusFailed("no answer")
        if await self.tasks.get(asked.task) is None:
            self.submitted.append(asked)
            values = {name: getattr(asked, name) for name in asked.__struct_fields__ if name in Task.__struct_fields__}
            moment = Moment(at_ms=asked.created_at_ms, text="Waiting for a node: all are busy")
            task = Task(id=asked.task, committed_at_ms=asked.created_at_ms, timeline=(moment,), **values)
            await self.tasks.put(asked.task, task)
        if self.lose_answers:
            raise BusFailed("no answer")
        return await self._record(TaskRef(task=asked.task))

    async def _get(self, ref: TaskRef) -> TaskRecord:
        return await self._record(ref)

    async def _list_ids(self, asked: ListTaskIds) -> TaskIds:
        tasks = [entry.value for entry in (await self.tasks.load()).values()]
        return TaskIds(tasks=tuple(task.id for task in tasks if task.owner == asked.owner and not task.removed))

    async def _confirm(self, asked: ConfirmTasks) -> TasksConfirmed:
        entries = {seen.task: await self.tasks.get(seen.task) for seen in asked.seen}
        known = {task: entry.revision for task, entry in entries.items() if entry}
        return TasksConfirmed(outdated=tuple(seen.task for seen in asked.seen if known.get(seen.task) != seen.revision))

    async def _cancel(self, ref: TaskRef) -> TaskRecord:
        await self._record(ref)
        await self.change(ref.task, state=TaskState.CANCELED)
        return await self._record(ref)

    async def _remove(self, ref: TaskRef) -> Done:
        await self._record(ref)
        await self.tasks.delete(ref.task)
        return Done()

    async def _restart(self, asked: RestartTask) -> TaskRecord:
        ref = TaskRef(task=asked.task, owner=asked.owner)
        await self._record(ref)
        self.restarted.append(asked)
        await self.change(asked.task, state=TaskState.WAITING)
        return await self._record(ref)

    async def _find_ui_node(self, asked: FindUiNode) -> UiNode:
        del asked
        nodes = await self.nodes.load()
        if not nodes:
            raise NoNode("No nodes available")
        return UiNode(node=NodeId(next(iter(nodes))))


@dataclass
class NothingForwards:
    """Takes tasks over and leaves them where they are."""

    adopted: list[TaskId] = field(default_factory=list)
    files: list[tuple[TaskId, str]] = field(default_factory=list)

    async def adopt(self, task: TaskId) -> None:
        """Take over."""
        self.adopted.append(task)

    async def staged_of(self, task: TaskId) -> StagedFiles | None:
        """Say that nothing went ahead."""
        del task
        return None

    def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> None:
        """Remember them."""
        self.files += [(task, file.name) for file in files]


@dataclass
class ProxyUnderTest:
    """A proxy at work, and everything around it."""

    port: int
    bus: MemoryBus
    scheduler: FakeScheduler
    spool: DiskSpool
    cluster: ClusterMirror
    root: Path
    forwarding: NothingForwards
    commits: Commits
    app: Router

    def leftovers(self) -> list[str]:
        """List what the spool directory holds of uploads: every file and directory of a task."""
        found = [Path(folder, name) for folder, folders, files in os.walk(self.root) for name in (*folders, *files)]
        return sorted(str(path.relative_to(self.root)) for path in found if path.name not in {"lock", "room"})

    async def raw(self, request: bytes, *, half_close: bool = False, timeout_s: float = RAW_S) -> bytes:
        """Send bytes on a new connection; what comes back until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(request)
                await writer.drain()
                if half_close:
                    writer.write_eof()
            async with asyncio.timeout(timeout_s):
                with contextlib.suppress(ConnectionError):
                    return await reader.read()
                return b""
        finally:
            writer.close()

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; status, head and body of the answer."""
        lines = {"host": "cluster", "connection": "close", **(headers or {})}
        if body or method == "POST":
            lines["content-length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return parse(await self.raw(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode() + body))

    async def json(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send a request; status and decoded JSON of the answer."""
        status, _, content = await self.ask(method, target, body, headers)
        return status, msgspec.json.decode(content)

    async def form(self, target: str, **fields: str) -> tuple[int, Any]:
        """Post fields as multipart, as PyODM does."""
        parts = [(f'name="{name}"', value.encode()) for name, value in fields.items()]
        return await self.json("POST", target, multipart(parts), MULTIPART)

    async def ran(self, port: int, task: TaskId, node_task_id: NodeTaskId, token: str = "") -> Node:
        """Register the node on a port of this computer, put a task there that it has completed, and wait until the proxy knows both."""
        node = await self.scheduler.add_node("127.0.0.1", port, token)
        attempt = Attempt(number=1, node=node.id, node_task_id=node_task_id, state=AttemptState.ENDED, running_at_ms=5)
        await self.scheduler.put(tried_task(task, attempt))
        await until(lambda: self.cluster.task(task) and self.cluster.node(node.id))
        return node

    async def upload(self, task: str, *files: tuple[str, bytes]) -> tuple[int, Any]:
        """Upload files to a task."""
        parts = [(f'name="images"; filename="{name}"', content) for name, content in files]
        return await self.json("POST", f"/task/new/upload/{task}", multipart(parts), MULTIPART)

    async def init(self, **fields: str) -> str:
        """Begin a task."""
        status, said = await self.form("/task/new/init", **fields)
        assert "uuid" in said, (status, said)
        task: str = said["uuid"]
        return task


GET_INFO = b"GET /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
BOUNDARY = "----boundary"
MULTIPART = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


def tried_task(task: TaskId, *attempts: Attempt, **more: Any) -> Task:
    """Make the record of a completed task with these attempts; `more`: fields that are to be otherwise."""
    fields: dict[str, Any] = {
        "name": "mine",
        "upload_owner": InstanceId("i"),
        "created_at_ms": 1,
        "committed_at_ms": 1,
        "images_count": 1,
        "state": TaskState.COMPLETED,
    }
    return Task(id=task, attempts=attempts, **(fields | more))


def multipart(parts: list[tuple[str, bytes]], *, end: bool = True) -> bytes:
    """Write a multipart body."""
    body = b"".join(
        f"--{BOUNDARY}\r\ncontent-disposition: form-data; {head}\r\n\r\n".encode("utf-8", "surrogateescape")
        + content
        + b"\r\n"
        for head, content in parts
    )
    return body + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Take one answer apart; chunked bodies are put together."""
    head, _, body = answer.partition(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head, _, body = body.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunk(body)
    return int(first.split()[1]), headers, body


def unchunk(body: bytes) -> bytes:
    """Put a chunked body together. AssertionError when its end is missing."""
    whole = b""
    while True:
        size, separator, rest = body.partition(b"\r\n")
        assert separator, "a chunked body without end"
        if not int(size, 16):
            return whole
        whole += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]


@asynccontextmanager
async def running_proxy(
    root: Path, beside: ProxyUnderTest | None = None, **settings: Any
) -> AsyncIterator[ProxyUnderTest]:
    """Run a proxy on a free loopback port; its spool is in `root`. `beside` is another proxy of the same cluster."""
    bus = beside.bus if beside else MemoryBus()
    brisk = {"commit_wait_s": 0.2, "stop_timeout_s": 1.0, "uploads_wait_s": 0.2}
    chosen = ProxySettings(bind="127.0.0.1", port=0, **(brisk | settings))
    uploads = await bus.bucket(UPLOADS)
    forwarding = NothingForwards()
    async with (
        at_hand(beside.scheduler) if beside else FakeScheduler(bus).at_work() as scheduler,
        token_checker(chosen, bus) as checker,
        mirrored(bus) as cluster,
        NodeConnections(64) as polls,
        NodeConnections(64) as streams,
        listening(chosen) as ports,
        open_spool(root, uploads, f"http://127.0.0.1:{ports[0].port}") as spool,
        known_locations(bus, spool.instance) as locations,
    ):
        await scheduler.publish()
        await until(lambda: cluster.ready and cluster.options())
        uploading = intake(chosen, bus, cluster, spool, forwarding, checker)
        secret = await shared_secret(bus)
        peers = open_peers(
            bus,
            cluster,
            spool,
            locations,
            PeerClient(),
            secret=lambda: secret,
            stall_s=chosen.upload_stall_timeout_s,
            public_address=chosen.public_address,
        )
        health = ProxyHealth(bus, cluster, spool)
        await health.needed.check()
        app = open_router(chosen, bus, cluster, polls, streams, uploading.routes, peers, health, checker)
        async with served(app, ports, chosen):
            yield ProxyUnderTest(
                ports[0].port, bus, scheduler, spool, cluster, root, forwarding, uploading.commits, app
            )


@asynccontextmanager
async def at_hand(present: Given) -> AsyncIterator[Given]:
    """Use what somebody else has opened."""
    yield present


@asynccontextmanager
async def listening(settings: ProxySettings) -> AsyncIterator[list[ListeningPort]]:
    """Open a port."""
    tls = tls_context(settings.ssl_key, settings.ssl_cert) if settings.ssl_key else None
    with listen(settings.bind, settings.port) as listener:
        yield [ListeningPort(listener, tls)]


class ScriptedNode:
    """A node that says exactly what a test tells it to, byte for byte."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """The head of every request."""
        self.connections_count = 0
        self.open_count = 0
        self.closed_count = 0
        """Connections that were closed on it while it paused."""
        self._writers: set[asyncio.StreamWriter] = set()
        self.sent_bytes = 0
        self.answers: dict[str, list[bytes | float]] = {}
        """Path (or its beginning) to what is sent: bytes; a number is a pause in seconds; nothing more: wait for ever."""
        self.keep_open = True
        self.port = 0

    def say(self, path: str, *steps: bytes | float) -> None:
        """Set the answer for paths that begin so."""
        self.answers[path] = [*steps]

    def say_json(self, path: str, value: Any, status: str = "200 OK") -> None:
        """Set an answer as NodeODM gives it."""
        self.say(path, response(msgspec.json.encode(value), status, "content-type: application/json; charset=utf-8"))

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["ScriptedNode"]:
        """Listen while the context is open."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.transport.abort()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_count += 1
        self.open_count += 1
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        self.open_count -= 1
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.requests.append(head)
        path = head.split()[1]
        steps = next((steps for begin, steps in self.answers.items() if path.startswith(begin)), [])
        for step in steps:
            if isinstance(step, float):
                if await self._closed_within(reader, step):
                    self.closed_count += 1
                    return False
            else:
                writer.write(step)
                await writer.drain()
                self.sent_bytes += len(step)
        if not steps:
            await reader.read()
        return bool(steps) and self.keep_open

    async def _closed_within(self, reader: asyncio.StreamReader, pause_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                return await reader.read(1) == b""
        return False


def response(body: bytes, status: str = "200 OK", *lines: str, length: int | None = None) -> bytes:
    """Write an HTTP answer; `length` other than the body's is a lie."""
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body) if length is None else length}", *lines]
    return "\r\n".join([*head, "", ""]).encode() + body
