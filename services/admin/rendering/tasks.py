"""How tasks, uploads that are to become some, and routes are shown: with the keys that NodeODM's clients know, and ours beside them.

What a task has cost on rented machines is worked out here, by its own record. An attempt is on its machine from when it runs until it ends. Where a
machine takes several tasks at once each is counted whole here; what tenants have used (`TENANT USAGE`) divides the time among them.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from clusterodm.libs.common.chosen import chosen
from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.libs.common.model.tasks import Attempt, StatusCode, Task, TaskState
from clusterodm.libs.common.secret import HIDDEN
from clusterodm.services.admin.commands.core.answers import UPLOADING, Route, TaskDetail
from clusterodm.services.admin.rendering.columns import Column, Columns, Json
from clusterodm.services.admin.rendering.nodes import masked
from clusterodm.services.admin.rendering.text import duration, size_text

HOUR_MS: Final = 3_600_000
CODES: Final = {
    TaskState.WAITING: StatusCode.QUEUED,
    TaskState.FORWARDING: StatusCode.RUNNING,
    TaskState.RUNNING: StatusCode.RUNNING,
    TaskState.COMPLETED: StatusCode.COMPLETED,
    TaskState.FAILED: StatusCode.FAILED,
    TaskState.CANCELED: StatusCode.CANCELED,
}
"""NodeODM has fewer states than a cluster."""


def status(state: TaskState, code: StatusCode | None, error: str) -> Json:
    """Show a state as NodeODM does: its code, and why it failed."""
    found: Json = {"code": int(CODES[state] if code is None else code)}
    if state is TaskState.FAILED and error:
        found["errorMessage"] = error
    return found


def expected_data(expected: Expected | None) -> Json | None:
    """Show when a task should begin and end, and what it should cost: the beginning of the interval, what is likely, and its end."""
    if expected is None:
        return None
    return {
        "start": expected.start_at_ms,
        "end": expected.end_at_ms,
        "cost": expected.cost,
        "startHeldPercent": expected.start_held_percent,
        "endHeldPercent": expected.end_held_percent,
    }


def state_of(task: TaskSummary) -> str:
    """Say how a task is, and its place while it waits."""
    return f"{task.state.value} ({task.position})" if task.position is not None else task.state.value


def arrived(upload: UploadProgress) -> str:
    """Say how much of an upload is here, and how fast it comes."""
    rate = f", {size_text(round(upload.rate_bytes_per_s))}/s" if upload.receiving else ""
    return f"{size_text(upload.arrived_bytes)} received{rate}"


TASK: Final[Columns[TaskSummary]] = (
    Column(lambda task: task.id, "uuid", "TASK"),
    Column(state_of, head="STATE"),
    Column(lambda task: f"{task.progress:.0f}%", head="DONE"),
    Column(lambda task: "?" if task.images_count is None else task.images_count, head="IMAGES"),
    Column(lambda task: duration(task.processing_time_ms), head="TIME"),
    Column(lambda task: task.node_name, head="NODE"),
    Column(lambda task: task.name, "name", "NAME"),
    Column(lambda task: task.created_at_ms, "dateCreated"),
    Column(lambda task: task.processing_time_ms, "processingTime"),
    Column(lambda task: status(task.state, None, task.reason), "status"),
    Column(lambda task: task.images_count, "imagesCount"),
    Column(lambda task: task.progress, "progress"),
    Column(lambda task: task.state.value, "state"),
    Column(lambda task: task.node_name, "node"),
    Column(lambda task: task.attempts_count, "attempts"),
    Column(lambda task: task.position, "position"),
    Column(lambda task: task.reason, "reason", "REASON"),
    Column(lambda task: task.committed_at_ms, "dateCommitted"),
    Column(lambda task: expected_data(task.expected), "expected"),
    Column(lambda task: task.priority, "priority"),
)
"""A task in a list."""
UPLOAD: Final[Columns[UploadProgress]] = (
    Column(lambda upload: upload.task, "uuid", "TASK"),
    Column(lambda upload: upload.name, "name", "NAME"),
    Column(lambda upload: upload.created_at_ms, "dateCreated"),
    Column(lambda upload: upload.files_count, "imagesCount", "IMAGES"),
    Column(lambda _: UPLOADING, "state", "STATE"),
    Column(lambda upload: upload.arrived_bytes, "arrivedBytes"),
    Column(lambda upload: round(upload.rate_bytes_per_s), "bytesPerSecond"),
    Column(lambda upload: upload.instance, "proxy"),
    Column(arrived, head="REASON"),
)
"""An upload among tasks."""
ROUTE: Final[Columns[Route]] = (
    Column(lambda route: route.task, head="TASK"),
    Column(lambda route: shown(route.hostname, route.port), head="NODE"),
)


def task_data(detail: TaskDetail) -> Json:
    """Show one task in detail: NodeODM's info object, and what only the cluster knows."""
    task, known = detail.task, detail.task.known
    running = known is not None and task.state is TaskState.RUNNING
    return {
        "uuid": task.id,
        "name": task.name,
        "dateCreated": task.created_at_ms,
        "processingTime": known.processing_time_ms if known else -1,
        "status": status(task.state, known.code if known and running else None, task.error),
        "options": msgspec.to_builtins(chosen(task)),
        "imagesCount": task.images_count,
        "progress": known.progress if known else 0.0,
        "state": task.state.value,
        "node": detail.node_name,
        "attempts": attempts_data(task),
        "reason": task.error or task.waiting_because,
        "expected": expected_data(detail.expected),
        "priority": task.priority,
        "cost": machine_cost(task),
    }


def attempts_data(task: Task) -> list[Json]:
    """Show what was tried."""
    return [{"number": each.number, "state": each.state.value, "reason": each.reason} for each in task.attempts]


def route_data(route: Route) -> Json:
    """Show which node has a task."""
    token = {"token": HIDDEN} if route.has_owner else {}
    node = {"hostname": route.hostname, "port": str(route.port), "token": masked(route.node_has_token)}
    return {"node": node, **token, "accessed": route.accessed_ms}


def newest(tasks: Sequence[TaskSummary], count: int) -> tuple[TaskSummary, ...]:
    """Choose what a page shows of many tasks: those that have not ended first, then the others, the newest first."""
    latest = sorted(tasks, key=lambda task: -task.committed_at_ms)
    return tuple(sorted(latest, key=lambda task: task.state.ended)[: max(count, 0)])


def machine_cost(task: Task) -> float | None:
    """Add up its attempts that have ended; None: none of them was on a machine whose price is known."""
    costs = [cost for attempt in task.attempts if (cost := attempt_cost(attempt, task)) is not None]
    return round(sum(costs), 4) if costs else None


def attempt_cost(attempt: Attempt, task: Task) -> float | None:
    """Say what one cost; None: nothing is known of a price, or it has not run, or still does."""
    ended_at_ms = attempt.ended_at_ms or (task.ended_at_ms if attempt is task.attempt else None)
    if attempt.price_per_hour is None or attempt.running_at_ms is None or ended_at_ms is None:
        return None
    return max(0, ended_at_ms - attempt.running_at_ms) * attempt.price_per_hour / HOUR_MS
