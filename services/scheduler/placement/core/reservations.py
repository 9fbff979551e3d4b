"""Slots that are reserved, and who gets those that are free: the oldest task first, among those whose upload owners ask at this moment and can send.

One synchronous step, from the choice to the reservation. It looks at the oldest task of each lane (placement/core/lanes.py). The oldest of these
is served, or where there are tenants the oldest of the owner whose turn it is (placement/core/shares.py); where no open node takes it, none of its lane can be served, since open nodes only become fewer from here on. So it costs
what is placed and how many lanes there are, and not how many tasks wait.

An owner may have a limited number of tasks under way (`Quota`); what goes beyond it waits, and the others behind it are not held up.

Nobody starves: a task is passed over only when no open node takes it, or its upload owner or its owner has enough under way, or it is
better off elsewhere (placement/core/foresight.py, placement/core/supply.py). None behind it can get a node that it could have used.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.tasks import AttemptState, Task, TaskState
from clusterodm.libs.common.model.values import NodeId, Owner, TaskId
from clusterodm.services.scheduler.placement.core.foresight import BusySlot, Foresight
from clusterodm.services.scheduler.placement.core.lanes import LaneKind, WaitingLane, WaitingLanes
from clusterodm.services.scheduler.placement.core.shares import FairShares, OwnersInTurn
from clusterodm.services.scheduler.placement.core.supply import Supply
from clusterodm.services.scheduler.records.core import Key, TaskIndex
from clusterodm.services.scheduler.registry.node_state import UNDER_WAY, NodeState
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.proxies import ProxyRegistry
from clusterodm.services.scheduler.registry.ranking import Placement, need_of


@dataclass(frozen=True)
class Reservation:
    """A slot that is kept for a waiting task from the choice until its attempt is written down."""

    task: TaskId
    node: NodeId
    reason: str


def fits(ahead: StagedFiles, task: Task, made: Reservation) -> bool:
    """Whether an attempt can go on with what was sent ahead: it is on this node, and no attempt has had that id before."""
    return ahead.node == made.node and all(each.node_task_id != ahead.node_task_id for each in task.attempts)


def has_left(before: Task, after: Task | None) -> bool:
    """Whether a task waits no more, or is no longer in doubt, without having been placed."""
    in_doubt = before.attempt is not None and before.attempt.state is AttemptState.UNCERTAIN
    waited = before.state is TaskState.WAITING or (before.state is TaskState.FORWARDING and in_doubt)
    return waited and (after is None or after.removed or after.state not in {TaskState.WAITING, TaskState.FORWARDING})


Heads = list[tuple[Key, WaitingLane]]
"""The oldest task of each of some lanes, as a heap."""


class Quota:
    """How many tasks each owner may have under way, reserved slots included. 0: any number."""

    def __init__(self, limit_count: int = 0, shares: FairShares | None = None) -> None:
        self.limit_count = limit_count
        """Of every owner."""
        self._shares = FairShares() if shares is None else shares
        self._under_way: dict[Owner, set[TaskId]] = {}

    @property
    def limits_any(self) -> bool:
        """Whether anybody has a limit."""
        return bool(self.limit_count) or self._shares.are_limited

    def limit_of(self, owner: Owner) -> int:
        """Say how many an owner may have; 0: any number."""
        return min(filter(None, (self.limit_count, self._shares.limit_count(owner))), default=0)

    def used_count(self, owner: Owner) -> int:
        """Say how many of an owner's tasks are under way."""
        return len(self._under_way.get(owner, ()))

    def left_count(self, owner: Owner) -> float:
        """Say how many more may begin."""
        limit_count = self.limit_of(owner)
        return max(0, limit_count - self.used_count(owner)) if limit_count else inf

    def take(self, owner: Owner, task: TaskId) -> None:
        """Count a task that is under way or has a slot reserved; counted once however often."""
        self._under_way.setdefault(owner, set()).add(task)

    def give_back(self, owner: Owner, task: TaskId) -> None:
        """Count it no more."""
        tasks = self._under_way.get(owner, set())
        tasks.discard(task)
        if not tasks:
            self._under_way.pop(owner, None)

    def task_changed(self, before: Task | None, after: Task | None, *, reserved: bool) -> None:
        """Count a task while it is under way or has a slot reserved."""
        if after is not None and after.state in UNDER_WAY:
            self.take(after.owner, after.id)
        elif before is not None and not reserved:
            self.give_back(before.owner, before.id)


