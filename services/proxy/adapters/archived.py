"""The few ended tasks that clients ask for at present. The scheduler keeps all of them apart; here are those asked for last.

What is remembered is read again after a while, and forgotten as soon as the task is seen among the active ones: it may have been
run again, or be about to be removed. A record that was read before that, and comes late, does not count either: `take` is told
which revision of the task was seen last.
"""

from collections import OrderedDict
from typing import Final

from libs.common.clocks import Clock, Instant
from libs.common.messages import TaskRecord
from libs.common.model import TaskId

MOST_COUNT: Final = 1_000
GOOD_FOR_S: Final = 60.0


class ArchivedTasks:
    """Records by task, those asked for last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: OrderedDict[TaskId, tuple[TaskRecord, Instant]] = OrderedDict()

    def __repr__(self) -> str:
        """Show how many."""
        return f"ArchivedTasks({len(self._records)})"

    def get(self, task: TaskId) -> TaskRecord | None:
        """Look a task up."""
        found = self._records.get(task)
        if found is None:
            return None
        if self._clock.instant() - found[1] > GOOD_FOR_S:
            del self._records[task]
            return None
        self._records.move_to_end(task)
        return found[0]

    def take(self, record: TaskRecord, seen_revision: int) -> None:
        """Remember a record, unless a newer one has been seen among the active tasks."""
        if record.revision < seen_revision:
            return
        self._records[record.task.id] = record, self._clock.instant()
        self._records.move_to_end(record.task.id)
        while len(self._records) > MOST_COUNT:
            self._records.popitem(last=False)

    def drop(self, task: TaskId) -> None:
        """Forget a task."""
        self._records.pop(task, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._records.clear()
