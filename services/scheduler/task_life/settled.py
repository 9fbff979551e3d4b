"""When nothing more happens to a task, and what its record keeps then.

It keeps what a poll shows, and what a restart needs. The cluster's lines in its console stay as they were shown (life.py), up to a thousand characters of
what a node said among them; beside them an attempt that another has followed needs no more than a hint of its reason. So a record without its
console is no larger than 3 KiB after the three attempts that are tried unless settings say otherwise, whatever was said of them.
"""

from typing import Final

import msgspec

from clusterodm.libs.common.chosen import differences
from clusterodm.libs.common.model.tasks import Attempt, LastKnown, Task
from clusterodm.services.scheduler.task_life.attempts import shortened

SETTLED_S: Final = 30.0
"""So long after its end a task stays among the active ones: most clients have asked for the last time by then."""
LAST_REASON_LENGTH: Final = 300
"""Longest reason of the last attempt that is kept for ever: why the task has failed its error says."""
REASON_LENGTH: Final = 100
"""And of those before it."""


def is_settled(task: Task) -> bool:
    """Whether nothing more happens to a task by itself."""
    return task.state.ended and not task.removed and not task.is_untold


def compacted(task: Task) -> Task:
    """Keep what a poll shows of an ended task: no console, no options twice, and of long reasons the beginning."""
    return msgspec.structs.replace(
        task,
        known=final_of(task.known, task),
        waiting_because="",
        attempts=tuple(with_short_reason(each, last=each is task.attempt) for each in task.attempts),
    )


def with_short_reason(attempt: Attempt, *, last: bool) -> Attempt:
    """Keep the beginning of why an attempt has ended."""
    reason = shortened(attempt.reason, LAST_REASON_LENGTH if last else REASON_LENGTH)
    return msgspec.structs.replace(attempt, reason=reason)


def final_of(known: LastKnown | None, task: Task) -> LastKnown | None:
    """Keep what is to be known for ever of what a node said."""
    if known is None:
        return None
    error = shortened(known.error, LAST_REASON_LENGTH)
    return msgspec.structs.replace(differences(known, task.options), console_tail=(), error=error)