class Walk:
    """One walk of the queue."""

    def __init__(  # noqa: PLR0913, PLR0917 everything that it depends on
        self,
        tasks: Mapping[TaskId, Task],
        registry: NodeRegistry,
        upload_owners: ProxyRegistry,
        quota: Quota,
        may: Callable[[Task], bool],
        defers: Callable[[Task, NodeState], bool],
        shares: FairShares,
    ) -> None:
        self._shares = shares
        self._tasks = tasks
        self._registry = registry
        self._proxies = upload_owners
        self._quota = quota
        self._may = may
        """Whether a task may be placed now."""
        self._defers = defers
        """Whether a task should wait although a slot is free for it."""

    def reserve_all(self, lanes: WaitingLanes, reserve: Callable[[Task, Placement], None]) -> None:
        """Give out what is free. `reserve` must take the slot, and the task out of its lane, before it returns."""
        if not self._registry.open.has_room:
            return
        owners, turns = self._heads(lanes), OwnersInTurn(self._shares)
        for owner, heads in owners.items():
            turns.put(owner, self._first_of(heads))
        passed_over: set[LaneKind] = set()
        while turns and self._registry.open.has_room:
            owner = turns.pop()
            self._next_of(owners[owner], passed_over, reserve)
            if owners[owner]:
                turns.put(owner, self._first_of(owners[owner]))

    def _first_of(self, heads: Heads) -> Task:
        return self._tasks[heads[0][0][1]]

    def _heads(self, lanes: WaitingLanes) -> dict[Owner, Heads]:
        """Find the oldest task of each lane whose upload owner asks and can send; a heap for each owner."""
        found: dict[Owner, Heads] = {}
        for upload_owner in self._proxies.polling():
            if self._proxies.room_count(upload_owner):
                for lane in lanes.of_upload_owner(upload_owner):
                    if key := lane.order.first():
                        found.setdefault(lane.id.owner, []).append((key, lane))
        for heads in found.values():
            heapify(heads)
        return found

    def _next_of(self, heads: Heads, passed_over: set[LaneKind], reserve: Callable[[Task, Placement], None]) -> None:
        """Serve the oldest of an owner's tasks, if it can be."""
        key, lane = heappop(heads)
        if lane.id.kind in passed_over or not self._may_send(self._tasks[key[1]]):
            return
        if not self._serve(self._tasks[key[1]], reserve):
            passed_over.add(lane.id.kind)
        elif following := lane.order.next_after(key):
            heappush(heads, (following, lane))

    def _may_send(self, task: Task) -> bool:
        return self._proxies.room_count(task.upload_owner) > 0 and self._quota.left_count(task.owner) > 0

    def _serve(self, task: Task, reserve: Callable[[Task, Placement], None]) -> bool:
        """Serve one task if it can be; whether there is a node at all that takes such a task."""
        if self._may(task):
            choice = self._registry.open.choose(need_of(task))
            if choice is None:
                return False
            if not self._defers(task, choice.node):
                reserve(task, choice)
                self._shares.served(task)
        return True


