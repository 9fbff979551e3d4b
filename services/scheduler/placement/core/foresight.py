"""Leaves a slow slot free when a task ends earlier by waiting for a faster one.

The queue is walked in its order. For each task the free slot that it would get (registry/ranking.py) is compared with the busy slots of
faster nodes: when should they be free, and when would the task end there? If that is earlier, the task is *deferred*, and
takes that slot in thought, so that the next task sees it taken. What is free now goes, as ever, to the oldest that
is better off there than elsewhere.

* As long as the queue holds far more work (`BACKLOG`) than the faster slots could do before the slow one would be done with its
  task, somebody will have to take the slow one: then the oldest does, and nothing is deferred. So all slots work until the end
  is near, and only then there is anything to plan.
* A task is deferred no longer than it would have taken on the slot that it was first deferred from; after that it takes what
  is free. So nobody starves, however wrong the guesses are.
* Nothing is deferred when no pace is known, or its images are not, or it asks for a graphics card, or it has been tried before: where it failed, it should not
  wait to go again. Nor from a rented machine, which is paid for, and would be given back unused.
* A slot is free for it: the autoscaler need not provide another (demand/core.py).

A running task should end when its images have taken as long as is usual at its node's pace; one that is late is taken to go on for a
while yet (`LATE`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import heapify, heapreplace
from typing import Final, NamedTuple

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.scheduler.placement.core.pace import Paces
from clusterodm.services.scheduler.registry.admissions import NodeAdmission
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.ranking import limit_of

BACKLOG: Final = 1.5
"""Nothing is deferred while faster slots have work for so many times as long as the slow one would take."""
LATE: Final = 0.2
"""A task that should have ended goes on for so much of the time that it has been running."""


class BusySlot(NamedTuple):
    """A slot that a task of ours uses."""

    node: NodeState
    images_count: int
    began: Instant


BusyKind = tuple[int, float, NodeAdmission]
BusySlots = tuple[float, float, list[float], NodeAdmission]
"""Busy slots of nodes that are alike: their limit of images, how long an image takes, in how many milliseconds each slot should be free, and for whom."""


@dataclass(frozen=True)
class Deferral:
    """Why a task was deferred."""

    declined: NodeState
    """Where a slot is free for it."""

    @property
    def reason(self) -> str:
        """Say it in words."""
        return f"it should end earlier on a faster node that is busy now than on {self.declined.record.name}, which is free"


class Foresight:
    """What is known of speeds, and who is deferred."""

    def __init__(self, registry: NodeRegistry, *, enabled: bool = True) -> None:
        self.paces = Paces()
        self.deferred: dict[TaskId, Deferral] = {}
        """Since the last walk."""
        self._judged: dict[TaskId, Deferral] = {}
        """What the last walk that looked at a task found: none does while its upload owner has no question open."""
        self._registry = registry
        self._enabled = enabled
        self._until: dict[TaskId, Instant] = {}
        """How long each task that was ever deferred may be."""

    def learn(self, task: Task) -> None:
        """Take in a task that was completed."""
        last = task.attempt
        if not self._enabled or last is None or task.known is None or self._registry.get(last.node) is None:
            return
        ended_ms = task.ended_at_ms or 0
        took_ms = task.known.processing_time_ms
        if took_ms <= 0:
            took_ms = max(0, ended_ms - (last.running_at_ms or ended_ms))
        self.paces.learn(last.node, task.images_count or 0, took_ms, ended_ms)

    def forget(self, task: TaskId) -> None:
        """Forget a task that waits no more."""
        self._until.pop(task, None)
        self.deferred.pop(task, None)
        self._judged.pop(task, None)

    def task_changed(self, before: Task | None, after: Task | None) -> None:
        """Forget who waits no more, and learn from what was completed."""
        if before is not None and (after is None or after.state is not TaskState.WAITING):
            self.forget(before.id)
        was_completed = before is not None and before.state is TaskState.COMPLETED
        if after is not None and after.state is TaskState.COMPLETED and not was_completed:
            self.learn(after)

    def plan(self, busy: Callable[[], Iterable[BusySlot]], waiting_images_count: int, now: Instant) -> "DeferralPlan":
        """Begin a walk of the queue."""
        for node_id, pace in list(self.paces.changes()):
            if node := self._registry.get(node_id):
                self._registry.set_pace(node, pace)
            else:
                self.paces.forget(node_id)
        self.deferred.clear()
        return DeferralPlan(self, busy, waiting_images_count, now)

    def may_defer(self, task: Task, free: NodeState, now: Instant) -> bool:
        """Whether there is any sense in deferring a task although a slot is free."""
        if not self.paces.typical_ms or not task.images_count or task.attempts or task.gpu:
            return False
        if free.free_count == 0 or free.record.machine is not None:
            return False
        return task.id not in self._until or now < self._until[task.id]

    def defer(self, task: TaskId, free: NodeState, until: Instant) -> None:
        """Note that a task is deferred."""
        self.deferred[task] = self._judged[task] = Deferral(free)
        self._until.setdefault(task, until)

    def not_deferred(self, task: TaskId) -> None:
        """Note that a task was looked at and is not deferred."""
        self._judged.pop(task, None)

    def why_deferred(self, task: TaskId) -> Deferral | None:
        """Say why a task was deferred when it was last looked at, as long as the slot that it declined is free; None: it was not."""
        judged = self._judged.get(task)
        return judged if judged and judged.declined.usable and judged.declined.free_count else None

    def images_per_ms(self, below: int) -> float:
        """Say how much work all slots of a faster pace do."""
        slots = self._registry.open.slots.counts
        return sum(count / self.paces.ms_per_image(pace) for pace, count in slots.items() if pace < below)


class DeferralPlan:
    """One walk: which busy slots have been taken in thought."""

    def __init__(
        self, foresight: Foresight, busy: Callable[[], Iterable[BusySlot]], waiting_images_count: int, now: Instant
    ) -> None:
        self._foresight = foresight
        self._paces = foresight.paces
        self._busy = busy
        self._waiting_images_count = waiting_images_count
        self._now = now
        self._slots: dict[BusyKind, list[float]] | None = None
        """In how many milliseconds busy slots should be free, by pace, limit of images, and for whom they are; a heap each."""
        self._faster: dict[int, list[BusySlots]] = {}
        self._rates: dict[int, float] = {}

    def defers(self, task: Task, free: NodeState) -> bool:
        """Whether a task should wait although a slot is free; then it has taken a busy one in thought."""
        deferred = self._ends_earlier_elsewhere(task, free)
        if not deferred:
            self._foresight.not_deferred(task.id)
        return deferred

    def _ends_earlier_elsewhere(self, task: Task, free: NodeState) -> bool:
        images_count = task.images_count or 0
        if not self._foresight.may_defer(task, free, self._now):
            return False
        alone_ms = images_count * self._paces.ms_per_image(free.pace)
        rate = self._rate_below(free.pace)
        if not rate or self._waiting_images_count / rate >= alone_ms * BACKLOG:
            return False
        if not self._takes_in_thought(task, free.pace, alone_ms):
            return False
        self._foresight.defer(task.id, free, self._now + alone_ms / 1000)
        return True

    def _rate_below(self, pace: int) -> float:
        if pace not in self._rates:
            self._rates[pace] = self._foresight.images_per_ms(pace)
        return self._rates[pace]

    def _takes_in_thought(self, task: Task, below: int, before_ms: float) -> bool:
        best_ms, best = before_ms, None
        images_count = task.images_count or 0
        for limit, image_ms, heap, admission in self._busy_below(below):
            end_ms = heap[0] + images_count * image_ms
            if end_ms < best_ms and images_count <= limit and admission.admits(task.owner):
                best_ms, best = end_ms, heap
        if best is not None:
            heapreplace(best, best_ms)
        return best is not None

    def _busy_below(self, pace: int) -> list[BusySlots]:
        """List the busy slots of faster nodes."""
        if pace not in self._faster:
            slots = self._busy_now().items()
            self._faster[pace] = [
                (limit, self._paces.ms_per_image(of), heap, admission)
                for (of, limit, admission), heap in slots
                if of < pace
            ]
        return self._faster[pace]

    def _busy_now(self) -> dict[BusyKind, list[float]]:
        if self._slots is None:
            self._slots = {}
            for slot in self._busy():
                if slot.node.usable and slot.images_count > 0:
                    heap = self._slots.setdefault((slot.node.pace, limit_of(slot.node), slot.node.admission), [])
                    heap.append(self._free_in_ms(slot))
            for heap in self._slots.values():
                heapify(heap)
        return self._slots

    def _free_in_ms(self, slot: BusySlot) -> float:
        so_far_ms = (self._now - slot.began) * 1000
        usual_ms = slot.images_count * self._paces.ms_per_image(slot.node.pace)
        return max(usual_ms - so_far_ms, so_far_ms * LATE)
