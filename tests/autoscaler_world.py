"""An autoscaler in a small world: a scheduler that places and finishes tasks, a cloud, a clock; and a way to kill it.

Time stands still but for `turn`, which moves it on. Every call that leaves the autoscaler (to the cloud, to the scheduler,
every write of a record) passes `World.passing` twice: before it is carried out, and when it has been and its answer was
not seen yet. `kill_at` chooses the passage at which the autoscaler dies; the world then starts another one.
"""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.buckets import NODES, TASKS
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, DemandChanged, WaitingTask
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    LIST_NODES,
    LOCK_NODE,
    LOSE_NODE,
    REMOVE_NODE,
    AddNode,
    ListNodes,
    LockNode,
    LoseNode,
    NodeList,
    NodeRef,
    NodeView,
)
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, TaskId
from clusterodm.libs.common.process.loops import background
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.libs.machinesim.cloud import Cloud
from clusterodm.services.autoscaler.assembly import Autoscaler, assembled
from clusterodm.services.autoscaler.commands import Commands
from clusterodm.services.autoscaler.config.core.configuration import Configuration, ScalingLimits, StepTimeouts
from clusterodm.services.autoscaler.identity.core import Identities
from clusterodm.services.autoscaler.identity.handlers import ClusterIdentity
from clusterodm.services.autoscaler.machines.handlers.controller import MachineController
from clusterodm.services.autoscaler.machines.handlers.reconciler import Reconciler
from clusterodm.services.autoscaler.orders import ProviderMachine, Size
from clusterodm.services.autoscaler.planning.handlers.planner import Planner
from clusterodm.services.autoscaler.providers.handlers import ProviderRegistry

TURN_MS = 5_000
CALLS = ("create", "set_up", "inspect", "list", "destroy", "discard")
BOOT_TURNS = StepTimeouts().set_up_s * 1000 // TURN_MS + 2
"""A node that has not answered for so long is not there."""
SIZES = (Size(slug="small", max_images=50, price_per_hour=1.0), Size(slug="large", max_images=500, price_per_hour=4.0))


