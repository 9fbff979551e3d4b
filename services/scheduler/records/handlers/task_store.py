"""The one writer of tasks and nodes.

Every change of a task goes through `write`, under the task's lock: decide synchronously on what is in memory, write that with the
revision it was read at, then take it into the board. When the record turns out to have changed (a write whose answer was
lost, another scheduler), it is read again and decided again. A decision is therefore a function that may run more than once.

A write without an answer may have happened. The task is then `doubtful` until it has been read again; a slot promised to it stays
promised that long, so no slot is given twice.

A record is deleted only after its tombstone was written. So a record that has disappeared without one was not removed: the store was
lost, or an older one restored. Whoever asks for it hears that it is unknown, and not that it was removed.

A task that has ended leaves the board after a while and is kept in an archive (records/handlers/archive.py). It is found there by `find`, and
a change brings it back: it is written among the active ones first, and dropped from the archive then.

Nothing is written when the term is over. What a predecessor wrote while this scheduler was reading, or later, is taken in as soon
as the bucket shows it (`follow_others`); why that is enough is said in leadership.py.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec
import structlog

from libs.common.clocks import Clock, Instant, Now, WallMs, read
from libs.common.errors import BusFailed, Conflict, NotFound, Removed, Unreadable
from libs.common.identity import may_touch
from libs.common.messages import ENDED, NODES, TASKS, TOMBSTONES, TaskRecord
from libs.common.model import Ended, Node, NodeId, Owner, Task, TaskId, Tombstone
from libs.common.patience import Slices
from libs.common.ports import Bucket, Bus
from services.scheduler.leadership import Office
from services.scheduler.placement.core.cluster_state import ClusterState
from services.scheduler.records.core import key_of
from services.scheduler.records.handlers.archive import Archive
from services.scheduler.records.ports import EndedIndex
from services.scheduler.registry.node_state import NodeState
from services.scheduler.task_life.attempts import compacted, is_settled

log = structlog.get_logger()

Decision = Callable[[Task], Task]
Noticed = Callable[[Task | None, Task | None], None]


@dataclass(frozen=True)
class Stores:
    """Where the records lie."""

    tasks: Bucket[Task]
    nodes: Bucket[Node]
    tombstones: Bucket[Tombstone]


class Ledger:
    """The board and the records that it mirrors."""

    def __init__(self, board: ClusterState, stores: Stores, archive: Archive, clock: Clock, office: Office) -> None:
        self.board = board
        self.archive = archive
        self.office = office
        self.clock = clock
        self.room = asyncio.Event()
        """A slot may have become free, or a task may want one."""
        self.news = asyncio.Event()
        """Totals may have changed."""
        self.online = asyncio.Event()
        """A node has come online."""
        self.noticed: list[Noticed] = []
        """Called at once with every task's old and new value."""
        self.doubtful: set[TaskId] = set()
        self.unreadable: set[TaskId] = set()
        """There are records of these, written by a later version, that this one cannot read. They are left alone."""
        self._tasks = stores.tasks
        self._nodes = stores.nodes
        self._tombstones = stores.tombstones
        self._node_revisions: dict[NodeId, int] = {}
        self.outdated: list[TaskId] = []
        """Tasks whose records are as an older version wrote them."""
        self._twice: set[TaskId] = set()
        """Brought back, but still in the archive: the answer to its deletion was lost."""
        self._locks: WeakValueDictionary[TaskId, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    async def open(cls, bus: Bus, board: ClusterState, index: EndedIndex, clock: Clock, office: Office) -> "Ledger":
        """Read what is active, oldest first, letting others have their turn. What is in no record (liveness, promises) begins anew."""
        stores = Stores(await bus.bucket(TASKS), await bus.bucket(NODES), await bus.bucket(TOMBSTONES))
        archive = Archive(await bus.bucket(ENDED), index, board, clock.instant)
        ledger = cls(board, stores, archive, clock, office)
        nodes = (await ledger._nodes.load()).values()
        for node in sorted(nodes, key=lambda entry: (entry.value.added_at_ms, entry.value.id)):
            board.nodes.put(node.value, clock.instant())
            ledger._node_revisions[node.value.id] = node.revision
        slices = Slices()
        tasks = await ledger._tasks.load()
        ledger.unreadable.update(map(TaskId, tasks.unreadable))
        for entry in sorted(tasks.values(), key=lambda entry: key_of(entry.value)):
            board.index.put(entry.value, entry.revision, ledger.now())
            if board.index.tasks[entry.value.id] != entry.value:
                ledger.outdated.append(entry.value.id)
            await slices.turn()
        log.info("records read", nodes=len(nodes), tasks=len(board.index.tasks), waiting=len(board.index.waiting))
        ledger.room.set()
        ledger.news.set()
        return ledger

    # --- the time --------------------------------------------------------------------------------------------------

    def now_ms(self) -> WallMs:
        """Say what time it is, for records."""
        return self.clock.wall_ms()

    def instant(self) -> Instant:
        """Say where the monotonic clock is, for limits."""
        return self.clock.instant()

    def now(self) -> Now:
        """Read both clocks, for records that say how long something has been."""
        return read(self.clock)

    def next_commit_ms(self) -> WallMs:
        """Give out the time of a commit."""
        return self.board.index.next_commit_ms(self.now_ms())

    # --- tasks -----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def holding(self, task: TaskId) -> AsyncIterator[None]:
        """Keep a task for oneself."""
        lock = self._locks.get(task)
        if lock is None:
            lock = self._locks[task] = asyncio.Lock()
        async with lock:
            yield

    def record(self, task: TaskId) -> TaskRecord:
        """Find a task with its revision. Raises NotFound."""
        if task not in self.board.index.tasks:
            raise NotFound(f"{task} not found")
        return TaskRecord(task=self.board.index.tasks[task], revision=self.board.index.revisions[task])

    async def find(self, task: TaskId, owner: Owner | None = None) -> TaskRecord:
        """Find a task for whoever asks, active or ended. Raises NotFound, Removed, BusFailed."""
        found = await self.lookup(task)
        if found is None or found.task.removed or not (owner is None or may_touch(owner, found.task.owner)):
            raise await self.missing(task, owner)
        return found

    async def lookup(self, task: TaskId) -> TaskRecord | None:
        """Find a task, wherever its record is. Raises BusFailed."""
        if task in self.board.index.tasks:
            return self.record(task)
        ended = await self.archive.find(task)
        if task in self.board.index.tasks:  # it was brought back meanwhile
            return self.record(task)
        return TaskRecord(task=ended.task, revision=ended.revision, archived=True) if ended else None

    async def create(self, task: Task) -> TaskRecord:
        """Write a new task; its lock is held. Raises Conflict when there is one with that id."""
        self.office.require()
        try:
            revision = await self._tasks.create(task.id, task)
        except Conflict:
            await self.read_again(task.id)
            raise
        except BusFailed:
            self.doubtful.add(task.id)
            raise
        self._take_in(None, task, revision)
        return self.record(task.id)

    async def change(self, task: TaskId, decide: Decision) -> TaskRecord:
        """Decide and write, under the task's lock."""
        async with self.holding(task):
            return await self.write(task, decide)

    async def write(self, task: TaskId, decide: Decision) -> TaskRecord:
        """Decide and write; the task's lock is held. Raises NotFound, BusFailed and whatever `decide` raises."""
        while True:
            before = await self.lookup(task)
            if before is None:
                raise await self.missing(task)
            after = decide(before.task)
            if after == before.task:
                return before
            self.office.require()
            try:
                revision = await self._put(before, after)
            except Conflict:
                log.warning("record has changed", task=task, revision=before.revision)
                await self.read_again(task)
            except BusFailed:
                self.doubtful.add(task)
                raise
            else:
                self._take_in(before.task, after, revision)
                if before.archived:
                    await self._left_archive(task)
                return TaskRecord(task=after, revision=revision)

    async def _put(self, before: TaskRecord, after: Task) -> int:
        """Write a task's next value; one that is archived comes back by that."""
        if before.archived:
            return await self._tasks.create(after.id, after)
        return await self._tasks.update(after.id, after, before.revision)

    async def _left_archive(self, task: TaskId) -> None:
        try:
            await self.archive.drop_surely(task)
        except BusFailed as error:
            log.warning("task is still in the archive", task=task, error=error.message)
            self._twice.add(task)

    async def put_away(self, task: TaskId) -> bool:
        """Move a task that has settled to the archive; its lock is held. Whether it is there. Raises BusFailed."""
        known = self.board.index.tasks.get(task)
        if known is None or not is_settled(known):
            return known is None
        self.office.require()
        ended = Ended(task=compacted(known), revision=self.board.index.revisions[task])
        await self.archive.put(ended)
        try:
            await self._tasks.delete(task, ended.revision)
        except Conflict:
            await self.read_again(task)
            await self._drop_twin(task)
            return task not in self.board.index.tasks
        except BusFailed:
            self.doubtful.add(task)
            raise
        self._archived(ended.task)
        return True

    def _archived(self, task: Task) -> None:
        """Take a task off the board: it is in the archive, and not among the active ones any more."""
        self.archive.take_in(task)
        self.board.index.drop(task.id)

    async def tombstone(self, task: TaskId) -> Tombstone | None:
        """Find what is left of a task that was removed. Raises BusFailed."""
        entry = await self._tombstones.get(task)
        return entry.value if entry else None

    async def missing(self, task: TaskId, owner: Owner | None = None) -> NotFound:
        """Make the error for a task that is not to be seen: was it removed, or does nobody know? Raises BusFailed, Unreadable."""
        if task in self.unreadable:
            raise Unreadable(f"{task} was written by a later version; this one cannot read it")
        known = self.board.index.tasks.get(task)
        gone = (known if known.removed else None) if known else await self.tombstone(task)
        if gone is not None and (owner is None or may_touch(owner, gone.owner)):
            return Removed(f"{task} was removed")
        return NotFound(f"{task} not found")

    async def forget(self, task: TaskId, reason: str, remembered_s: int) -> None:
        """Delete a task's record; its lock is held. One that has changed meanwhile is read again and stays."""
        self.office.require()
        known = await self.lookup(task)
        if known is not None:
            await self._tombstones.put(task, tombstone_of(known.task, reason, self.now_ms()), ttl_s=remembered_s)
        await self.archive.drop(task)
        if known is None or known.archived:
            return
        try:
            await self._tasks.delete(task, self.board.index.revisions.get(task))
        except Conflict:
            await self.read_again(task)
            return
        except BusFailed:
            self.doubtful.add(task)
            raise
        self._take_in(self.board.index.tasks.get(task), None, 0)

    async def read_again(self, task: TaskId) -> None:
        """Take in what the record says now; one that has disappeared without a tombstone is written again. Raises BusFailed."""
        try:
            entry = await self._tasks.get(task)
        except Unreadable:
            self.unreadable.add(task)
            self.doubtful.discard(task)
            raise
        self.unreadable.discard(task)
        if entry is None and await self._is_archived(task):
            return
        if entry is None and await self._is_lost(task):
            await self._restore(task)
            return
        self._take_in(self.board.index.tasks.get(task), entry.value if entry else None, entry.revision if entry else 0)
        self.doubtful.discard(task)

    async def _is_archived(self, task: TaskId) -> bool:
        """Whether a task that is no longer among the active ones was moved to the archive, by us or by a predecessor."""
        ended = await self.archive.find(task)
        if ended is None or ended.revision != self.board.index.revisions.get(task, ended.revision):
            return False
        self._archived(ended.task)
        self.doubtful.discard(task)
        return True

    async def _is_lost(self, task: TaskId) -> bool:
        known = self.board.index.tasks.get(task)
        return known is not None and not known.removed and await self.tombstone(task) is None

    async def _restore(self, task: TaskId) -> None:
        self.office.require()
        known = self.board.index.tasks[task]
        log.error("record has disappeared and is written again", task=task, state=str(known.state))
        try:
            revision = await self._tasks.create(task, known)
        except Conflict:
            raise BusFailed(f"the record of {task} cannot be read now") from None
        self._take_in(known, known, revision)
        self.doubtful.discard(task)

    async def is_current(self, task: TaskId, revision: int) -> bool:
        """Whether a record is still at a revision. Others may see a write before we have its answer. Raises BusFailed."""
        if self._is_being_written(task) and (entry := await self._tasks.get(task)) is not None:
            return entry.revision == revision
        if task in self.board.index.tasks:
            return self.board.index.revisions[task] == revision
        ended = await self.archive.find(task)
        return ended is not None and ended.revision == revision

    def _is_being_written(self, task: TaskId) -> bool:
        lock = self._locks.get(task)
        return task in self.doubtful or (lock is not None and lock.locked())

    async def settle(self, task: TaskId) -> None:
        """Wait until what is in memory is no older than what others may have seen. Raises BusFailed."""
        if self._is_being_written(task):
            entry = await self._tasks.get(task)
            if entry is not None and entry.revision > self.board.index.revisions.get(task, 0):
                self._take_in(self.board.index.tasks.get(task), entry.value, entry.revision)

    async def settle_doubts(self) -> None:
        """Read again what was written without an answer."""
        for task in list(self.doubtful):
            async with self.holding(task):
                with contextlib.suppress(Unreadable):
                    await self.read_again(task)
        for task in list(self._twice):
            await self.drop_twin(task)

    async def renew(self, task: TaskId) -> None:
        """Write an active task's record as this version does; nothing else changes. Raises BusFailed."""
        async with self.holding(task):
            known = self.board.index.tasks.get(task)
            if known is None:
                return
            self.office.require()
            try:
                revision = await self._tasks.update(task, known, self.board.index.revisions[task])
            except Conflict:
                await self.read_again(task)
            except BusFailed:
                self.doubtful.add(task)
                raise
            else:
                self.board.index.rewritten(task, revision)

    async def forget_deleted(self) -> int:
        """Remove what deletions by older versions have left for ever; how many there were. Raises BusFailed."""
        return await self._tasks.forget_deleted() + await self._nodes.forget_deleted()

    async def drop_twin(self, task: TaskId) -> None:
        """Drop from the archive what is active: somebody died, or had no answer, between the two writes of a move. Raises BusFailed."""
        async with self.holding(task):
            await self._drop_twin(task)

    async def _drop_twin(self, task: TaskId) -> None:
        if self.archive.key_of(task) is None:
            await self.archive.drop_surely(task)
        self._twice.discard(task)

    def _take_in(self, before: Task | None, after: Task | None, revision: int) -> None:
        if after is not None:
            self.board.index.put(after, revision, self.now())
        elif before is not None:
            self.board.index.drop(before.id)
        for noticed in self.noticed:
            noticed(before, after)
        if before is None or after is None or before.state is not after.state:
            self.room.set()
            self.news.set()

    # --- nodes -----------------------------------------------------------------------------------------------------

    async def write_node(self, node: NodeId, decide: Callable[[Node | None], Node]) -> NodeState:
        """Decide and write a node. What `decide` raises comes out; it may be asked again when the record has changed."""
        while True:
            known = self.board.nodes.get(node)
            record = decide(known.record if known else None)
            self.office.require()
            try:
                revision = await self._put_node(node, record)
            except Conflict:
                await self._read_node_again(node)
            else:
                return self._take_in_node(record, revision)

    async def retire_node(self, node: NodeId) -> None:
        """Take a node off the list; its record stays as long as a task on it has to be reached."""
        if self.is_needed(node):
            await self.write_node(node, retired)
        else:
            await self.drop_node(node)

    def is_needed(self, node: NodeId) -> bool:
        """Whether a task lies on this node, ended ones too, or the node has still to be told something."""
        return self.board.index.is_needed(node) or self.archive.may_hold(node)

    async def drop_node(self, node: NodeId) -> None:
        """Delete a node's record. One that has changed meanwhile is read again and stays."""
        self.office.require()
        try:
            await self._nodes.delete(node, self._node_revisions.get(node))
        except Conflict:
            await self._read_node_again(node)
        else:
            self._forget_node(node)

    async def _put_node(self, node: NodeId, record: Node) -> int:
        revision = self._node_revisions.get(node)
        if revision is None:
            return await self._nodes.create(node, record)
        return await self._nodes.update(node, record, revision)

    async def _read_node_again(self, node: NodeId) -> None:
        entry = await self._nodes.get(node)
        log.warning("record has changed", node=node, revision=entry.revision if entry else None)
        if entry is None:
            self._forget_node(node)
        else:
            self._take_in_node(entry.value, entry.revision)

    def _take_in_node(self, record: Node, revision: int) -> NodeState:
        self._node_revisions[record.id] = revision
        node = self.board.nodes.put(record, self.instant())
        for task in self.board.index.under_way_on(record.id):  # they knew it before it was registered
            self.board.nodes.occupy(record.id, task)
        self._nodes_changed()
        return node

    def _forget_node(self, node: NodeId) -> None:
        self._node_revisions.pop(node, None)
        self.board.nodes.drop(node)
        self._nodes_changed()

    # --- what others wrote -----------------------------------------------------------------------------------------

    async def follow_others(self) -> None:
        """Take in what somebody else has written, for ever. Our own writes come by here too, and are known already."""
        async with self._tasks.watch_revisions() as changes:
            async for seen in changes:
                task = TaskId(seen.key)
                is_news = task in self.board.index.tasks or not seen.gone
                if is_news and seen.revision > self.board.index.revisions.get(task, 0):
                    await self._look_again(task, seen.revision)

    async def _look_again(self, task: TaskId, revision: int) -> None:
        async with self.holding(task):
            if revision > self.board.index.revisions.get(task, 0):
                with contextlib.suppress(Unreadable):
                    await self.read_again(task)

    def _nodes_changed(self) -> None:
        self.room.set()
        self.news.set()


def tombstone_of(task: Task, reason: str, now_ms: WallMs) -> Tombstone:
    """Say what stays of a task."""
    return Tombstone(task=task.id, owner=task.owner, created_at_ms=task.created_at_ms, at_ms=now_ms, reason=reason)


def retired(record: Node | None) -> Node:
    """Decide that a node is in no list any more. Raises NotFound."""
    if record is None:
        raise NotFound("The node is gone already")
    return msgspec.structs.replace(record, retired=True)
