"""What the autoscaler does for waiting tasks: why one gets no machine, or how far its machine is.

The autoscaler's words come as snapshots, whole each time, and again now and then. What is old is no longer believed: there may
be no autoscaler any more, and a task would wait for ever "for a machine".
"""

from typing import Final

from libs.common.messages import SupplyChanged
from libs.common.model import TaskId

NO_MACHINE: Final = "no machine is started"


class Supply:
    """The last snapshot of supply."""

    def __init__(self) -> None:
        self._at_ms = 0
        self._words: dict[TaskId, str] = {}

    def __repr__(self) -> str:
        """Show when it was told, and of how many tasks."""
        return f"Supply(at_ms={self._at_ms} tasks={len(self._words)})"

    def take(self, told: SupplyChanged) -> None:
        """Take in a snapshot; one that comes late is dropped."""
        if told.at_ms < self._at_ms:
            return
        self._at_ms = told.at_ms
        self._words = {each.task: f"{NO_MACHINE}: {each.reason}" for each in told.waits}
        self._words |= {each.task: each.reason for each in told.comes}

    def word(self, task: TaskId, now_ms: int) -> str:
        """Say what is done for a task; empty when nothing is known."""
        return self._words.get(task, "") if now_ms - self._at_ms < SupplyChanged.BELIEVED_MS else ""
