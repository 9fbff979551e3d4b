"""What the story of tasks needs of the others."""

from typing import Protocol

from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.services.scheduler.registry.ranking import Need


class TaskQueue(Protocol):
    """Where tasks wait for a slot, and what is said of them meanwhile."""

    def heard(self, upload_owner: InstanceId) -> None:
        """Note that an upload owner is there."""

    def offer(self, task: Task, ahead: StagedFiles | None = None) -> None:
        """Give a task that has just come a slot, if there is one and its upload owner asks."""

    def why_not_at_once(self, task: TaskId, upload_owner: InstanceId, need: Need) -> str:
        """Say why a task that comes now waits; empty: it begins at once. `came` is to follow."""

    def came(self, task: TaskId) -> None:
        """Note that a task has been written down, or has not."""

    def is_beyond(self, need: Need) -> bool:
        """Whether there is no room for another part of a split dataset."""

    def why_waiting(self, task: Task) -> str:
        """Say why a task waits."""

    def expected(self, task: Task) -> Expected | None:
        """Say when a task should begin and end; None: it has ended, or nobody knows."""

    def away_count(self) -> int:
        """Count the waiting tasks whose upload owner is away."""

    def position(self, task: Task) -> int:
        """Say which place a waiting task has in the queue, from 1."""

    def page(self, offset_count: int, limit_count: int) -> list[TaskId]:
        """Name some of the waiting tasks, in the order in which they should get slots."""

    def why_here(self, task: Task) -> str:
        """Say why a task stands where it does in the queue; empty: by its commit alone."""

    def tenant_of(self, owner: Owner) -> str:
        """Say how an owner is called; empty: nobody has given it a name."""

    def is_away(self, upload_owner: InstanceId) -> bool:
        """Whether an upload owner neither asks nor sends."""
