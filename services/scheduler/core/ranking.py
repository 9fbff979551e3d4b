"""Nodes with room, kept in the order in which tasks get them, so that a placement looks at a few of a thousand.

The order is `placement.preference`: which node a task gets from here is the one that `placement.place` finds by looking at all of
them. Nodes of each pace (core/pace.py) have a list of their own; where no pace is known there is one list.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator

from libs.common.model import NodeId
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.placement import Need, limit_of

Rank = tuple[bool, float, int, int, int, int, int, NodeId]
Listed = list[tuple[Rank, NodeState]]


def rank_of(node: NodeState) -> Rank:
    """Sort key among nodes of one pace; unique, by its id in the end."""
    freest = (-node.free_count, node.used_count, len(node.aims), node.turn)
    return (node.free_count == 0, limit_of(node), *freest, node.number, node.id)


def anyone(_node: NodeState) -> bool:
    """Accept every node."""
    return True


class Ranking:
    """The order, by pace."""

    def __init__(self) -> None:
        self._of_pace: dict[int, Listed] = {}
        self._ranks: dict[NodeId, tuple[int, Rank]] = {}

    def __repr__(self) -> str:
        """Show how many nodes of each pace."""
        return f"Ranking({ {pace: len(listed) for pace, listed in sorted(self._of_pace.items())} })"

    def put(self, node: NodeState) -> None:
        """Put a node in its place."""
        rank = rank_of(node)
        if self._ranks.get(node.id) != (node.pace, rank):
            self.discard(node.id)
            self._ranks[node.id] = (node.pace, rank)
            insort(self._of_pace.setdefault(node.pace, []), (rank, node))

    def discard(self, node: NodeId) -> None:
        """Take a node out; nothing happens when it is not there."""
        if place := self._ranks.pop(node, None):
            pace, rank = place
            listed = self._of_pace[pace]
            del listed[bisect_left(listed, (rank,))]
            if not listed:
                del self._of_pace[pace]

    def best(self, need: Need, accepts: Callable[[NodeState], bool] = anyone) -> NodeState | None:
        """Find the node for a task whose images are known and that was never short of memory."""
        firsts = (first(listed, need, accepts) for listed in self._of_pace.values())
        return min(
            (node for node in firsts if node),
            key=lambda node: (node.free_count == 0, node.id in need.avoided, node.pace),
            default=None,
        )


def first(listed: Listed, need: Need, accepts: Callable[[NodeState], bool]) -> NodeState | None:
    """Find the first that is large enough: one with a free slot if there is any, where the task has not failed if there is any."""
    for full in (False, True):
        avoided: NodeState | None = None
        for node in large_enough(listed, need.images_count, full=full):
            if node.id not in need.avoided and accepts(node):
                return node
            if avoided is None and accepts(node):
                avoided = node
        if avoided is not None:
            return avoided
    return None


def large_enough(listed: Listed, images_count: int | None, *, full: bool) -> Iterator[NodeState]:
    """Go through those that take so many images, either with a free slot or full."""
    least = float("inf") if images_count is None else float(images_count)
    for at in range(bisect_left(listed, ((full, least),)), len(listed)):
        rank, node = listed[at]
        if rank[0] is not full:
            return
        yield node


def at_home(node: NodeState, home: NodeState | None, need: Need) -> NodeState:
    """Prefer the node that has the task's files already, where it is otherwise as good."""
    if home is None or need.task is None or need.task not in home.aims:
        return node
    alike = (home.pace, limit_of(home), home.free_count == 0, home.id in need.avoided)
    return home if alike == (node.pace, limit_of(node), node.free_count == 0, node.id in need.avoided) else node