class Scheduler:
    """As much of the scheduler as machines need: registers nodes, places one task on each, finishes it some turns later."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.nodes: dict[NodeId, Node] = {}
        self.tasks: dict[TaskId, Task] = {}
        self._left: dict[TaskId, int] = {}
        self._probed: set[NodeId] = set()
        """A node is seen online only when it has been asked, some time after it was added."""
        self.lost_count = 0
        self.task_turns = 3
        self.refuses = False
        """Whether it takes no node."""

    def handlers(self) -> Mapping[Any, Any]:
        return {
            ADD_NODE: self.add,
            LIST_NODES: self.list_nodes,
            LOCK_NODE: self.lock,
            REMOVE_NODE: self.remove,
            LOSE_NODE: self.lose,
        }

    async def add(self, asked: AddNode) -> NodeView:
        node_id = NodeId(f"{asked.hostname}-{asked.port}")
        if node_id in self.nodes or self.refuses:
            raise Refused("taken")
        await self._put(
            Node(
                id=node_id,
                hostname=asked.hostname,
                port=asked.port,
                token=asked.token,
                machine=asked.machine,
                labels=asked.labels,
                spot=asked.spot,
                interruptions_limit_count=asked.interruptions_limit_count,
            )
        )
        return self._view(self.nodes[node_id])

    async def list_nodes(self, _asked: ListNodes) -> NodeList:
        return NodeList(nodes=tuple(self._view(node) for node in self.nodes.values()))

    async def lock(self, asked: LockNode) -> NodeView:
        await self._put(msgspec.structs.replace(self._find(asked.node), locked=True, lock_reason=asked.reason))
        return self._view(self.nodes[asked.node])

    async def remove(self, asked: NodeRef) -> Done:
        node = self._find(asked.node)
        await (await self._world.bus.bucket(NODES)).delete(node.id)
        del self.nodes[node.id]
        return Done()

    async def lose(self, asked: LoseNode) -> Done:
        if asked.node is None:
            return Done()
        self._find(asked.node)
        for task in self._on(asked.node):
            self.lost_count += 1
            await self._write(end(task, TaskState.WAITING, interrupted=asked.interrupted))
        return await self.remove(NodeRef(node=asked.node))

    async def submit(self, name: str, images: int = 10, **more: Any) -> None:
        await self._write(
            Task(
                id=TaskId(name),
                name=name,
                upload_owner=InstanceId("p"),
                created_at_ms=0,
                committed_at_ms=self._world.now_ms,
                images_count=images,
                **more,
            )
        )

    async def cancel_all(self) -> None:
        """Let their users cancel all tasks, and forget them."""
        for task in [each for each in self.tasks.values() if not each.state.ended]:
            canceled = msgspec.structs.replace(task, state=TaskState.CANCELED, ended_at_ms=self._world.now_ms)
            await self._write(end(canceled, TaskState.CANCELED) if task.state is TaskState.RUNNING else canceled)
        self.tasks.clear()

    async def turn(self) -> None:
        """Finish what is done, place what waits, tell the demand."""
        for task in list(self.tasks.values()):
            if task.state is TaskState.RUNNING:
                await self._go_on(task)
        for task in list(self.tasks.values()):
            node = next((node for node in self.nodes.values() if self._takes(node, task)), None)
            if task.state is TaskState.WAITING and node:
                await self._start(task, node)
        await self._world.tell(self.demand())
        self._probed = set(self.nodes)

    def demand(self) -> DemandChanged:
        waiting = tuple(
            WaitingTask(
                task=task.id,
                images_count=task.images_count,
                interruptions_count=task.interruptions_count,
                gpu=task.gpu,
            )
            for task in self.tasks.values()
            if task.state is TaskState.WAITING
        )
        return DemandChanged(at_ms=self._world.now_ms, waiting=waiting, waiting_count=len(waiting))

    def _takes(self, node: Node, task: Task) -> bool:
        machine = self._world.machine(node)
        fits = machine is None or machine.max_images is None or machine.max_images >= (task.images_count or 0)
        most = node.interruptions_limit_count
        kind = (node.has_gpu or not task.gpu) and (not most or task.interruptions_count < most)
        return kind and fits and not node.locked and self._view(node).online and not self._on(node.id)

    def tasks_count(self, machine: Machine) -> int:
        """Say how many tasks run on the node of a machine."""
        return sum(len(self._on(node.id)) for node in self.nodes.values() if node.hostname == machine.hostname)

    def _on(self, node: NodeId) -> list[Task]:
        return [
            task
            for task in self.tasks.values()
            if task.state is TaskState.RUNNING and task.attempt and task.attempt.node == node
        ]

    async def _start(self, task: Task, node: Node) -> None:
        attempt = Attempt(
            number=len(task.attempts) + 1,
            node=node.id,
            node_task_id=NodeTaskId(task.id),
            machine=node.machine,
            state=AttemptState.RUNNING,
            started_at_ms=self._world.now_ms,
            running_at_ms=self._world.now_ms,
        )
        self._left[task.id] = self.task_turns
        await self._write(msgspec.structs.replace(task, state=TaskState.RUNNING, attempts=(*task.attempts, attempt)))

    async def _go_on(self, task: Task) -> None:
        assert task.attempt
        node = self.nodes.get(task.attempt.node)
        if node is None or not self._view(node).online:
            return
        self._left[task.id] -= 1
        if not self._left[task.id]:
            done = end(task, TaskState.COMPLETED)
            await self._write(msgspec.structs.replace(done, ended_at_ms=self._world.now_ms))

    def _view(self, node: Node) -> NodeView:
        online = node.id in self._probed and any(
            found.address == node.hostname for found in self._world.cloud.machines.values()
        )
        return NodeView(
            id=node.id,
            number=1,
            hostname=node.hostname,
            port=node.port,
            locked=node.locked,
            lock_reason=node.lock_reason,
            online=online,
        )

    def _find(self, node: NodeId) -> Node:
        if node not in self.nodes:
            raise NotFound("no such node")
        return self.nodes[node]

    async def _put(self, node: Node) -> None:
        self.nodes[node.id] = node
        await (await self._world.bus.bucket(NODES)).put(node.id, node)

    async def _write(self, task: Task) -> None:
        self.tasks[task.id] = task
        await (await self._world.bus.bucket(TASKS)).put(task.id, task)


def end(task: Task, state: TaskState, *, interrupted: bool = False) -> Task:
    assert task.attempt
    ended = msgspec.structs.replace(task.attempt, state=AttemptState.ENDED, interrupted=interrupted)
    return msgspec.structs.replace(task, state=state, attempts=(*task.attempts[:-1], ended))


class Door:
    """What the autoscaler calls, each call noticed before and after it is carried out."""

    def __init__(self, world: "World", inner: Any, names: tuple[str, ...]) -> None:
        self._world, self._inner, self._names = world, inner, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in self._names:
            return found

        async def call(*arguments: Any, **named: Any) -> Any:
            await self._world.passing(name)
            result = await found(*arguments, **named)
            if name == "bucket":
                return Door(self._world, result, ("create", "update", "put", "delete"))
            await self._world.passing(name)
            return result

        return call


class Probe:
    """The node of a machine that exists answers, and says how many tasks it has that have not ended."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def info(self, machine: Machine, token: str) -> NodeInfo | None:
        if machine.id not in self._world.cloud.machines or machine.id in self._world.strangers:
            return None
        if self._world.tokens.get(machine.id, token) != token:
            return None
        ours_count = self._world.scheduler.tasks_count(machine)
        answer = NodeInfo(
            total_memory=8_000_000_000,
            max_images=self._world.nodes_take.get(machine.id),
            task_queue_count=ours_count + self._world.foreign.get(machine.id, 0),
        )
        await self._world.answering()
        return answer


