"""How the records are read when a term begins, how what is in memory stays no older than they are, and what a term leaves to the next.

Others write too: a predecessor whose last writes were on their way, an operator, an older version. Our own writes come by as well, and are
known already.

A store that was restored from an older backup under a scheduler is given what the scheduler knows: all later writes were its own.
When the store is lost under a scheduler, the lease is lost with it, so the term ends. The next one, seconds later in the same process, finds
another incarnation and writes what the last one knew (`LastTerm`): nodes with their tokens, and active tasks, as far as they are missing and no
tombstone speaks against them. What is older than a minute is no longer believed: another scheduler may have led in between.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from clusterodm.libs.common.bus.retrying import Slices
from clusterodm.libs.common.clocks import Clock, Instant, read
from clusterodm.libs.common.errors import BusFailed, Conflict, Unreadable
from clusterodm.libs.common.messages.buckets import ENDED, NODES, TASKS, TOMBSTONES
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import IncarnationId, TaskId
from clusterodm.libs.common.ports import Bus, Reset
from clusterodm.libs.common.process.loops import Start
from clusterodm.services.scheduler.events import Signals
from clusterodm.services.scheduler.leadership import Leadership, repeated
from clusterodm.services.scheduler.records.core import TaskIndex, key_of
from clusterodm.services.scheduler.records.handlers.archive import Archive
from clusterodm.services.scheduler.records.handlers.node_store import NodeStore
from clusterodm.services.scheduler.records.handlers.task_store import TaskStore
from clusterodm.services.scheduler.records.ports import EndedIndex
from clusterodm.services.scheduler.registry.nodes import NodeRegistry

log = structlog.get_logger()

BELIEVED_S: Final = 60.0


@dataclass(frozen=True)
class Records:
    """What the stories are given of the records, and the clock by which they are written."""

    tasks: TaskStore
    nodes: NodeStore
    sync: "RecordSync"
    archive: Archive
    index: TaskIndex
    registry: NodeRegistry
    clock: Clock
    leadership: Leadership
    signals: Signals


async def open_records(  # noqa: PLR0913, PLR0917 the world, and what is kept of it
    bus: Bus,
    index: TaskIndex,
    registry: NodeRegistry,
    ended: EndedIndex,
    clock: Clock,
    leadership: Leadership,
    learn: Callable[[Task], None],
) -> Records:
    """Read what is active, oldest first, letting others have their turn. What is in no record (liveness, reservations) begins anew.

    `learn` is told of each completed task that is found in the archive.
    """
    signals = Signals()
    archive = Archive(await bus.bucket(ENDED), ended, index, registry, learn)
    buckets = await bus.bucket(TASKS), await bus.bucket(TOMBSTONES)
    tasks = TaskStore(index, *buckets, archive, clock, leadership, signals)
    nodes = NodeStore(registry, index, await bus.bucket(NODES), archive, clock, leadership, signals)
    sync = RecordSync(tasks, nodes)
    await sync.read_all()
    return Records(tasks, nodes, sync, archive, index, registry, clock, leadership, signals)


class RecordSync:
    """Keeps what is in memory no older than the records, and the records as this version writes them."""

    def __init__(self, tasks: TaskStore, nodes: NodeStore) -> None:
        self.outdated: list[TaskId] = []
        """Tasks whose records are as an older version wrote them."""
        self._tasks = tasks
        self._nodes = nodes
        self._index = tasks.index

    def loops(self) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return {"follow others": self.watch_others, "settle doubts": repeated(self.settle_doubts, "settle doubts")}

    async def read_all(self) -> None:
        """Read all nodes and active tasks. Raises BusFailed."""
        nodes = (await self._nodes.records.load()).values()
        for node in sorted(nodes, key=lambda entry: (entry.value.added_at_ms, entry.value.id)):
            self._nodes.read(node.value, node.revision)
        slices = Slices()
        tasks = await self._tasks.records.load()
        self._tasks.unreadable.update(map(TaskId, tasks.unreadable))
        for entry in sorted(tasks.values(), key=lambda entry: key_of(entry.value)):
            self._index.put(entry.value, entry.revision, read(self._tasks.clock))
            if self._index.tasks[entry.value.id] != entry.value:
                self.outdated.append(entry.value.id)
            await slices.turn()
        log.info("records.read", nodes=len(nodes), tasks=len(self._index.tasks), waiting=len(self._index.waiting))
        self._tasks.signals.capacity_freed.set()
        self._tasks.signals.changed.set()

    async def is_current(self, task: TaskId, revision: int, state: TaskState | None = None) -> bool:
        """Whether a record is still at a revision, and in a state. Others may see a write before we have its answer. Raises BusFailed."""
        if self._tasks.is_being_written(task) and (entry := await self._tasks.records.get(task)) is not None:
            known, at = entry.value, entry.revision
        elif task in self._index.tasks:
            known, at = self._index.tasks[task], self._index.revisions[task]
        elif (ended := await self._tasks.archive.find(task)) is not None:
            known, at = ended.task, ended.revision
        else:
            return False
        return at == revision and state in {None, known.state}

    async def settle(self, task: TaskId) -> None:
        """Wait until what is in memory is no older than what others may have seen. Raises BusFailed."""
        if self._tasks.is_being_written(task):
            entry = await self._tasks.records.get(task)
            if entry is not None and entry.revision > self._index.revisions.get(task, 0):
                self._tasks.apply(self._index.tasks.get(task), entry.value, entry.revision)

    async def settle_doubts(self) -> None:
        """Read again what was written without an answer."""
        for task in list(self._tasks.doubtful):
            async with self._tasks.holding(task):
                with contextlib.suppress(Unreadable):
                    await self._tasks.read_again(task)
        for task in list(self._tasks.twice):
            await self._tasks.drop_twin(task)

    async def renew(self, task: TaskId) -> None:
        """Write an active task's record as this version does; nothing else changes. Raises BusFailed."""
        async with self._tasks.holding(task):
            known = self._index.tasks.get(task)
            if known is None:
                return
            self._tasks.leadership.require()
            try:
                revision = await self._tasks.records.update(task, known, self._index.revisions[task])
            except Conflict:
                await self._tasks.read_again(task)
            except BusFailed:
                self._tasks.doubtful.add(task)
                raise
            else:
                self._index.rewritten(task, revision)

    async def forget_deleted(self) -> int:
        """Remove what deletions by older versions have left for ever; how many there were. Raises BusFailed."""
        return await self._tasks.records.forget_deleted() + await self._nodes.records.forget_deleted()

    async def watch_others(self) -> None:
        """Take in what somebody else has written, for ever. Our own writes come by here too, and are known already.

        A store that began anew under us is given what it lacks (`settle_doubts`).
        """
        async with self._tasks.records.watch_revisions() as changes:
            async for seen in changes:
                if isinstance(seen, Reset):
                    self._tasks.doubt_all()
                    continue
                task = TaskId(seen.key)
                has_changed = task in self._index.tasks or not seen.gone
                if has_changed and seen.revision > self._index.revisions.get(task, 0):
                    await self._read_changed(task, seen.revision)

    async def _read_changed(self, task: TaskId, revision: int) -> None:
        async with self._tasks.holding(task):
            if revision > self._index.revisions.get(task, 0):
                with contextlib.suppress(Unreadable):
                    await self._tasks.read_again(task)


