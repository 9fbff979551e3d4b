"""When waiting tasks should begin: the queue is played ahead, on the slots as they should get free.

Slots that are alike (limit of images, memory, pace or size of machine, price) lie in one heap, each with the moment when it should have room and how far
that may be off (a variance). Whose turn it is says a copy of placement/core/shares.py; each task takes the slot that has room first of those that
take it, and gives it back so much later as it should take. Tasks of an owner that has enough under way are taken up again when one of its own ends. Machines that are on
their way are slots from when they should be there.

So a walk costs waiting tasks times kinds of slots. It is a generator, so that whoever walks can let others go first in between; what has begun
or left meanwhile is passed over. It decides nothing: placement/core/reservations.py does, with what is free at that moment.

No estimate is made for tasks that nothing known would take, or whose proxy is away.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from math import inf, sqrt
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.run_times import NORMAL_HIGH, Range, Workload, workload_of
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.placement.core.foresight import BACKLOG
from clusterodm.services.scheduler.placement.core.shares import OwnersInTurn
from clusterodm.services.scheduler.placement.core.slot_times import SlotKind, SlotRoom, sending_ms, speed_factor
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.ranking import limit_of

COMMON, FEW = 0.1, 1.2
"""So much of a wait it may be off besides, whatever is known of each task, for all of them may err to one side; and so much more while only one
is known, less with the root of how many are."""
LEAST_S, LEAST_PART = 2.0, 0.1
"""And so much at least, seconds and part of the task's own time: others come meanwhile."""
FOREIGN: Final = Workload(images_count=100)
"""What a task of others that a node has is taken for."""
PIECE_COUNT: Final = 20


@dataclass(frozen=True)
class WaitEstimate:
    """When a task should begin, and where."""

    start: Instant
    deviation_s: float
    kind: SlotKind


@dataclass(eq=False)
class OwnersTasks:
    """The waiting tasks of one owner, or of all where nobody is told apart."""

    owner: Owner
    tasks: list[TaskId] = field(default_factory=list)
    """The last one is next."""
    limit_count: int = 0
    ends_s: list[float] = field(default_factory=list)
    """When those that are under way should end; a heap."""

    @property
    def may_s(self) -> float:
        """When another may begin."""
        return self.ends_s[0] if self.limit_count and len(self.ends_s) >= self.limit_count else 0.0

    def begins(self, end_s: float) -> None:
        """Count one that begins."""
        if self.limit_count:
            (heapreplace if len(self.ends_s) >= self.limit_count else heappush)(self.ends_s, end_s)


