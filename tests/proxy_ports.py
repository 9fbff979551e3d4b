"""What stands behind the proxy's ports, played in memory: mirrors, nodes that answer as told, other proxies, the loops behind the spool.

The spool is tests/memory_spool.py, the scheduler and the nodes of a whole forwarding are in tests/forwarding.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable
from clusterodm.libs.common.messages.tasks import ConfirmTasks, StagedFiles, TaskRecord, TasksConfirmed
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node, NodeOption
from clusterodm.libs.common.model.tasks import Attempt, Task, TaskState, Upload
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.services.proxy.errors import UploadOwnerUnavailable
from clusterodm.services.proxy.nodes.ports import NodeRequest, Spliced
from clusterodm.services.proxy.peers.adapters import is_anothers
from clusterodm.services.proxy.peers.ports import ForwardedRequest, PeerAnswer
from clusterodm.services.proxy.spool.core.upload import StoredFile


class FakeCluster:
    """Mirrors that say what the test has put into them. Implements ports.Cluster."""

    def __init__(self) -> None:
        self.ready = True
        self.records: dict[TaskId, TaskRecord] = {}
        self.nodes: dict[NodeId, Node] = {}
        self.rented: dict[MachineId, Machine] = {}
        self.totals = ClusterSummary()
        self.known_options: tuple[NodeOption, ...] = ()
        self.listeners: list[Callable[[TaskId], None]] = []
        self.forgotten: list[TaskId] = []
        self.ended: dict[TaskId, TaskRecord] = {}
        """Tasks that are read only when somebody asks for them."""
        self.outdated: set[TaskId] = set()
        """Of these the scheduler knows more than the mirror."""
        self.resets_count = 0
        self._revision = 0

    async def confirm(self, asked: ConfirmTasks) -> TasksConfirmed:
        """Answer as the scheduler that wrote them."""
        return TasksConfirmed(outdated=tuple(seen.task for seen in asked.seen if seen.task in self.outdated))

    def put(self, *tasks: Task) -> None:
        """Have the scheduler write tasks."""
        for task in tasks:
            self._revision += 1
            self.records[task.id] = TaskRecord(task=task, revision=self._revision)
            for listener in self.listeners:
                listener(task.id)

    def task(self, task: TaskId) -> TaskRecord | None:
        return self.records.get(task)

    async def recall(self, task: TaskId) -> TaskRecord | None:
        return self.records.get(task) or self.ended.get(task)

    def on_task(self, listener: Callable[[TaskId], None]) -> None:
        self.listeners.append(listener)

    def node(self, node: NodeId) -> Node | None:
        return self.nodes.get(node)

    def attempt(self, node_task: NodeTaskId) -> Attempt | None:
        attempts = (attempt for record in self.records.values() for attempt in record.task.attempts)
        return next((attempt for attempt in attempts if attempt.node_task_id == node_task), None)

    def machine(self, machine: MachineId) -> Machine | None:
        return self.rented.get(machine)

    def machines(self) -> Iterable[Machine]:
        return self.rented.values()

    def summary(self) -> ClusterSummary:
        return self.totals

    def options(self) -> tuple[NodeOption, ...]:
        return self.known_options

    def tasks(self) -> Iterable[Task]:
        return [record.task for record in self.records.values()]

    def stored_bytes(self, owner: Owner, but: InstanceId) -> int:
        kept = (task for task in self.tasks() if task.inputs_kept and task.upload_owner != but)
        return sum(task.size_bytes for task in kept if task.owner == owner)

    def position(self, task: Task) -> int:
        waiting = [each.id for each in self.tasks() if each.state is TaskState.WAITING]
        return waiting.index(task.id) + 1

    def learn(self, record: TaskRecord) -> None:
        self.records[record.task.id] = record

    def forget(self, task: TaskId) -> None:
        self.records.pop(task, None)
        self.forgotten.append(task)


@dataclass
class FakeReply:
    """A node's answer. Implements ports.NodeReply. `breaks_off`: after the pieces the connection ends."""

    status: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()
    pieces: Sequence[bytes] = ()
    arrived: bool = True
    breaks_off: bool = False
    aborted: bool = False
    may_splice: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.breaks_off:
            raise NodeFailed("the node broke off")

    async def splice(self, target: int) -> Spliced | None:
        del target
        return None

    async def read(self, limit_bytes: int) -> bytes:
        body = b"".join([piece async for piece in self.chunks()])
        if len(body) > limit_bytes:
            raise NodeFailed("too much")
        return body

    def abort(self) -> None:
        self.aborted = True


def says(value: object, status: int = 200, **more: bool) -> FakeReply:
    """A JSON answer."""
    body = msgspec.json.encode(value)
    headers = ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    return FakeReply(status, headers, (body,), **more)


@dataclass
class FakeUpstream:
    """Nodes that answer as told, by path; what is not told cannot be reached. Implements ports.Upstream."""

    answers: dict[bytes, FakeReply | Exception] = field(default_factory=dict)
    asked: list[tuple[str, NodeRequest]] = field(default_factory=list)
    gate: asyncio.Event | None = None
    """Given: nobody answers before it is set."""

    def let_through(self) -> None:
        """Let everybody answer."""
        if self.gate:
            self.gate.set()

    @asynccontextmanager
    async def ask(self, node: Node, call: NodeRequest) -> AsyncIterator[FakeReply]:
        self.asked.append((node.name, call))
        if self.gate:
            await self.gate.wait()
        answer = self.answers.get(call.path, NodeUnreachable(f"{node.name} cannot be reached"))
        if isinstance(answer, Exception):
            raise answer
        yield answer


class FakePeers:
    """The other proxies: those whose address is known answer. Implements ports.Peers."""

    def __init__(self) -> None:
        self.answers: dict[str, PeerAnswer] = {}

    async def post(self, url: str, request: ForwardedRequest) -> PeerAnswer:
        if url not in self.answers:
            raise UploadOwnerUnavailable("the proxy that holds this upload cannot be reached")
        async for _ in request.body:
            pass
        return self.answers[url]


class FakeLocations:
    """Which proxy holds what. Implements ports.UploadLocations."""

    def __init__(self) -> None:
        self.uploads: dict[TaskId, Upload] = {}

        self.asked: list[TaskId] = []

    async def elsewhere(self, task: TaskId, owner: Owner) -> Upload | None:
        self.asked.append(task)
        found = self.uploads.get(task)
        return None if found is None or is_anothers(found, owner) else found


class FakeForwarding:
    """The loops behind the spool, as the HTTP side sees them. Implements ports.Forwarding."""

    def __init__(self) -> None:
        self.adopted: list[TaskId] = []
        self.came: list[str] = []
        self.ahead: StagedFiles | None = None
        """What went ahead of every task."""

    async def adopt(self, task: TaskId) -> None:
        self.adopted.append(task)

    async def staged_of(self, task: TaskId) -> StagedFiles | None:
        del task
        return self.ahead

    def arrived(self, task: TaskId, files: Sequence[StoredFile]) -> None:
        del task
        self.came += [file.name for file in files]


def a_task(task: TaskId, owner: Owner, machine: MachineId | None = None, **more: Any) -> Task:
    """Make the record of a task that has had one attempt."""
    attempt = Attempt(number=1, node=NodeId("n"), node_task_id=NodeTaskId("on-node"), machine=machine)
    return Task(
        id=task,
        name="field",
        upload_owner=InstanceId("p"),
        owner=owner,
        created_at_ms=5,
        committed_at_ms=8,
        images_count=2,
        attempts=(attempt,),
        **more,
    )
