"""The life of a task: the table of its states, the lines that its user reads, and what its client may want of it.

`LIFE` says which step leads from which state to which. Whoever makes the next value of a task (task_life/transitions.py, and below) takes a step by `moved`; a step that the table does not
have raises `ImpossibleStep`, so no caller can bring a task where it cannot be. The diagram in docs/architecture.md is drawn
from the table.

An attempt moves with the task: FORWARDING and RUNNING tasks have a last attempt that is under way, all others have none.
Within FORWARDING the attempt may be UNCERTAIN: forwarding is over, and the node is asked whether it took the task.

The timeline tells the user what the cluster did with a task; its lines are also the first of its console. A line that was shown stays: clients count lines (`with_output=N`), so nothing is ever taken out. What repeats while a task
waits is kept sparse instead, and when there are very many lines only those that change the task's state are added.

What its client wants of a task (cancel, remove, restart) is done here too: a task and the time in, the next task out, by a step of the table.

When a waiting task should begin its user reads in its console, and again only when that has changed (placement/core/estimates.py).
"""

from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Cleanup, LastKnown, Moment, Task, TaskState
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.libs.common.statemachine import ImpossibleStep, StateTable
from clusterodm.services.scheduler.task_life.attempts import AttemptResult, ended

SPARSE_MS: Final = 30_000
"""Between two lines that say only why a task still waits."""
CHANGED_MS: Final = 2_000
"""The same, when the autoscaler has something new to say."""
FIRST_MS: Final = 1_000
"""From a line after which no reason has been told yet to the first one: until then most have begun."""
ANOTHER_FOLLOWS: Final = "another attempt follows"
CHATTY_COUNT: Final = 200
"""From so many lines on, only what matters is added."""
LINE_LENGTH: Final = 1_000
"""Longest line; a node's words may be very many."""


class TaskStep(StrEnum):
    """What can happen to a task."""

    SUBMIT = "submit"
    """Its client committed it."""
    IMPORT = "import"
    """It was taken over from the original cluster, running."""
    PLACE = "place"
    """Its upload owner picked up a slot."""
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


LIFE: Final[StateTable[TaskState | None, TaskStep, TaskState]] = StateTable(
    {
        (None, TaskStep.SUBMIT): TaskState.WAITING,
        (None, TaskStep.IMPORT): TaskState.RUNNING,
        (TaskState.WAITING, TaskStep.PLACE): TaskState.FORWARDING,
        (TaskState.WAITING, TaskStep.ABANDON): TaskState.FAILED,
        (TaskState.WAITING, TaskStep.CANCEL): TaskState.CANCELED,
        (TaskState.FORWARDING, TaskStep.START): TaskState.RUNNING,
        (TaskState.FORWARDING, TaskStep.RETRY): TaskState.WAITING,
        (TaskState.FORWARDING, TaskStep.GIVE_UP): TaskState.FAILED,
        (TaskState.FORWARDING, TaskStep.CANCEL): TaskState.CANCELED,
        (TaskState.RUNNING, TaskStep.COMPLETE): TaskState.COMPLETED,
        (TaskState.RUNNING, TaskStep.FAIL): TaskState.FAILED,
        (TaskState.RUNNING, TaskStep.CANCEL): TaskState.CANCELED,
        (TaskState.RUNNING, TaskStep.RETRY): TaskState.WAITING,
        (TaskState.RUNNING, TaskStep.GIVE_UP): TaskState.FAILED,
        (TaskState.COMPLETED, TaskStep.CANCEL): TaskState.CANCELED,
        (TaskState.FAILED, TaskStep.CANCEL): TaskState.CANCELED,
        (TaskState.COMPLETED, TaskStep.RESTART): TaskState.RUNNING,
        (TaskState.FAILED, TaskStep.RESTART): TaskState.RUNNING,
        (TaskState.CANCELED, TaskStep.RESTART): TaskState.RUNNING,
        (TaskState.COMPLETED, TaskStep.START_OVER): TaskState.WAITING,
        (TaskState.FAILED, TaskStep.START_OVER): TaskState.WAITING,
        (TaskState.CANCELED, TaskStep.START_OVER): TaskState.WAITING,
    }
)
"""(state, step) -> next state. `None` is a task that does not exist yet. Removing is possible in every state."""


