"""The one writer of tasks and nodes.

Every change of a task goes through `write`, under the task's lock: decide synchronously on what is in memory, write that with the
revision it was read at, then take it into the board. When the record turns out to have changed (a write whose answer was
lost, another scheduler), it is read again and decided again. A decision is therefore a function that may run more than once.

A write without an answer may have happened. The task is then `doubtful` until it has been read again; a slot promised to it stays
promised that long, so no slot is given twice.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

import msgspec
import structlog

from libs.common.errors import BusFailed, Conflict, NotFound
from libs.common.messages import NODES, TASKS, TaskRecord
from libs.common.model import Node, NodeId, Task, TaskId
from libs.common.ports import Bucket, Bus
from services.scheduler.core.board import Board
from services.scheduler.core.nodes import NodeState
from services.scheduler.ports import Clock

log = structlog.get_logger()

Decision = Callable[[Task], Task]
Noticed = Callable[[Task | None, Task | None], None]


class Ledger:
    """The board and the records that it mirrors."""

    def __init__(self, board: Board, tasks: Bucket[Task], nodes: Bucket[Node], clock: Clock) -> None:
        self.board = board
        self.now_ms = clock
        self.room = asyncio.Event()
        """A slot may have become free, or a task may want one."""
        self.news = asyncio.Event()
        """Totals may have changed."""
        self.online = asyncio.Event()
        """A node has come online."""
        self.noticed: list[Noticed] = []
        """Called at once with every task's old and new value."""
        self.doubtful: set[TaskId] = set()
        self._tasks = tasks
        self._nodes = nodes
        self._locks: WeakValueDictionary[TaskId, asyncio.Lock] = WeakValueDictionary()

    @classmethod
    async def open(cls, bus: Bus, board: Board, clock: Clock) -> "Ledger":
        """Read everything. What is in no record (liveness, promises) begins anew."""
        ledger = cls(board, await bus.bucket(TASKS), await bus.bucket(NODES), clock)
        nodes = [entry.value for entry in (await ledger._nodes.load()).values()]
        for node in sorted(nodes, key=lambda node: (node.added_at_ms, node.id)):
            board.nodes.put(node, clock())
        for entry in (await ledger._tasks.load()).values():
            board.put(entry.value, entry.revision, clock())
        log.info("records read", nodes=len(nodes), tasks=len(board.tasks), waiting=len(board.waiting))
        ledger.room.set()
        ledger.news.set()
        return ledger

    def next_commit_ms(self) -> int:
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

    async def forget(self, task: TaskId) -> None:
        """Delete a task's record; its lock is held."""
        try:
            await self._tasks.delete(task)
        except BusFailed:
            self.doubtful.add(task)
            raise
        self._take_in(self.board.tasks.get(task), None, 0)

    async def read_again(self, task: TaskId) -> None:
        """Take in what the record says now."""
        entry = await self._tasks.get(task)
        self._take_in(self.board.tasks.get(task), entry.value if entry else None, entry.revision if entry else 0)
        self.doubtful.discard(task)

    async def settle_doubts(self) -> None:
        """Read again what was written without an answer."""
        for task in list(self.doubtful):
            async with self.holding(task):
                await self.read_again(task)

    def _take_in(self, before: Task | None, after: Task | None, revision: int) -> None:
        if after is not None:
            self.board.put(after, revision, self.now_ms())
        elif before is not None:
            self.board.drop(before.id)
        for noticed in self.noticed:
            noticed(before, after)
        if before is None or after is None or before.state is not after.state:
            self.room.set()
            self.news.set()

    # --- nodes -----------------------------------------------------------------------------------------------------

    async def put_node(self, record: Node) -> NodeState:
        """Write a node."""
        await self._nodes.put(record.id, record)
        node = self.board.nodes.put(record, self.now_ms())
        self._nodes_changed()
        return node

    async def retire_node(self, node: NodeState) -> None:
        """Take a node off the list; its record stays as long as a task on it has to be reached."""
        if self.board.is_needed(node.id):
            await self.put_node(msgspec.structs.replace(node.record, retired=True))
        else:
            await self.drop_node(node.id)

    async def drop_node(self, node: NodeId) -> None:
        """Delete a node's record."""
        await self._nodes.delete(node)
        self.board.nodes.drop(node)
        self._nodes_changed()

    def _nodes_changed(self) -> None:
        self.room.set()
        self.news.set()
