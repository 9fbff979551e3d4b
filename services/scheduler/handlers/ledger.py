"""The one writer of tasks and nodes.

Every change of a task goes through `write`, under the task's lock: decide synchronously on what is in memory, write that with the
revision it was read at, then take it into the board. When the record turns out to have changed (a write whose answer was
lost, another scheduler), it is read again and decided again. A decision is therefore a function that may run more than once.

A write without an answer may have happened. The task is then `doubtful` until it has been read again; a slot promised to it stays
promised that long, so no slot is given twice.

A record is deleted only after its tombstone was written. So a record that has disappeared without one was not removed: the store was
lost, or an older one restored. Whoever asks for it hears that it is unknown, and not that it was removed.

Nothing is written when the term is over. What a predecessor wrote while this scheduler was reading, or later, is taken in as soon
as the bucket shows it (`follow_others`); why that is enough is said in handlers/office.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import msgspec
import structlog

from libs.common.clocks import Clock, Instant, Now, WallMs, read
from libs.common.errors import BusFailed, Conflict, NotFound, Removed
from libs.common.identity import may_touch
from libs.common.messages import NODES, TASKS, TOMBSTONES, TaskRecord
from libs.common.model import Node, NodeId, Owner, Task, TaskId, Tombstone
from libs.common.ports import Bucket, Bus
from services.scheduler.core.board import Board
from services.scheduler.core.nodes import NodeState
from services.scheduler.handlers.office import Office

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

    def __init__(self, board: Board, stores: Stores, clock: Clock, office: Office) -> None:
        self.board = board
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
        self._tasks = stores.tasks
        self._nodes = stores.nodes
        self._tombstones = stores.tombstones
        self._node_revisions: dict[NodeId, int] = {}
        self._locks: WeakValueDictionary[TaskId, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    async def open(cls, bus: Bus, board: Board, clock: Clock, office: Office) -> "Ledger":
        """Read everything. What is in no record (liveness, promises) begins anew."""
        stores = Stores(await bus.bucket(TASKS), await bus.bucket(NODES), await bus.bucket(TOMBSTONES))
        ledger = cls(board, stores, clock, office)
        nodes = (await ledger._nodes.load()).values()
        for node in sorted(nodes, key=lambda entry: (entry.value.added_at_ms, entry.value.id)):
            board.nodes.put(node.value, clock.instant())
            ledger._node_revisions[node.value.id] = node.revision
        for entry in (await ledger._tasks.load()).values():
            board.put(entry.value, entry.revision, ledger.now())
        log.info("records read", nodes=len(nodes), tasks=len(board.tasks), waiting=len(board.waiting))
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
        return self.board.next_commit_ms(self.now_ms())

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
        if task not in self.board.tasks:
            raise NotFound(f"{task} not found")
        return TaskRecord(task=self.board.tasks[task], revision=self.board.revisions[task])

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
            before = self.record(task)
            after = decide(before.task)
            if after == before.task:
                return before
            self.office.require()
            try:
                revision = await self._tasks.update(task, after, before.revision)
            except Conflict:
                log.warning("record has changed", task=task, revision=before.revision)
                await self.read_again(task)
            except BusFailed:
                self.doubtful.add(task)
                raise
            else:
                self._take_in(before.task, after, revision)
                return TaskRecord(task=after, revision=revision)

    async def tombstone(self, task: TaskId) -> Tombstone | None:
        """Find what is left of a task that was removed. Raises BusFailed."""
        entry = await self._tombstones.get(task)
        return entry.value if entry else None

    async def missing(self, task: TaskId, owner: Owner | None = None) -> NotFound:
        """Make the error for a task that is not to be seen: was it removed, or does nobody know? Raises BusFailed."""
        known = self.board.tasks.get(task)
        gone = (known if known.removed else None) if known else await self.tombstone(task)
        if gone is not None and (owner is None or may_touch(owner, gone.owner)):
            return Removed(f"{task} was removed")
        return NotFound(f"{task} not found")

    async def forget(self, task: TaskId, reason: str, remembered_s: int) -> None:
        """Delete a task's record; its lock is held. One that has changed meanwhile is read again and stays."""
        self.office.require()
        if known := self.board.tasks.get(task):
            await self._tombstones.put(task, tombstone_of(known, reason, self.now_ms()), ttl_s=remembered_s)
        try:
            await self._tasks.delete(task, self.board.revisions.get(task))
        except Conflict:
            await self.read_again(task)
            return
        except BusFailed:
            self.doubtful.add(task)
            raise
        self._take_in(self.board.tasks.get(task), None, 0)

    async def read_again(self, task: TaskId) -> None:
        """Take in what the record says now; one that has disappeared without a tombstone is written again. Raises BusFailed."""
        entry = await self._tasks.get(task)
        if entry is None and await self._is_lost(task):
            await self._restore(task)
            return
        self._take_in(self.board.tasks.get(task), entry.value if entry else None, entry.revision if entry else 0)
        self.doubtful.discard(task)

    async def _is_lost(self, task: TaskId) -> bool:
        known = self.board.tasks.get(task)
        return known is not None and not known.removed and await self.tombstone(task) is None

    async def _restore(self, task: TaskId) -> None:
        self.office.require()
        known = self.board.tasks[task]
        log.error("record has disappeared and is written again", task=task, state=str(known.state))
        try:
            revision = await self._tasks.create(task, known)
        except Conflict:
            raise BusFailed(f"the record of {task} cannot be read now") from None
        self._take_in(known, known, revision)
        self.doubtful.discard(task)

    async def settle_doubts(self) -> None:
        """Read again what was written without an answer."""
        for task in list(self.doubtful):
            async with self.holding(task):
                await self.read_again(task)

    def _take_in(self, before: Task | None, after: Task | None, revision: int) -> None:
        if after is not None:
            self.board.put(after, revision, self.now())
        elif before is not None:
            self.board.drop(before.id)
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
        if self.board.is_needed(node):
            await self.write_node(node, retired)
        else:
            await self.drop_node(node)

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
        node = self.board.put_node(record, self.instant())
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
                is_news = task in self.board.tasks or not seen.gone
                if is_news and seen.revision > self.board.revisions.get(task, 0):
                    await self._look_again(task, seen.revision)

    async def _look_again(self, task: TaskId, revision: int) -> None:
        async with self.holding(task):
            if revision > self.board.revisions.get(task, 0):
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