class MemoryIdentities:
    """The autoscaler's own directory, as a value."""

    def __init__(self) -> None:
        self.kept: Identities | None = None
        self.failure = ""

    def read(self) -> Identities | None:
        return self.kept

    def write(self, identities: Identities) -> None:
        if self.failure:
            raise Refused(self.failure)
        self.kept = identities


class MemoryTerm:
    """A term that is valid as long as a test says so."""

    epoch = 0

    def __init__(self, world: "World") -> None:
        self._world = world

    @property
    def valid(self) -> bool:
        return self._world.is_leader

    async def over(self) -> None:
        await asyncio.Event().wait()


class World:
    """All of it."""

    def __init__(
        self,
        *,
        clock: FakeClock | None = None,
        cloud: Any = None,
        provider: Any = None,
        providers: Mapping[str, Any] | None = None,
        configuration: Configuration | None = None,
        **limits: Any,
    ) -> None:
        """`cloud` has `machines` by name, the truth; `provider`, or each of `providers`, is what the autoscaler calls."""
        self.clock = clock or FakeClock(wall_ms=1_000_000_000)
        self.bus = MemoryBus()
        self.cloud = cloud or Cloud(ProviderMachine)
        self.provider = provider or self.cloud
        self.several = providers
        self.scheduler = Scheduler(self)
        self.configuration = configuration or Configuration(
            provider="test", mode="api", limits=ScalingLimits(**{"sizes": SIZES, "create_retries": 5, **limits})
        )
        self.directory = MemoryIdentities()
        self.strangers: set[str] = set()
        """Machines whose nodes do not answer to us."""
        self.tokens: dict[str, str] = {}
        """What nodes demand, by machine; others take any."""
        self.foreign: dict[str, int] = {}
        """How many tasks nodes have that are none of ours, by machine."""
        self.nodes_take: dict[str, int] = {}
        """How many images nodes say that they take, by machine."""
        self.awake = asyncio.Event()
        """Cleared: who waits for its next try waits on."""
        self.awake.set()
        self.sleepers: list[tuple[int, asyncio.Event]] | None = None
        """Those who sleep, and until when by the clock; None: who sleeps wakes at once."""
        self.passages: list[str] = []
        self.kill_at: int | None = None
        self.killed = asyncio.Event()
        self.is_leader = True
        self.most_count = 0
        self.autoscaler: Autoscaler
        self.controller: MachineController
        self.planner: Planner
        self.reconciler: Reconciler
        self.commands: Commands
        self._demand: DemandChanged | None = None
        self._outer = AsyncExitStack()
        self._inner = AsyncExitStack()

    @property
    def now_ms(self) -> WallMs:
        """Say what time it is."""
        return self.clock.wall_ms()

    @property
    def providers(self) -> Mapping[str, Any]:
        """What the next autoscaler calls, by the names in its configuration."""
        return self.several or {self.configuration.provider: self.provider}

    async def __aenter__(self) -> Self:
        await self._outer.enter_async_context(self.bus.serve("scheduler", self.scheduler.handlers()))
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.kill_at = None
        await self._inner.aclose()
        await self._outer.aclose()

    async def passing(self, name: str) -> None:
        """Notice a call; die here when that is what the test wants."""
        self.passages.append(name)
        if self.kill_at is not None and len(self.passages) > self.kill_at:
            self.killed.set()
            await asyncio.Event().wait()

    async def answering(self) -> None:
        """Let a test do something between what a node says and that it is heard."""

    async def sleep(self, seconds: float) -> None:
        """Wait until the next try, which is at once unless a test wants to look before, or has its sleepers wait."""
        await asyncio.sleep(0)
        await self.awake.wait()
        if self.sleepers is not None:
            woken = asyncio.Event()
            self.sleepers.append((self.now_ms + round(seconds * 1000), woken))
            await woken.wait()

    def wake(self) -> None:
        """Wake those whose time has come."""
        for due_ms, woken in self.sleepers or ():
            if due_ms <= self.now_ms:
                woken.set()
        if self.sleepers is not None:
            self.sleepers = [each for each in self.sleepers if not each[1].is_set()]

    async def start(self) -> None:
        """Start an autoscaler."""
        bus: Any = Door(self, self.bus, ("request", "publish_snapshot", "bucket"))
        self.autoscaler = await assembled(
            configuration=self.configuration,
            bus=bus,
            clock=self.clock,
            providers=ProviderRegistry({name: Door(self, each, CALLS) for name, each in self.providers.items()}),
            probe=Probe(self),
            identity=await ClusterIdentity.open(bus, self.directory),
            public_url="http://cluster:3000",
            term=MemoryTerm(self),
            first_retry_s=0.0,
            sleep=self.sleep,
        )
        self.controller = await self._inner.enter_async_context(self.autoscaler.machines.controller)
        self.planner, self.reconciler = self.autoscaler.planner, self.autoscaler.machines.reconciler
        self.commands = self.autoscaler.commands
        await self._inner.enter_async_context(background(self.autoscaler.tasks.watch, "follow"))
        await self.autoscaler.tasks.complete.wait()
        self.controller.recover()
        await self.reconciler.check()
        if self._demand:
            await self.planner.take_demand(self._demand)

    async def restart(self) -> None:
        """End the autoscaler wherever it is, and start another."""
        await self._inner.aclose()
        self._inner = AsyncExitStack()
        await self.start()

    async def tell(self, demand: DemandChanged) -> None:
        self._demand = demand
        await self.bus.publish_snapshot(DEMAND_CHANGED, demand)
        await self.planner.take_demand(demand)

    async def hung_in(self, step: str) -> Machine:
        """Give the machine of a task that waits, whose provider does not come to the end of a step."""
        self.cloud.hang(step)
        await self.scheduler.submit("t")
        await self.turn(2)
        (machine,) = self.machines()
        return machine

    async def turn(self, count: int = 1) -> None:
        """Let some time pass; an autoscaler that was killed is started again."""
        for _ in range(count):
            self.clock.pass_s(TURN_MS / 1000)
            self.wake()
            await self.scheduler.turn()
            await self._unless_killed(self.planner.tick())
            for _ in range(30):
                await asyncio.sleep(0)
            self.most_count = max(self.most_count, len(self.cloud.machines))
            if self.killed.is_set():
                self.kill_at = None
                self.killed.clear()
                await self.restart()

    async def settle(self, turns: int = 60) -> None:
        """Let time pass until no task and no machine is left, with a comparison now and then."""
        for number in range(turns):
            await self.turn()
            if number % 7 == 6:
                await self._unless_killed(self.reconciler.check())
            if self.settled():
                return
        raise AssertionError(f"not settled: {self.scheduler.tasks} {self.cloud.machines} {self.machines()}")

    def settled(self) -> bool:
        return all(task.state.ended for task in self.scheduler.tasks.values()) and not self.left()

    def left(self) -> list[Any]:
        """What is still there: at the provider, in the records, at the scheduler."""
        alive = [machine for machine in self.machines() if not machine.state.ended]
        return [*self.cloud.machines, *alive, *self.scheduler.nodes]

    def machines(self) -> list[Machine]:
        return self.autoscaler.store.all()

    def machine(self, node: Node) -> Machine | None:
        return self.autoscaler.store.get(node.machine) if node.machine else None

    async def _unless_killed(self, work: Any) -> None:
        running = asyncio.ensure_future(work)  # noqa: TID251 it has to be raced
        dead = asyncio.ensure_future(self.killed.wait())  # noqa: TID251 same
        await asyncio.wait({running, dead}, return_when=asyncio.FIRST_COMPLETED)
        dead.cancel()
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
        elif not running.cancelled():
            running.result()
