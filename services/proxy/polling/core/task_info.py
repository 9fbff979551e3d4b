"""A poll never lies: what `info` and `output` of a task say, from the scheduler's record and the node's own words. Pure.

The record decides how a task stands; the node adds what only it can know (progress, options, console lines).

    record            node says          shown
    waiting           (is not asked)     RUNNING until a slot has once been looked for in vain, as NodeODM while it moves the files; then
                                         QUEUED. A sub-model: RUNNING, QUEUED when it is beyond the room for them, which is
                                         what QUEUED means for split-merge ("node limit reached")
    forwarding        (is not asked)     RUNNING
    running           QUEUED, RUNNING    RUNNING: that was told while it was sent, and is not taken back because others are before it there, or its
                                         node has begun anew
    running           it has ended       RUNNING, until the scheduler has looked too (it is told at once): after a failure another
                                         attempt may follow, and only what the scheduler knows to have ended can be run again
    running           anything else      what the node last said, from the record
    ended             (anything)         as the record says

Console lines are counted over the whole task, so that a client that asks "from line N on" gets each line once:

    lines before     the cluster's timeline up to the moment at which the present attempt began to run
    the node's       from its line 0 on
    lines after      the cluster's timeline since then, once the task has ended

While an attempt runs, nothing is added before the node's lines.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from clusterodm.libs.common.chosen import chosen
from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.console import OwnLines, own_lines
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.nodes import percent, whole_count, whole_ms
from clusterodm.libs.common.model.tasks import StatusCode, Task, TaskState
from clusterodm.services.proxy.exchange.nodeodm_api import API_VERSION

ENDED_CODES: Final = {
    TaskState.COMPLETED: StatusCode.COMPLETED,
    TaskState.FAILED: StatusCode.FAILED,
    TaskState.CANCELED: StatusCode.CANCELED,
}
CODES: Final = {int(code): code for code in StatusCode}
GOING_ON: Final = frozenset((StatusCode.QUEUED, StatusCode.RUNNING))
ALL_DONE_PERCENT: Final = 100
UNKNOWN_COUNT: Final = -1
"""What NodeODM says while it has not counted the images."""
LINE_NUMBER: Final = re.compile(r"\s*([-+]?\d{1,15})")


def line_number(text: str) -> int:
    """Read a line number as NodeODM does: what is none counts as 0, all lines."""
    match = LINE_NUMBER.match(text)
    return int(match[1]) if match else 0


# --- how it stands -------------------------------------------------------------------------------------------------


def code_of(task: Task) -> StatusCode:
    """Decide the status code. By the record alone: its revisions have an order, and what a node says at one moment or another has none."""
    if task.state.ended:
        return ENDED_CODES[task.state]
    return StatusCode.QUEUED if is_queued(task) else StatusCode.RUNNING


def is_queued(task: Task) -> bool:
    """Whether a task waits, and a slot has once been looked for in vain; a sub-model: whether there is no room for it."""
    return task.state is TaskState.WAITING and (task.beyond if task.submodel else bool(task.waiting_because))


def contradicts(task: Task, said: Mapping[str, Any]) -> bool:
    """Whether a node's words call for another look by the scheduler: an attempt has ended that the record has running."""
    return not task.state.ended and status_code(said) not in GOING_ON


def status_code(said: Mapping[str, Any]) -> StatusCode | None:
    """Read the code out of a node's info; None: there is none that may be passed on."""
    status = said.get("status")
    code = status.get("code") if isinstance(status, Mapping) else None
    return CODES.get(code) if isinstance(code, int) else None


def known_info(task: Task, now_ms: WallMs) -> dict[str, Any]:
    """Write a task's info from the record alone."""
    known = task.known
    return {
        "uuid": task.id,
        "name": task.name,
        "dateCreated": created_at_ms(task),
        "processingTime": known.processing_time_ms if known else busy_ms(task, now_ms),
        "status": status(task),
        "options": [{"name": option.name, "value": option.value} for option in chosen(task)],
        "imagesCount": images_count(task),
        "progress": short(known.progress) if known else ALL_DONE_PERCENT if task.state is TaskState.COMPLETED else 0,
    }


