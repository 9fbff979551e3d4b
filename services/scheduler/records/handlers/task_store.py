"""The one writer of tasks.

Every change of a task goes through `write`, under the task's lock: decide synchronously on what is in memory, write that with the
revision it was read at, then put it into the index. When the record turns out to have changed (a write whose answer was
lost, another scheduler), it is read again and decided again. A decision is therefore a function that may run more than once.

A write without an answer may have happened. The task is then `doubtful` until it has been read again; a slot reserved for it stays
reserved that long, so no slot is given twice.

A record is deleted only after its tombstone was written. So a record that has disappeared without one was not removed: the store was
lost, or an older one restored. Whoever asks for it hears that it is unknown, and not that it was removed.

A task that has ended leaves the index after a while and is kept in an archive (records/handlers/archive.py). It is found there by `find` (task_lookup.py), and
a change brings it back: it is written among the active ones first, and dropped from the archive then.

Nothing is written when the term is over. What a predecessor wrote while this scheduler was reading, or later, is taken in as soon
as the bucket shows it (records/handlers/recovery.py); why that is enough is said in leadership.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple
from weakref import WeakValueDictionary

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock, WallMs, read
from clusterodm.libs.common.errors import BusFailed, Conflict, Unreadable
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.tasks import Ended, Task, Tombstone
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bucket
from clusterodm.services.scheduler.events import Signals
from clusterodm.services.scheduler.leadership import Leadership
from clusterodm.services.scheduler.records.core import TaskIndex
from clusterodm.services.scheduler.records.handlers.archive import Archive
from clusterodm.services.scheduler.records.handlers.task_lookup import TaskLookup
from clusterodm.services.scheduler.task_life.settled import compacted, is_settled

log = structlog.get_logger()

Decision = Callable[[Task], Task]


class TaskChange(NamedTuple):
    """What a decision has done. Whoever tells of it tells only of his own: meanwhile another may have ended the task."""

    before: Task
    record: TaskRecord

    @property
    def task(self) -> Task:
        """What the task is now."""
        return self.record.task

    @property
    def made(self) -> bool:
        """Whether this decision has changed it."""
        return self.record.task != self.before


class TaskStore(TaskLookup):
    """The records of active tasks, and their index."""

    def __init__(  # noqa: PLR0913, PLR0917 what is written, where, when and by whose right
        self,
        index: TaskIndex,
        records: Bucket[Task],
        tombstones: Bucket[Tombstone],
        archive: Archive,
        clock: Clock,
        leadership: Leadership,
        signals: Signals,
    ) -> None:
        super().__init__(index, archive, tombstones)
        self.records = records
        self.clock = clock
        self.leadership = leadership
        self.signals = signals
        self.doubtful: set[TaskId] = set()
        self.twice: set[TaskId] = set()
        """Brought back, but still in the archive: the answer to its deletion, or to what brought it back, was lost."""
        self._locks: WeakValueDictionary[TaskId, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def holding(self, task: TaskId) -> AsyncIterator[None]:
        """Keep a task for oneself."""
        lock = self._locks.get(task)
        if lock is None:
            lock = self._locks[task] = asyncio.Lock()
        async with lock:
            yield

    async def create(self, task: Task) -> TaskRecord:
        """Write a new task; its lock is held. Raises Conflict when there is one with that id."""
        self.leadership.require()
        try:
            revision = await self.records.create(task.id, task)
        except Conflict:
            await self.read_again(task.id)
            raise
        except BusFailed:
            self.doubtful.add(task.id)
            raise
        self._written(None, task, revision)
        return self.record(task.id)

    async def change(self, task: TaskId, decide: Decision) -> TaskChange:
        """Decide and write, under the task's lock. Raises NotFound, BusFailed and whatever `decide` raises."""
        async with self.holding(task):
            return await self._decide(task, decide)

    async def write(self, task: TaskId, decide: Decision) -> TaskRecord:
        """Decide and write; the task's lock is held. Raises NotFound, BusFailed and whatever `decide` raises."""
        return (await self._decide(task, decide)).record

    async def _decide(self, task: TaskId, decide: Decision) -> TaskChange:
        while True:
            before = await self.lookup(task)
            if before is None:
                raise await self.missing(task)
            after = decide(before.task)
            if after == before.task:
                return TaskChange(before.task, before)
            try:
                revision = await self._put(before, after)
            except Conflict:
                log.warning("record.conflicted", task=task, revision=before.revision)
                await self.read_again(task)
            except BusFailed:
                self.doubtful.add(task)
                raise
            else:
                self._written(before.task, after, revision)
                if before.archived:
                    await self._left_archive(task)
                return TaskChange(before.task, TaskRecord(task=after, revision=revision))

    async def _put(self, before: TaskRecord, after: Task) -> int:
        """Write a task's next value; one that is archived comes back by that."""
        if before.task.state.ended and not after.state.ended:
            await self.signals.before_end_is_left(after.id)
        self.leadership.require()
        if before.archived:
            return await self.records.create(after.id, after, later=await self.archive.later(after.id))
        return await self.records.update(after.id, after, before.revision)

    async def _left_archive(self, task: TaskId) -> None:
        try:
            await self.archive.drop_surely(task)
        except BusFailed as error:
            log.warning("task.archive_delete_failed", task=task, error=error.message)
            self.twice.add(task)

    async def put_away(self, task: TaskId) -> bool:
        """Move a task that has settled to the archive; its lock is held. Whether it is there. Raises BusFailed."""
        known = self.index.tasks.get(task)
        if known is None or not is_settled(known):
            return known is None
        await self.signals.before_end_is_left(task)
        self.leadership.require()
        ended = Ended(
            task=msgspec.structs.replace(compacted(known), accounted=True), revision=self.index.revisions[task]
        )
        await self.archive.put(ended, await self.records.later(task))
        try:
            await self.records.delete(task, ended.revision)
        except Conflict:
            await self.read_again(task)
            await self._drop_twin(task)
            return task not in self.index.tasks
        except BusFailed:
            self.doubtful.add(task)
            raise
        self._archived(ended.task)
        return True

    def _archived(self, task: Task) -> None:
        """Take a task out of the index: it is in the archive, and not among the active ones any more."""
        self.archive.take_in(task)
        self.index.drop(task.id)
        for listener in self.signals.archive_listeners:
            listener(task)

    async def forget(self, task: TaskId, reason: str, remembered_s: int) -> None:
        """Delete a task's record; its lock is held. One that has changed meanwhile is read again and stays."""
        await self.signals.before_end_is_left(task)
        self.leadership.require()
        known = await self.lookup(task)
        if known is not None:
            await self._tombstones.put(task, tombstone_of(known.task, reason, self.clock.wall_ms()), ttl_s=remembered_s)
        await self.archive.drop(task)
        if known is None or known.archived:
            return
        try:
            await self.records.delete(task, self.index.revisions.get(task))
        except Conflict:
            await self.read_again(task)
            return
        except BusFailed:
            self.doubtful.add(task)
            raise
        self.apply(self.index.tasks.get(task), None, 0)

    # --- what others wrote, or may have written ----------------------------------------------------------------------

    async def read_again(self, task: TaskId) -> None:
        """Take in what the record says now. One that has disappeared without a tombstone, or is from before what is known (an older store was restored), is written again. Raises BusFailed."""
        try:
            entry = await self.records.get(task)
        except Unreadable:
            self.unreadable.add(task)
            self.doubtful.discard(task)
            raise
        self.unreadable.discard(task)
        if entry is not None and self.archive.table.key_of(task) is not None:
            self.twice.add(task)
        if entry is None and await self._is_archived(task):
            return
        if entry is None and await self._is_lost(task):
            await self._restore(task)
            return
        if entry is not None and entry.revision < self.index.revisions.get(task, 0):
            await self._restore(task, entry.revision)
            return
        self.apply(self.index.tasks.get(task), entry.value if entry else None, entry.revision if entry else 0)
        self.doubtful.discard(task)

    async def _is_archived(self, task: TaskId) -> bool:
        """Whether a task that is no longer among the active ones was moved to the archive, by us or by a predecessor."""
        ended = await self.archive.find(task)
        if ended is None or ended.revision != self.index.revisions.get(task, ended.revision):
            return False
        self._archived(ended.task)
        self.doubtful.discard(task)
        return True

    async def _is_lost(self, task: TaskId) -> bool:
        known = self.index.tasks.get(task)
        return known is not None and not known.removed and await self.tombstone(task) is None

    async def _restore(self, task: TaskId, older: int | None = None) -> None:
        """Write what is known of a task. `older`: over the record at this revision; None: there is none."""
        self.leadership.require()
        known = self.index.tasks[task]
        log.error("record.restored", task=task, state=str(known.state))
        try:
            writing = self.records.create(task, known) if older is None else self.records.update(task, known, older)
            revision = await writing
        except Conflict:
            raise BusFailed(f"the record of {task} cannot be read now") from None
        self.apply(known, known, revision)
        self.doubtful.discard(task)

    def doubt_all(self) -> None:
        """Have every record read again: the store may be an older one."""
        self.doubtful.update(self.index.tasks)

    def is_being_written(self, task: TaskId) -> bool:
        """Whether others may see of a task what is not in memory yet."""
        lock = self._locks.get(task)
        return task in self.doubtful or (lock is not None and lock.locked())

    async def drop_twin(self, task: TaskId) -> None:
        """Drop from the archive what is active: somebody died, or had no answer, between the two writes of a move. Raises BusFailed."""
        async with self.holding(task):
            await self._drop_twin(task)

    async def _drop_twin(self, task: TaskId) -> None:
        if task in self.index.tasks or self.archive.table.key_of(task) is None:
            await self.archive.drop_surely(task)
        self.twice.discard(task)

    def _written(self, before: Task | None, after: Task, revision: int) -> None:
        """Take in what we have written, unless it has come by already (`RecordSync.settle`), or something later."""
        if revision > self.index.revisions.get(after.id, 0):
            self.apply(before, after, revision)

    def apply(self, before: Task | None, after: Task | None, revision: int) -> None:
        """Take what is written into the index, and tell whoever waits for it."""
        if after is not None:
            self.index.put(after, revision, read(self.clock))
        elif before is not None:
            self.index.drop(before.id)
        for listener in self.signals.task_listeners:
            listener(before, after)
        if before is None or after is None or before.state is not after.state or before.is_untold:
            self.signals.capacity_freed.set()
            self.signals.changed.set()


def tombstone_of(task: Task, reason: str, now_ms: WallMs) -> Tombstone:
    """Say what stays of a task."""
    return Tombstone(task=task.id, owner=task.owner, created_at_ms=task.created_at_ms, at_ms=now_ms, reason=reason)
