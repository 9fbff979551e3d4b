# ruff: noqa: ARG002 the fakes keep the signatures of their Protocol
"""A scheduler without a world, for tests that read like a play: fake nodes, a clock that the test moves, an in-memory bus.

    async with a_play(a=FakeNode(slots=2), b=FakeNode()) as play:
        await play.commits("one", images=10)
        placed = await play.asks("one")
        await play.starts("one")
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED

No loop runs by itself: the test does what a loop would do, when it wants it done. Task names are turned into UUIDs.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from clusterodm.libs.common.clocks import Instant, Now, WallMs, read
from clusterodm.libs.common.errors import ClusterError, NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.messages.buckets import NODES
from clusterodm.libs.common.messages.nodes import AddNode, DrainNode, LabelNode, LockNode, NodeRef
from clusterodm.libs.common.messages.placement import (
    NotWaiting,
    Placed,
    PlaceReply,
    PlaceTask,
    PlaceTasks,
    RenewAttempt,
    ReportForwarded,
    ReportForwardFailed,
    ReportInputsGone,
    TaskQuery,
    Waiting,
)
from clusterodm.libs.common.messages.tasks import AdoptTask, ImportRoute, KnownAttempt, RestartTask, SubmitTask, TaskRef
from clusterodm.libs.common.messages.tenants import SetTenants, TenantShare
from clusterodm.libs.common.model.nodes import Node, NodeInfo, NodeOption, OptionValue
from clusterodm.libs.common.model.tasks import StatusCode, Task
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus, MemoryTerm
from clusterodm.services.scheduler.main import Scheduler, wired
from clusterodm.services.scheduler.node_client.ports import HeardInfo, ObservedTask
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.settled import SETTLED_S
from tests.waiting import until

UPLOAD_OWNER = InstanceId("proxy-1")
NOW_MS = WallMs(1_700_000_000_000)
NOW = Now(NOW_MS, Instant(1_000.0))
"""What both clocks say when a play begins."""
GIGABYTE = 1_000_000_000


def settings(**values: Any) -> SchedulerSettings:
    """Make settings, whatever flags pytest was called with."""
    return SchedulerSettings(**values)


def task_id(name: str) -> TaskId:
    """Turn a name into the UUID that stands for it."""
    return TaskId(str(uuid.uuid5(uuid.NAMESPACE_URL, name)))


def node_state(
    name: str,
    *,
    slots: int = 1,
    limit: int | None = None,
    memory: int = 0,
    used: int = 0,
    foreign: int = 0,
    turn: int = 0,
    online: bool = True,
    **record: Any,
) -> NodeState:
    """Make a node for tests of the core."""
    state = NodeState(
        Node(id=NodeId(name), hostname=name, port=3000, **record),
        seen_at=NOW.instant,
        online=online,
        info=NodeInfo(max_parallel_tasks=slots, max_images=limit, total_memory=memory or None),
        foreign_count=foreign,
        turn=turn,
    )
    state.tasks = {task_id(f"{name} {number}") for number in range(used)}
    return state


@dataclass
class FakeNode:
    """A node that does what the test says."""

    slots: int = 1
    limit: int | None = None
    memory: int = 16 * GIGABYTE
    up: bool = True
    foreign: int = 0
    """Tasks that others have sent to it."""
    tasks: dict[NodeTaskId, ObservedTask] = field(default_factory=dict)
    console: dict[NodeTaskId, list[str]] = field(default_factory=dict)
    acts: list[tuple[str, NodeTaskId]] = field(default_factory=list)
    """Every cancel, remove and restart."""
    refuses_output: bool = False
    refuses: str = ""
    """What it says to the next action."""
    talks_nonsense: bool = False
    """What it says of tasks cannot be read."""
    console_is_too_long: bool = False
    """Who asks how a task stands and for its console gets nothing that can be read."""
    used: int = 0
    """Memory that is not left."""
    asked_count: int = 0
    """How often it was asked how it is, or how a task is."""
    gate: asyncio.Event | None = None
    """What it has to say of a task, or of its restart, is under way until this is set."""

    def info(self) -> NodeInfo:
        """Say how it is."""
        busy = [
            observation
            for observation in self.tasks.values()
            if observation.code in {StatusCode.QUEUED, StatusCode.RUNNING}
        ]
        return NodeInfo(
            version="2.2.4",
            engine="odm",
            engine_version="3.5.6",
            max_images=self.limit,
            max_parallel_tasks=self.slots,
            task_queue_count=len(busy) + self.foreign,
            total_memory=self.memory,
            available_memory=self.memory - self.used,
            cpu_cores=4,
        )

    def takes(self, task: NodeTaskId) -> None:
        """Take a commit."""
        self.tasks[task] = ObservedTask(StatusCode.RUNNING, processing_time_ms=1, name="on the node", images_count=3)
        self.console[task] = ["started"]

    def says(self, task: NodeTaskId, **changes: Any) -> None:
        """Change what it says of a task."""
        self.tasks[task] = replace(self.tasks[task], **changes)

    def finishes(self, task: NodeTaskId) -> None:
        """Complete a task."""
        self.console[task].append("done")
        self.says(task, code=StatusCode.COMPLETED, progress=100.0)

    def fails(self, task: NodeTaskId, error: str) -> None:
        """Fail a task."""
        self.says(task, code=StatusCode.FAILED, error=error)


class FakeNodes:
    """Implements `ports.NodeApi` over fake nodes."""

    def __init__(self, nodes: dict[str, FakeNode]) -> None:
        self.nodes = nodes
        self.turns_count: Counter[str] = Counter()
        """How often each was asked together with others."""
        self.rounds: list[int] = []
        """How many each time."""
        self.breaks_next = False
        """Asking together fails in a way that nobody expects."""

    def reach(self, node: Node) -> FakeNode:
        """Find the node, if it is up."""
        fake = self.nodes.get(node.hostname)
        if fake is None or not fake.up:
            raise NodeUnreachable(f"{node.name} cannot be reached")
        return fake

    async def info(self, node: Node, timeout_s: float) -> NodeInfo:
        """Say how it is."""
        fake = self.reach(node)
        fake.asked_count += 1
        return fake.info()

    async def infos(self, nodes: Iterable[Node], heard: HeardInfo, timeout_s: float) -> None:
        """Say how each is."""
        asked = list(nodes)
        if self.breaks_next:
            self.breaks_next = False
            raise ZeroDivisionError
        self.rounds.append(len(asked))
        for node in asked:
            try:
                heard(node, await self.info(node, timeout_s))
            except ClusterError as error:
                heard(node, error)
            self.turns_count[node.hostname] += 1

    async def options(self, node: Node, timeout_s: float) -> tuple[NodeOption, ...]:
        """Say which options it knows."""
        self.reach(node)
        return (NodeOption(name="dsm", type="bool", value="false", domain="bool", help="surface model"),)

    async def observe(
        self, node: Node, task: NodeTaskId, from_line: int | None, timeout_s: float
    ) -> ObservedTask | None:
        """Say how a task is."""
        fake = self.reach(node)
        fake.asked_count += 1
        observation = fake.tasks.get(task)
        lines = () if from_line is None else tuple(fake.console.get(task, [])[from_line:])
        if fake.gate:
            await fake.gate.wait()
        if fake.talks_nonsense or (fake.console_is_too_long and from_line is not None):
            raise NodeFailed(f"{node.name} answered nonsense")
        return replace(observation, lines=lines) if observation else None

    async def output(self, node: Node, task: NodeTaskId, from_line: int, timeout_s: float) -> tuple[str, ...] | None:
        """Say what a task has written."""
        fake = self.reach(node)
        if fake.refuses_output:
            raise NodeFailed(f"{node.name} did not answer")
        return tuple(fake.console[task][from_line:]) if task in fake.tasks else None

    async def cancel(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Cancel a task."""
        return self._act(node, "cancel", task, StatusCode.CANCELED)

    async def remove(self, node: Node, task: NodeTaskId, timeout_s: float) -> bool:
        """Remove a task."""
        found = self._act(node, "remove", task, StatusCode.CANCELED)
        self.reach(node).tasks.pop(task, None)
        return found

    async def discard(self, node: Node, task: NodeTaskId, timeout_s: float) -> None:
        """Remove an upload."""
        self.reach(node).acts.append(("discard", task))

    async def restart(
        self, node: Node, task: NodeTaskId, options: tuple[OptionValue, ...] | None, timeout_s: float
    ) -> bool:
        """Restart a task."""
        found = self._act(node, "restart", task, StatusCode.QUEUED)
        if gate := self.reach(node).gate:
            await gate.wait()
        self.reach(node).console[task] = []
        return found

    def _act(self, node: Node, verb: str, task: NodeTaskId, code: StatusCode) -> bool:
        fake = self.reach(node)
        fake.acts.append((verb, task))
        if fake.refuses:
            words, fake.refuses = fake.refuses, ""
            raise Refused(words)
        if task not in fake.tasks:
            return False
        fake.says(task, code=code, processing_time_ms=-1)
        return True