def after(state: TaskState | None, step: TaskStep) -> TaskState:
    """Look a step up. Raises ImpossibleStep."""
    return LIFE.after(state, step, f"a task that is {state or 'unknown'}")


def moved(task: Task, step: TaskStep, **changes: Any) -> Task:
    """Take a step, with what else changes. Where its photos were missing they are looked for anew should it wait again."""
    return msgspec.structs.replace(task, state=after(task.state, step), inputs_missing_since_ms=0, **changes)


def under_way(task: Task) -> Attempt:
    """Say which attempt is under way. Raises ImpossibleStep when none is."""
    if task.attempt is None or task.attempt.state is AttemptState.ENDED:
        raise ImpossibleStep(f"a task that is {task.state} has no attempt under way")
    return task.attempt


def run_of(task: Task) -> tuple[NodeTaskId, int | None] | None:
    """Tell the runs of a task apart."""
    last = task.attempt
    return (last.node_task_id, last.running_at_ms) if last else None


def running_at_ms(task: Task) -> int | None:
    """When its last attempt began to run, if it runs."""
    return task.attempts[-1].running_at_ms if task.state is TaskState.RUNNING else None


def with_attempt(task: Task, **changes: Any) -> tuple[Attempt, ...]:
    """Change the last attempt."""
    return (*task.attempts[:-1], msgspec.structs.replace(task.attempts[-1], **changes))


def with_line(timeline: tuple[Moment, ...], text: str, now_ms: WallMs) -> tuple[Moment, ...]:
    """Add a line."""
    return (*timeline, Moment(at_ms=now_ms, text=text[:LINE_LENGTH]))


def with_minor_line(timeline: tuple[Moment, ...], text: str, now_ms: WallMs) -> tuple[Moment, ...]:
    """Add a line unless there are very many."""
    return with_line(timeline, text, now_ms) if len(timeline) < CHATTY_COUNT else timeline


def may_repeat(task: Task, now_ms: WallMs, *, first: bool = False, changed: bool = False) -> bool:
    """Whether it is time for another line about waiting; when the clock went back, nobody knows, and there is one."""
    sparse_ms = FIRST_MS if first else CHANGED_MS if changed else SPARSE_MS
    return not task.timeline or not 0 <= now_ms - task.timeline[-1].at_ms < sparse_ms


def canceled(task: Task, cleanup: Cleanup, now_ms: WallMs) -> Task:
    """End it because its client said so. What has ended keeps its results and its console, and may be restarted as before."""
    if task.state.ended:
        task = msgspec.structs.replace(task, known=untimed(task.known), error="")
    attempts = task.attempts
    if task.state in {TaskState.FORWARDING, TaskState.RUNNING}:
        attempts = ended(attempts, AttemptResult("canceled", cleanup=cleanup), now_ms)
    return moved(
        task,
        TaskStep.CANCEL,
        attempts=attempts,
        ended_at_ms=end_ms(task, now_ms),
        waiting_because="",
        timeline=with_line(task.timeline, "Canceled", now_ms),
    )


def untimed(known: LastKnown | None) -> LastKnown | None:
    """Forget how long it took, as NodeODM does when a task that has ended is canceled."""
    return msgspec.structs.replace(known, processing_time_ms=-1) if known else None


def removed(task: Task, now_ms: WallMs) -> Task:
    """Hide it, and say to each node that may hold something of it what is left to do."""
    stopped = task if task.state.ended else canceled(task, Cleanup.REMOVE, now_ms)
    return msgspec.structs.replace(
        stopped,
        removed=True,
        attempts=tuple(
            msgspec.structs.replace(attempt, cleanup=Cleanup.REMOVE)
            if attempt is stopped.attempt or attempt.cleanup is not Cleanup.NONE
            else attempt
            for attempt in stopped.attempts
        ),
    )


