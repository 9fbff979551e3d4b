"""What the records need from the world, besides the bus and its buckets (libs/common/ports.py), and what is kept in memory of an ended task."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from clusterodm.libs.common.messages.tasks import SearchTasks, TaskSummary
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import NodeId, Owner, TaskId
from clusterodm.services.scheduler.records.core import Key


@dataclass(frozen=True)
class EndedRow:
    """What is kept in memory of one."""

    task: TaskId
    owner: Owner
    node: NodeId | None
    committed_at_ms: int
    ended_at_ms: int
    summary: TaskSummary


def row_of(task: Task, summary: TaskSummary) -> EndedRow:
    """Say what is kept in memory of an ended task."""
    last = task.attempt
    return EndedRow(
        task.id, task.owner, last.node if last else None, task.committed_at_ms, task.ended_at_ms or 0, summary
    )


@dataclass(frozen=True)
class Matches:
    """What was found among some rows of the table."""

    last: int
    """The last of the rows that were looked at."""
    rows: tuple[int, ...]
    more: bool
    """There are rows behind the last."""


class EndedIndex(Protocol):
    """What can be asked of all ended tasks without reading their records. It is in memory, and small: see docs/decisions/0062."""

    def __len__(self) -> int:
        """Count them."""

    def add(self, rows: Iterable[EndedRow]) -> None:
        """Take tasks in; one that is there is replaced."""

    def drop(self, task: TaskId) -> None:
        """Take a task out; nothing happens when it is not there."""

    def key_of(self, task: TaskId) -> Key | None:
        """Find a task's place in the order of commits; None: it is not there."""

    def is_anothers(self, task: TaskId, owner: Owner) -> bool:
        """Whether a task is here, and out of this owner's reach."""

    def ids(self, owner: Owner, after: Key | None, limit_count: int) -> list[Key]:
        """List an owner's tasks in the order of their commits."""

    def summaries(
        self, owner: Owner | None, node: NodeId | None, after: Key | None, limit_count: int
    ) -> list[TaskSummary]:
        """List tasks in the order of their commits: those of an owner, and those whose last attempt was on a node."""

    def ended_before(self, ended_ms: int, limit_count: int) -> list[TaskId]:
        """Find tasks that ended long ago."""

    def holds(self, node: NodeId) -> bool:
        """Whether the last attempt of any of them was on this node."""

    def list_active(self, rows: Iterable[EndedRow]) -> None:
        """Take active tasks into lists, as they are now."""

    def unlist_active(self, tasks: Iterable[TaskId]) -> None:
        """Take tasks out of lists that are active no more."""

    def states(self) -> dict[TaskState, int]:
        """Count all listed tasks by their state."""

    def matches(self, asked: SearchTasks, after: int, rows_count: int) -> Matches:
        """Look for what is like this among the next rows of the table."""

    def page(self, asked: SearchTasks, rows: Sequence[int] | None = None) -> list[tuple[TaskId, TaskSummary | None]]:
        """Sort what is like this, or those rows alone, and read one page of it; an active task comes without summary."""
