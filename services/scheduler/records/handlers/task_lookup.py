"""Where a task is found, for whoever asks: among the active ones, in the archive, or as the tombstone that says that it was removed.

Whoever only reads takes a `TaskLookup`; the one writer is the `TaskStore` (task_store.py), which is one as well.
"""

from clusterodm.libs.common.errors import NotFound, Removed, Unreadable
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.tasks import Tombstone
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.services.scheduler.records.core import TaskIndex
from clusterodm.services.scheduler.records.handlers.archive import Archive


class TaskLookup:
    """The records of tasks, to be read."""

    def __init__(self, index: TaskIndex, archive: Archive, tombstones: Bucket[Tombstone]) -> None:
        self.index = index
        self.archive = archive
        self.unreadable: set[TaskId] = set()
        """There are records of these, written by a later version, that this one cannot read. They are left alone."""
        self._tombstones = tombstones

    def record(self, task: TaskId) -> TaskRecord:
        """Find a task with its revision. Raises NotFound."""
        if task not in self.index.tasks:
            raise NotFound(f"{task} not found")
        return TaskRecord(task=self.index.tasks[task], revision=self.index.revisions[task])

    async def find(self, task: TaskId, owner: Owner | None = None) -> TaskRecord:
        """Find a task for whoever asks, active or ended. Raises NotFound, Removed, BusFailed."""
        if owner is not None and task not in self.index.tasks and self.archive.table.is_anothers(task, owner):
            await self.archive.read_nothing()  # as for one that is unknown: how long that takes must not tell
            raise await self.missing(task, owner)
        found = await self.lookup(task)
        if found is not None and not may_touch(owner, found.task.owner):
            if not found.archived:
                await self.archive.read_nothing()
            found = None
        if found is None or found.task.removed:
            raise await self.missing(task, owner)
        return found

    async def lookup(self, task: TaskId) -> TaskRecord | None:
        """Find a task, wherever its record is. Raises BusFailed."""
        if task in self.index.tasks:
            return self.record(task)
        ended = await self.archive.find(task)
        if task in self.index.tasks:  # it was brought back meanwhile
            return self.record(task)
        return TaskRecord(task=ended.task, revision=ended.revision, archived=True) if ended else None

    async def tombstone(self, task: TaskId) -> Tombstone | None:
        """Find what is left of a task that was removed. Raises BusFailed."""
        entry = await self._tombstones.get(task)
        return entry.value if entry else None

    async def missing(self, task: TaskId, owner: Owner | None = None) -> NotFound:
        """Make the error for a task that is not to be seen: was it removed, or does nobody know? Raises BusFailed, Unreadable."""
        if task in self.unreadable:
            raise Unreadable(f"{task} was written by a later version; this one cannot read it")
        known = self.index.tasks.get(task)
        gone = (known if known.removed else None) if known else await self.tombstone(task)
        if gone is not None and may_touch(owner, gone.owner):
            return Removed(f"{task} was removed")
        return NotFound(f"{task} not found")