def restarted(task: Task, options: tuple[OptionValue, ...] | None, now_ms: WallMs) -> Task:
    """Run it again where it ended. Nothing that was known counts, and it begins later than all that was, whatever the clock says."""
    last = task.attempt
    if last is None:
        raise ImpossibleStep("a task that was never on a node cannot restart")
    began_ms = WallMs(max(after_its_end(task, now_ms), (last.running_at_ms or 0) + 1))
    return moved(
        task,
        TaskStep.RESTART,
        restarted_at_ms=began_ms,
        accounted=False,
        known=None,
        error="",
        ended_at_ms=None,
        options=task.options if options is None else options,
        console_kept=False,
        attempts=with_attempt(
            task,
            state=AttemptState.RUNNING,
            outcome="",
            fatal=False,
            running_at_ms=began_ms,
            ended_at_ms=None,
            reason="",
            counted=False,
            interrupted=False,
            cleanup=Cleanup.NONE,
        ),
        timeline=with_line(task.timeline, "Restarted", began_ms),
    )


def started_over(task: Task, options: tuple[OptionValue, ...] | None, now_ms: WallMs) -> Task:
    """Let it wait for a node again, with all its attempts before it. Where it was, it is to be removed."""
    return moved(
        task,
        TaskStep.START_OVER,
        restarted_at_ms=after_its_end(task, now_ms),
        accounted=False,
        known=None,
        error="",
        ended_at_ms=None,
        console_kept=False,
        waiting_because=ANOTHER_FOLLOWS,
        options=task.options if options is None else options,
        attempts=tuple(forgiven(attempt, last=attempt is task.attempt) for attempt in task.attempts),
        timeline=with_line(task.timeline, "Restarted from its inputs", now_ms),
    )


def after_its_end(task: Task, now_ms: WallMs) -> WallMs:
    """Say when it begins again: after its end also where the clock went back. By that order an end is told from one that is over."""
    return WallMs(max(now_ms, (task.ended_at_ms or 0) + 1))


def end_ms(task: Task, now_ms: WallMs) -> WallMs:
    """Say when it ends: not before it was last started again, also where the clock went back. By that order an end is told from one that is over."""
    return WallMs(max(now_ms, task.restarted_at_ms))


def forgiven(attempt: Attempt, *, last: bool) -> Attempt:
    """Let an attempt count no more. The last one may still lie on its node, which may come back."""
    cleanup = Cleanup.REMOVE if last else attempt.cleanup
    return msgspec.structs.replace(
        attempt, counted=False, fatal=False, unfit=False, barred=False, outcome="", cleanup=cleanup
    )


def abandoned(task: Task, reason: str, now_ms: WallMs) -> Task:
    """End a task that waits in vain: nobody has its photos any more, or no node takes it."""
    return moved(
        task,
        TaskStep.ABANDON,
        upload_owner_away_since_ms=0,
        ended_at_ms=end_ms(task, now_ms),
        error=reason,
        waiting_because="",
        timeline=with_line(task.timeline, f"Failed: {reason}", now_ms),
    )


def without_inputs(task: Task, reason: str, now_ms: WallMs) -> Task:
    """Note that its upload owner deletes its inputs. Raises ImpossibleStep for one that may still be sent to a node."""
    if task.state in {TaskState.WAITING, TaskState.FORWARDING}:
        raise ImpossibleStep(f"a task that is {task.state} needs its inputs")
    if not task.inputs_kept:
        return task
    line = f"Its inputs are not kept any more: {reason}"
    return msgspec.structs.replace(task, inputs_kept=False, timeline=with_minor_line(task.timeline, line, now_ms))


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
