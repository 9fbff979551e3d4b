"""A real scheduler and a real proxy's forwarding on one bus in memory, with nodes that are played."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf

from clusterodm.libs.common.clocks import read
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.nodes import ADD_NODE, AddNode
from clusterodm.libs.common.messages.placement import PLACE_TASK, Placed, PlaceTask
from clusterodm.libs.common.messages.tasks import SUBMIT_TASK, SubmitTask, TaskRecord
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeTaskId, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryTerm
from clusterodm.services.proxy.cluster.adapters import mirrored
from clusterodm.services.proxy.forwarding.handlers.forwarder import Forwarder
from clusterodm.services.proxy.spool.core.upload import submission_of
from clusterodm.services.scheduler.demand.core import demand_of
from clusterodm.services.scheduler.main import Scheduler, running
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from tests.forwarding import Nodes, World
from tests.scheduling import FakeNode, FakeNodes, settings, task_id
from tests.waiting import until

SILENCE_S = 15.0


class Sender(Nodes):
    """What reaches a node is known to the scheduler's view of it."""

    def __init__(self, api: FakeNodes) -> None:
        super().__init__()
        self.api = api

    async def begin(self, node: Node, attempt: NodeTaskId, draft: object) -> None:
        del node, draft
        self.begun.append(attempt)
        self.uploads.setdefault(attempt, {})

    async def commit(self, node: Node, attempt: NodeTaskId, by_s: float = inf) -> None:
        await super().commit(node, attempt, by_s)
        self.api.reach(node).takes(attempt)


@dataclass
class Together:
    """Both, and the world around them."""

    world: World
    scheduler: Scheduler
    forwarder: Forwarder
    clock: FakeClock

    @property
    def state(self) -> ClusterState:
        return self.scheduler.state

    def task(self, name: str) -> Task:
        return self.state.index.tasks[task_id(name)]

    async def commits(self, name: str) -> TaskRecord:
        """What the HTTP side does at a commit."""
        task, spool = task_id(name), self.world.spool
        await self.world.commit(task)
        submission = submission_of(spool.draft(task), await spool.manifest(task), spool.instance)
        record = await self.world.bus.request(SUBMIT_TASK, submission)
        await self.forwarder.adopt(task)
        return record

    async def passes(self, seconds: float) -> None:
        """Let time pass for the scheduler, and let what is sent be renewed in it."""
        self.clock.pass_s(seconds)
        now = self.clock.instant()
        await until(lambda: all(held.heard_at >= now for held in self.state.index.forwarding.values()), what="renewed")
        await self.scheduler.placement.placement_loop.recheck()


@asynccontextmanager
async def together(tasks_count: int, **nodes: FakeNode) -> AsyncIterator[Together]:
    world, api, clock = World(), FakeNodes(nodes), FakeClock()
    world.nodes = world.sender = Sender(api)
    health = Health("scheduler", dict)
    chosen = settings(holder_silence_s=SILENCE_S, tell_every_s=0.05)
    async with (
        running(world.bus, api, chosen, MemoryTerm(1), health, clock) as scheduler,
        mirrored(world.bus) as mirror,
    ):
        for name in nodes:
            await world.bus.request(ADD_NODE, AddNode(hostname=name, port=3000))
        await scheduler.nodes.prober.probe_all()
        world.cluster = mirror
        async with world.proxy(tasks_count=tasks_count) as forwarder:
            yield Together(world, scheduler, forwarder, clock)


async def test_a_busy_proxy_never_counts_as_away_and_blocks_no_slot():
    async with together(tasks_count=1, a=FakeNode(), b=FakeNode()) as play:
        play.world.nodes.gate.clear()
        for name in ("sent slowly", "waits for its proxy"):
            await play.commits(name)
        await until(lambda: play.world.nodes.sending_count, what="the first is sent")
        for _ in range(10):
            await play.passes(SILENCE_S)
            assert play.state.proxies.away == set()
            assert sum(node.ours_count for node in play.state.nodes) == 1, "no slot is kept for what cannot be sent"
        demand = demand_of(play.state, read(play.clock))
        assert (demand.waiting_count, demand.slot_free_count) == (0, 1), "a slot is free: no machine is missing"
        placed = await another_proxy_asks(play)
        assert isinstance(placed, Placed)
        play.world.nodes.gate.set()
        await until(lambda: play.task("sent slowly").state is TaskState.RUNNING, what="the first runs")
        lines = [line.text for name in ("sent slowly", "waits for its proxy") for line in play.task(name).timeline]
        assert not any("does not answer" in line for line in lines)


async def another_proxy_asks(play: Together) -> object:
    other, task = InstanceId("another proxy"), task_id("of another")
    await play.world.bus.request(
        SUBMIT_TASK, SubmitTask(task=task, name="x", upload_owner=other, created_at_ms=1, images_count=1)
    )
    return await play.world.bus.request(PLACE_TASK, PlaceTask(task=TaskId(task), upload_owner=other))


SLOTS_COUNT = 3


async def test_tasks_go_to_nodes_in_their_order_as_soon_as_slots_are_free():
    names = [f"task {number}" for number in range(12)]
    async with together(tasks_count=SLOTS_COUNT, a=FakeNode(slots=2), b=FakeNode(slots=1)) as play:
        for name in names:
            await play.commits(name)
        for name in names:
            await until(lambda: play.task(name).state is TaskState.RUNNING, what="it runs")  # noqa: B023 called at once
            last = play.task(name).attempts[-1]
            play.world.sender.api.nodes[last.node.removesuffix("-3000")].finishes(last.node_task_id)  # type: ignore[attr-defined]
            await play.scheduler.tasks.tracker.observe(task_id(name))
        await until(lambda: not play.world.memory.entries, what="all inputs are gone")  # type: ignore[union-attr]
    committed, ordered = play.world.nodes.committed, [task_id(name) for name in names]
    assert sorted(committed) == sorted(ordered)
    # Those that have been placed in the same moment are sent side by side, and whoever is first there is first.
    assert all(abs(committed.index(task) - place) < SLOTS_COUNT for place, task in enumerate(ordered)), committed
