"""What the scheduler knows of nodes and tasks: asked of it, and read in its records.

The tasks' records say which tasks are on a node, which ran there, and which wait. They are the scheduler's and are watched, not asked
for: they are true the moment they are written, and a restart reads them all again. Demand is told in snapshots, which may be a moment
old: a task that is in one and whose record says that it has found a node is not waiting (else each start of a task would ask for one
machine too many).
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.buckets import NODES, TASKS
from clusterodm.libs.common.messages.demand import DemandChanged, WaitingTask, waiting_task
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    LIST_NODES,
    LOCK_NODE,
    LOSE_NODE,
    AddNode,
    ListNodes,
    LockNode,
    LoseNode,
    NodeView,
)
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId, TaskId
from clusterodm.libs.common.ports import Bucket, Bus, Change
from clusterodm.libs.common.run_times import Workload, workload_of
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.cluster.core import (
    AttemptOnNode,
    CompletedTask,
    Load,
    attempt_on_node,
    completed_on_machine,
)


class SchedulerClient:
    """The scheduler, as the autoscaler sees it. Every call raises BusFailed when it is away."""

    def __init__(self, bus: Bus, nodes: Bucket[Node]) -> None:
        self._bus = bus
        self._nodes = nodes

    @classmethod
    async def open(cls, bus: Bus) -> "SchedulerClient":
        """Open the bucket of nodes, which is only read."""
        return cls(bus, await bus.bucket(NODES))

    async def nodes(self) -> dict[NodeId, NodeView]:
        """All nodes that are registered."""
        return {view.id: view for view in (await self._bus.request(LIST_NODES, ListNodes())).nodes}

    async def register(self, machine: Machine, token: Secret) -> NodeId:
        """Register a machine's node. Doing it again changes nothing. Raises Refused."""
        if known := await self.node_of(machine):
            return known
        request = AddNode(
            hostname=machine.hostname,
            port=machine.port,
            token=token.reveal(),
            labels=machine.labels,
            machine=machine.id,
            price_per_hour=machine.price_per_hour,
            spot=machine.spot,
            interruptions_limit_count=machine.interruptions_limit_count,
        )
        try:
            return (await self._bus.request(ADD_NODE, request)).id
        except Refused:
            await self._drop_predecessor(machine)
            return (await self._bus.request(ADD_NODE, request)).id

    async def node_of(self, machine: Machine) -> NodeId | None:
        """Find the node of a machine in the scheduler's own records."""
        nodes = (entry.value for entry in (await self._nodes.load()).values())
        return next((node.id for node in nodes if node.machine == machine.id and not node.retired), None)

    async def machines(self) -> set[MachineId]:
        """Name the machines of all nodes in the scheduler's own records."""
        return {entry.value.machine for entry in (await self._nodes.load()).values() if entry.value.machine}

    async def token_of(self, machine: Machine) -> str:
        """Give the token with which a machine's node was registered; empty when it was not."""
        nodes = (entry.value for entry in (await self._nodes.load()).values())
        return next((node.token for node in nodes if node.machine == machine.id), "")

    async def lock(self, node: NodeId, reason: str) -> None:
        """Send no more tasks to a node, whatever operators say; one that is gone needs no lock."""
        try:
            await self._bus.request(LOCK_NODE, LockNode(node=node, reason=reason))
        except NotFound:
            return

    async def remove_node(self, machine: Machine, reason: str) -> None:
        """Take a machine's node off the list. Tasks that are still on it get a new attempt at once.

        Its record may not know of them yet, nor of its node: after a lost store tasks are told of by their upload owners.
        """
        node = machine.node or await self.node_of(machine)
        if node is None and machine.created_at_ms is None:
            return
        try:
            await self._bus.request(
                LOSE_NODE, LoseNode(node=node, machine=machine.id, reason=reason, interrupted=machine.interrupted)
            )
        except NotFound:
            return

    async def _drop_predecessor(self, machine: Machine) -> None:
        """Remove the node of another machine that had this address: at a provider an address belongs to one."""
        for entry in (await self._nodes.load()).values():
            node = entry.value
            at = (node.hostname, node.port) == (machine.hostname, machine.port)
            if at and node.machine not in {None, machine.id}:
                await self._bus.request(
                    LOSE_NODE, LoseNode(node=node.id, reason="its address belongs to a new machine")
                )


