"""How a task begins: with a client's commit, as one that runs already, or submitted again by its upload owner.

Its upload owner submits it again when its record was lost, or is older than what has happened since. A store that is lost, or an older one that is restored, takes decisions back that were acted on. What was done then is known to
the upload owner: the attempts that it has begun, how far each had come, and how the task had ended. The scheduler decides, the upload owner
knows; so attempts of which the record knows nothing are taken in, in their order, each by the steps of task_life/life.py:

    the last one, commit on its way    UNCERTAIN: its node is asked before anything else happens
    the last one, commit answered      RUNNING: its node is looked at like any other
    all others                         over, and their nodes are told to remove them

Nor does it run on after it was canceled: its node is told, again where it was told before. What was removed is so again until its nodes have been told.
So nothing runs twice: no new attempt begins before the node of the last one has been asked, or was not to be found for its grace. What the
record knows beyond that stays. Taken in a second time, nothing happens.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.hosts import is_web_address, shown
from clusterodm.libs.common.messages.from_url import SubmitFromUrl
from clusterodm.libs.common.messages.tasks import (
    AdoptTask,
    AttemptStage,
    ImportRoute,
    KnownAttempt,
    KnownEnd,
    SubmitTask,
)
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Cleanup, Moment, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId
from clusterodm.services.scheduler.task_life.attempts import LOST, AttemptResult, ended
from clusterodm.services.scheduler.task_life.life import (
    ANOTHER_FOLLOWS,
    TaskStep,
    abandoned,
    after,
    moved,
    removed,
    started_over,
    with_attempt,
    with_line,
)
from clusterodm.services.scheduler.task_life.transitions import (
    HELD_BY_NOBODY,
    NO_INPUTS,
    RUNNING_ON,
    TAKEN_IN,
    TAKEN_UP,
)

CAUGHT_UP: Final = "Attempt {number} on node {where} was not in the record, which is older than it"
OVERTAKEN: Final = "another attempt has been begun since"
CUT_OFF: Final = "the cluster's records were lost while it was sent"

ENDS: Final = {
    (TaskState.RUNNING, TaskState.COMPLETED): TaskStep.COMPLETE,
    (TaskState.RUNNING, TaskState.FAILED): TaskStep.FAIL,
    (TaskState.WAITING, TaskState.FAILED): TaskStep.ABANDON,
    (TaskState.FORWARDING, TaskState.FAILED): TaskStep.GIVE_UP,
    (TaskState.WAITING, TaskState.CANCELED): TaskStep.CANCEL,
    (TaskState.FORWARDING, TaskState.CANCELED): TaskStep.CANCEL,
    (TaskState.RUNNING, TaskState.CANCELED): TaskStep.CANCEL,
}
"""Which step leads from a state to a known end."""

STOPS: Final = {TaskState.FORWARDING: Cleanup.REMOVE, TaskState.RUNNING: Cleanup.CANCEL}
"""What the node of a task is told that had been canceled, whether it was told before or not. Of other ends: what it had still to be told."""

Place = tuple[NodeId, NodeTaskId]


def adopted(request: AdoptTask, now_ms: WallMs) -> Task:
    """Begin with a task of which there is no record."""
    begun = msgspec.structs.replace(
        submitted(request.submission, WallMs(request.committed_at_ms) if request.committed_at_ms else now_ms, ""),
        inputs_kept=request.inputs_kept,
        timeline=with_line((), TAKEN_IN, now_ms),
        waiting_because=TAKEN_IN,  # whoever was told QUEUED is not told the RUNNING of a new task (decision 92)
    )
    return followed(begun, request, request.end, now_ms)


def caught_up(task: Task, request: AdoptTask, now_ms: WallMs) -> Task:
    """Take in what its upload owner knows and the record does not. An end before the record's last restart is none; what was removed stays so."""
    later = request.end is not None and not request.end.removed and task.restarted_at_ms > request.end.at_ms
    return followed(task, request, None if later else request.end, now_ms)


