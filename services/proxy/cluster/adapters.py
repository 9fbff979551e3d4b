"""Mirrors of what the scheduler publishes: tasks, nodes, totals, options; and of the machines. Polls are answered from here.

Of tasks only the active ones are here: those that have ended are read where the scheduler keeps them, when somebody asks
(`ArchivedTasks`).

Each mirror follows one bucket and keeps, per key, the value with the highest revision it has seen. A deleted key leaves its
revision behind as a tombstone for a while, so that an older value that arrives late cannot bring it back. The
mirrors go on answering while NATS is away; they are what it last said.

Of the ended tasks those that were asked for last are here (`ArchivedTasks`). What is remembered is read again after a while, and forgotten as soon as the
task is seen among the active ones: it may have been run again, or be about to be removed. A record that was read before that, and comes late, does not
count either: `take` is told which revision of the task was seen last.
"""

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from clusterodm.libs.common.bus.mirror import Mirror, Value
from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.messages.buckets import (
    ENDED,
    MACHINES,
    NODES,
    OBSERVATIONS,
    OPTIONS,
    SUMMARY,
    SUMMARY_KEY,
    TASKS,
)
from clusterodm.libs.common.messages.kinds import BucketName
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node, NodeOption, ReferenceOptions
from clusterodm.libs.common.model.tasks import Attempt, Ended, Observation, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.ports import Bucket, Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.process.loops import background
from clusterodm.services.proxy.cluster.core import InputsElsewhere

MOST_COUNT: Final = 1_000
GOOD_FOR_S: Final = 60.0


