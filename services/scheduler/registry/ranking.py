"""Which node takes a task, why none does, and the nodes with room in that order.

The order is that of the original: the node with the smallest sufficient image limit, then the one with the most free slots, then
the shortest queue, then the longest without a turn. A node that is locked, draining, offline or too small is never chosen.

What the original did not have is put in front of that order: a slot that is free now before one that only lets files be sent
ahead, and another node before one where this task has failed. A task that ran out of memory waits for a node with more of it
as long as there is one. For a task whose images are not known yet, a node without limit is best, then the largest limit. A node that has
refused a task, for something that another may not have, does not get it again; one that has said how many images it has, only goes
where so many are taken.

Among nodes of one limit the one that has the task's files already (placement/core/stage_in.py) comes first; where all else is equal but the turn,
nodes to which files of other uploads go ahead are left alone.

Nodes with room are kept in that order (`Ranking`), so that a placement looks at a few of a thousand. It is that of `preference`: which node a
task gets from there is the one that `place` finds by looking at all of them. Nodes of each pace (placement/core/pace.py) have a list of their own; where no pace is known there is one list.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import NOBODY, MachineId, NodeId, Owner, TaskId
from clusterodm.services.scheduler.registry.node_state import NodeState

REFUSING_MACHINES_COUNT: Final = 2
"""So many rented machines may refuse a task for what nobody can read from their size: all of them are made alike, and each costs."""
NodeOnMachine = tuple[NodeId, MachineId | None]
"""A node, and the machine that it was on: addresses are used again."""


@dataclass(frozen=True)
class Need:
    """What a task needs of a node."""

    images_count: int | None = 0
    """None: more than any limit."""
    images_known: bool = True
    """False: it may be any number."""
    avoided: frozenset[NodeId] = frozenset()
    """Where it has failed before."""
    min_memory_bytes: int = 0
    task: TaskId | None = None
    """Whose need it is, where files may have gone ahead."""
    barred: frozenset[NodeOnMachine] = frozenset()
    """Nodes that have refused it."""
    owner: Owner = NOBODY
    """Whose it is: some nodes do not take everybody's tasks."""
    gpu: bool = False
    """It asks for a graphics card."""
    interruptions_count: int = 0
    """So many spot machines were taken away from it."""

    @property
    def singular(self) -> bool:
        """Whether other tasks with about as many images may need something else."""
        return bool(self.min_memory_bytes or self.barred) or not self.images_known

    @property
    def special(self) -> bool:
        """Whether more of a node matters than its limit of images."""
        return self.singular or self.gpu or bool(self.interruptions_count)

    @property
    def helped_by_machines(self) -> bool:
        """Whether there is any sense in renting a machine for it."""
        return sum(machine is not None for _, machine in self.barred) < REFUSING_MACHINES_COUNT


@dataclass(frozen=True)
class Placement:
    """A choice and the reason for it."""

    node: NodeState
    reason: str


def need_of(task: Task) -> Need:
    """Read from a task what it needs."""
    return Need(
        images_count=task.needed_count or 0,
        images_known=task.needed_count is not None,
        avoided=frozenset(attempt.node for attempt in task.attempts),
        min_memory_bytes=task.min_memory_bytes,
        task=task.id,
        barred=frozenset((attempt.node, attempt.machine) for attempt in task.attempts if attempt.barred),
        owner=task.owner,
        gpu=task.gpu,
        interruptions_count=task.interruptions_count,
    )


def is_barred(node: NodeState, need: Need) -> bool:
    """Whether a node has refused such a task."""
    return bool(need.barred) and (node.id, node.record.machine) in need.barred


def is_other_kind(node: NodeState, need: Need) -> bool:
    """Whether a node is of a kind that such a task does not go to: without a graphics card, or interrupted too easily."""
    most = node.record.interruptions_limit_count
    return (need.gpu and not node.record.has_gpu) or bool(most and need.interruptions_count >= most)


def may_ever_fit(node: NodeState, need: Need) -> bool:
    """Whether a node may take such a task one day, as far as is known: locked, offline or full now, but neither too small nor barred."""
    never = not node.admission.admits(need.owner) or is_barred(node, need) or is_other_kind(node, need)
    return not never and (node.info is None or node.fits(need.images_count))


def suitable(nodes: Iterable[NodeState], need: Need) -> list[NodeState]:
    """Find the nodes that take such a task, full or not: those with more memory, where memory was short and there are any."""
    fitting = [node for node in large_enough_for(nodes, need) if node.admission.admits(need.owner)]
    if not need.min_memory_bytes:
        return fitting
    return [node for node in fitting if node.memory_bytes > need.min_memory_bytes] or fitting


Preference = tuple[bool, bool, bool, int, bool, float, bool, int, int, int, int, int]


def limit_of(node: NodeState) -> float:
    """Say how many images it takes; infinity: any number."""
    return float("inf") if node.limit_count is None else float(node.limit_count)


def preference(node: NodeState, need: Need) -> Preference:
    """Sort key: the smaller, the better; of equals the one that was added first, as in `rank_of`."""
    size = limit_of(node) if need.images_known else -limit_of(node)
    elsewhere = need.task not in node.staged
    freest = (-node.free_count, node.used_count, len(node.staged), node.turn, node.number)
    return (*first_of_all(node, need), node.pace, node.record.has_gpu, size, elsewhere, *freest)


