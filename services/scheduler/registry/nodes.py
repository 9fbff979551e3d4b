"""All nodes, in the order of adding, with what is known of each.

A node goes offline after two misses and is back after one hit. It is *open* when a task may be sent there now (open_nodes.py).

The numbers that operators use count in the order of adding from 1. A *retired* node was removed but still holds tasks: it is in
no list and never open, yet it is probed and can be reached.
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import Final

from clusterodm.libs.common.clocks import Instant, Now
from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.tasks import Attempt, Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.services.scheduler.registry.admissions import ANYBODY, Admissions
from clusterodm.services.scheduler.registry.node_state import (
    UNDER_WAY,
    NodeState,
    OurTasks,
    foreign_of,
    is_other,
    matters,
)
from clusterodm.services.scheduler.registry.open_nodes import OpenNodes

MISSES_COUNT: Final = 2
"""So many failed probes in a row make a node offline."""


class ProbeResult(Enum):
    """What an answer to a probe is worth telling of its node."""

    SAME = auto()
    """At most the memory that is left is another."""
    OTHER = auto()
    CAME = auto()
    """It is online by that."""


class NodeRegistry:
    """All nodes in the order of adding; `open` are those that may be sent a task now."""

    def __init__(self, send_ahead_count: int = 0) -> None:
        self._nodes: dict[NodeId, NodeState] = {}
        self._listed_now: tuple[NodeState, ...] | None = None
        self._offline: dict[NodeId, NodeState] = {}
        self._draining: dict[NodeId, NodeState] = {}
        self._retired: dict[NodeId, NodeState] = {}
        self.limits: tuple[int, ...] = ()
        """How many images nodes take at most, each number once, the smallest first."""
        self.admissions = Admissions()
        self._added_count = 0
        self.open = OpenNodes(self.listed, send_ahead_count)

    def __iter__(self) -> Iterator[NodeState]:
        """Go through all nodes, retired ones too."""
        return iter(self._nodes.values())

    def __len__(self) -> int:
        """Count all nodes, retired ones too."""
        return len(self._nodes)

    def get(self, node: NodeId) -> NodeState | None:
        """Find a node, a retired one too."""
        return self._nodes.get(node)

    def listed(self) -> tuple[NodeState, ...]:
        """All that operators see, in the order of adding."""
        if self._listed_now is None:
            self._listed_now = tuple(node for node in self._nodes.values() if not node.record.retired)
        return self._listed_now

    def offline(self) -> tuple[NodeState, ...]:
        """Those that do not answer, retired ones too."""
        return tuple(self._offline.values())

    def draining(self) -> tuple[NodeState, ...]:
        """Those that take no new tasks, to go when they are empty."""
        return tuple(self._draining.values())

    def retired(self) -> tuple[NodeState, ...]:
        """Those that were removed and are still needed, or were a moment ago."""
        return tuple(self._retired.values())

    def first_online(self) -> NodeState | None:
        """Find the reference node."""
        return next((node for node in self._nodes.values() if node.online and not node.record.retired), None)

    def put(self, record: Node, now: Instant) -> NodeState:
        """Add a node, or take in its changed record. One that comes back from retirement goes to the end."""
        node = self._nodes.get(record.id)
        if node and node.record.retired and not record.retired:
            del self._nodes[record.id]
            self._nodes[record.id] = node
            node.number = self._next_number()
        if node is None:
            node = self._nodes[record.id] = NodeState(record, seen_at=now, number=self._next_number())
            self._offline[record.id] = node
        node.record = record
        self._admit(node)
        self._listed_now = None
        for known, belongs in (
            (self._draining, record.draining and not record.retired),
            (self._retired, record.retired),
        ):
            if belongs:
                known[record.id] = node
            else:
                known.pop(record.id, None)
        self.open.update(node)
        return node

    def set_tenants(self, shares: Iterable[TenantShare]) -> bool:
        """Take in what tenants are called and confined to; whether anything changed."""
        if changed := self.admissions.set_tenants(shares):
            for node in self._nodes.values():
                self._admit(node)
                self.open.update(node)
        return changed

    def _admit(self, node: NodeState) -> None:
        node.admission = self.admissions.admission_of(node.record.labels)
        self.admissions.note(node.id, node.admission)

    def drop(self, node: NodeId) -> None:
        """Forget a node."""
        self._nodes.pop(node, None)
        self.admissions.note(node, ANYBODY)
        for known in (self._offline, self._draining, self._retired):
            known.pop(node, None)
        self.open.discard(node)
        self._listed_now = None

    def hit(self, node: NodeState, info: NodeInfo, ours: OurTasks, now: Now) -> ProbeResult:
        """Take in an answer to a probe."""
        came = not node.online
        result = ProbeResult.CAME if came else ProbeResult.OTHER if is_other(node.info, info) else ProbeResult.SAME
        node.online, node.misses_count, node.trouble = True, 0, ""
        node.seen_at, node.info_at_ms = now.instant, now.wall_ms
        is_as_before = node.foreign_count == info.task_queue_count and not (ours.possible or node.stopping)
        if result is ProbeResult.SAME and is_as_before:
            node.info = info  # as nearly all answers are, of a thousand nodes
            return result
        self._offline.pop(node.id, None)
        before = matters(node)
        node.info = info
        node.foreign_count = foreign_of(info.task_queue_count, ours, node.foreign_count)
        node.stopping &= ours.possible  # the others it has counted, if it still has them
        if node.limit_count is not None and node.limit_count not in self.limits:
            counts = (each.limit_count for each in self._nodes.values())
            self.limits = tuple(sorted({count for count in counts if count is not None}))
        if came or before != matters(node):
            self.open.update(node)
        return result

    def miss(self, node: NodeState, trouble: str, now: Instant) -> bool:
        """Take in a failed probe; whether it went offline by that."""
        node.misses_count += 1
        node.missed_at = now
        node.trouble = trouble
        went = node.online and node.misses_count >= MISSES_COUNT
        if went:
            node.online = False
            self._offline[node.id] = node
            self.open.update(node)
        return went

    def heard(self, node: NodeState, now: Instant) -> None:
        """Note that a node answered, whatever it was asked."""
        node.seen_at = now

    def unreachable(self, node: NodeState, now: Instant) -> None:
        """Note that a node did not answer when it was asked about a task."""
        node.missed_at = now

    def excuse_silence(self, away_s: float, now: Instant) -> None:
        """Take a time in which nobody listened off the silence of each node."""
        for node in self._nodes.values():
            node.seen_at = min(now, node.seen_at + away_s)

    def name_of(self, node: NodeId) -> str:
        """Say how operators call a node, known or not."""
        state = self._nodes.get(node)
        return state.record.name if state else node

    def reserve(self, node: NodeId, task: TaskId) -> None:
        """Keep a slot for a task."""
        self._nodes[node].reserved.add(task)
        self.open.update(self._nodes[node])

    def occupy(self, node: NodeId, task: TaskId) -> None:
        """Count a task that is under way there. A node that nobody knows any more has no slots to count."""
        state = self._nodes.get(node)
        if state and task not in state.tasks:
            state.tasks.add(task)
            self.open.update(state)

    def release(self, node: NodeId, task: TaskId) -> None:
        """Give back the slot of a task that is no longer under way there."""
        state = self._nodes.get(node)
        if state and task in state.tasks:
            state.tasks.discard(task)
            self.open.update(state)

    def task_changed(self, before: Task | None, after: Task | None) -> None:
        """Give back the slot of a task that is under way no more, and count the one that it uses now."""
        used = after.attempts[-1].node if after is not None and after.state in UNDER_WAY else None
        last = before.attempt if before is not None else None
        if before is not None and last is not None and last.node != used:
            self.release(last.node, before.id)
        if before is not None and last is not None:
            self._note_stopping(last, before, after)
        if after is not None and used is not None:
            self.occupy(used, after.id)

    def _note_stopping(self, last: Attempt, before: Task, after: Task | None) -> None:
        """Count a task that was canceled while it ran until its node has been told."""
        state = self._nodes.get(last.node)
        if state is None:
            return
        was_stopping = before.id in state.stopping
        is_canceled = after is not None and before.state is TaskState.RUNNING and after.state is TaskState.CANCELED
        if (was_stopping or is_canceled) and is_untold_of(after, last):
            state.stopping.add(before.id)
        else:
            state.stopping.discard(before.id)
        if was_stopping != (before.id in state.stopping):
            self.open.update(state)

    def unreserve(self, node: NodeId, task: TaskId) -> None:
        """Keep it no more."""
        if state := self._nodes.get(node):
            state.reserved.discard(task)
            self.open.update(state)

    def set_pace(self, node: NodeState, pace: int) -> None:
        """Note how fast a node is."""
        if node.pace != pace:
            node.pace = pace
            self.open.update(node)

    def _next_number(self) -> int:
        self._added_count += 1
        return self._added_count


def is_untold_of(task: Task | None, attempt: Attempt) -> bool:
    """Whether its node has still to be told something about an attempt of a task."""
    attempts = task.attempts if task else ()
    return any(one.node_task_id == attempt.node_task_id and one.cleanup is not Cleanup.NONE for one in attempts)
