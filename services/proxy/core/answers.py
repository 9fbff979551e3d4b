"""What the proxy says about the cluster and in refusals: NodeODM's shapes, the original's sentences. Pure."""

from typing import Any, Final

from libs.common.model import ClusterSummary

API_VERSION: Final = "2.2.4"
"""The NodeODM API that is spoken; clients choose by it how they upload (PyODM: chunked from 1.4.0 on)."""

AUTH_INFO: Final[dict[str, Any]] = {
    "message": "Authentication not available on this node",
    "loginUrl": None,
    "registerUrl": None,
}
WRONG_TOKEN: Final = "Invalid authentication token: token does not match."  # noqa: S105 what is said of one
NOT_AVAILABLE: Final = "Not available"
NO_NODES: Final = "No nodes available"
NO_OPTIONS: Final = "Cannot compute /options, no nodes are online."
MALFORMED_COMMIT: Final = "Malformed /commit request"
NO_FILES: Final = "No files uploaded."
TRY_AGAIN: Final = "The cluster cannot be reached at the moment, please try again."


def cannot_handle(path: str) -> str:
    """Say that there is no such address."""
    return f"Cannot handle {path}"


def no_uuid(path: str) -> str:
    """Say that a request names no task."""
    return f"No uuid found in {path}"


def no_task(task: str, action: str) -> str:
    """Say that a task is unknown, not committed, removed, or somebody else's: no difference is made."""
    return f"Invalid route for taskId {task}:{action}, no task table entry."


def no_route(task: str, action: str) -> str:
    """Say that a task is on no node at present."""
    return f"Invalid route for taskId {task}:{action}, no valid route possible."


def no_node_for(task: str) -> str:
    """Say that there is no such task to act on."""
    return f"Invalid route for taskId {task}, no nodes in routing table."


def cluster_info(summary: ClusterSummary) -> dict[str, Any]:
    """Write `GET /info` with the real totals.

    `maxImages` is null while no node is online too: uploads are taken and wait. At least one task in parallel is announced,
    because clients divide by it or give up at zero.
    """
    return {
        "version": API_VERSION,
        "taskQueueCount": summary.task_queue_count,
        "totalMemory": summary.total_memory_bytes,
        "availableMemory": summary.available_memory_bytes,
        "cpuCores": summary.cpu_cores_count,
        "maxImages": summary.max_images or None,
        "maxParallelTasks": max(1, summary.max_parallel_tasks),
        "engineVersion": summary.engine_version,
        "engine": summary.engine,
    }
