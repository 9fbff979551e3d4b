"""Whether a task that was refused by a node has any prospect of another, and what its user is told when it has none. Pure.

A task without such a refusal waits for as long as it must: an operator may add a node. One that has been on a node and was told why
not has its answer, so it ends when nobody else can take it: no node that is registered, whatever it does now, and no machine that
could be rented. What is not known is in its favour: a node that has not answered yet may be large enough.
"""

from collections.abc import Sequence
from enum import Enum, auto

from libs.common.model import Task, TaskState
from services.scheduler.core.attempts import refused
from services.scheduler.core.nodes import NodeState
from services.scheduler.core.placement import may_ever_fit, need_of


class Rental(Enum):
    """What the autoscaler says of a machine for a task."""

    POSSIBLE = auto()
    """It may come, or is not known yet."""
    NEVER = auto()
    """There is no such size."""
    SILENT = auto()
    """There is no autoscaler, or none that has spoken lately."""


def was_refused(task: Task) -> bool:
    """Whether a task waits that a node has refused for something that another may not have."""
    return task.state is TaskState.WAITING and bool(refused(task.attempts))


def has_prospect(task: Task, nodes: Sequence[NodeState], rental: Rental) -> bool:
    """Whether it may still find a node. A silent autoscaler may be starting: whoever asks waits for a while first."""
    need = need_of(task)
    may_be_rented = rental is Rental.POSSIBLE and need.helped_by_machines
    return may_be_rented or any(may_ever_fit(node, need) for node in nodes)


def why_hopeless(task: Task, nodes: Sequence[NodeState]) -> str:
    """Say in one sentence why no node takes it."""
    reason = refused(task.attempts)[-1].reason
    least = task.least_limit_count
    limits = [node.limit_count for node in nodes if node.limit_count is not None]
    if least and limits and len(limits) == len(nodes) and max(limits) < least:
        return (
            f"No node takes {least} images (the largest limit is {max(limits)}), and no machine that does can be rented"
        )
    return f"No other node can take it, and no machine that does can be rented: {reason}"
