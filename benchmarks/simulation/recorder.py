"""Makes a trace from what a cluster has on record: who came when, where it ran, for how long. Names and ids stay behind.

How fast a node is shows in how long its tasks took per image, compared with the median of all; the work of a task is the time
it took times the speed of its node.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable

from benchmarks.simulation.trace import Trace, TraceNode, TraceTask
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import NodeId


def took_s(task: Task) -> float | None:
    """Say how long the attempt ran that had the result; None when there is none."""
    last = task.attempt
    if task.state is not TaskState.COMPLETED or last is None or last.running_at_ms is None or last.ended_at_ms is None:
        return None
    return max(last.ended_at_ms - last.running_at_ms, 1) / 1000


def recorded(name: str, tasks: Iterable[Task], nodes: Iterable[Node], slots: dict[NodeId, int]) -> Trace:
    """Make the trace of all completed tasks. Raises ValueError when there are none."""
    ran = [(task, took) for task in tasks if (took := took_s(task)) is not None]
    if not ran:
        raise ValueError("there is no completed task on record")
    speeds = speeds_of(ran)
    known = [node.id for node in nodes if node.id in speeds]
    numbers = {node: f"node {number}" for number, node in enumerate([*known, *(speeds.keys() - set(known))], start=1)}
    owners = {owner: f"owner {number}" for number, owner in enumerate(sorted({task.owner for task, _ in ran}), start=1)}
    began_ms = min(task.committed_at_ms for task, _ in ran)
    return Trace(
        name,
        tuple(TraceNode(number, round(speeds[node], 3), slots.get(node, 1)) for node, number in numbers.items()),
        tuple(
            TraceTask(
                at_s=(task.committed_at_ms - began_ms) / 1000,
                work_s=round(took * speeds[task.attempts[-1].node], 3),
                images=max(task.images_count, 1),
                owner=owners[task.owner],
            )
            for task, took in sorted(ran, key=lambda pair: pair[0].committed_at_ms)
        ),
    )


def speeds_of(ran: Iterable[tuple[Task, float]]) -> dict[NodeId, float]:
    """Estimate how fast nodes are, from the time that they take per image; the median node has speed 1."""
    paces: defaultdict[NodeId, list[float]] = defaultdict(list)
    for task, took in ran:
        paces[task.attempts[-1].node].append(took / max(task.images_count, 1))
    middles = {node: statistics.median(each) for node, each in paces.items()}
    usual = statistics.median(middles.values())
    return {node: usual / pace for node, pace in middles.items()}
