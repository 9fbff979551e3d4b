"""What is known of each node, and how many slots are free on it.

A slot is room for one task. A node's slots are used by three kinds of tasks: ours that are forwarded or run there (`tasks`),
ours that have been promised room (`grants`), and those that others have sent to the node directly (`foreign_count`). The last
is what remains of the reported queue after ours are taken away. A probe and a commit can cross, so ours at that moment are
known only as a range, at least `sure` and at most `possible`; within what the range leaves open, the last figure stands.

A node goes offline after two misses and is back after one hit. It is *open* when a task may be sent there now: `Registry`
keeps the set of open nodes, so that a placement looks only at those.

The registry's order is the order of adding; the numbers that operators use count in it from 1. A *retired* node was removed but
still holds tasks: it is in no list and never open, yet it is probed and can be reached.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from libs.common.model import Node, NodeId, NodeInfo, TaskId

MISSES_COUNT: Final = 2
"""So many failed probes in a row make a node offline."""


@dataclass(eq=False)
class NodeState:
    """A node, alive or not."""

    record: Node
    seen_at_ms: int
    """When it last answered; at first, when it became known."""
    online: bool = False
    misses_count: int = 0
    info: NodeInfo | None = None
    info_at_ms: int | None = None
    missed_at_ms: int = -1
    """When it last did not answer."""
    trouble: str = ""
    tasks: set[TaskId] = field(default_factory=set)
    """Ours that are under way there."""
    grants: set[TaskId] = field(default_factory=set)
    """Ours that have been promised room there."""
    aims: list[TaskId] = field(default_factory=list)
    """Uploads whose files come here before their commit, in the order of their beginning; they use no slot."""
    foreign_count: int = 0
    turn: int = 0
    """When it was last chosen; 0: never."""

    @property
    def id(self) -> NodeId:
        """Its key."""
        return self.record.id

    @property
    def asked(self) -> bool:
        """Whether it has been probed before."""
        return self.info_at_ms is not None or self.missed_at_ms >= 0

    @property
    def usable(self) -> bool:
        """Whether a task may be sent there at all."""
        record = self.record
        return self.online and not (record.locked or record.draining or record.retired)

    @property
    def ours_count(self) -> int:
        """Slots that this cluster uses or has promised."""
        return len(self.tasks) + len(self.grants)

    @property
    def used_count(self) -> int:
        """Slots in use, whoever uses them."""
        return self.ours_count + self.foreign_count

    @property
    def slots_count(self) -> int:
        """Slots that it has."""
        return self.info.max_parallel_tasks if self.info else 0

    @property
    def free_count(self) -> int:
        """Slots that nobody uses."""
        return max(0, self.slots_count - self.used_count)

    @property
    def limit_count(self) -> int | None:
        """Most images that it takes; None: no limit, which NodeODM says as null."""
        return (self.info.max_images or None) if self.info else None

    @property
    def memory_bytes(self) -> int:
        """Memory that it has; 0: unknown."""
        return (self.info.total_memory or 0) if self.info else 0

    def fits(self, images_count: int | None) -> bool:
        """Whether it takes so many images; None stands for more than any limit."""
        limit = self.limit_count
        return limit is None or (images_count is not None and images_count <= limit)

    def __repr__(self) -> str:
        """Show the whole state in one line."""
        liveness = "online" if self.online else "offline"
        locked = " locked" if self.record.locked else ""
        return f"NodeState({self.record.name} {liveness}{locked} {self.used_count}/{self.slots_count})"


@dataclass(frozen=True)
class Ours:
    """Which tasks of ours the node may have counted in its queue, while it was asked."""

    sure: frozenset[TaskId] = frozenset()
    """Running there before and after."""
    possible: frozenset[TaskId] = frozenset()
    """Under way there before or after."""


def foreign_of(reported_count: int, ours: Ours, before_count: int) -> int:
    """Work out how many tasks of others a node has."""
    least = max(0, reported_count - len(ours.possible))
    most = max(0, reported_count - len(ours.sure))
    return min(max(before_count, least), most)


class Registry:
    """All nodes in the order of adding, and which of them are open."""

    def __init__(self, send_ahead_count: int = 0) -> None:
        self._nodes: dict[NodeId, NodeState] = {}
        self._open: dict[NodeId, NodeState] = {}
        self._open_now: tuple[NodeState, ...] | None = None
        self._turn = 0
        self._send_ahead_count = send_ahead_count
        self.version = 0
        """Grows whenever what placement depends on has changed."""

    def __iter__(self) -> Iterator[NodeState]:
        """Go through all nodes, retired ones too."""
        return iter(self._nodes.values())

    def __len__(self) -> int:
        """Count all nodes, retired ones too."""
        return len(self._nodes)

    def get(self, node: NodeId) -> NodeState | None:
        """Find a node, a retired one too."""
        return self._nodes.get(node)

    def listed(self) -> list[NodeState]:
        """All that operators see, in the order of adding."""
        return [node for node in self._nodes.values() if not node.record.retired]

    def open(self) -> tuple[NodeState, ...]:
        """Those that may be sent a task now."""
        if self._open_now is None:
            self._open_now = tuple(self._open.values())
        return self._open_now

    def first_online(self) -> NodeState | None:
        """Find the reference node."""
        return next((node for node in self._nodes.values() if node.online and not node.record.retired), None)

    def put(self, record: Node, now_ms: int) -> NodeState:
        """Add a node, or take in its changed record. One that comes back from retirement goes to the end."""
        node = self._nodes.get(record.id)
        if node and node.record.retired and not record.retired:
            del self._nodes[record.id]
            self._nodes[record.id] = node
        if node is None:
            node = self._nodes[record.id] = NodeState(record, seen_at_ms=now_ms)
        node.record = record
        self._changed(node)
        return node

    def drop(self, node: NodeId) -> None:
        """Forget a node."""
        self._nodes.pop(node, None)
        self._open.pop(node, None)
        self._open_now = None
        self.version += 1

    def hit(self, node: NodeState, info: NodeInfo, ours: Ours, now_ms: int) -> bool:
        """Take in an answer to a probe; whether it came online by that."""
        came = not node.online
        node.online, node.misses_count, node.trouble = True, 0, ""
        node.seen_at_ms = node.info_at_ms = now_ms
        before = matters(node)
        node.info = info
        node.foreign_count = foreign_of(info.task_queue_count, ours, node.foreign_count)
        if came or before != matters(node):
            self._changed(node)
        return came

    def miss(self, node: NodeState, trouble: str, now_ms: int = 0) -> bool:
        """Take in a failed probe; whether it went offline by that."""
        node.misses_count += 1
        node.missed_at_ms = now_ms
        node.trouble = trouble
        went = node.online and node.misses_count >= MISSES_COUNT
        if went:
            node.online = False
            self._changed(node)
        return went

    def take_turn(self, node: NodeState) -> None:
        """Note that it was chosen."""
        self._turn += 1
        node.turn = self._turn

    def grant(self, node: NodeId, task: TaskId) -> None:
        """Promise a slot."""
        self._nodes[node].grants.add(task)
        self._changed(self._nodes[node])

    def occupy(self, node: NodeId, task: TaskId) -> None:
        """Count a task that is under way there. A node that nobody knows any more has no slots to count."""
        state = self._nodes.get(node)
        if state and task not in state.tasks:
            state.tasks.add(task)
            self._changed(state)

    def release(self, node: NodeId, task: TaskId) -> None:
        """Give back the slot of a task that is no longer under way there."""
        state = self._nodes.get(node)
        if state and task in state.tasks:
            state.tasks.discard(task)
            self._changed(state)

    def ungrant(self, node: NodeId, task: TaskId) -> None:
        """Give back a promised slot."""
        if state := self._nodes.get(node):
            state.grants.discard(task)
            self._changed(state)

    def _changed(self, node: NodeState) -> None:
        self.version += 1
        room = node.slots_count + self._send_ahead_count - node.used_count
        is_open = node.usable and room > 0
        if is_open != (node.id in self._open):
            self._open_now = None
            if is_open:
                self._open[node.id] = node
            else:
                del self._open[node.id]


def matters(node: NodeState) -> tuple[int, int | None, int, int]:
    """Pick what placement depends on. The memory that is left at the moment, which is another at every probe, is not of it."""
    return node.slots_count, node.limit_count, node.memory_bytes, node.foreign_count


def node_id(hostname: str, port: int) -> NodeId:
    """Make the key of a node: what a key-value store does not allow becomes an underscore."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "-_.") else "_" for sign in hostname)
    return NodeId(f"{kept}-{port}")


def with_lock(record: Node, locked: bool) -> Node:
    """Lock or unlock. Unlocking ends a drain, too."""
    if locked:
        return msgspec.structs.replace(record, locked=True)
    return msgspec.structs.replace(record, locked=False, draining=False, drain_until_ms=None)


def with_drain(record: Node, until_ms: int | None) -> Node:
    """Begin a drain, or change its deadline."""
    return msgspec.structs.replace(record, draining=True, drain_until_ms=until_ms)
