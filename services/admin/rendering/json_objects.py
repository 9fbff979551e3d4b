"""Answers as JSON: the objects that ClusterODM's scripts and NodeODM's clients know.

`value` is what telnet shows of an answer that is an object, `document` any answer for `--json` and for the web.

`state`, `node`, `reason` and the like are ours and come beside the known keys. A token is never there: `has_token`
says whether one is set, and where scripts expect the key `token` it holds `MASK`.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from clusterodm.libs.common.chosen import chosen
from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.machines import MachineView
from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.tasks import StatusCode, Task, TaskState
from clusterodm.services.admin.commands.core.answers import (
    UPLOADING,
    Answer,
    AutoscalerReport,
    ConsoleLines,
    Declined,
    DoneWithNote,
    Failed,
    Invalid,
    MachineCommandLine,
    MachineListing,
    MachinePlan,
    NodeChoice,
    NodeDetail,
    NodeListing,
    Ok,
    Route,
    RouteDetail,
    RouteListing,
    TaskChanged,
    TaskDetail,
    TaskListing,
    Unavailable,
    UploadDetail,
    UsageReport,
    name_of,
)
from clusterodm.services.admin.commands.core.costs import machine_cost
from clusterodm.services.admin.rendering.autoscaler_object import autoscaler_status
from clusterodm.services.admin.rendering.usage import figures, usage_data

MASK: Final = "***"
Json = dict[str, Any]

CODES: Final = {
    TaskState.WAITING: StatusCode.QUEUED,
    TaskState.FORWARDING: StatusCode.RUNNING,
    TaskState.RUNNING: StatusCode.RUNNING,
    TaskState.COMPLETED: StatusCode.COMPLETED,
    TaskState.FAILED: StatusCode.FAILED,
    TaskState.CANCELED: StatusCode.CANCELED,
}
"""NodeODM has fewer states than a cluster."""


def masked(has_token: bool) -> str:
    """Stand in for a token."""
    return MASK if has_token else ""


def busy_count(node: NodeView) -> int | str:
    """Count the tasks on a node: as it says itself, but at least those that this cluster has sent or promised."""
    return "?" if node.info is None else max(node.info.task_queue_count, node.slots_used_count)


def slots_count(node: NodeView) -> int | str:
    """Say how many tasks a node works on at once."""
    return "?" if node.info is None else node.info.max_parallel_tasks


def engine_of(node: NodeView) -> str:
    """Name the engine of a node and its version."""
    known = node.info is not None and node.info.engine != "?"
    return f"{node.info.engine} {node.info.engine_version}" if known and node.info else "?"


def version_of(node: NodeView) -> str:
    """Say which NodeODM API a node speaks."""
    return "?" if node.info is None else node.info.version


def node_data(node: NodeView) -> Json:
    """Show one node in detail (NODE INFO)."""
    return {
        "hostname": node.hostname,
        "port": str(node.port),
        "token": masked(node.has_token),
        "has_token": node.has_token,
        "info": {} if node.info is None else msgspec.to_builtins(node.info),
        "lastRefreshed": node.info_at_ms if node.online and node.info_at_ms else 0,
        "locked": node.locked,
        "online": node.online,
        "trouble": node.trouble,
        "draining": node.draining,
        "lockReason": node.lock_reason,
        "labels": list(node.labels),
        "slotsUsed": node.slots_used_count,
        "pace": node.pace,
    }


def node_entry(node: NodeView) -> Json:
    """Show one node in a list (`/r/node/list`)."""
    return {
        "number": node.number,
        "name": name_of(node),
        "isLocked": node.locked,
        "isAutoSpawned": node.auto_spawned,
        "isOnline": node.online,
        "getTaskQueueCount": busy_count(node),
        "getMaxParallelTasks": slots_count(node),
        "getEngineInfo": engine_of(node),
        "getVersion": version_of(node),
        "trouble": node.trouble,
        "nodeData": node_data(node),
    }


def status(state: TaskState, code: StatusCode | None, error: str) -> Json:
    """Show a state as NodeODM does: its code, and why it failed."""
    shown: Json = {"code": int(CODES[state] if code is None else code)}
    if state is TaskState.FAILED and error:
        shown["errorMessage"] = error
    return shown


def task_entry(task: TaskSummary) -> Json:
    """Show one task in a list."""
    return {
        "uuid": task.id,
        "name": task.name,
        "dateCreated": task.created_at_ms,
        "processingTime": task.processing_time_ms,
        "status": status(task.state, None, task.reason),
        "imagesCount": task.images_count,
        "progress": task.progress,
        "state": task.state.value,
        "node": task.node_name,
        "attempts": task.attempts_count,
        "position": task.position,
        "reason": task.reason,
        "dateCommitted": task.committed_at_ms,
        "expected": expected_data(task.expected),
        "priority": task.priority,
    }


def upload_entry(upload: UploadProgress) -> Json:
    """Show one upload, which is to become a task, in a list of tasks."""
    return {
        "uuid": upload.task,
        "name": upload.name,
        "dateCreated": upload.created_at_ms,
        "imagesCount": upload.files_count,
        "state": UPLOADING,
        "arrivedBytes": upload.arrived_bytes,
        "bytesPerSecond": round(upload.rate_bytes_per_s),
        "proxy": upload.instance,
    }


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


def task_data(task: Task, node_name: str, expected: Expected | None = None) -> Json:
    """Show one task in detail: NodeODM's info object, and what only the cluster knows."""
    known = task.known
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
        "node": node_name,
        "attempts": [
            {"number": each.number, "state": each.state.value, "reason": each.reason} for each in task.attempts
        ],
        "reason": task.error or task.waiting_because,
        "expected": expected_data(expected),
        "priority": task.priority,
        "cost": machine_cost(task),
    }


