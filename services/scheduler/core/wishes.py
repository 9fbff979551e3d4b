"""What its client wants of a task: the next value of one that is canceled, removed, restarted, or whose inputs are lost.

Like core/tasks.py: a task and the time in, the next task out, each step looked up in the table of core/life.py.
"""

import msgspec

from libs.common.clocks import WallMs
from libs.common.model import Attempt, AttemptState, Cleanup, LastKnown, OptionValue, Task, TaskState
from services.scheduler.core.attempts import Ending, ended
from services.scheduler.core.life import Impossible, Step, moved, with_attempt
from services.scheduler.core.timeline import told, told_in_passing


def canceled(task: Task, cleanup: Cleanup, now_ms: WallMs) -> Task:
    """End it because its client said so. What has ended keeps its results and its console, and may be restarted as before."""
    if task.state.ended:
        task = msgspec.structs.replace(task, known=untimed(task.known), error="")
    attempts = task.attempts
    if task.state in {TaskState.FORWARDING, TaskState.RUNNING}:
        attempts = ended(attempts, Ending("canceled", cleanup=cleanup), now_ms)
    return moved(
        task,
        Step.CANCEL,
        attempts=attempts,
        ended_at_ms=now_ms,
        waiting_because="",
        timeline=told(task.timeline, "Canceled", now_ms),
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
    """Run it again where it ended. Nothing that was known counts, and `running_at_ms` is later than ever before."""
    last = task.attempt
    if last is None:
        raise Impossible("a task that was never on a node cannot restart")
    began_ms = WallMs(max(now_ms, (last.running_at_ms or 0) + 1))
    return moved(
        task,
        Step.RESTART,
        restarted_at_ms=began_ms,
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
            cleanup=Cleanup.NONE,
        ),
        timeline=told(task.timeline, "Restarted", began_ms),
    )


def started_over(task: Task, options: tuple[OptionValue, ...] | None, now_ms: WallMs) -> Task:
    """Let it wait for a node again, with all its attempts before it. Where it was, it is to be removed."""
    return moved(
        task,
        Step.START_OVER,
        restarted_at_ms=now_ms,
        known=None,
        error="",
        ended_at_ms=None,
        console_kept=False,
        options=task.options if options is None else options,
        attempts=tuple(forgiven(attempt, last=attempt is task.attempt) for attempt in task.attempts),
        timeline=told(task.timeline, "Restarted from its inputs", now_ms),
    )


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
        Step.ABANDON,
        holder_away_since_ms=0,
        ended_at_ms=now_ms,
        error=reason,
        waiting_because="",
        timeline=told(task.timeline, f"Failed: {reason}", now_ms),
    )


def without_inputs(task: Task, reason: str, now_ms: WallMs) -> Task:
    """Note that its holder deletes its inputs. Raises Impossible for one that may still be sent to a node."""
    if task.state in {TaskState.WAITING, TaskState.FORWARDING}:
        raise Impossible(f"a task that is {task.state} needs its inputs")
    if not task.inputs_kept:
        return task
    line = f"Its inputs are not kept any more: {reason}"
    return msgspec.structs.replace(task, inputs_kept=False, timeline=told_in_passing(task.timeline, line, now_ms))