def followed(task: Task, request: AdoptTask, end: KnownEnd | None, now_ms: WallMs) -> Task:
    """Take one attempt in after the other, then the end."""
    missing = unrecorded(task, request.attempts)
    for known in missing:
        task = with_known(task, known, now_ms, last=known is missing[-1])
    if end is not None and end.removed:
        return removed(task, now_ms)
    if end is not None and not task.state.ended:
        task = with_end(task, end)
    if task.state is TaskState.WAITING and not (request.inputs_kept and task.inputs_kept):
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
        TaskStep.PLACE,
        attempts=(*free.attempts, attempt),
        waiting_because="",
        not_before_ms=0,
        timeline=with_line(free.timeline, line, now_ms),
    )
    if not last or known.stage is AttemptStage.SENDING:
        return set_free(placed, OVERTAKEN if not last else CUT_OFF, now_ms)
    if known.stage is AttemptStage.COMMITTED:
        return on_node(placed, known.running_at_ms or now_ms)
    return msgspec.structs.replace(placed, attempts=with_attempt(placed, state=AttemptState.UNCERTAIN, reason=CUT_OFF))


def on_node(task: Task, since_ms: int) -> Task:
    """Let the attempt that is being forwarded be one that runs. Its line has the time at which it began: what was told before belongs before the node's console."""
    line = RUNNING_ON.format(number=task.attempts[-1].number, where=task.attempts[-1].node_name)
    attempts = with_attempt(task, state=AttemptState.RUNNING, running_at_ms=since_ms, reason="")
    return moved(task, TaskStep.START, attempts=attempts, timeline=with_line(task.timeline, line, WallMs(since_ms)))


def set_free(task: Task, reason: str, now_ms: WallMs) -> Task:
    """Let it wait, whatever it does; what may be left of it on a node is to be removed there."""
    if task.state is TaskState.WAITING:
        return task
    if task.state.ended:
        return started_over(task, None, now_ms)
    return moved(
        task,
        TaskStep.RETRY,
        attempts=ended(task.attempts, AttemptResult(reason, LOST, cleanup=Cleanup.REMOVE), now_ms),
        known=None,
        waiting_because=ANOTHER_FOLLOWS,
    )


def with_end(task: Task, end: KnownEnd) -> Task:
    """End it as it had ended. What is completed was on its node, whatever its upload owner knows of that."""
    if end.state is TaskState.COMPLETED and task.state is TaskState.FORWARDING:
        task = on_node(task, task.attempts[-1].started_at_ms)
    step = ENDS.get((task.state, end.state))
    if step is None:
        return task
    attempts = task.attempts
    if task.state is not TaskState.WAITING:
        cleanup = STOPS[task.state] if end.state is TaskState.CANCELED else end.cleanup
        changes = {"ended_at_ms": end.at_ms, "reason": end.error, "cleanup": cleanup}
        attempts = with_attempt(task, state=AttemptState.ENDED, **changes)
    return moved(task, step, attempts=attempts, error=end.error, ended_at_ms=end.at_ms, waiting_because="")


SUBMODEL_LINES: Final = (
    "It is a part of a larger dataset, sent by split-merge",
    "It counts as running while it waits for a slot: as many do as there is room for, and one more",
)
"""Split-merge counts only what has three lines of console."""


# --- beginnings ----------------------------------------------------------------------------------------------------


