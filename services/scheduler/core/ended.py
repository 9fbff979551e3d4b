"""Tasks that have ended: when one leaves the active ones, and what is kept of it.

The record of an active task is in memory everywhere; that of an ended one is read when somebody asks for it. So a task leaves
the active ones when nothing more happens to it by itself: it has ended, and no node has still to be told of any of its attempts. Its
record keeps what a poll shows. The console is kept whole elsewhere, and so is not repeated here.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from libs.common.chosen import differences
from libs.common.messages import TaskSummary
from libs.common.model import Cleanup, LastKnown, NodeId, Owner, Task, TaskId

SETTLED_S: Final = 30.0
"""So long after its end a task stays among the active ones: most clients have asked for the last time by then."""


@dataclass(frozen=True)
class EndedRow:
    """What is kept in memory of one."""

    task: TaskId
    owner: Owner
    node: NodeId | None
    committed_at_ms: int
    ended_at_ms: int
    summary: TaskSummary


def is_settled(task: Task) -> bool:
    """Whether nothing more happens to a task by itself."""
    return task.state.ended and not task.removed and all(attempt.cleanup is Cleanup.NONE for attempt in task.attempts)


def row_of(task: Task, summary: TaskSummary) -> EndedRow:
    """Say what is kept in memory of an ended task."""
    last = task.attempt
    return EndedRow(
        task.id, task.owner, last.node if last else None, task.committed_at_ms, task.ended_at_ms or 0, summary
    )


def compacted(task: Task) -> Task:
    """Keep what a poll shows of an ended task: no console, and no options twice."""
    return msgspec.structs.replace(task, known=final_of(task.known, task), waiting_because="")


def final_of(known: LastKnown | None, task: Task) -> LastKnown | None:
    """Keep what is to be known for ever of what a node said."""
    if known is None:
        return None
    return msgspec.structs.replace(differences(known, task.options), console_tail=())