def route_entry(route: Route) -> Json:
    """Show which node has a task."""
    token = {"token": MASK} if route.has_owner else {}
    node = {"hostname": route.hostname, "port": str(route.port), "token": masked(route.node_has_token)}
    return {"node": node, **token, "accessed": route.accessed_ms}


def machine_node(view: MachineView) -> str:
    """Say where a machine's node is reached; empty while it has no address."""
    return shown(view.machine.hostname, view.machine.port) if view.machine.hostname else ""


def machine_reason(view: MachineView) -> str:
    """Say why a machine is as it is, or for how long it stays; what its removal fails with, besides."""
    return "; ".join(filter(None, (view.kept or view.machine.failure or view.machine.reason, removal_of(view.machine))))


def removal_of(machine: Machine) -> str:
    """Say why a machine cannot be destroyed; empty where nothing has failed."""
    return f"not destroyed yet: {machine.removal_failure}" if machine.removal_failure else ""


def machine_entry(view: MachineView) -> Json:
    """Show one machine in a list."""
    machine = view.machine
    return {
        "number": view.number,
        "name": machine.id,
        "state": machine.state.value,
        "provider": machine.provider,
        "size": machine.size,
        "spot": machine.spot,
        "gpu": machine.gpu,
        "owner": machine.owner,
        "region": machine.region,
        "node": machine_node(view),
        "tasks": list(machine.tasks),
        "forTask": machine.for_task,
        "maxImages": machine.max_images,
        "age": view.age_ms,
        "cost": view.cost,
        "reason": machine_reason(view),
        "keptUntil": view.kept_until_ms,
        "removalFailure": machine.removal_failure,
        "dateRequested": machine.requested_at_ms,
    }


def newest(tasks: Sequence[TaskSummary], count: int) -> tuple[TaskSummary, ...]:
    """Choose what a page shows of many tasks: those that have not ended first, then the others, the newest first."""
    latest = sorted(tasks, key=lambda task: -task.committed_at_ms)
    return tuple(sorted(latest, key=lambda task: task.state.ended)[: max(count, 0)])


def value(answer: Answer) -> Any:
    """Put an answer that is an object into JSON."""
    match answer:
        case TaskChanged(error):
            return {"success": False, "error": error} if error else {"success": True}
        case Failed(error):
            return {"error": error}
        case AutoscalerReport(status):
            return autoscaler_status(status)
        case _:
            return fact(answer)


def fact(answer: Answer) -> Any:  # noqa: PLR0911 one for each answer
    """Put what the cluster knows of something into JSON."""
    match answer:
        case NodeDetail(node):
            return node_data(node)
        case TaskDetail(task, node_name, expected):
            return task_data(task, node_name, expected)
        case UploadDetail(upload):
            return upload_entry(upload)
        case RouteDetail(route):
            return route_entry(route)
        case RouteListing(routes):
            return {route.task: route_entry(route) for route in routes}
        case TaskListing(tasks, uploads, _):
            return [*map(task_entry, tasks), *map(upload_entry, uploads)]
        case _:
            return None


def document(answer: Answer) -> Any:
    """Put any answer into one JSON document."""
    match answer:
        case Ok():
            return {"success": True}
        case DoneWithNote(text):
            return {"success": True, "message": text}
        case Declined(reason) | Invalid(reason) | Unavailable(reason):
            return {"success": False, "error": reason}
        case NodeListing(nodes):
            return [node_entry(node) for node in nodes]
        case _:
            return small_document(answer)


def small_document(answer: Answer) -> Any:  # noqa: PLR0911 one for each answer
    """Put the answers into JSON that telnet shows as a line or lines."""
    match answer:
        case NodeChoice(node):
            return None if node is None else node_entry(node)
        case ConsoleLines(lines):
            return list(lines)
        case MachineCommandLine(command):
            return {"command": command}
        case MachinePlan(steps):
            return [{"act": step.act, "what": step.what, "reason": step.reason, "count": step.count} for step in steps]
        case MachineListing(machines):
            return [machine_entry(view) for view in machines]
        case UsageReport(rows, total):
            return {"usage": [usage_data(row) for row in rows], "total": figures(total)}
        case _:
            return value(answer)
