"""What there is on nodes all together: slots by pace, and which limits of images occur."""

from collections import Counter
from collections.abc import Iterable

from clusterodm.libs.common.model.values import NodeId
from clusterodm.services.scheduler.registry.node_state import NodeState


class SlotsByPace:
    """How many slots there are, free or not, by the pace of their nodes: those of usable nodes that are not reserved."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self._of_nodes: dict[NodeId, tuple[int, int]] = {}

    def __repr__(self) -> str:
        """Show them."""
        return f"SlotsByPace({dict(self.counts)})"

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


def limits_of(nodes: Iterable[NodeState]) -> tuple[int, ...]:
    """Say which limits of images there are among nodes, the smallest first."""
    return tuple(sorted({node.limit_count for node in nodes if node.limit_count is not None}))
