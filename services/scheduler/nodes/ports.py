"""What the story of nodes needs of the others."""

from typing import Protocol

from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.services.scheduler.task_life.attempts import AttemptResult


class ReservedSlots(Protocol):
    """Slots that are kept for waiting tasks."""

    def release_on(self, node: NodeId) -> None:
        """Give up what is reserved on a node that takes no more tasks."""


class RunningAttempts(Protocol):
    """Attempts that run on nodes."""

    async def give_up(self, task_id: TaskId, result: AttemptResult) -> None:
        """End the attempt of a running task whose node is lost."""
