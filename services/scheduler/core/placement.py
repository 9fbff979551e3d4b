"""Which node takes a task, and why none does.

The order is that of the original: the node with the smallest sufficient image limit, then the one with the most free slots, then
the shortest queue, then the longest without a turn. A node that is locked, draining, offline or too small is never chosen.

What the original did not have is put in front of that order: a slot that is free now before one that only lets files be sent
ahead, and another node before one where this task has failed. A task that ran out of memory waits for a node with more of it
as long as there is one. For a task whose images are not known yet, a node without limit is best, then the largest limit. A node that has
refused a task, for something that another may not have, does not get it again; one that has said how many images it has, only goes
where so many are taken.

Among nodes of one limit the one that has the task's files already (core/aims.py) comes first; where all else is equal but the turn,
nodes to which files of other uploads go ahead are left alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.model import MachineId, NodeId, Task, TaskId
from services.scheduler.core.nodes import NodeState

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

    @property
    def special(self) -> bool:
        """Whether more of a node matters than its limit of images."""
        return bool(self.min_memory_bytes or self.barred) or not self.images_known

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
    )


def is_barred(node: NodeState, need: Need) -> bool:
    """Whether a node has refused such a task."""
    return bool(need.barred) and (node.id, node.record.machine) in need.barred


def may_ever_fit(node: NodeState, need: Need) -> bool:
    """Whether a node may take such a task one day, as far as is known: locked, offline or full now, but neither too small nor barred."""
    return not is_barred(node, need) and (node.info is None or node.fits(need.images_count))


def suitable(nodes: Iterable[NodeState], need: Need) -> list[NodeState]:
    """Find the nodes that take such a task, full or not: those with more memory, where memory was short and there are any."""
    fitting = [node for node in nodes if node.usable and node.fits(need.images_count) and not is_barred(node, need)]
    if not need.min_memory_bytes:
        return fitting
    return [node for node in fitting if node.memory_bytes > need.min_memory_bytes] or fitting


Preference = tuple[bool, bool, int, float, bool, int, int, int, int]


def limit_of(node: NodeState) -> float:
    """Say how many images it takes; infinity: any number."""
    return float("inf") if node.limit_count is None else float(node.limit_count)


def preference(node: NodeState, need: Need) -> Preference:
    """Sort key: the smaller, the better."""
    size = limit_of(node) if need.images_known else -limit_of(node)
    elsewhere = need.task not in node.aims
    freest = (-node.free_count, node.used_count, len(node.aims), node.turn)
    return (node.free_count == 0, node.id in need.avoided, node.pace, size, elsewhere, *freest)


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
    return f"smallest sufficient limit ({node.limit_count} images), {slots(node)}"


def slots(node: NodeState) -> str:
    """Say how full it is."""
    return f"{node.free_count} of {node.slots_count} slots free"


def why_not(nodes: Sequence[NodeState], need: Need) -> str:
    """Say why no node has room for such a task now."""
    online = [node for node in nodes if node.online]
    unlocked = [node for node in online if node.usable]
    fitting = suitable(unlocked, need)
    if not nodes:
        return "no node is registered"
    if not online:
        return "no node is online"
    if not unlocked:
        return f"all {len(online)} nodes are locked" if len(online) > 1 else "the only node online is locked"
    if not fitting:
        return too_large(unlocked, need)
    slots_count = sum(node.slots_count for node in fitting)
    return f"no free slot ({sum(min(node.used_count, node.slots_count) for node in fitting)} of {slots_count} busy)"


def too_large(nodes: Sequence[NodeState], need: Need) -> str:
    """Say that the task has too many images for all."""
    if any(node.fits(need.images_count) for node in nodes):
        return "each node that is large enough has refused it"
    largest = max(node.limit_count or 0 for node in nodes)
    return f"no node takes {need.images_count} images (largest limit {largest})"