class LastTerm:
    """What the last term of this process knew."""

    def __init__(self) -> None:
        self._incarnation: IncarnationId | None = None
        self._nodes: tuple[Node, ...] = ()
        self._tasks: tuple[Task, ...] = ()
        self._until: Instant | None = None

    def keep(self, incarnation: IncarnationId | None, records: Records) -> None:
        """Remember what a term knew that is over; of a store whose incarnation cannot be read nothing is given back."""
        self._incarnation = incarnation
        self._nodes = tuple(node.record for node in records.registry)
        self._tasks = tuple(records.index.tasks.values())
        self._until = records.clock.instant() + BELIEVED_S

    async def give_back(self, incarnation: IncarnationId | None, records: Records) -> None:
        """Write what is missing into a store that began anew. Raises BusFailed."""
        if self._is_of_use(incarnation, records.clock.instant()):
            missing = [node for node in self._nodes if records.registry.get(node.id) is None]
            for node in missing:
                await records.nodes.write(node.id, kept(node))
            count = sum([await written(records.tasks, task) for task in self._tasks])
            log.error("records.restored", nodes=len(missing), tasks=count)
        self._nodes, self._tasks, self._until = (), (), None

    def _is_of_use(self, incarnation: IncarnationId | None, now: Instant) -> bool:
        is_another = None not in {self._incarnation, incarnation} and self._incarnation != incarnation
        return is_another and self._until is not None and now <= self._until


def kept(node: Node) -> Callable[[Node | None], Node]:
    """Make the decision that writes a node unless there is one."""
    return lambda known: known or node


async def written(tasks: TaskStore, task: Task) -> bool:
    """Write a task that nobody knows and nobody has removed; whether that was so. Raises BusFailed."""
    async with tasks.holding(task.id):
        if await tasks.lookup(task.id) is not None or await tasks.tombstone(task.id) is not None:
            return False
        try:
            await tasks.create(task)
        except Conflict:
            return False
        return True
