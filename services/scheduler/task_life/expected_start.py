"""When a waiting task should begin, as its user reads it: told again only when that has changed (placement/core/estimates.py)."""

from typing import NamedTuple

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.services.scheduler.task_life.life import may_repeat, with_minor_line


class ExpectedStart(NamedTuple):
    """When a waiting task should begin: worth telling its user."""

    at_ms: int
    words: str


def with_start(task: Task, start: ExpectedStart | None, now_ms: WallMs) -> Task:
    """Tell when it should begin, by itself."""
    if (
        start is None
        or task.state is not TaskState.WAITING
        or not may_repeat(task, now_ms, changed=not task.start_told_ms)
    ):
        return task
    line = start.words[0].upper() + start.words[1:]
    return msgspec.structs.replace(
        task, start_told_ms=start.at_ms, timeline=with_minor_line(task.timeline, line, now_ms)
    )
