"""What a machine's node has to do, by the records of the tasks that are or were on it, and which tasks wait."""

from dataclasses import dataclass, field

from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.run_times import Workload, workload_of


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a machine's node does now."""

    tasks: tuple[TaskId, ...] = ()
    done: tuple[TaskId, ...] = ()
    """Those that ran there and do not any more, as far as that is remembered."""
    running_count: int = 0
    """How many of them run; the others are being uploaded."""
    running_since_ms: dict[TaskId, int] = field(default_factory=dict)
    """When each of them began."""
    uploading_since_ms: int | None = None
    """When the oldest of those uploads began."""
    online: bool = True
    locked: bool = False
    """An operator lets it take no tasks."""
    labels: tuple[str, ...] | None = None
    """None: its node is not registered, or was not looked at."""


@dataclass(frozen=True)
class AttemptOnNode:
    """One attempt on a node."""

    machine: MachineId
    started_at_ms: int
    over: bool
    ran: bool
    running_at_ms: int = 0


def attempt_on_node(attempt: Attempt, machine: MachineId, *, current: bool) -> AttemptOnNode:
    """Make of an attempt what machines depend on."""
    return AttemptOnNode(
        machine,
        attempt.started_at_ms,
        over=not current or attempt.state is AttemptState.ENDED,
        ran=attempt.running_at_ms is not None,
        running_at_ms=attempt.running_at_ms or 0,
    )


@dataclass(frozen=True, kw_only=True)
class CompletedTask:
    """How long a task has taken on a machine."""

    load: Workload
    machine: MachineId
    took_ms: int


def completed_on_machine(task: Task) -> CompletedTask | None:
    """Say how long a completed task has run on a machine; None where that is not known, or it was no machine."""
    last = task.attempt
    if task.state is not TaskState.COMPLETED or last is None or last.machine is None:
        return None
    ended_ms = task.ended_at_ms or 0
    took_ms = task.known.processing_time_ms if task.known else -1
    if took_ms <= 0:
        took_ms = max(0, ended_ms - (last.running_at_ms or ended_ms))
    return CompletedTask(load=workload_of(task), machine=last.machine, took_ms=took_ms) if took_ms else None
