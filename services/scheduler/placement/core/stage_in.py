"""Where the files of an upload go before its commit. A stage-in is a hint that expires, not a reservation.

It uses no slot: a committed task may take the node's last one at any time, and then there is no stage-in any more when its upload owner asks
again. It does two things: it bounds how many uploads go ahead to a node (no more than have a free slot there now, nor more than
the setting), and it is remembered on the node (`NodeState.staged`), so that the placement at the commit finds the files.

A stage-in stays with its node for as long as that would do: chosen again every time, it would move with every task that comes or ends.
"""

from dataclasses import dataclass

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.ranking import Need, is_other_kind


@dataclass
class StageIn:
    """An upload and where its files go."""

    task: TaskId
    node: NodeId
    expires: Instant


@dataclass(frozen=True)
class NoStageIn:
    """No files should go ahead now."""

    reason: str


class StageIns:
    """All stage-ins, each with its node."""

    def __init__(self, registry: NodeRegistry, lease_s: float, per_node_count: int) -> None:
        self._registry = registry
        self._lease_s = lease_s
        self._per_node_count = per_node_count
        self._stage_ins: dict[TaskId, StageIn] = {}

    def __len__(self) -> int:
        return len(self._stage_ins)

    def plan(self, need: Need, at: NodeId | None, now: Instant) -> NodeState | NoStageIn:
        """Choose a node for an upload, or say whether the one that it is aimed `at` will still do."""
        task = need.task
        if task is None:
            raise ValueError("a stage-in is somebody's")
        held = self._stage_ins.get(task)
        if held is None or held.node != at:
            self.drop(task)
        found = self._choose(need) if at is None else self._still(need, task, at)
        if isinstance(found, NoStageIn):
            self.drop(task)
        else:
            self._keep(task, found, now)
        return found

    def drop(self, task: TaskId) -> None:
        """Forget a stage-in; nothing happens when there is none."""
        if self._stage_ins.pop(task, None):
            self._registry.open.unstage(task)

    def expire(self, now: Instant) -> list[StageIn]:
        """Forget the stage-ins that nobody asked about again."""
        expired = [each for each in self._stage_ins.values() if each.expires <= now]
        for each in expired:
            self.drop(each.task)
        return expired

    def _keep(self, task: TaskId, node: NodeState, now: Instant) -> None:
        self._stage_ins[task] = StageIn(task, node.id, now + self._lease_s)
        self._registry.open.stage(node, task)

    def _choose(self, need: Need) -> NodeState | NoStageIn:
        found = self._registry.open.best(
            need, lambda node: self._room(node) > len(node.staged) and not is_other_kind(node, need)
        )
        return found or NoStageIn("no node has a slot for it now")

    def _still(self, need: Need, task: TaskId, at: NodeId) -> NodeState | NoStageIn:
        """Say whether a node will still do. Where slots have become fewer, the uploads that came last give way."""
        node = self._registry.get(at)
        if node is None or not node.usable:
            return NoStageIn("the node takes no tasks any more")
        if not node.admission.admits(need.owner):
            return NoStageIn("the node takes others' tasks only")
        if is_other_kind(node, need):
            return NoStageIn("the node has no graphics card, which the task asks for")
        if not node.fits(need.images_count):
            return NoStageIn(f"{need.images_count} images are too many for the node (limit {node.limit_count})")
        place_in_line = node.staged.index(task) if task in node.staged else len(node.staged)
        if place_in_line >= self._room(node):
            return NoStageIn("the node has no free slot any more")
        return node

    def _room(self, node: NodeState) -> int:
        """Count the uploads that may go ahead to a node."""
        return min(node.free_count, self._per_node_count)