def node_info(task: Task, said: Mapping[str, Any]) -> dict[str, Any] | None:
    """Write a task's info from its node's; None when the node did not speak of a task."""
    if status_code(said) is None or "error" in said:
        return None
    return {
        **said,
        "uuid": task.id,
        "name": task.name,
        "dateCreated": created_at_ms(task),
        "processingTime": whole_ms(said.get("processingTime")),
        "status": status(task),
        **({"progress": percent(said["progress"])} if "progress" in said else {}),
        **({} if tells_images(said, task) else {"imagesCount": images_count(task)}),
    }


def hides_images(task: Task) -> bool:
    """Whether its images are in an archive that only a node unpacks."""
    return bool(task.zip_url) or task.images_count is None


def images_count(task: Task) -> int:
    """Say how many images a task has."""
    seen_count = task.known.images_count if task.known else None
    count = task.images_count if task.images_count is not None else seen_count
    return UNKNOWN_COUNT if count is None else count


def tells_images(said: Mapping[str, Any], task: Task) -> bool:
    """Whether a node's `imagesCount` may be passed on: a number, and of an archive one that it has counted."""
    count = said.get("imagesCount")
    if hides_images(task):
        return has_count(said)
    return whole_count(count) is not None or (type(count) is int and count == UNKNOWN_COUNT)


def has_count(said: Mapping[str, Any]) -> bool:
    """Whether a node has counted the images of an archive; before that it says 0, -1, or how many files came."""
    initialised = whole_ms(said.get("processingTime")) >= 0 or status_code(said) is StatusCode.QUEUED
    return bool(whole_count(said.get("imagesCount"))) and initialised


def status(task: Task) -> dict[str, Any]:
    """Write the `status` object."""
    code = code_of(task)
    if code is not StatusCode.FAILED:
        return {"code": int(code)}
    return {"code": int(code), "errorMessage": task.error or (task.known.error if task.known else "")}


def created_at_ms(task: Task) -> int:
    """Say when a task was created; a restart makes it anew, as on NodeODM."""
    return task.restarted_at_ms or task.created_at_ms


def busy_ms(task: Task, now_ms: WallMs) -> int:
    """Say for how long a task is being sent, or counts as running for split-merge; -1, as NodeODM, while nothing happens to it."""
    counts = task.state is TaskState.WAITING and task.submodel and not task.beyond
    return max(0, now_ms - task.committed_at_ms) if counts or task.state is TaskState.FORWARDING else -1


def short(number: float) -> float:
    """Write a whole number without a fraction, as JavaScript does."""
    return int(number) if number.is_integer() else number


# --- its console ---------------------------------------------------------------------------------------------------


def own_lines_with_place(task: Task, position: int | None) -> OwnLines:
    """Split the timeline around the node's lines. `position`: its place in the queue, shown with the last line while it waits."""
    own = own_lines(task)
    if position is None or not own.before:
        return own
    return own._replace(before=(*own.before[:-1], f"{own.before[-1]} (place {position} in the queue)"))


def within(summary: ClusterSummary, max_images_count: int, tasks_at_once_count: int) -> ClusterSummary:
    """Show of the totals what somebody may have of them at most; 0: no limit."""
    images_count = min(filter(None, (summary.max_images, max_images_count)), default=0)
    tasks_count = min(summary.max_parallel_tasks, tasks_at_once_count or summary.max_parallel_tasks)
    if (images_count, tasks_count) == (summary.max_images or 0, summary.max_parallel_tasks):
        return summary
    return msgspec.structs.replace(summary, max_images=images_count, max_parallel_tasks=tasks_count)


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
