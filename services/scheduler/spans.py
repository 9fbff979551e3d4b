"""The long spans of a task, from its record alone: so it is the same whoever tells them, and when. Pure, but that `exemplar` asks whether anybody is told."""

from collections.abc import Iterator
from typing import Final

from clusterodm.libs.common.model.tasks import Attempt, Task, TaskState
from clusterodm.libs.common.telemetry.tracing import (
    NS_PER_MS,
    SpanContext,
    Spans,
    TraceSpan,
    Value,
    exemplar_of,
    of_task,
    read,
)

LONGEST_UPLOAD_MS: Final = 7 * 24 * 3600 * 1000
"""Clients say themselves when a task was created: what is longer ago, or still to come, is not believed."""


def of_attempt(task: Task, number: int) -> SpanContext:
    """Name the span of an attempt."""
    return of_task(task.id, task.trace, "attempt", task.restarted_at_ms, number)


def root_of(task: Task) -> SpanContext:
    """Name the span of a task; each restart is one more, below the first."""
    again = ("again", task.restarted_at_ms) if task.restarted_at_ms else ()
    return of_task(task.id, task.trace, *again)


def exemplar(task: Task) -> int:
    """Say which trace shows how a figure of a task came about; 0, and no id is made, where nobody is told."""
    return exemplar_of(root_of(task)) if Spans.export is not None else 0


def placed(task: Task) -> Iterator[TraceSpan]:
    """Say how long it waited for the slot that it has now."""
    if not (attempt := task.attempt):
        return
    before = task.attempts[-2].ended_at_ms if len(task.attempts) > 1 else None
    since_ms = max(task.committed_at_ms, task.restarted_at_ms, before or 0)
    place = of_task(task.id, task.trace, "place", task.restarted_at_ms, attempt.number)
    yield span("place", place, root_of(task), since_ms, attempt.started_at_ms, about(task, attempt))


def attempt_ended(task: Task) -> Iterator[TraceSpan]:
    """Say what its last attempt did, when that is over."""
    attempt = task.attempt
    if attempt is None or attempt.ended_at_ms is None:
        return
    whole, attributes = of_attempt(task, attempt.number), about(task, attempt)
    error = attempt.reason if attempt.outcome or task.state is TaskState.FAILED else ""
    yield span("attempt", whole, root_of(task), attempt.started_at_ms, attempt.ended_at_ms, attributes, error)
    if attempt.running_at_ms is not None:
        run = of_task(task.id, task.trace, "run", task.restarted_at_ms, attempt.number)
        yield span("run", run, whole, attempt.running_at_ms, attempt.ended_at_ms, attributes, error)


def task_ended(task: Task) -> Iterator[TraceSpan]:
    """Say all of it."""
    if task.ended_at_ms is None:
        return
    parent: SpanContext | None
    if task.restarted_at_ms:
        parent, since_ms = of_task(task.id, task.trace), task.restarted_at_ms
    else:
        parent, since_ms = read(task.trace), task.created_at_ms
        if not 0 <= task.committed_at_ms - since_ms <= LONGEST_UPLOAD_MS:
            since_ms = task.committed_at_ms
    attributes: dict[str, Value] = {**about(task, None), "clusterodm.task.state": str(task.state)}
    error = task.error if task.state is TaskState.FAILED else ""
    yield span("task", root_of(task), parent, since_ms, task.ended_at_ms, attributes, error)


def about(task: Task, attempt: Attempt | None) -> dict[str, Value]:
    """Say what a span is about; no name, no option, no address that a client has given."""
    attributes: dict[str, Value] = {"clusterodm.task.id": task.id, "clusterodm.tenant": task.owner}
    attributes["clusterodm.task.size"] = task.size_bytes
    if task.images_count is not None:
        attributes["clusterodm.task.images"] = task.images_count
    if attempt is None:
        return attributes
    attributes |= {"clusterodm.attempt": attempt.number, "clusterodm.node.id": attempt.node}
    attributes |= {"clusterodm.machine.id": attempt.machine} if attempt.machine else {}
    return attributes


def span(  # noqa: PLR0913, PLR0917 what a span is
    name: str,
    context: SpanContext,
    parent: SpanContext | None,
    begin_ms: int,
    end_ms: int,
    attributes: dict[str, Value],
    error: str = "",
) -> TraceSpan:
    """Make a span of times of records."""
    return TraceSpan(name, context, parent, begin_ms * NS_PER_MS, end_ms * NS_PER_MS, attributes, error=error)
