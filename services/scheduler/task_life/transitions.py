"""The next value of a task: how it waits, is tried on a node, is tried again, and ends.

A task is immutable. Each function takes one and the time, takes its step in the table of task_life/life.py and returns the next one.
How it begins is in tasks/core/submission.py, what its client wants of it (cancel, remove, restart) in task_life/life.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import (
    Attempt,
    AttemptState,
    Cleanup,
    LastKnown,
    Moment,
    StatusCode,
    Task,
    TaskState,
)
from clusterodm.libs.common.model.values import InstanceId, NodeTaskId
from clusterodm.libs.common.statemachine import ImpossibleStep
from clusterodm.services.scheduler.task_life.attempts import (
    ERROR_LENGTH,
    REFUSALS_COUNT,
    AttemptPolicy,
    AttemptResult,
    NodeRefusal,
    all_reasons,
    counted,
    described,
    ended,
    failed_count,
    killed_count,
    refusal_in,
    refused,
    shortened,
)
from clusterodm.services.scheduler.task_life.life import (
    ANOTHER_FOLLOWS,
    ExpectedStart,
    TaskStep,
    end_ms,
    may_repeat,
    moved,
    under_way,
    with_attempt,
    with_line,
    with_minor_line,
    with_start,
)
from clusterodm.services.scheduler.task_life.settled import final_of

NOT_ENOUGH_MEMORY: Final = "Not enough memory"
"""NodeODM's errorMessage when the engine was killed for memory (exit code 137)."""
UPLOAD_OWNER_AWAY: Final = "its photos lie with a proxy that does not answer"
TAKEN_UP: Final = "a proxy has just taken it up"
OTHERS_FIRST: Final = "the slots that are free are for tasks before it"
INPUTS_MISSING: Final = "its proxy does not have its photos"
RUNNING_ON: Final = "Attempt {number}: running on {where}"
TAKEN_IN: Final = "Accepted by the cluster once more: its record had been lost"
HELD_BY_NOBODY: Final = InstanceId("")
"""The upload owner of a task whose inputs no proxy has."""


# --- while it waits ------------------------------------------------------------------------------------------------


def waiting_because(
    task: Task, because: str, now_ms: WallMs, word: str = "", start: ExpectedStart | None = None
) -> Task:
    """Note why it waits, when that has changed and the last line is not too fresh. `word`: the autoscaler's part; `start`: told as well."""
    if task.state is not TaskState.WAITING or because == task.waiting_because:
        return with_start(task, start, now_ms)
    if word not in task.waiting_because and is_step(task, word):
        return msgspec.structs.replace(task, waiting_because=because, upload_owner_away_since_ms=0)
    first = task.waiting_because in {"", ANOTHER_FOLLOWS, TAKEN_IN, TAKEN_UP, OTHERS_FIRST}
    if not may_repeat(task, now_ms, first=first, changed=word not in task.waiting_because):
        return task
    line = f"Waiting for a node: {because}" + (f"; {start.words}" if start else "")
    return msgspec.structs.replace(
        task,
        waiting_because=because,
        start_told_ms=start.at_ms if start else task.start_told_ms,
        upload_owner_away_since_ms=0,
        timeline=with_minor_line(task.timeline, line, now_ms),
    )


def is_step(task: Task, word: str) -> bool:
    """Whether the autoscaler's word is a step of a machine whose steps have lines of their own (tasks/core/machine_steps.py)."""
    machine = word.split(" ")[1] if word.startswith("machine ") else ""
    return bool(machine) and any(moment.text.startswith(f"Machine {machine} ") for moment in task.timeline)


def waiting_for_upload_owner(task: Task, line: str, now_ms: WallMs) -> Task:
    """Note that it waits for the proxy that holds its photos; once."""
    if task.state is not TaskState.WAITING or task.waiting_because == UPLOAD_OWNER_AWAY:
        return task
    return msgspec.structs.replace(
        task,
        waiting_because=UPLOAD_OWNER_AWAY,
        upload_owner_away_since_ms=task.upload_owner_away_since_ms or now_ms,
        timeline=with_line(task.timeline, line, now_ms),
    )


