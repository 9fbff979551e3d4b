"""What the autoscaler does for waiting tasks: why one gets no machine, or how far its machine is.

A machine is requested for one task, in a size for it. Whoever else takes it, because it happens to be there first, leaves that
task without one, and another has to be requested: so a task whose own machine is coming waits for that (`holds`), and leaves
those of others alone.

The autoscaler's words come as snapshots, whole each time, and again now and then. What is old is no longer believed: there may
be no autoscaler any more, and a task would wait for ever "for a machine".
"""

from typing import Final

from libs.common.messages import SupplyChanged
from libs.common.model import MachineId, TaskId

NO_MACHINE: Final = "no machine is started"


class Supply:
    """The last snapshot of supply."""

    def __init__(self) -> None:
        self._at_ms = 0
        self._words: dict[TaskId, str] = {}
        self._own: dict[TaskId, MachineId] = {}
        self._tasks: dict[MachineId, TaskId] = {}

    def __repr__(self) -> str:
        """Show when it was told, and of how many tasks."""
        return f"Supply(at_ms={self._at_ms} tasks={len(self._words)})"

    def take(self, told: SupplyChanged) -> bool:
        """Take in a snapshot; one that comes late is dropped. Whether other machines are meant for other tasks now."""
        if told.at_ms < self._at_ms:
            return False
        before = self._own
        self._at_ms = told.at_ms
        self._words = {each.task: f"{NO_MACHINE}: {each.reason}" for each in told.waits}
        self._words |= {each.task: each.reason for each in told.comes}
        self._own = told.meant
        self._tasks = {machine: task for task, machine in told.meant.items()}
        return before != told.meant

    def word(self, task: TaskId, now_ms: int) -> str:
        """Say what is done for a task; empty when nothing is known."""
        return self._words.get(task, "") if self._believed(now_ms) else ""

    def holds(self, task: TaskId, machine: MachineId | None, now_ms: int) -> bool:
        """Whether a task should leave a machine to the one for which it was requested: its own is coming."""
        if machine is None or task not in self._own or machine not in self._tasks:
            return False
        return self._tasks[machine] != task and self._believed(now_ms)

    def _believed(self, now_ms: int) -> bool:
        return now_ms - self._at_ms < SupplyChanged.BELIEVED_MS
