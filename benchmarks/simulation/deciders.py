"""Who places in the simulation. Pure.

`Core` is the scheduler's own: ClusterState, queue and placement as the real service drives them, told by the same functions. It is not
told how fast a node is or how long a task takes; it learns paces from what is completed, and with `records_seed` each node has
completed five tasks before the trace begins. `Foresight` shows what such knowledge would be worth: it lists all waiting
tasks in the order of their commits, gives each in thought to the slot where it would end first, and starts only those whose slot is
free now; the others wait although a slower slot is free. Its estimates are wrong by a given spread. With `longest_first` the list is
in the order of the estimates instead: what that wins at the end of a batch, small tasks pay by waiting.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from benchmarks.simulation.trace import TraceNode, TraceTask, sized
from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.records.core import site_of
from clusterodm.services.scheduler.registry.node_state import OurTasks
from clusterodm.services.scheduler.registry.nodes import MISSES_COUNT
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy, AttemptResult
from clusterodm.services.scheduler.task_life.transitions import observed, placed, started, tried
from clusterodm.services.scheduler.tasks.core.submission import submitted

UPLOAD_OWNER: Final = InstanceId("proxy")
RECORDS_COUNT, IMAGES = 5, 120
"""What each node has completed before, where that is played."""
POLICY: Final = AttemptPolicy(max_attempts_count=1_000)
"""Nodes may be lost as often as a trace likes."""


def ms(at_s: float) -> int:
    """Write a time as the core reads it."""
    return round(at_s * 1000)


class Core:
    """The real one."""

    def __init__(self, *, foresees: bool = True, records_seed: int | None = None) -> None:
        self._state = ClusterState(foresees=foresees)
        self._state.proxies.open_poll(UPLOAD_OWNER, 1_000_000)
        self._chance = None if records_seed is None else random.Random(records_seed)
        """Makes what each node has on record; without it, nobody has ever run a task."""

    def node_comes(self, node: TraceNode, at_s: float) -> None:
        """Register it; its first probe."""
        record = Node(id=NodeId(node.name), hostname=node.name, port=3000)
        state = self._state.nodes.put(record, clocks_at(ms(at_s)).instant)
        info = NodeInfo(max_parallel_tasks=node.slots, max_images=node.max_images)
        self._state.nodes.hit(state, info, OurTasks(), clocks_at(ms(at_s)))
        for number in range(RECORDS_COUNT if self._chance else 0):
            took_s = sized(self._chance or random.Random(), 0, images=IMAGES).work_s / node.speed
            self._state.foresight.paces.learn(state.id, IMAGES, ms(took_s), -number)

    def node_offline(self, node: TraceNode, at_s: float) -> None:
        """Miss two probes."""
        state = self._state.nodes.get(NodeId(node.name))
        if state is None:
            raise LookupError(node.name)
        for _ in range(MISSES_COUNT):
            self._state.nodes.miss(state, "lost", clocks_at(ms(at_s)).instant)
        self._state.reservations.release_on(state.id)

    def task_comes(self, number: int, task: TraceTask, at_s: float) -> None:
        """Take a commit."""
        asked = SubmitTask(
            task=task_id(number),
            owner=Owner(task.owner),
            name="trace",
            upload_owner=UPLOAD_OWNER,
            created_at_ms=ms(at_s),
            images_count=task.images,
            size_bytes=task.images * 8_000_000,
        )
        self._state.index.put(submitted(asked, self._state.index.next_commit_ms(ms(at_s)), ""), 1, clocks_at(ms(at_s)))

    def task_ended(self, number: int, at_s: float) -> None:
        """See that it is completed."""
        task = self._state.index.tasks[task_id(number)]
        seen = LastKnown(code=StatusCode.COMPLETED, seen_at_ms=ms(at_s))
        site = site_of(self._state.nodes, task.attempts[-1].node)
        self._state.index.put(observed(task, seen, site, POLICY, ms(at_s)), 1, clocks_at(ms(at_s)))

    def task_lost(self, number: int, at_s: float) -> None:
        """Give the attempt up."""
        task = self._state.index.tasks[task_id(number)]
        self._state.index.put(
            tried(task, AttemptResult("node lost", counted=True), "the node", POLICY, ms(at_s)), 1, clocks_at(ms(at_s))
        )

    def decide(self, at_s: float) -> Iterator[tuple[int, str]]:
        """Walk the queue; each reservation becomes a task that runs."""
        for reserved in self._state.reservations.reserve_all(clocks_at(ms(at_s)).instant):
            node = self._state.nodes.get(reserved.node)
            if node is None:
                raise LookupError(reserved.node)
            task = self._state.index.tasks[reserved.task]
            sent = placed(task, node.record, NodeTaskId(reserved.task), ms(at_s))
            self._state.index.put(sent, 1, clocks_at(ms(at_s)))
            self._state.index.put(started(sent, node.record.name, ms(at_s)), 1, clocks_at(ms(at_s)))
            yield number_of(reserved.task), str(reserved.node)


def task_id(number: int) -> TaskId:
    """Name a task of a trace."""
    return TaskId(f"{number:08}-0000-4000-8000-000000000000")


def number_of(task: TaskId) -> int:
    """Read the number out of the name."""
    return int(task[:8])


@dataclass
class Lane:
    """A slot as Foresight sees it."""

    node: TraceNode
    task: int | None = None
    free_s: float = 0.0
    """When its task should end."""
    online: bool = True


@dataclass
class Foresight:
    """One that guesses: each task to the slot where it should end first."""

    seed: int = 0
    spread: float = 0.3
    """How wrong it guesses: the standard deviation of the logarithm of guess / truth."""
    longest_first: bool = False
    lanes: list[Lane] = field(default_factory=list)
    waiting: dict[int, TraceTask] = field(default_factory=dict)
    tasks: dict[int, TraceTask] = field(default_factory=dict)
    guesses_s: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin its luck."""
        self._chance = random.Random(self.seed)

    def node_comes(self, node: TraceNode, at_s: float) -> None:
        """Add its slots."""
        self.lanes += [Lane(node, free_s=at_s) for _ in range(node.slots)]

    def node_offline(self, node: TraceNode, at_s: float) -> None:
        """Forget its slots."""
        del at_s
        self.lanes = [lane for lane in self.lanes if lane.node.name != node.name]

    def task_comes(self, number: int, task: TraceTask, at_s: float) -> None:
        """Guess how much work it is."""
        del at_s
        self.waiting[number] = self.tasks[number] = task
        self.guesses_s[number] = task.work_s * self._chance.lognormvariate(0, self.spread)

    def task_ended(self, number: int, at_s: float) -> None:
        """Free its slot."""
        for lane in self.lanes:
            if lane.task == number:
                lane.task, lane.free_s = None, at_s

    def task_lost(self, number: int, at_s: float) -> None:
        """Let it wait again, in its old place."""
        self.task_ended(number, at_s)
        self.waiting = dict(sorted({**self.waiting, number: self.tasks[number]}.items()))

    def decide(self, at_s: float) -> Iterable[tuple[int, str]]:
        """Start what ends first on a slot that is free now."""
        free_s = [max(lane.free_s, at_s) for lane in self.lanes]
        begins: list[tuple[int, str]] = []
        room = sum(lane.task is None for lane in self.lanes)
        for number, task in self._in_order():
            if not room:
                break
            fitting = [at for at, lane in enumerate(self.lanes) if fits(lane.node, task)]
            if not fitting:
                continue
            chosen = min(fitting, key=lambda at: free_s[at] + self.guesses_s[number] / self.lanes[at].node.speed)
            lane, begins_s = self.lanes[chosen], free_s[chosen]
            free_s[chosen] = begins_s + self.guesses_s[number] / lane.node.speed
            if lane.task is None:
                lane.task, lane.free_s = number, free_s[chosen]
                del self.waiting[number]
                begins.append((number, lane.node.name))
                room -= 1
        return begins

    def _in_order(self) -> list[tuple[int, TraceTask]]:
        listed = list(self.waiting.items())
        return sorted(listed, key=lambda pair: -self.guesses_s[pair[0]]) if self.longest_first else listed


def fits(node: TraceNode, task: TraceTask) -> bool:
    """Whether a node takes a task."""
    return node.max_images is None or task.images <= node.max_images
