"""The life of a task as a table: `LIFE` says which step leads from which state to which.

Whoever makes the next value of a task (core/tasks.py, core/wishes.py) takes a step by `moved`; a step that the table does not
have raises `Impossible`, so no caller can bring a task where it cannot be. The diagram in docs/architecture.md is drawn
from the table.

An attempt moves with the task: FORWARDING and RUNNING tasks have a last attempt that is under way, all others have none.
Within FORWARDING the attempt may be UNCERTAIN: forwarding is over, and the node is asked whether it took the task.
"""

from enum import StrEnum
from typing import Any, Final

import msgspec

from libs.common.model import Attempt, AttemptState, Task, TaskState


class Step(StrEnum):
    """What can happen to a task."""

    SUBMIT = "submit"
    """Its client committed it."""
    IMPORT = "import"
    """It was taken over from the original cluster, running."""
    PLACE = "place"
    """Its holder picked up a slot."""
    START = "start"
    """The node has it."""
    RETRY = "retry"
    """Its attempt is over and another will follow."""
    GIVE_UP = "give up"
    """Its attempts are spent."""
    ABANDON = "abandon"
    """It waits in vain: its photos are not to be had any more, or no node takes it."""
    COMPLETE = "complete"
    FAIL = "fail"
    """The node says that it cannot be done."""
    CANCEL = "cancel"
    RESTART = "restart"
    """Its client wants it to run again, where it is."""
    START_OVER = "start over"
    """Its client wants it to run again, from its inputs."""


LIFE: Final[dict[tuple[TaskState | None, Step], TaskState]] = {
    (None, Step.SUBMIT): TaskState.WAITING,
    (None, Step.IMPORT): TaskState.RUNNING,
    (TaskState.WAITING, Step.PLACE): TaskState.FORWARDING,
    (TaskState.WAITING, Step.ABANDON): TaskState.FAILED,
    (TaskState.WAITING, Step.CANCEL): TaskState.CANCELED,
    (TaskState.FORWARDING, Step.START): TaskState.RUNNING,
    (TaskState.FORWARDING, Step.RETRY): TaskState.WAITING,
    (TaskState.FORWARDING, Step.GIVE_UP): TaskState.FAILED,
    (TaskState.FORWARDING, Step.CANCEL): TaskState.CANCELED,
    (TaskState.RUNNING, Step.COMPLETE): TaskState.COMPLETED,
    (TaskState.RUNNING, Step.FAIL): TaskState.FAILED,
    (TaskState.RUNNING, Step.CANCEL): TaskState.CANCELED,
    (TaskState.RUNNING, Step.RETRY): TaskState.WAITING,
    (TaskState.RUNNING, Step.GIVE_UP): TaskState.FAILED,
    (TaskState.COMPLETED, Step.CANCEL): TaskState.CANCELED,
    (TaskState.FAILED, Step.CANCEL): TaskState.CANCELED,
    (TaskState.COMPLETED, Step.RESTART): TaskState.RUNNING,
    (TaskState.FAILED, Step.RESTART): TaskState.RUNNING,
    (TaskState.CANCELED, Step.RESTART): TaskState.RUNNING,
    (TaskState.COMPLETED, Step.START_OVER): TaskState.WAITING,
    (TaskState.FAILED, Step.START_OVER): TaskState.WAITING,
    (TaskState.CANCELED, Step.START_OVER): TaskState.WAITING,
}
"""(state, step) -> next state. `None` is a task that does not exist yet. Removing is possible in every state."""


class Impossible(Exception):
    """The table has no such step from this state."""


def after(state: TaskState | None, step: Step) -> TaskState:
    """Look a step up. Raises Impossible."""
    try:
        return LIFE[state, step]
    except KeyError:
        raise Impossible(f"a task that is {state or 'unknown'} cannot {step}") from None


def moved(task: Task, step: Step, **changes: Any) -> Task:
    """Take a step, with what else changes."""
    return msgspec.structs.replace(task, state=after(task.state, step), **changes)


def under_way(task: Task) -> Attempt:
    """Say which attempt is under way. Raises Impossible when none is."""
    if task.attempt is None or task.attempt.state is AttemptState.ENDED:
        raise Impossible(f"a task that is {task.state} has no attempt under way")
    return task.attempt


def with_attempt(task: Task, **changes: Any) -> tuple[Attempt, ...]:
    """Change the last attempt."""
    return (*task.attempts[:-1], msgspec.structs.replace(task.attempts[-1], **changes))