def first_of_all(node: NodeState, need: Need) -> tuple[bool, bool, bool]:
    """Sort key: a free slot first, then where the task has not failed, then what is reserved for its owner: the rest is left to others."""
    return node.free_count == 0, node.id in need.avoided, not node.admission.reserved_for


def place(
    open_nodes: Sequence[NodeState], need: Need, known_nodes: Iterable[NodeState] | None = None
) -> Placement | None:
    """Choose among nodes with room. `known_nodes`: all there are, asked only for a task that is short of memory."""
    fitting = suitable(open_nodes, need)
    if need.min_memory_bytes and known_nodes is not None:
        allowed = suitable(known_nodes, need)
        fitting = [node for node in fitting if node in allowed]
    if not fitting:
        return None
    node = min(fitting, key=lambda node: preference(node, need))
    return Placement(node, reason_for(node, need))


def best(nodes: Iterable[NodeState], need: Need) -> Placement | None:
    """Choose as the original does: when all are full, the first in order all the same."""
    fitting = suitable(nodes, need)
    if not fitting:
        return None
    node = min(fitting, key=lambda node: preference(node, need))
    return Placement(node, reason_for(node, need) if node.free_count else "all nodes are full")


def reason_for(node: NodeState, need: Need) -> str:
    """Say in words why this one."""
    if node.free_count == 0:
        return "files may be sent ahead to it"
    if need.min_memory_bytes and node.memory_bytes > need.min_memory_bytes:
        return "more memory than where it failed"
    if node.limit_count is None:
        return f"no limit of images, {slots(node)}"
    return f"smallest sufficient limit ({amount(node.limit_count, 'image')}), {slots(node)}"


def slots(node: NodeState) -> str:
    """Say how full it is."""
    return f"{node.free_count} of {node.slots_count} slots free"


def large_enough_for(nodes: Iterable[NodeState], need: Need) -> Iterator[NodeState]:
    """Find the nodes that would take such a task, whoever's it is."""
    allowed = (node for node in nodes if node.usable and not is_barred(node, need) and not is_other_kind(node, need))
    return (node for node in allowed if node.fits(need.images_count))


Rank = tuple[bool, float, int, int, int, int, int, NodeId]
Listed = list[tuple[Rank, NodeState]]


def rank_of(node: NodeState) -> Rank:
    """Sort key among nodes of one pace; unique, by its id in the end."""
    freest = (-node.free_count, node.used_count, len(node.staged), node.turn)
    return (node.free_count == 0, limit_of(node), *freest, node.number, node.id)


def anyone(_node: NodeState) -> bool:
    """Accept every node."""
    return True


Accepts = Callable[[NodeState], bool]


class Ranking:
    """The order, by pace."""

    def __init__(self) -> None:
        self._of_pace: dict[tuple[int, bool], Listed] = {}
        """And by whether there is a graphics card: nodes with one are left to who asks for it, as long as others are as good."""
        self._ranks: dict[NodeId, tuple[tuple[int, bool], Rank]] = {}
        self._restricted: set[NodeId] = set()
        """Those that do not take everybody's tasks."""

    def put(self, node: NodeState) -> None:
        """Put a node in its place."""
        rank = rank_of(node)
        pace = (node.pace, node.record.has_gpu)
        if self._ranks.get(node.id) != (pace, rank):
            self.discard(node.id)
            self._ranks[node.id] = (pace, rank)
            insort(self._of_pace.setdefault(pace, []), (rank, node))
        (self._restricted.add if node.admission.restricts else self._restricted.discard)(node.id)

    def discard(self, node: NodeId) -> None:
        """Take a node out; nothing happens when it is not there."""
        self._restricted.discard(node)
        if place := self._ranks.pop(node, None):
            pace, rank = place
            listed = self._of_pace[pace]
            del listed[bisect_left(listed, (rank,))]
            if not listed:
                del self._of_pace[pace]

    def best(self, need: Need, accepts: Callable[[NodeState], bool] = anyone) -> NodeState | None:
        """Find the node for a task whose images are known and that was never short of memory."""
        firsts = [
            first(listed, need, accepted)
            for listed in self._of_pace.values()
            for accepted in acceptable(need, accepts, any_restricted=bool(self._restricted))
        ]
        return min(
            (node for node in firsts if node),
            key=lambda node: (*first_of_all(node, need), node.pace, node.record.has_gpu),
            default=None,
        )


def acceptable(need: Need, accepts: Accepts, *, any_restricted: bool) -> Sequence[Accepts]:
    """Split what is accepted: nodes that are reserved for a task's owner, and those that are not reserved."""
    if not any_restricted:
        return (accepts,)

    def is_accepted(node: NodeState, *, reserved: bool) -> bool:
        admission = node.admission
        return bool(admission.reserved_for) is reserved and admission.admits(need.owner) and accepts(node)

    return partial(is_accepted, reserved=True), partial(is_accepted, reserved=False)


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
    if home is None or need.task is None or need.task not in home.staged:
        return node
    return home if likeness(home, need) == likeness(node, need) and home.admission.admits(need.owner) else node


def likeness(node: NodeState, need: Need) -> tuple[int, bool, float, bool, bool, bool]:
    """Say what two nodes have in common of which either will do."""
    return node.pace, node.record.has_gpu, limit_of(node), *first_of_all(node, need)
