"""Plays a trace in simulated time. Pure: the events of a heap, one after the other, and whoever decides.

A lost node is noticed as in a real cluster: offline after two missed probes, its tasks given up when the grace is over, the next
attempt after the back-off.
"""

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol

from benchmarks.simulation.trace import Trace, TraceNode, TraceTask

OFFLINE_S: Final = 10.0
GRACE_S: Final = 120.0
TICK_S: Final = 5.0
"""How often a decider is asked again that left a slot free although tasks wait."""
NEVER_S: Final = 1e9


class Kind(IntEnum):
    """What happens; at the same moment in this order."""

    NODE_COMES = 1
    TASK_ENDS = 2
    NODE_LOST = 3
    NODE_OFFLINE = 4
    TASK_LOST = 5
    TASK_COMES = 6
    TICK = 7


class Decider(Protocol):
    """Whoever places."""

    def node_comes(self, node: TraceNode, at_s: float) -> None:
        """Hear of a node."""
        ...

    def node_offline(self, node: TraceNode, at_s: float) -> None:
        """Hear that a node does not answer."""
        ...

    def task_comes(self, number: int, task: TraceTask, at_s: float) -> None:
        """Hear of a task."""
        ...

    def task_ended(self, number: int, at_s: float) -> None:
        """Hear that a task has its result."""
        ...

    def task_lost(self, number: int, at_s: float) -> None:
        """Hear that a task has to begin again."""
        ...

    def decide(self, at_s: float) -> Iterable[tuple[int, str]]:
        """Say which tasks begin now, and on which nodes."""
        ...


@dataclass
class Played:
    """What became of each task."""

    trace: Trace
    began_s: dict[int, float] = field(default_factory=dict)
    """Of the attempt that had the result."""
    ended_s: dict[int, float] = field(default_factory=dict)
    node: dict[int, str] = field(default_factory=dict)
    attempts_count: int = 0

    @property
    def makespan_s(self) -> float:
        """When all was done."""
        return max(self.ended_s.values())

    @property
    def waits_s(self) -> list[float]:
        """How long each waited until the attempt that had the result."""
        return [self.began_s[number] - task.at_s for number, task in enumerate(self.trace.tasks)]

    @property
    def flows_s(self) -> list[float]:
        """How long each took from coming to ending."""
        return [self.ended_s[number] - task.at_s for number, task in enumerate(self.trace.tasks)]


class World:
    """One trace, one decider."""

    def __init__(self, trace: Trace, decider: Decider) -> None:
        self._trace = trace
        self._decider = decider
        self._nodes = {node.name: node for node in trace.nodes}
        self._events: list[tuple[float, Kind, int, str]] = []
        self._running: dict[int, str] = {}
        self._waiting_count = 0
        self._ticking = False
        self._used = dict.fromkeys(self._nodes, 0)
        self._played = Played(trace)
        for node in trace.nodes:
            self._at(node.from_s, Kind.NODE_COMES, name=node.name)
            if node.until_s is not None:
                self._at(node.until_s, Kind.NODE_LOST, name=node.name)
        for number, task in enumerate(trace.tasks):
            self._at(task.at_s, Kind.TASK_COMES, number)

    def play(self) -> Played:
        """Go on until every task has its result. Raises ValueError when that never happens."""
        while len(self._played.ended_s) < len(self._trace.tasks):
            if not self._events or self._events[0][0] > NEVER_S:
                raise ValueError(
                    f"{self._trace.name}: {len(self._played.ended_s)} tasks of {len(self._trace.tasks)} ended"
                )
            at_s = self._events[0][0]
            while self._events and self._events[0][0] <= at_s:
                _, kind, number, name = heapq.heappop(self._events)
                self._happens(kind, number, name, at_s)
            self._place(at_s)
        return self._played

    def _at(self, at_s: float, kind: Kind, number: int = -1, name: str = "") -> None:
        heapq.heappush(self._events, (at_s, kind, number, name))

    def _happens(self, kind: Kind, number: int, name: str, at_s: float) -> None:
        match kind:
            case Kind.NODE_COMES:
                self._decider.node_comes(self._nodes[name], at_s)
            case Kind.NODE_LOST:
                self._lose(name, at_s)
            case Kind.NODE_OFFLINE:
                self._decider.node_offline(self._nodes[name], at_s)
            case Kind.TASK_COMES:
                self._waiting_count += 1
                self._decider.task_comes(number, self._trace.tasks[number], at_s)
            case Kind.TASK_ENDS:
                self._end(number, name, at_s)
            case Kind.TASK_LOST:
                self._waiting_count += 1
                self._decider.task_lost(number, at_s)
            case Kind.TICK:
                self._ticking = False

    def _end(self, number: int, name: str, at_s: float) -> None:
        if self._running.get(number) == name:
            del self._running[number]
            self._used[name] -= 1
            self._played.ended_s[number] = at_s
            self._decider.task_ended(number, at_s)

    def _lose(self, name: str, at_s: float) -> None:
        for number in [number for number, node in self._running.items() if node == name]:
            del self._running[number]
            self._at(at_s + GRACE_S, Kind.TASK_LOST, number)
        self._at(at_s + OFFLINE_S, Kind.NODE_OFFLINE, name=name)

    def _place(self, at_s: float) -> None:
        for number, name in self._decider.decide(at_s):
            self._begin(number, self._nodes[name], at_s)
        if self._waiting_count and self._has_room(at_s) and not self._ticking:
            self._ticking = True
            self._at(at_s + TICK_S, Kind.TICK)

    def _has_room(self, at_s: float) -> bool:
        return any(
            self._used[node.name] < node.slots and node.from_s <= at_s < (node.until_s or math.inf)
            for node in self._trace.nodes
        )

    def _begin(self, number: int, node: TraceNode, at_s: float) -> None:
        self._waiting_count -= 1
        self._played.attempts_count += 1
        if node.until_s is not None and at_s >= node.until_s:  # gone, and nobody has noticed yet
            self._at(at_s + GRACE_S, Kind.TASK_LOST, number)
            return
        self._used[node.name] += 1
        if self._used[node.name] > node.slots:
            raise ValueError(f"{self._trace.name}: {node.name} was given more tasks than it has slots")
        self._running[number] = node.name
        self._played.began_s[number], self._played.node[number] = at_s, node.name
        self._at(at_s + self._trace.tasks[number].work_s / node.speed, Kind.TASK_ENDS, number, node.name)


def play(trace: Trace, decider: Decider) -> Played:
    """Play a trace from its beginning to its end."""
    return World(trace, decider).play()