class Play:
    """The stage: a scheduler whose time and loops are in the test's hand."""

    def __init__(self, api: FakeNodes, bus: MemoryBus, chosen: SchedulerSettings) -> None:
        self.api = api
        self.bus = bus
        self.settings = chosen
        self.clock = FakeClock(NOW.wall_ms, instant_s=1_000.0)
        self.scheduler: Scheduler
        self.term = MemoryTerm(0)
        self._ids = 0

    @property
    def now_ms(self) -> WallMs:
        """Say what time it is."""
        return self.clock.wall_ms()

    @property
    def now(self) -> Now:
        """Read both clocks."""
        return read(self.clock)

    def new_id(self) -> str:
        """Make ids that a test can tell apart."""
        self._ids += 1
        return str(uuid.UUID(int=self._ids))

    async def starts_up(self) -> None:
        """Start the scheduler, or start it again: only what is in the store survives."""
        self.term = MemoryTerm(self.term.epoch + 1)
        self.scheduler = await wired(self.bus, self.api, self.settings, self.term, self.clock, self.new_id)
        await self.scheduler.tasks.archiver.read()

    async def probes(self) -> None:
        """Ask all nodes."""
        await self.scheduler.nodes.prober.probe_all()

    async def passes(self, seconds: float) -> None:
        """Let time pass, and let the sweeping loops have their turn. HOLDER is there all the time."""
        self.clock.pass_s(seconds)
        self.scheduler.placement.placement_loop.heard(UPLOAD_OWNER)
        await self.sweeps()

    async def sweeps(self) -> None:
        """Do once what the sweeping loops do."""
        async with TaskLimiter(10, grace_s=5) as limiter:
            await self.scheduler.nodes.failures.check()
            await self.scheduler.forwarding.uncertain.check(limiter)
        async with TaskLimiter(10, grace_s=5) as limiter:
            await self.scheduler.tasks.collector.clean_nodes(limiter)
            await self.scheduler.nodes.drainer.check(limiter)
        await self.scheduler.records.sync.settle_doubts()
        await self.scheduler.placement.placement_loop.recheck()
        await self.scheduler.placement.explainer.explain()
        await self.scheduler.placement.unplaceable.check()
        await self.scheduler.tasks.collector.forget_retired()
        await self.scheduler.tasks.collector.forget_old()
        await self.scheduler.tasks.absent_proxies.check()

    async def archives(self) -> None:
        """Let time pass until what has ended is in the archive, and put it there."""
        await self.passes(SETTLED_S + 1)
        await self.scheduler.tasks.archiver.put_away_due()

    async def looks(self) -> None:
        """Look at all running tasks."""
        for task in list(self.scheduler.state.index.running):
            await self.scheduler.tasks.tracker.observe(task)

    # --- who speaks to the scheduler -------------------------------------------------------------------------------

    async def adds(self, name: str, fake: FakeNode) -> None:
        """Register a node and probe it."""
        self.api.nodes[name] = fake
        await self.scheduler.nodes.commands.add(AddNode(hostname=name, port=3000))
        await self.probes()

    async def commits(
        self, name: str, *, images: int | None = 3, upload_owner: InstanceId = UPLOAD_OWNER, **more: Any
    ) -> Task:
        """Commit a task."""
        asked = SubmitTask(
            task=task_id(name), name=name, upload_owner=upload_owner, created_at_ms=NOW_MS, images_count=images, **more
        )
        self.clock.pass_s(0.001)
        return (await self.scheduler.tasks.submit.submit(asked)).task

    async def adopts(
        self, name: str, *attempts: KnownAttempt, upload_owner: InstanceId = UPLOAD_OWNER, **more: Any
    ) -> Task:
        """Submit a task again, with what its upload owner knows of it."""
        submission = SubmitTask(
            task=task_id(name), name=name, upload_owner=upload_owner, created_at_ms=NOW_MS, images_count=3
        )
        asked = AdoptTask(submission=submission, attempts=attempts, **more)
        return (await self.scheduler.tasks.submit.adopt(asked)).task

    async def loses_the_store(self) -> None:
        """Start the scheduler on a store that has begun anew."""
        self.bus = MemoryBus()
        await self.starts_up()

    async def asks(self, name: str, upload_owner: InstanceId = UPLOAD_OWNER) -> Placed | Waiting | NotWaiting:
        """Ask where a task goes."""
        return await self.scheduler.placement.placement_loop.place(
            PlaceTask(task=task_id(name), upload_owner=upload_owner)
        )

    async def polls(
        self,
        *names: str,
        upload_owner: InstanceId = UPLOAD_OWNER,
        places: int = 8,
        sending: dict[str, int] | None = None,
        **more: Any,
    ) -> dict[str, PlaceReply]:
        """Ask for placements as an upload owner does; answered at once unless `hold_s` is given."""
        asked = PlaceTasks(
            upload_owner=upload_owner,
            places_count=places,
            tasks=tuple(TaskQuery(task=task_id(name)) for name in names),
            sending={task_id(name): number for name, number in (sending or {}).items()},
            **more,
        )
        answer = await self.scheduler.placement.placement_loop.place_tasks(asked)
        return {self.name_of(each.task): each.answer for each in answer.tasks}

    @asynccontextmanager
    async def polling(
        self, upload_owner: InstanceId = UPLOAD_OWNER, **more: Any
    ) -> AsyncIterator["asyncio.Task[dict[str, PlaceReply]]"]:
        """Hold a question open; what it is answered with."""
        async with asyncio.TaskGroup() as group:
            question = group.create_task(self.polls(upload_owner=upload_owner, hold_s=20, **more))
            await until(lambda: self.scheduler.state.proxies.polls(upload_owner) or question.done())
            yield question
            question.cancel()

    def name_of(self, task: TaskId) -> str:
        """Say by which name a test knows a task; its id when it has none."""
        found = self.scheduler.state.index.tasks.get(task)
        return found.name if found else task

    async def is_placed(self, name: str, upload_owner: InstanceId = UPLOAD_OWNER) -> Placed:
        """Ask where a task goes, sure that it goes somewhere."""
        answer = await self.asks(name, upload_owner)
        assert isinstance(answer, Placed), answer
        return answer

    async def starts(self, name: str, upload_owner: InstanceId = UPLOAD_OWNER) -> Placed:
        """Place a task, send it, report that it runs."""
        placed = await self.is_placed(name, upload_owner)
        self.api.reach(placed.node).takes(placed.node_task_id)
        await self.reports_forwarded(name, placed.attempt)
        return placed

    async def reports_forwarded(self, name: str, attempt: int) -> None:
        """Report that the node has it."""
        await self.scheduler.forwarding.reports.forwarded(
            ReportForwarded(task=task_id(name), attempt=attempt, upload_owner=UPLOAD_OWNER)
        )

    async def reports_failed(self, name: str, attempt: int, reason: str = "connection reset", **more: bool) -> None:
        """Report that forwarding is over."""
        await self.scheduler.forwarding.reports.failed(
            ReportForwardFailed(task=task_id(name), attempt=attempt, upload_owner=UPLOAD_OWNER, reason=reason, **more)
        )

    async def renews(self, name: str, attempt: int) -> None:
        """Report that forwarding goes on."""
        await self.scheduler.forwarding.reports.renew(
            RenewAttempt(task=task_id(name), attempt=attempt, upload_owner=UPLOAD_OWNER)
        )

    async def loses_inputs(self, name: str, reason: str = "the disk is full") -> None:
        """Report that the inputs are about to go."""
        await self.scheduler.forwarding.reports.inputs_gone(
            ReportInputsGone(task=task_id(name), upload_owner=UPLOAD_OWNER, reason=reason)
        )

    async def cancels(self, name: str, owner: Owner | None = None) -> Task:
        """Cancel a task."""
        return (await self.scheduler.tasks.actions.cancel(TaskRef(task=task_id(name), owner=owner))).task

    async def removes(self, name: str, owner: Owner | None = None) -> None:
        """Remove a task."""
        await self.scheduler.tasks.actions.remove(TaskRef(task=task_id(name), owner=owner))

    async def restarts(self, name: str, options: tuple[OptionValue, ...] | None = None) -> Task:
        """Restart a task."""
        asked = RestartTask(task=task_id(name), options=options)
        return (await self.scheduler.tasks.actions.restart(asked)).task

    async def imports(self, name: str, node: str) -> Task:
        """Take a task over."""
        asked = ImportRoute(task=task_id(name), node=NodeId(f"{node}-3000"))
        return (await self.scheduler.tasks.submit.import_route(asked)).task

    async def locks(self, node: str) -> None:
        """Lock a node."""
        await self.scheduler.nodes.commands.lock(LockNode(node=NodeId(f"{node}-3000")))

    async def unlocks(self, node: str) -> None:
        """Unlock a node."""
        await self.scheduler.nodes.commands.unlock(NodeRef(node=NodeId(f"{node}-3000")))

    async def drains(self, node: str, deadline_s: float | None = None) -> None:
        """Drain a node."""
        asked = DrainNode(node=NodeId(f"{node}-3000"), deadline_s=deadline_s)
        await self.scheduler.nodes.commands.drain(asked)

    async def labels(self, node: str, *labels: str) -> None:
        """Give a node labels."""
        await self.scheduler.nodes.commands.label(LabelNode(node=NodeId(f"{node}-3000"), labels=labels))

    async def confines(self, owner: str, *labels: str) -> None:
        """Confine a tenant to nodes with labels."""
        share = TenantShare(owner=Owner(owner), name=owner, labels=labels)
        await self.scheduler.placement.tenants.set_tenants(SetTenants(tenants=(share,)))

    async def takes_off(self, node: str) -> None:
        """Remove a node."""
        await self.scheduler.nodes.commands.remove(NodeRef(node=NodeId(f"{node}-3000")))

    async def goes_down(self, node: str) -> None:
        """Let a node be gone, and let that be noticed."""
        self.api.nodes[node].up = False
        await self.probes()
        await self.probes()

    async def comes_back(self, node: str) -> None:
        """Let a node be there again, and let that be noticed."""
        self.api.nodes[node].up = True
        await self.probes()

    # --- what can be seen ------------------------------------------------------------------------------------------

    def node(self, name: str) -> FakeNode:
        """Find a fake node."""
        return self.api.nodes[name]

    def state_of(self, name: str) -> NodeState:
        """Find what the scheduler knows of a node."""
        state = self.scheduler.state.nodes.get(NodeId(f"{name}-3000"))
        assert state is not None
        return state

    def task(self, name: str) -> Task:
        """Find a task."""
        state = self.scheduler.state
        return state.index.shown(state.index.tasks[task_id(name)])

    def has(self, name: str) -> bool:
        """Whether a task's record is there."""
        return task_id(name) in self.scheduler.state.index.tasks

    def told(self, name: str) -> list[Any]:
        """List the events of one kind."""
        return [message for kind, message in self.bus.published if kind == name]

    async def recorded_nodes(self) -> dict[str, Node]:
        """Read the records of nodes."""
        return {key: entry.value for key, entry in (await (await self.bus.bucket(NODES)).load()).items()}


@asynccontextmanager
async def a_play(
    bus: MemoryBus | None = None, chosen: SchedulerSettings | None = None, **nodes: FakeNode
) -> AsyncIterator[Play]:
    """Set the stage: a scheduler that knows these nodes, all probed once."""
    play = Play(FakeNodes({}), bus or MemoryBus(), chosen or settings())
    await play.starts_up()
    for name, fake in nodes.items():
        await play.adds(name, fake)
    yield play