class QueueForecast:
    """One walk."""

    def __init__(self, state: ClusterState, now: Instant) -> None:
        self.found: dict[TaskId, WaitEstimate] = {}
        self._state = state
        self.now = now
        self._times = state.slot_times
        self._mean_factor = self._times.times.errors.mean_factor()
        self._common = COMMON + FEW / sqrt(1 + len(self._times.times.errors.kept))
        self._part_off = self._times.times.errors.spread() / self._mean_factor
        self._rooms: dict[SlotKind, list[SlotRoom]] = {}
        self._shares = state.shares.copy()
        self._apart = bool(state.shares) or state.quota.limits_any
        self._owners: dict[Owner, OwnersTasks] = {}
        self._turns = OwnersInTurn(self._shares)
        self._rates: dict[int, float] = {}
        self._images_count = state.queue.images_count
        """Of those whose turn has not come."""
        self._held: list[tuple[float, Owner]] = []
        """Owners that have enough under way, and until when."""

    def walk(self) -> Iterator[None]:
        """Do it, piece by piece; nothing is found while nothing was learned."""
        if not self._times.is_known:
            return
        yield from self._line_up()
        yield from self._find_rooms()
        for heads in self._owners.values():
            self._turn_of(heads)
        count = 0
        while self._rooms and (owner := self._next()):
            self._serve(owner)
            count += 1
            if count % PIECE_COUNT == 0:
                yield

    # --- who waits -------------------------------------------------------------------------------------------------

    def _line_up(self) -> Iterator[None]:
        index, away = self._state.index, self._state.proxies.away
        for number, task_id in enumerate(reversed(list(index.by_place))):
            if number % (PIECE_COUNT * 10) == 0:
                yield
            task = index.tasks.get(task_id)
            if task is not None and task.upload_owner not in away and task_id not in self._state.reservations.made:
                self._of(task.owner).tasks.append(task_id)

    def _of(self, owner: Owner) -> OwnersTasks:
        name = owner if self._apart else Owner("")
        if name not in self._owners:
            self._owners[name] = OwnersTasks(name, limit_count=self._state.quota.limit_of(name) if self._apart else 0)
        return self._owners[name]

    def _turn_of(self, owner: OwnersTasks) -> None:
        """Let an owner take its turn with its next task that still waits."""
        while owner.tasks:
            task = self._waiting(owner.tasks[-1])
            if task is not None:
                self._turns.put(owner.owner, task)
                return
            owner.tasks.pop()

    def _waiting(self, task_id: TaskId) -> Task | None:
        task = self._state.index.tasks.get(task_id)
        return task if task is not None and task_id in self._state.queue else None

    def _next(self) -> OwnersTasks | None:
        """Find whose turn it is."""
        soonest_s = min(rooms[0].free_s for rooms in self._rooms.values())
        while self._turns or self._held:
            if self._held and (not self._turns or self._held[0][0] <= soonest_s):
                return self._owners[heappop(self._held)[1]]
            owner = self._owners[self._turns.pop()]
            if owner.may_s <= soonest_s:
                return owner
            heappush(self._held, (owner.may_s, owner.owner))
        return None

    def _serve(self, owner: OwnersTasks) -> None:
        task = self._waiting(owner.tasks.pop())
        kind = self._kind_for(task) if task else None
        self._images_count -= (task.images_count or 0) if task else 0
        if task is not None and kind is not None:
            self._put(task, kind, owner)
            self._shares.served(task)
        self._turn_of(owner)

    # --- on which slots --------------------------------------------------------------------------------------------

    def _kind_for(self, task: Task) -> SlotKind | None:
        """Choose the slot that has room first; where a node had too little memory, one with more if there is any."""
        fitting = [
            (
                (0 < task.min_memory_bytes >= kind.memory_bytes, rooms[0].free_s, kind.shared, kind.pace, kind.limit),
                kind,
            )
            for kind, rooms in self._rooms.items()
            if kind.takes(task)
        ]
        if not fitting:
            return None
        first = min(fitting)[1]
        return self._deferred_for(task, first, [kind for _, kind in fitting]) if self._may_defer(task, first) else first

    def _may_defer(self, task: Task, first: SlotKind) -> bool:
        """Whether it might wait for a faster slot (placement/core/foresight.py): unless those have work for long."""
        paces = self._state.foresight.paces
        if first.size or not task.images_count or not paces.typical_ms:
            return False
        if first.pace not in self._rates:
            self._rates[first.pace] = self._state.foresight.images_per_ms(first.pace)
        rate = self._rates[first.pace]
        alone_ms = task.images_count * paces.ms_per_image(first.pace)
        return rate > 0 and self._images_count / rate < alone_ms * BACKLOG

    def _deferred_for(self, task: Task, first: SlotKind, fitting: list[SlotKind]) -> SlotKind:
        load = workload_of(task)

        def end_s(kind: SlotKind) -> float:
            return self._rooms[kind][0].free_s + self._held_ms(load, kind) / 1000

        return min((kind for kind in fitting if kind is first or kind.pace < first.pace), key=end_s)

    def _put(self, task: Task, kind: SlotKind, owner: OwnersTasks) -> None:
        room = self._rooms[kind][0]
        back_off_s = self._state.index.not_before.get(task.id, self.now) - self.now
        start_s = max(room.free_s, owner.may_s, back_off_s, 0.0)
        takes_s = self._held_ms(workload_of(task), kind) / 1000
        variance = room.variance + (takes_s * self._part_off) ** 2
        heapreplace(self._rooms[kind], SlotRoom(start_s + takes_s, variance))
        owner.begins(start_s + takes_s)
        deviation_s = sqrt(room.variance + (self._common * start_s) ** 2 + (LEAST_S + LEAST_PART * takes_s) ** 2)
        self.found[task.id] = WaitEstimate(self.now + start_s, deviation_s, kind)

    def _held_ms(self, load: Workload, kind: SlotKind) -> float:
        expected_ms = self._times.times.expected_ms(load, kind.size)
        return expected_ms * speed_factor(kind.pace, kind.size) * self._mean_factor

    def _find_rooms(self) -> Iterator[None]:
        machines = set()
        for number, node in enumerate(list(self._state.nodes)):
            if number % PIECE_COUNT == 0:
                yield
            machines.add(node.record.machine)
            if node.usable and node.slots_count:
                self._add(kind_of(self._state, node), self._rooms_on(node))
        for each, ready in self._state.supply.coming(self.now):
            if each.machine not in machines:
                price, takes = (each.price_per_hour or 0) / each.slots_count, self._state.nodes.admissions
                kind = SlotKind(each.max_images or inf, 0, each.size, 0, price, takes.admission_of(each.labels))
                comes_s = ready - self.now
                self._add(kind, [SlotRoom(comes_s, (comes_s * self._part_off) ** 2)] * each.slots_count)
        for rooms in self._rooms.values():
            heapify(rooms)

    def _add(self, kind: SlotKind, rooms: list[SlotRoom]) -> None:
        self._rooms.setdefault(kind, []).extend(rooms)

    def _rooms_on(self, node: NodeState) -> list[SlotRoom]:
        """Say when each slot of a node has room; what is more than it has slots for comes behind the others."""
        kind = kind_of(self._state, node)
        ours = [task for each in (*node.tasks, *node.reserved) if (task := self._state.index.tasks.get(each))]
        used = [room_after(self._state, task, node, self.now) for task in ours]
        for task, room in zip(ours, used, strict=True):
            if self._apart:
                self._of(task.owner).begins(room.free_s)
        foreign_s = self._held_ms(FOREIGN, kind) / 1000
        used += [SlotRoom(foreign_s, (foreign_s * self._part_off) ** 2)] * node.others_count
        used.sort()
        rooms = [*used[: node.slots_count], *[SlotRoom(0.0, 0.0)] * (node.slots_count - len(used))]
        heapify(rooms)
        for each in used[node.slots_count :]:
            heapreplace(rooms, SlotRoom(rooms[0].free_s + each.free_s, rooms[0].variance + each.variance))
        return rooms