class Reservations:
    """The slots that are kept for waiting tasks, and who gets the next ones."""

    def __init__(  # noqa: PLR0913, PLR0917 everything that a choice depends on
        self,
        index: TaskIndex,
        nodes: NodeRegistry,
        proxies: ProxyRegistry,
        quota: Quota,
        queue: WaitingLanes,
        foresight: Foresight,
        supply: Supply,
        shares: FairShares,
    ) -> None:
        self._shares = shares
        self.made: dict[TaskId, Reservation] = {}
        self._index = index
        self._nodes = nodes
        self._proxies = proxies
        self._quota = quota
        self._queue = queue
        self._foresight = foresight
        self._supply = supply

    def has(self, before: Task | None, after: Task | None) -> bool:
        """Whether a slot is kept for a task that changes."""
        task = after or before
        return task is not None and task.id in self.made

    def reserve_all(self, now: Instant) -> list[Reservation]:
        """Reserve what is free for those who ask, the oldest task first."""
        made: list[Reservation] = []
        tasks = self._index.tasks
        self._queue.fit(self._nodes.limits, tasks, self._nodes.admissions.apart)
        walk = Walk(tasks, self._nodes, self._proxies, self._quota, self._may(now), self._defers(now), self._shares)
        walk.reserve_all(self._queue, lambda task, choice: made.append(self._reserve(task, choice)))
        return made

    def reserve_one(self, task: Task, now: Instant) -> Reservation | None:
        """Reserve a slot for this task, whether its upload owner can send any more or not; the reservation, if there is room."""
        if not self._may(now)(task) or not self._quota.left_count(task.owner) or task.id in self.made:
            return None
        choice = self._nodes.open.choose(need_of(task))
        if choice is None or self._defers(now)(task, choice.node):
            return None
        self._shares.served(task)
        return self._reserve(task, choice)

    def release(self, task_id: TaskId) -> None:
        """Give a reservation up; nothing happens when there is none."""
        made = self.made.pop(task_id, None)
        if made is None:
            return
        task = self._index.tasks[task_id]
        self._nodes.unreserve(made.node, task_id)
        if task.state is TaskState.WAITING:
            self._queue.add(task)
            self._shares.gave_back(task)
        if task.state not in UNDER_WAY:
            self._quota.give_back(task.owner, task_id)
            self._proxies.give_back(task.upload_owner, task_id)

    def release_on(self, node: NodeId) -> None:
        """Give up what is reserved on a node that takes no more tasks."""
        for task in [each.task for each in self.made.values() if each.node == node]:
            self.release(task)

    def task_changed(self, before: Task | None, after: Task | None) -> None:
        """Free the slot of a task that waits no more. Whoever counts it hears of that by itself."""
        if before is None or (after is not None and after.state is TaskState.WAITING):
            return
        if made := self.made.pop(before.id, None):
            self._nodes.unreserve(made.node, before.id)

    def _may(self, now: Instant) -> Callable[[Task], bool]:
        return lambda task: self._index.not_before.get(task.id, now) <= now

    def _defers(self, now: Instant) -> Callable[[Task, NodeState], bool]:
        plan = self._foresight.plan(lambda: self._busy(now), self._queue.images_count, now)
        return lambda task, node: (
            self._supply.is_for_another(task.id, node.record.machine, now) or plan.defers(task, node)
        )

    def _busy(self, now: Instant) -> Iterator[BusySlot]:
        """Go through the slots that tasks of ours use, or that are reserved."""
        index = self._index
        begun = [*index.began.items(), *((task, forwarding.began) for task, forwarding in index.forwarding.items())]
        for task_id, began in begun:
            task = index.tasks[task_id]
            if node := self._nodes.get(task.attempts[-1].node):
                yield BusySlot(node, task.images_count or 0, began)
        for each in self.made.values():
            if node := self._nodes.get(each.node):
                yield BusySlot(node, index.tasks[each.task].images_count or 0, now)

    def _reserve(self, task: Task, choice: Placement) -> Reservation:
        made = self.made[task.id] = Reservation(task.id, choice.node.id, choice.reason)
        self._nodes.reserve(choice.node.id, task.id)
        self._quota.take(task.owner, task.id)
        self._proxies.take(task.upload_owner, task.id)
        self._nodes.open.take_turn(choice.node)
        self._queue.discard(task)
        return made
