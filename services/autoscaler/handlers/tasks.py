"""What the tasks' records say about nodes: which tasks are on one, which ran there, and which tasks wait.

The records are the scheduler's and are followed, not asked for: they are true the moment they are written, and a restart
reads them all again. Demand is told in snapshots, which may be a moment old: a task that is in one and whose record says
that it has found a node is not waiting (else each start of a task would ask for one machine too many).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from libs.common.messages import TASKS, DemandChanged, WaitingTask
from libs.common.model import Attempt, AttemptState, MachineId, NodeId, Task, TaskId, TaskState
from libs.common.ports import Bucket, Bus, Change
from services.autoscaler.core.planning import Load


@dataclass(frozen=True)
class Stay:
    """One attempt on a node."""

    machine: MachineId
    started_at_ms: int
    over: bool
    ran: bool


class Tasks:
    """All tasks, as far as machines depend on them."""

    def __init__(self, bucket: Bucket[Task], changed: Callable[[], None]) -> None:
        self._bucket = bucket
        self._changed = changed
        self._waiting: dict[TaskId, WaitingTask] = {}
        self._known: dict[TaskId, TaskState] = {}
        self._stays: dict[NodeId, dict[TaskId, Stay]] = {}
        """On nodes of machines only."""
        self._where: dict[TaskId, set[NodeId]] = {}
        self.complete = asyncio.Event()
        """All records have been read."""

    @classmethod
    async def open(cls, bus: Bus, changed: Callable[[], None]) -> "Tasks":
        """Open the bucket; `follow` has to run."""
        return cls(await bus.bucket(TASKS), changed)

    async def follow(self) -> None:
        """Keep up with the records, for ever."""
        async with self._bucket.watch() as changes:
            async for change in changes:
                if change is None:
                    self.complete.set()
                elif isinstance(change, Change):  # what cannot be read stays as it was; what began anew is told whole
                    self.take(change)

    def take(self, change: Change[Task]) -> None:
        """Learn of one task."""
        task_id = TaskId(change.key)
        before = (self._known.get(task_id), self._places(task_id))
        self._known.pop(task_id, None)
        self._waiting.pop(task_id, None)
        task = change.value
        if task is None or task.removed:
            self._leave(task_id)
        else:
            self._learn(task)
        if before != (self._known.get(task_id), self._places(task_id)):
            self._changed()

    def load(self, node: NodeId, machine: MachineId, *, online: bool, locked: bool) -> Load:
        """Say what a node has to do; only what was placed on its machine, for addresses are used again."""
        stays = {task: stay for task, stay in self._stays.get(node, {}).items() if stay.machine == machine}
        here = {task: stay for task, stay in stays.items() if not stay.over}
        uploading = [stay.started_at_ms for stay in here.values() if not stay.ran]
        return Load(
            tasks=tuple(sorted(here)),
            done=tuple(sorted(task for task, stay in stays.items() if stay.over and stay.ran)),
            running_count=len(here) - len(uploading),
            uploading_since_ms=min(uploading, default=None),
            online=online,
            locked=locked,
        )

    def waiting(self, demand: DemandChanged | None) -> Sequence[WaitingTask]:
        """List who waits, in the order of the queue: by the snapshot, and without one by the records."""
        if demand is None:
            return sorted(self._waiting.values(), key=lambda task: task.waiting_since_ms)
        return self.still_waiting(demand.waiting)

    def still_waiting(self, listed: Sequence[WaitingTask]) -> Sequence[WaitingTask]:
        """Leave out those that have found a node since they were listed, or have ended."""
        return [task for task in listed if self._known.get(task.task, TaskState.WAITING) is TaskState.WAITING]

    def machines(self) -> set[MachineId]:
        """Name the machines that tasks are or were on."""
        return {stay.machine for stays in self._stays.values() for stay in stays.values()}

    def forget(self, node: NodeId) -> None:
        """Drop what is known of a node whose machine has ended."""
        for task in self._stays.pop(node, {}):
            self._where[task].discard(node)
            if not self._where[task]:
                del self._where[task]

    def _learn(self, task: Task) -> None:
        self._known[task.id] = task.state
        if task.state is TaskState.WAITING:
            self._waiting[task.id] = waiting_task(task)
        for attempt in task.attempts:
            if attempt.machine is None:
                continue
            current = attempt is task.attempts[-1] and not task.state.ended
            self._stays.setdefault(attempt.node, {})[task.id] = stay(attempt, attempt.machine, current=current)
            self._where.setdefault(task.id, set()).add(attempt.node)

    def _leave(self, task: TaskId) -> None:
        for node in self._where.get(task, ()):
            known = self._stays[node][task]
            self._stays[node][task] = Stay(known.machine, known.started_at_ms, over=True, ran=known.ran)

    def _places(self, task: TaskId) -> dict[NodeId, Stay]:
        return {node: self._stays[node][task] for node in self._where.get(task, ())}


def stay(attempt: Attempt, machine: MachineId, *, current: bool) -> Stay:
    """Make of an attempt what machines depend on."""
    return Stay(
        machine,
        attempt.started_at_ms,
        over=not current or attempt.state is AttemptState.ENDED,
        ran=attempt.running_at_ms is not None,
    )


def waiting_task(task: Task) -> WaitingTask:
    """Make of a record what a snapshot of demand would say."""
    return WaitingTask(
        task=task.id,
        images_count=task.needed_count,
        size_bytes=task.size_bytes,
        waiting_since_ms=task.committed_at_ms,
        min_memory_bytes=task.min_memory_bytes,
        barred=tuple(attempt.machine for attempt in task.attempts if attempt.barred and attempt.machine),
    )