class ArchivedTasks:
    """Records by task, those asked for last."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._records: OrderedDict[TaskId, tuple[TaskRecord, Instant]] = OrderedDict()

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


class ClusterMirror:
    """All mirrors; implements ports.Cluster."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._archived = ArchivedTasks(clock or SystemClock())
        self._ended: Bucket[Ended] | None = None
        self._tasks: Mirror[Task] = Mirror(TASKS.name, self._task_changed)
        self._observed: Mirror[Observation] = Mirror(OBSERVATIONS.name, self._seen_changed)
        self._shown: dict[TaskId, Task] = {}
        """Running tasks with what their nodes last said of them."""
        self._nodes: Mirror[Node] = Mirror(NODES.name)
        self._summary: Mirror[ClusterSummary] = Mirror(SUMMARY.name)
        self._options: Mirror[ReferenceOptions] = Mirror(OPTIONS.name)
        self._machines: Mirror[Machine] = Mirror(MACHINES.name)
        self._nothing = ClusterSummary()
        self._kept = InputsElsewhere()
        self._attempts: dict[NodeTaskId, Attempt] = {}
        """By the ids that tasks have on their nodes."""
        self._order: list[tuple[int, TaskId]] = []
        """All tasks in the order of their commits."""
        self._queue: list[tuple[int, TaskId]] = []
        """The waiting ones."""
        self._listeners: list[Callable[[TaskId], None]] = []

    @property
    def ready(self) -> bool:
        """Whether everything has been loaded once, but for what may be lost."""
        mirrors = (self._tasks, self._nodes, self._summary, self._options, self._machines)
        return all(mirror.loaded.is_set() for mirror in mirrors)

    @property
    def resets_count(self) -> int:
        """How often KV `tasks` began anew."""
        return self._tasks.resets_count

    def task(self, task: TaskId) -> TaskRecord | None:
        """Look up the last known record."""
        entry = self._tasks.values.get(task)
        if entry is None:
            return self._archived.get(task)
        return TaskRecord(task=self._shown.get(task, entry[0]), revision=entry[1])

    async def recall(self, task: TaskId) -> TaskRecord | None:
        """Look for an ended task where these are kept. Raises BusFailed."""
        entry = await self._ended.get(task) if self._ended else None
        if entry is not None:
            self.learn(TaskRecord(task=entry.value.task, revision=entry.value.revision, archived=True))
        return self.task(task)

    def on_task(self, listener: Callable[[TaskId], None]) -> None:
        """Call `listener` after every change of a task."""
        self._listeners.append(listener)

    def node(self, node: NodeId) -> Node | None:
        """Look up a node."""
        return self._nodes.get(node)

    def attempt(self, node_task: NodeTaskId) -> Attempt | None:
        """Look up an attempt."""
        return self._attempts.get(node_task)

    def machine(self, machine: MachineId) -> Machine | None:
        """Look up a machine."""
        return self._machines.get(machine)

    def machines(self) -> Iterable[Machine]:
        """List the machines."""
        return (machine for machine, _ in self._machines.values.values())

    def summary(self) -> ClusterSummary:
        """Say the totals; the same object until they change."""
        return self._summary.get(SUMMARY_KEY) or self._nothing

    def options(self) -> tuple[NodeOption, ...]:
        """List the options last seen on a node."""
        reference = self._options.get(SUMMARY_KEY)
        return reference.options if reference else ()

    def tasks(self) -> Iterable[Task]:
        """List the active tasks in the order of their commits."""
        return (self._tasks.values[task][0] for _, task in self._order)

    def stored_bytes(self, owner: Owner, but: InstanceId) -> int:
        """Say what an owner's inputs take at all proxies but one."""
        return self._kept.elsewhere(owner, but)

    def position(self, task: Task) -> int:
        """Say a waiting task's place in the queue."""
        return bisect_left(self._queue, place(task)) + 1

    def learn(self, record: TaskRecord) -> None:
        """Take over an answer of the scheduler."""
        if record.archived:
            if record.task.id not in self._tasks.values:
                self._archived.take(record, self._tasks.newest(record.task.id))
            return
        self._tasks.take(record.task.id, record.task, record.revision)

    def forget(self, task: TaskId) -> None:
        """Drop a removed task."""
        self._archived.drop(task)
        self._tasks.forget(task)

    def _task_changed(self, key: str, old: Task | None, new: Task | None) -> None:
        self._archived.drop(TaskId(key))
        if old is None or new is None or place(old) != place(new):
            shift(self._order, old, new)
        shift(self._queue, old if waits(old) else None, new if waits(new) else None)
        self._kept.change(old, new)
        for attempt in old.attempts if old else ():
            self._attempts.pop(attempt.node_task_id, None)
        self._attempts.update((attempt.node_task_id, attempt) for attempt in (new.attempts if new else ()))
        self._show(TaskId(key), new)
        for listener in self._listeners:
            listener(TaskId(key))

    def _seen_changed(self, key: str, _old: Observation | None, new: Observation | None) -> None:
        """Show what was seen. That it is gone means nothing: it goes after its run is over."""
        if new is not None:
            self._show(TaskId(key), self._tasks.get(key))

    def _show(self, key: TaskId, task: Task | None) -> None:
        shown = task.with_seen(self._observed.get(key)) if task else None
        if shown is None or shown is task:
            self._shown.pop(key, None)
        else:
            self._shown[key] = shown

    async def watch(self, bus: Bus, stack: AsyncExitStack) -> None:
        """Start to watch all buckets; they stop with the stack."""
        self._ended = await bus.bucket(ENDED)
        await self._start(bus, stack, TASKS, self._tasks)
        await self._start(bus, stack, OBSERVATIONS, self._observed)
        await self._start(bus, stack, NODES, self._nodes)
        await self._start(bus, stack, SUMMARY, self._summary)
        await self._start(bus, stack, OPTIONS, self._options)
        await self._start(bus, stack, MACHINES, self._machines)

    async def _start(self, bus: Bus, stack: AsyncExitStack, name: BucketName[Value], mirror: Mirror[Value]) -> None:
        bucket = await bus.bucket(name)
        await stack.enter_async_context(background(lambda: mirror.watch(bucket), name=f"mirror {name.name}"))


def waits(task: Task | None) -> bool:
    """Whether a task is in the queue."""
    return task is not None and task.state is TaskState.WAITING and not task.removed


def place(task: Task) -> tuple[int, TaskId]:
    """Say what orders tasks: when they were committed."""
    return task.committed_at_ms, task.id


def shift(ordered: list[tuple[int, TaskId]], old: Task | None, new: Task | None) -> None:
    """Replace one entry of an ordered list."""
    if old is not None:
        at = bisect_left(ordered, place(old))
        if at < len(ordered) and ordered[at] == place(old):
            del ordered[at]
    if new is not None:
        insort(ordered, place(new))


@asynccontextmanager
async def mirrored(bus: Bus) -> AsyncIterator[ClusterMirror]:
    """Follow the scheduler's buckets while the context is open."""
    cluster = ClusterMirror()
    async with AsyncExitStack() as stack:
        await cluster.watch(bus, stack)
        yield cluster
