"""What a machine's node has to do, by the records of the tasks that are or were on it, and which tasks wait."""

from dataclasses import dataclass

from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model import Attempt, AttemptState, MachineId, Task, TaskId


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a machine's node does now."""

    tasks: tuple[TaskId, ...] = ()
    done: tuple[TaskId, ...] = ()
    """Those that ran there and do not any more, as far as that is remembered."""
    running_count: int = 0
    """How many of them run; the others are being uploaded."""
    uploading_since_ms: int | None = None
    """When the oldest of those uploads began."""
    online: bool = True
    locked: bool = False
    """An operator lets it take no tasks."""


@dataclass(frozen=True)
class AttemptOnNode:
    """One attempt on a node."""

    machine: MachineId
    started_at_ms: int
    over: bool
    ran: bool


def attempt_on_node(attempt: Attempt, machine: MachineId, *, current: bool) -> AttemptOnNode:
    """Make of an attempt what machines depend on."""
    return AttemptOnNode(
        machine,
        attempt.started_at_ms,
        over=not current or attempt.state is AttemptState.ENDED,
        ran=attempt.running_at_ms is not None,
    )


def waiting_task(task: Task) -> WaitingTask:
    """Make of a record what a snapshot of demand would say."""
    return WaitingTask(
        task=task.id,
        images_count=task.needed_count,
        size_bytes=task.size_bytes,
        waiting_since_ms=task.committed_at_ms,
        min_memory_bytes=task.min_memory_bytes,
        barred=tuple(attempt.machine for attempt in task.attempts if attempt.barred and attempt.machine),
    )