class TaskMirror:
    """All tasks, as far as machines depend on them."""

    def __init__(self, bucket: Bucket[Task], changed: Callable[[], None]) -> None:
        self._bucket = bucket
        self._changed = changed
        self._waiting: dict[TaskId, WaitingTask] = {}
        self._known: dict[TaskId, TaskState] = {}
        self._attempts: dict[NodeId, dict[TaskId, AttemptOnNode]] = {}
        """On nodes of machines only."""
        self._where: dict[TaskId, set[NodeId]] = {}
        self.workloads: dict[TaskId, Workload] = {}
        """Of tasks that have not ended."""
        self._completed: list[CompletedTask] = []
        self.complete = asyncio.Event()
        """All records have been read."""

    @classmethod
    async def open(cls, bus: Bus, changed: Callable[[], None]) -> "TaskMirror":
        """Open the bucket; `watch` has to run."""
        return cls(await bus.bucket(TASKS), changed)

    async def watch(self) -> None:
        """Keep up with the records, for ever."""
        async with self._bucket.watch() as changes:
            async for change in changes:
                if change is None:
                    self.complete.set()
                elif isinstance(change, Change):  # what cannot be read stays as it was; what began anew is told whole
                    self.take(change)

    def take(self, change: Change[Task]) -> None:
        """Learn of one task."""
        task_id = TaskId(change.key)
        before = (self._known.get(task_id), self._places(task_id))
        had_state = self._known.pop(task_id, None)
        self.workloads.pop(task_id, None)
        self._waiting.pop(task_id, None)
        task = change.value
        if task is None or task.removed:
            self._leave(task_id)
        else:
            self._learn(task)
            self._note_completed(task, had_state)
        if before != (self._known.get(task_id), self._places(task_id)):
            self._changed()

    def load(self, node: NodeId, machine: MachineId, *, online: bool, locked: bool) -> Load:
        """Say what a node has to do; only what was placed on its machine, for addresses are used again."""
        attempts = {task: each for task, each in self._attempts.get(node, {}).items() if each.machine == machine}
        here = {task: each for task, each in attempts.items() if not each.over}
        uploading = [each.started_at_ms for each in here.values() if not each.ran]
        return Load(
            tasks=tuple(sorted(here)),
            done=tuple(sorted(task for task, each in attempts.items() if each.over and each.ran)),
            running_count=len(here) - len(uploading),
            running_since_ms={task: each.running_at_ms for task, each in here.items() if each.ran},
            uploading_since_ms=min(uploading, default=None),
            online=online,
            locked=locked,
        )

    def waiting(self, demand: DemandChanged | None) -> Sequence[WaitingTask]:
        """List who waits, in the order of the queue: by the snapshot, and without one by the records."""
        if demand is None:
            return sorted(self._waiting.values(), key=lambda task: task.waiting_since_ms)
        return self.still_waiting(demand.waiting)

    def still_waiting(self, listed: Sequence[WaitingTask]) -> Sequence[WaitingTask]:
        """Leave out those that have found a node since they were listed, or have ended; others may have lost one since."""
        return [
            self._brought_up_to_date(task)
            for task in listed
            if self._known.get(task.task, TaskState.WAITING) is TaskState.WAITING
        ]

    def _brought_up_to_date(self, task: WaitingTask) -> WaitingTask:
        """Count the interruptions that its record has and a snapshot of before does not, lest it is put on a spot machine again."""
        known = self._waiting.get(task.task)
        if known is None or known.interruptions_count <= task.interruptions_count:
            return task
        return msgspec.structs.replace(task, interruptions_count=known.interruptions_count)

    def completed(self) -> list[CompletedTask]:
        """Give the tasks that were completed on machines since this was last asked."""
        given, self._completed = self._completed, []
        return given

    def machines(self) -> set[MachineId]:
        """Name the machines that tasks are or were on."""
        return {each.machine for attempts in self._attempts.values() for each in attempts.values()}

    def forget(self, node: NodeId) -> None:
        """Drop what is known of a node whose machine has ended."""
        for task in self._attempts.pop(node, {}):
            self._where[task].discard(node)
            if not self._where[task]:
                del self._where[task]

    def _learn(self, task: Task) -> None:
        self._known[task.id] = task.state
        if not task.state.ended:
            self.workloads[task.id] = workload_of(task)
        if task.state is TaskState.WAITING:
            self._waiting[task.id] = waiting_task(task)
        for attempt in task.attempts:
            if attempt.machine is None:
                continue
            current = attempt is task.attempts[-1] and not task.state.ended
            self._attempts.setdefault(attempt.node, {})[task.id] = attempt_on_node(
                attempt, attempt.machine, current=current
            )
            self._where.setdefault(task.id, set()).add(attempt.node)

    def _note_completed(self, task: Task, had_state: TaskState | None) -> None:
        """Keep how long a task took that has just been completed; what had ended when it was first read was learned of before."""
        if had_state is None or had_state.ended:
            return
        if done := completed_on_machine(task):
            self._completed.append(done)

    def _leave(self, task: TaskId) -> None:
        for node in self._where.get(task, ()):
            known = self._attempts[node][task]
            self._attempts[node][task] = AttemptOnNode(known.machine, known.started_at_ms, over=True, ran=known.ran)

    def _places(self, task: TaskId) -> dict[NodeId, AttemptOnNode]:
        return {node: self._attempts[node][task] for node in self._where.get(task, ())}