def submitted(request: SubmitTask, now_ms: WallMs, because: str, *, beyond: bool = False) -> Task:
    """Begin with a client's commit. `beyond`: there is no room for this sub-model."""
    first = f"Waiting for a node: {because}" if because else "Accepted by the cluster"
    more = SUBMODEL_LINES if request.submodel and not beyond else ()
    return Task(
        id=request.task,
        owner=request.owner,
        name=request.name,
        state=after(None, TaskStep.SUBMIT),
        upload_owner=request.upload_owner,
        created_at_ms=request.created_at_ms,
        committed_at_ms=now_ms,
        images_count=images_in(request),
        size_bytes=request.size_bytes,
        options=request.options,
        outputs=request.outputs,
        skip_post_processing=request.skip_post_processing,
        zip_url=request.zip_url,
        submodel=request.submodel,
        beyond=beyond,
        inputs_kept=True,
        trace=request.trace,
        waiting_because=because,
        timeline=tuple(Moment(at_ms=now_ms, text=line) for line in (first, *more)),
    )


def submitted_from_url(request: SubmitFromUrl, now_ms: WallMs, because: str) -> Task:
    """Begin with an address: nobody holds it yet."""
    asked = SubmitTask(
        task=request.task,
        owner=request.owner,
        name=request.name,
        upload_owner=HELD_BY_NOBODY,
        created_at_ms=now_ms,
        images_count=None,
        options=request.options,
        outputs=msgspec.json.encode(request.outputs).decode() if request.outputs else "",
        skip_post_processing=request.skip_post_processing,
        zip_url=request.zip_url,
    )
    return msgspec.structs.replace(submitted(asked, now_ms, because), from_url=True)


def check_from_url(request: SubmitFromUrl) -> None:
    """Raise Refused for what no node could process."""
    if not request.name.strip():
        raise Refused("A task needs a name")
    if not is_web_address(request.zip_url):
        raise Refused("zip_url is no address: it begins with http:// or https://, names a host, and holds no blanks")
    if unnamed := [option for option in request.options if not option.name.strip()]:
        raise Refused(f"{len(unnamed)} of its options have no name")


def same_address(task: Task, request: SubmitFromUrl) -> bool:
    """Whether a request is the one that began this task, sent again."""
    begun_by = (task.from_url, task.owner, task.name, task.zip_url)
    return begun_by == (True, request.owner, request.name, request.zip_url) and not task.removed


def claimed(task: Task, upload_owner: InstanceId) -> Task:
    """Let a proxy hold a task that nobody holds; again: nothing happens. Raises Refused when there is nothing to take up."""
    if task.upload_owner == upload_owner and task.from_url:
        return task
    if task.upload_owner != HELD_BY_NOBODY or not task.from_url or task.removed or task.state is not TaskState.WAITING:
        raise Refused(f"{task.id} is not to be taken up")
    why = task.waiting_because and TAKEN_UP  # who was told QUEUED is told it until there is a slot (decision 92)
    return msgspec.structs.replace(task, upload_owner=upload_owner, upload_owner_away_since_ms=0, waiting_because=why)


def images_in(request: SubmitTask) -> int | None:
    """Say how many images were committed. An older proxy says 0 where it does not know."""
    return None if request.zip_url else request.images_count


def same_commit(task: Task, request: SubmitTask) -> bool:
    """Whether a commit is the one that began this task, sent again."""
    begun_by = (task.owner, task.upload_owner, task.created_at_ms)
    return begun_by == (request.owner, request.upload_owner, request.created_at_ms) and not task.removed


def imported(request: ImportRoute, name: str, created_at_ms: int, images_count: int | None, now_ms: WallMs) -> Task:
    """Begin with a task that runs on a node already."""
    attempt = Attempt(
        number=1,
        node=request.node,
        node_task_id=NodeTaskId(request.task),
        state=AttemptState.RUNNING,
        started_at_ms=created_at_ms,
        running_at_ms=now_ms,
    )
    return Task(
        id=request.task,
        owner=request.owner,
        name=name,
        state=after(None, TaskStep.IMPORT),
        upload_owner=HELD_BY_NOBODY,
        created_at_ms=created_at_ms,
        committed_at_ms=now_ms,
        images_count=images_count,
        attempts=(attempt,),
        timeline=with_line((), "Taken over from an existing cluster", now_ms),
    )
