"""The next value of a task that its holder submits again: its record was lost, or is older than what has happened since.

A store that is lost, or an older one that is restored, takes decisions back that were acted on. What was done then is known to
the holder: the attempts that it has begun, how far each had come, and how the task had ended. The scheduler decides, the holder
knows; so attempts of which the record knows nothing are taken in, in their order, each by the steps of core/life.py:

    the last one, commit on its way    UNCERTAIN: its node is asked before anything else happens
    the last one, commit answered      RUNNING: its node is looked at like any other
    all others                         over, and their nodes are told to remove them

So nothing runs twice: no new attempt begins before the node of the last one has been asked, or was not to be found for its grace. What the
record knows beyond that stays. Taken in a second time, nothing happens.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from libs.common.clocks import WallMs
from libs.common.hosts import shown
from libs.common.messages import AdoptTask, AttemptStage, KnownAttempt, KnownEnd
from libs.common.model import Attempt, AttemptState, Cleanup, NodeId, NodeTaskId, Task, TaskState
from services.scheduler.core.attempts import LOST, Ending, ended
from services.scheduler.core.life import Step, moved, with_attempt
from services.scheduler.core.tasks import NO_INPUTS, TAKEN_IN, submitted
from services.scheduler.core.timeline import told
from services.scheduler.core.wishes import abandoned, started_over

CAUGHT_UP: Final = "Attempt {number} on node {where} was not in the record, which is older than it"
OVERTAKEN: Final = "another attempt has been begun since"
CUT_OFF: Final = "the cluster's records were lost while it was sent"

ENDS: Final = {
    (TaskState.RUNNING, TaskState.COMPLETED): Step.COMPLETE,
    (TaskState.RUNNING, TaskState.FAILED): Step.FAIL,
    (TaskState.WAITING, TaskState.FAILED): Step.ABANDON,
    (TaskState.FORWARDING, TaskState.FAILED): Step.GIVE_UP,
    (TaskState.WAITING, TaskState.CANCELED): Step.CANCEL,
    (TaskState.FORWARDING, TaskState.CANCELED): Step.CANCEL,
    (TaskState.RUNNING, TaskState.CANCELED): Step.CANCEL,
}
"""Which step leads from a state to a known end."""

Place = tuple[NodeId, NodeTaskId]


def adopted(asked: AdoptTask, now_ms: WallMs) -> Task:
    """Begin with a task of which there is no record."""
    begun = msgspec.structs.replace(
        submitted(asked.submission, WallMs(asked.committed_at_ms) if asked.committed_at_ms else now_ms, ""),
        inputs_kept=asked.inputs_kept,
        timeline=told((), TAKEN_IN, now_ms),
        waiting_because=TAKEN_IN,  # whoever was told QUEUED is not told the RUNNING of a new task (decision 92)
    )
    return followed(begun, asked, asked.end, now_ms)


def caught_up(task: Task, asked: AdoptTask, now_ms: WallMs) -> Task:
    """Take in what its holder knows and the record does not. An end that the record has gone beyond (a restart) is none."""
    later = asked.end is not None and bool(task.timeline) and task.timeline[-1].at_ms > asked.end.at_ms
    return followed(task, asked, None if later else asked.end, now_ms)


def followed(task: Task, asked: AdoptTask, end: KnownEnd | None, now_ms: WallMs) -> Task:
    """Take one attempt in after the other, then the end."""
    news = unrecorded(task, asked.attempts)
    for known in news:
        task = with_known(task, known, now_ms, last=known is news[-1])
    if end is not None and not task.state.ended:
        task = with_end(task, end)
    if task.state is TaskState.WAITING and not (asked.inputs_kept and task.inputs_kept):
        return abandoned(task, NO_INPUTS, now_ms)
    return task


def unrecorded(task: Task, attempts: Sequence[KnownAttempt]) -> Sequence[KnownAttempt]:
    """Find the attempts that are later than all of the record's."""
    recorded = {place_of(attempt) for attempt in task.attempts}
    last_known = max((at for at, known in enumerate(attempts) if place_of(known) in recorded), default=-1)
    return attempts[last_known + 1 :]


def place_of(attempt: Attempt | KnownAttempt) -> Place:
    """Say what tells an attempt from all others."""
    return attempt.node, attempt.node_task_id


def with_known(task: Task, known: KnownAttempt, now_ms: WallMs, *, last: bool) -> Task:
    """Take in one attempt."""
    free = set_free(task, OVERTAKEN, now_ms)
    where = shown(known.hostname, known.port)
    attempt = Attempt(
        number=max(known.number, free.attempts[-1].number + 1 if free.attempts else 1),
        node=known.node,
        node_name=where,
        node_task_id=known.node_task_id,
        started_at_ms=known.started_at_ms,
        machine=known.machine,
        ahead=known.ahead,
        recovered=True,
    )
    line = CAUGHT_UP.format(number=attempt.number, where=where)
    placed = moved(
        free,
        Step.PLACE,
        attempts=(*free.attempts, attempt),
        waiting_because="",
        not_before_ms=0,
        timeline=told(free.timeline, line, now_ms),
    )
    if not last or known.stage is AttemptStage.SENDING:
        return set_free(placed, OVERTAKEN if not last else CUT_OFF, now_ms)
    if known.stage is AttemptStage.COMMITTED:
        return on_node(placed, known.running_at_ms or now_ms)
    return msgspec.structs.replace(placed, attempts=with_attempt(placed, state=AttemptState.UNCERTAIN, reason=CUT_OFF))


def on_node(task: Task, since_ms: int) -> Task:
    """Let the attempt that is being forwarded be one that runs."""
    return moved(
        task, Step.START, attempts=with_attempt(task, state=AttemptState.RUNNING, running_at_ms=since_ms, reason="")
    )


def set_free(task: Task, reason: str, now_ms: WallMs) -> Task:
    """Let it wait, whatever it does; what may be left of it on a node is to be removed there."""
    if task.state is TaskState.WAITING:
        return task
    if task.state.ended:
        return started_over(task, None, now_ms)
    return moved(
        task,
        Step.RETRY,
        attempts=ended(task.attempts, Ending(reason, LOST, cleanup=Cleanup.REMOVE), now_ms),
        known=None,
    )


def with_end(task: Task, end: KnownEnd) -> Task:
    """End it as it had ended. What is completed was on its node, whatever its holder knows of that."""
    if end.state is TaskState.COMPLETED and task.state is TaskState.FORWARDING:
        task = on_node(task, task.attempts[-1].started_at_ms)
    step = ENDS.get((task.state, end.state))
    if step is None:
        return task
    attempts = task.attempts
    if task.state is not TaskState.WAITING:
        attempts = with_attempt(task, state=AttemptState.ENDED, ended_at_ms=end.at_ms, reason=end.error)
    return moved(task, step, attempts=attempts, error=end.error, ended_at_ms=end.at_ms, waiting_because="")