def placed(  # noqa: PLR0913 what an attempt is made of
    task: Task, node: Node, node_task_id: NodeTaskId, now_ms: WallMs, epoch: int = 0, *, ahead: bool = False
) -> Task:
    """Begin an attempt. `ahead`: files of it are on the node already."""
    number = failed_count(task) + 1
    timeline = with_machine_ready(task.timeline, node, now_ms)
    attempt = Attempt(
        number=number,
        node=node.id,
        node_name=node.name,
        node_task_id=node_task_id,
        started_at_ms=now_ms,
        epoch=epoch,
        machine=node.machine,
        price_per_hour=node.price_per_hour,
        ahead=ahead,
    )
    return moved(
        task,
        TaskStep.PLACE,
        attempts=(*task.attempts, attempt),
        waiting_because="",
        upload_owner_away_since_ms=0,
        not_before_ms=0,
        console_kept=False,
        timeline=with_minor_line(timeline, beginning(task, number, node.name), now_ms),
    )


def with_machine_ready(timeline: tuple[Moment, ...], node: Node, now_ms: WallMs) -> tuple[Moment, ...]:
    """Say of a machine whose order was told that it is ready, if that was not said yet: its own record comes a moment later."""
    told = [moment.text for moment in timeline if node.machine and moment.text.startswith(f"Machine {node.machine} ")]
    ready = f"Machine {node.machine} is ready"
    return with_minor_line(timeline, ready, now_ms) if told and ready not in told else timeline


def beginning(task: Task, number: int, where: str) -> str:
    """Say that an attempt begins. Why the one before has ended was said when it ended."""
    again = task.attempt is not None and task.attempt.outcome
    return f"Attempt {number}: {'starting again on' if again else 'sending to'} node {where}"


# --- while it is forwarded -----------------------------------------------------------------------------------------


def uncertain(task: Task, reason: str) -> Task:
    """Note that forwarding ended and nobody knows how."""
    if task.state is not TaskState.FORWARDING:
        raise ImpossibleStep(f"a task that is {task.state} is not being forwarded")
    return msgspec.structs.replace(task, attempts=with_attempt(task, state=AttemptState.UNCERTAIN, reason=reason))


def started(task: Task, where: str, now_ms: WallMs) -> Task:
    """Note that the node has it."""
    number = under_way(task).number
    return moved(
        task,
        TaskStep.START,
        attempts=with_attempt(task, state=AttemptState.RUNNING, running_at_ms=now_ms, reason=""),
        timeline=with_minor_line(task.timeline, RUNNING_ON.format(number=number, where=where), now_ms),
    )


def tried(task: Task, result: AttemptResult, where: str, policy: AttemptPolicy, now_ms: WallMs) -> Task:
    """End the attempt without a result: try again, or give up when the attempts are spent."""
    number = under_way(task).number
    attempts = ended(with_attempt(task, node_name=where), result, now_ms)
    line = described(attempts[-1])
    if because := why_no_other(task, attempts, policy):
        return moved(
            task,
            TaskStep.GIVE_UP,
            attempts=attempts,
            ended_at_ms=end_ms(task, now_ms),
            error=given_up(attempts, because),
            timeline=with_line(task.timeline, f"{line}; {because}", now_ms),
        )
    return moved(
        task,
        TaskStep.RETRY,
        attempts=attempts,
        known=None,
        not_before_ms=0 if result.unfit else now_ms + policy.backoff_ms(number),
        min_memory_bytes=max(task.min_memory_bytes, result.min_memory_bytes),
        least_limit_count=max(task.least_limit_count, result.least_limit_count),
        waiting_because=ANOTHER_FOLLOWS,
        timeline=with_minor_line(task.timeline, f"{line}; trying {'another' if result.unfit else 'again'}", now_ms),
    )


NO_ATTEMPT_LEFT: Final = "no attempt is left"
NO_INPUTS: Final = "its inputs are not kept any more"


def why_no_other(task: Task, attempts: Sequence[Attempt], policy: AttemptPolicy) -> str:
    """Say why no other attempt follows; empty: one does."""
    killed = killed_count(attempts)
    if policy.killer_nodes_count and killed >= policy.killer_nodes_count:
        return f"{killed} nodes died soon after it had come to them, so it is not sent to another"
    if len(refused(attempts)) >= REFUSALS_COUNT:
        return f"{REFUSALS_COUNT} nodes have refused it"
    if len(counted(attempts)) >= policy.max_attempts_count:
        return NO_ATTEMPT_LEFT
    return "" if task.inputs_kept and task.upload_owner != HELD_BY_NOBODY else NO_INPUTS


