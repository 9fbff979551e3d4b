"""Which nodes may be sent a task now, and which of them is chosen.

Open nodes are ranked (registry/ranking.py): whatever changes a node moves that node, and a placement looks only at the first that fit.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.ranking import (
    Need,
    Placement,
    Ranking,
    anyone,
    at_home,
    place,
    reason_for,
    suitable,
)


class SlotsByPace:
    """How many slots there are, free or not, by the pace of their nodes: those of usable nodes that are not reserved."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self._of_nodes: dict[NodeId, tuple[int, int]] = {}

    def put(self, node: NodeState) -> None:
        """Count what a node has now."""
        self.discard(node.id)
        if node.usable and not node.admission.reserved_for:
            self._of_nodes[node.id] = node.pace, node.slots_count
            self.counts[node.pace] += node.slots_count

    def discard(self, node: NodeId) -> None:
        """Count a node no more."""
        if before := self._of_nodes.pop(node, None):
            self.counts[before[0]] -= before[1]


class OpenNodes:
    """The nodes with room, in the order in which they are chosen."""

    def __init__(self, known: Callable[[], Sequence[NodeState]], send_ahead_count: int = 0) -> None:
        self._known = known
        """All that operators see, open or not."""
        self._open: dict[NodeId, NodeState] = {}
        self._open_now: tuple[NodeState, ...] | None = None
        self._ranking = Ranking()
        self._homes: dict[TaskId, NodeState] = {}
        """Where files of uploads go ahead of their commit."""
        self.slots = SlotsByPace()
        self._turn = 0
        self._send_ahead_count = send_ahead_count
        self.version = 0
        """Grows whenever what placement depends on has changed."""

    def listed(self) -> tuple[NodeState, ...]:
        """Those that may be sent a task now."""
        if self._open_now is None:
            self._open_now = tuple(self._open.values())
        return self._open_now

    @property
    def has_room(self) -> bool:
        """Whether any node may be sent a task now."""
        return bool(self._open)

    def choose(self, need: Need) -> Placement | None:
        """Choose the node for a task among those with room, as `place` does."""
        if need.special:
            return place(self.listed(), need, self._known())
        node = self.best(need)
        return Placement(node, reason_for(node, need)) if node else None

    def best(self, need: Need, accepts: Callable[[NodeState], bool] = anyone) -> NodeState | None:
        """Find the first in order with room for a task whose images are known, among those that are accepted."""
        node = self._ranking.best(need, accepts)
        home = self._open.get(self._homes[need.task].id) if node and need.task in self._homes else None
        return at_home(node, home, need) if node and home and accepts(home) else node

    def has_room_for(self, need: Need, tasks_count: int) -> bool:
        """Whether so many tasks like this one could be sent now."""
        room_count = 0
        for node in suitable(self.listed(), need):
            room_count += node.slots_count + self._send_ahead_count - node.used_count
            if room_count >= tasks_count:
                return True
        return False

    def free_for(self, need: Need, accepts: Callable[[NodeState], bool] = anyone) -> NodeState | None:
        """Find a node with a slot that nobody uses for such a task, among those that are accepted."""
        if need.special:
            choice = place([node for node in self.listed() if accepts(node)], need, self._known())
            node = choice.node if choice else None
        else:
            node = self._ranking.best(need, accepts)
        return node if node and node.free_count > 0 else None

    def take_turn(self, node: NodeState) -> None:
        """Note that it was chosen."""
        self._turn += 1
        node.turn = self._turn
        self._rank(node)

    def stage(self, node: NodeState, task: TaskId) -> None:
        """Note that files of an upload go ahead to a node."""
        self._homes[task] = node
        if task not in node.staged:
            node.staged.append(task)
            self._rank(node)

    def unstage(self, task: TaskId) -> None:
        """Note that they do not any more; nothing happens when they did not."""
        node = self._homes.pop(task, None)
        if node and task in node.staged:
            node.staged.remove(task)
            self._rank(node)

    def update(self, node: NodeState) -> None:
        """Take in that something of a node has changed: it may be open now, or no more."""
        self.version += 1
        self.slots.put(node)
        room = node.slots_count + self._send_ahead_count - node.used_count
        is_open = node.usable and room > 0
        if is_open != (node.id in self._open):
            self._open_now = None
            if is_open:
                self._open[node.id] = node
            else:
                del self._open[node.id]
                self._ranking.discard(node.id)
        self._rank(node)

    def discard(self, node: NodeId) -> None:
        """Forget a node."""
        self._open.pop(node, None)
        self._ranking.discard(node)
        self.slots.discard(node)
        self._open_now = None
        self.version += 1

    def _rank(self, node: NodeState) -> None:
        if self._open.get(node.id) is node:
            self._ranking.put(node)
