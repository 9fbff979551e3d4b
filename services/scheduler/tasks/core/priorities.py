"""What operators make of a task's place in the queue.

A *priority* is added to its tenant's, and so it may bring a task before those of others; its owner pays for that later (placement/core/shares.py).
*Moved up*, a task goes in front of its own owner's others of its priority, and of nobody else's whose turn comes by shares. Both are in
its record, and stay with it over attempts and restarts.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.tenancy import HIGHEST_PRIORITY
from clusterodm.services.scheduler.task_life.life import with_minor_line

HAS_ENDED: Final = "It has ended: it waits for nothing any more"
WAITS_NOT: Final = "It does not wait: it has its slot already"


def prioritized(task: Task, priority: int, now_ms: WallMs) -> Task:
    """Give a task a priority. Raises Refused."""
    if abs(priority) > HIGHEST_PRIORITY:
        raise Refused(f"a priority is {-HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}")
    if task.state.ended:
        raise Refused(HAS_ENDED)
    if task.priority == priority:
        return task
    line = f"An operator has set its priority: {priority:+}" if priority else "Its priority is the usual one again"
    return msgspec.structs.replace(task, priority=priority, timeline=with_minor_line(task.timeline, line, now_ms))


def first_of_its_kind(task: Task, in_order: Iterable[Task]) -> Task:
    """Find who is the first of its owner's waiting tasks of its priority; it may be itself."""
    own = (each for each in in_order if each.owner == task.owner and each.priority == task.priority)
    return next(own, task)


def moved_up(task: Task, first: Task, now_ms: WallMs) -> Task:
    """Put a task in front of the first of its kind. Raises Refused."""
    if task.state.ended:
        raise Refused(HAS_ENDED)
    if task.state is not TaskState.WAITING:
        raise Refused(WAITS_NOT)
    if first.id == task.id:
        return task
    return msgspec.structs.replace(
        task,
        queued_at_ms=max(1, (first.queued_at_ms or first.committed_at_ms) - 1),
        timeline=with_minor_line(task.timeline, "An operator has moved it up in the queue", now_ms),
    )