def given_up(attempts: Sequence[Attempt], because: str) -> str:
    """Say why a task has failed: how its attempts ended, and why there is no other when that is not just their number."""
    reasons = shortened(all_reasons(attempts) or attempts[-1].reason, ERROR_LENGTH)
    return reasons if because == NO_ATTEMPT_LEFT else f"{reasons}; {because}"


# --- while it runs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Site:
    """Where a task runs, as far as its next value depends on that."""

    name: str
    """`hostname:port`"""
    memory_bytes: int = 0
    limit_count: int | None = None
    """Most images that it takes, as it says of itself; None: it says none."""

    def unfit(self, refusal: NodeRefusal, reason: str) -> AttemptResult:
        """End an attempt that it has refused. Where its limit says as much, that is enough: it may be another tomorrow."""
        with_line = self.limit_count is not None and self.limit_count < refusal.least_limit_count
        least = refusal.least_limit_count
        return AttemptResult(reason, unfit=True, barred=not with_line, least_limit_count=least, cleanup=Cleanup.REMOVE)


def observed(task: Task, seen: LastKnown, site: Site, policy: AttemptPolicy, now_ms: WallMs) -> Task:
    """Take in what the node says of its end. While it runs, that changes nothing of the task itself."""
    if task.state is not TaskState.RUNNING:
        raise ImpossibleStep(f"a task that is {task.state} is not observed")
    task = with_images(task, seen)
    if seen.code in {StatusCode.QUEUED, StatusCode.RUNNING}:
        return task
    known = msgspec.structs.replace(task, known=final_of(seen, task))
    if seen.code is StatusCode.FAILED and seen.error.startswith(NOT_ENOUGH_MEMORY):
        return out_of_memory(known, site, policy, now_ms)
    if seen.code is StatusCode.FAILED and (refusal := refusal_in(seen.error)):
        return tried(known, site.unfit(refusal, seen.error), site.name, policy, now_ms)
    return finished(known, seen, site.name, now_ms)


def with_images(task: Task, seen: LastKnown) -> Task:
    """Take the node's own count of images that came in an archive, as soon as it has one."""
    if task.images_count is not None and not task.zip_url:
        return task
    if not seen.images_count or seen.images_count < 0 or seen.images_count == task.images_count:
        return task
    return msgspec.structs.replace(task, images_count=seen.images_count)


def out_of_memory(task: Task, site: Site, policy: AttemptPolicy, now_ms: WallMs) -> Task:
    """Try on a bigger node. The data of the last attempt stays, so that its user may look at it or run it again."""
    is_last = len(counted(task.attempts)) + 1 >= policy.max_attempts_count
    cleanup = Cleanup.NONE if is_last else Cleanup.REMOVE
    result = AttemptResult(NOT_ENOUGH_MEMORY, counted=True, cleanup=cleanup, min_memory_bytes=site.memory_bytes)
    return tried(task, result, site.name, policy, now_ms)


def finished(task: Task, seen: LastKnown, where: str, now_ms: WallMs) -> Task:
    """End it as its node says."""
    step = {
        StatusCode.COMPLETED: TaskStep.COMPLETE,
        StatusCode.FAILED: TaskStep.FAIL,
        StatusCode.CANCELED: TaskStep.CANCEL,
    }[seen.code]
    error = shortened(seen.error, ERROR_LENGTH)
    words = {TaskStep.COMPLETE: "Completed", TaskStep.FAIL: "Failed", TaskStep.CANCEL: "Canceled"}[step]
    return moved(
        task,
        step,
        ended_at_ms=end_ms(task, now_ms),
        inputs_kept=task.inputs_kept and step is not TaskStep.COMPLETE,
        error=error if step is TaskStep.FAIL else "",
        attempts=with_attempt(task, state=AttemptState.ENDED, ended_at_ms=now_ms, reason=error),
        timeline=with_line(task.timeline, f"{words} on {where}", now_ms),
    )


def with_console(task: Task, *, kept: bool) -> Task:
    """Note whether the whole console of a task that has ended is kept."""
    return msgspec.structs.replace(task, console_kept=kept)