def kind_of(state: ClusterState, node: NodeState) -> SlotKind:
    """Say what the slots of a node are like."""
    outlook = state.supply.outlook(node.record.machine)
    size, price = (outlook.size, outlook.price_per_hour or 0.0) if outlook else ("", 0.0)
    pace, slot_price = 0 if size else node.pace, price / max(1, node.slots_count)
    return SlotKind(limit_of(node), node.memory_bytes, size, pace, slot_price, node.admission)


def held_range_s(state: ClusterState, task: Task, node: NodeState, now: Instant) -> tuple[float, Range]:
    """Say for how many seconds a task has held its slot, and between which times it should hold it altogether."""
    index, last = state.index, task.attempt
    forwarding = index.forwarding.get(task.id)
    began = forwarding.began if forwarding else index.began.get(task.id, now)
    held_ms = (now - began) * 1000 + (sending_ms(last) if last else 0)
    kind = kind_of(state, node)
    found = state.slot_times.range_ms(workload_of(task), kind.pace, kind.size, held_ms)
    return held_ms / 1000, Range(*(each / 1000 for each in found))


def room_after(state: ClusterState, task: Task, node: NodeState, now: Instant) -> SlotRoom:
    """Say when the slot of a task that is under way should have room: the mean of what is likely (three tenths, four, three: Swanson's rule)."""
    held_s, found = held_range_s(state, task, node, now)
    mean_s = 0.3 * found.low + 0.4 * found.likely + 0.3 * found.high
    deviation_s = (found.high - found.low) / (2 * NORMAL_HIGH)
    return SlotRoom(max(0.0, mean_s - held_s), deviation_s**2)
