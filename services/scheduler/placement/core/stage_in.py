"""Where the files of an upload go before its commit. An aim is a hint that expires, not a reservation.

It uses no slot: a committed task may take the node's last one at any time, and then there is no aim any more when its holder asks
again. It does two things: it bounds how many uploads go ahead to a node (no more than have a free slot there now, nor more than
the setting), and it is remembered on the node (`NodeState.aims`), so that the placement at the commit finds the files.

An aim stays with its node for as long as that would do: chosen again every time, it would move with every task that comes or ends.
"""

from dataclasses import dataclass

from libs.common.clocks import Instant
from libs.common.model import NodeId, TaskId
from services.scheduler.registry.node_state import NodeState
from services.scheduler.registry.nodes import Registry
from services.scheduler.registry.ranking import Need


@dataclass
class Aim:
    """An upload and where its files go."""

    task: TaskId
    node: NodeId
    expires: Instant


@dataclass(frozen=True)
class Nowhere:
    """No files should go ahead now."""

    reason: str


class Aims:
    """All aims, each with its node."""

    def __init__(self, registry: Registry, lease_s: float, per_node_count: int) -> None:
        self._registry = registry
        self._lease_s = lease_s
        self._per_node_count = per_node_count
        self._aims: dict[TaskId, Aim] = {}

    def __repr__(self) -> str:
        """Show how many."""
        return f"Aims({len(self._aims)})"

    def __len__(self) -> int:
        """How many."""
        return len(self._aims)

    def aim(self, need: Need, at: NodeId | None, now: Instant) -> NodeState | Nowhere:
        """Choose a node for an upload, or say whether the one that it is aimed `at` will still do."""
        task = need.task
        if task is None:
            raise ValueError("an aim is somebody's")
        held = self._aims.get(task)
        if held is None or held.node != at:
            self.drop(task)
        found = self._choose(need) if at is None else self._still(need, task, at)
        if isinstance(found, Nowhere):
            self.drop(task)
        else:
            self._keep(task, found, now)
        return found

    def drop(self, task: TaskId) -> None:
        """Forget an aim; nothing happens when there is none."""
        if self._aims.pop(task, None):
            self._registry.unaim(task)

    def expire(self, now: Instant) -> list[Aim]:
        """Forget the aims that nobody asked about again."""
        expired = [aim for aim in self._aims.values() if aim.expires <= now]
        for aim in expired:
            self.drop(aim.task)
        return expired

    def _keep(self, task: TaskId, node: NodeState, now: Instant) -> None:
        self._aims[task] = Aim(task, node.id, now + self._lease_s)
        self._registry.aim(node, task)

    def _choose(self, need: Need) -> NodeState | Nowhere:
        found = self._registry.best(need, lambda node: self._room(node) > len(node.aims))
        return found or Nowhere("no node has a slot for it now")

    def _still(self, need: Need, task: TaskId, at: NodeId) -> NodeState | Nowhere:
        """Say whether a node will still do. Where slots have become fewer, the uploads that came last give way."""
        node = self._registry.get(at)
        if node is None or not node.usable:
            return Nowhere("the node takes no tasks any more")
        if not node.fits(need.images_count):
            return Nowhere(f"{need.images_count} images are too many for the node (limit {node.limit_count})")
        place_in_line = node.aims.index(task) if task in node.aims else len(node.aims)
        if place_in_line >= self._room(node):
            return Nowhere("the node has no free slot any more")
        return node

    def _room(self, node: NodeState) -> int:
        """Count the uploads that may go ahead to a node."""
        return min(node.free_count, self._per_node_count)
