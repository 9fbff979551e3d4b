"""Split-merge: how many parts of a dataset count as running at a time. Pure.

ODM's executor works on one part itself and sends others away, until one is answered QUEUED: then it removes that one, keeps it for its own machine or for
later, and sends no more at a time than run at that moment. If none is ever QUEUED it sends all of them, and its own machine idles; if too many are, nodes do.

    fewer count than there are slots, and LEAD_COUNT   RUNNING, also while it waits: the next one is there when a slot becomes free
    as many as that                                    *beyond*: QUEUED
    it has waited for as long as its upload took       beyond from then on: to send it again costs no more than to wait on has cost

Slots that tasks of others use, or wait for, are no room. Where an autoscaler rents machines for those that wait, there is room until it says no.
"""

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from libs.common.model import Task, TaskId, TaskState
from services.scheduler.registry.node_state import NodeState
from services.scheduler.registry.ranking import Need, suitable

LEAD_COUNT: Final = 1
LEAST_PATIENCE_S: Final = 3.0
"""Executors look every three seconds."""
LONGEST_PATIENCE_S: Final = 120.0
ACTIVE: Final = frozenset((TaskState.WAITING, TaskState.FORWARDING, TaskState.RUNNING))


def counts(task: Task) -> bool:
    """Whether it takes room, or is in front of those that will."""
    return task.submodel and not task.beyond and not task.removed and task.state in ACTIVE


def is_beyond(taken_count: int, room_count: int) -> bool:
    """Whether another one is too many."""
    return taken_count >= max(0, room_count) + LEAD_COUNT


def room_count(nodes: Iterable[NodeState], need: Need, is_part: Callable[[TaskId], bool], others_waiting: int) -> int:
    """Count the slots for parts like this: those that nobody else uses or waits for."""
    return sum(free_of_others(node, is_part) for node in suitable(nodes, need)) - others_waiting


def free_of_others(node: NodeState, is_part: Callable[[TaskId], bool]) -> int:
    """Count a node's slots that tasks of other kinds do not use."""
    others_count = sum(not is_part(task) for task in (*node.tasks, *node.reserved))
    return max(0, node.slots_count - node.foreign_count - others_count)


def patience_s(task: Task) -> float:
    """Say for how long one of the lead counts as running: as long as its upload has taken."""
    upload_s = (task.committed_at_ms - task.created_at_ms) / 1000
    return min(max(LEAST_PATIENCE_S, upload_s), LONGEST_PATIENCE_S)


def gone_beyond(task: Task) -> Task:
    """Let a part that still waits count as running no more."""
    return msgspec.structs.replace(task, beyond=True) if task.state is TaskState.WAITING else task
