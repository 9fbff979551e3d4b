"""What goes when the disk gets scarce. Pure.

free < 2 x minimum   kept inputs go, as far as needed: first those of tasks that have failed or were canceled (they are kept
                     for a restart only), then those of running tasks, each the oldest first. Tasks that wait, or are
                     being sent, need theirs
free < minimum       new uploads are refused, and files of open ones
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import TaskId

KEPT_FOR_RESTART: Final = frozenset((TaskState.FAILED, TaskState.CANCELED))
MAY_GO: Final = KEPT_FOR_RESTART | {TaskState.RUNNING}


@dataclass(frozen=True, slots=True)
class EvictionCandidate:
    """The kept inputs of one committed task."""

    task: TaskId
    state: TaskState
    received_at_ms: int
    size_bytes: int


def to_give_up(kept: Iterable[EvictionCandidate], wanted: int) -> list[TaskId]:
    """Choose whose inputs go so that `wanted` bytes get free, or as many as possible."""
    chosen: list[TaskId] = []
    may_go = (each for each in kept if each.state in MAY_GO and each.size_bytes)
    for each in sorted(may_go, key=lambda each: (each.state not in KEPT_FOR_RESTART, each.received_at_ms)):
        if wanted <= 0:
            break
        chosen.append(each.task)
        wanted -= each.size_bytes
    return chosen
