"""Which waiting tasks need no machine of their own, because a slot of another gets free in time.

An *opening* is one slot of one machine and the moment when it has room: now, when its task should have ended, or when the machine should
have come up. Tasks are put on openings in the order of the queue; each moves its opening that much later. A task takes the smallest
machine that takes it in time. *In time* means: no later than a machine that is started now would be there, or before the task has waited
for `targetWait` seconds, whichever is later. So without `targetWait` nobody ever waits for longer than renting would have taken.

What is assigned here binds nobody: the scheduler gives a free slot to the oldest task that fits, and the next plan reckons anew. Openings of
machines that are alike lie in one heap, so that a plan costs tasks times sizes, not tasks times machines.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Final, NamedTuple

from clusterodm.libs.common.messages.demand import MachineOutlook, SupplyChanged, WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.nodes import objection
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.run_times import LATE, Workload
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.planning.core.kept_results import tasks_left
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.sizing import fits, is_other_kind

ON_ITS_WAY: Final = {MachineState.REQUESTED, MachineState.CREATING, MachineState.SETTING_UP}
USED: Final = {*ON_ITS_WAY, MachineState.ONLINE, MachineState.BUSY, MachineState.IDLE}


class Capacity(NamedTuple):
    """What a slot takes; of equal ones any will do."""

    max_images: float
    max_bytes: int | None
    memory_bytes: int
    """For one task."""
    size: str
    labels: tuple[str, ...] = ()
    gpu: bool = False
    interruptions_limit_count: int = 0

    def takes(self, task: WaitingTask) -> bool:
        """Whether a task fits."""
        most = None if self.max_images == inf else int(self.max_images)
        is_other = is_other_kind(task, gpu=self.gpu, interruptions_limit_count=self.interruptions_limit_count)
        if is_other or objection(self.labels, task.tenant, task.labels):
            return False
        return fits(task, most, self.max_bytes, self.memory_bytes)


def capacity_of(machine: Machine) -> Capacity:
    """Say what a slot of a machine takes."""
    return Capacity(
        inf if machine.max_images is None else machine.max_images,
        machine.max_bytes,
        machine.memory_bytes // machine.tasks_at_once_count,
        machine.size,
        machine.labels,
        machine.gpu,
        machine.interruptions_limit_count,
    )


@dataclass(frozen=True, order=True)
class SlotOpening:
    """A slot, and in how many milliseconds it has room."""

    free_in_ms: float
    number: int
    machine: MachineId = field(compare=False)


class SlotOpenings:
    """The slots of all machines."""

    def __init__(self) -> None:
        self._heaps: defaultdict[Capacity, list[SlotOpening]] = defaultdict(list)
        self._order: list[Capacity] | None = None
        self._left: dict[MachineId, float] = {}
        """How many tasks each machine may still have."""
        self._number = 0

    def __bool__(self) -> bool:
        return bool(self._left)

    def add(self, machine: MachineId, capacity: Capacity, free_in_ms: Sequence[float], tasks_left: float) -> None:
        """Add the slots of a machine; `tasks_left`: so many more tasks may come to it."""
        if tasks_left <= 0:
            return
        self._left[machine] = tasks_left
        if capacity not in self._heaps:
            self._order = None
        for each in free_in_ms:
            self._push(capacity, each, machine)

    def take(self, task: WaitingTask, within_ms: float, runs_ms: Callable[[str], float]) -> bool:
        """Put a task on an opening that has room in time; `runs_ms`: how long it runs on a size. Whether there is one."""
        for capacity in self._by_size():
            if capacity.takes(task) and (opening := self._first(capacity, task, within_ms)):
                self._left[opening.machine] -= 1
                self._push(capacity, opening.free_in_ms + runs_ms(capacity.size), opening.machine)
                return True
        return False

    def _by_size(self) -> list[Capacity]:
        if self._order is None:
            self._order = sorted(
                self._heaps, key=lambda each: (each.gpu, each.max_images, each.size, each.memory_bytes)
            )
        return self._order

    def _push(self, capacity: Capacity, free_in_ms: float, machine: MachineId) -> None:
        self._number += 1
        heappush(self._heaps[capacity], SlotOpening(free_in_ms, self._number, machine))

    def _first(self, capacity: Capacity, task: WaitingTask, within_ms: float) -> SlotOpening | None:
        """Take the opening out that has room first, of a machine that may have the task."""
        heap, found = self._heaps[capacity], None
        refused: list[SlotOpening] = []
        while heap and heap[0].free_in_ms <= within_ms and found is None:
            opening = heappop(heap)
            if self._left[opening.machine] <= 0:
                continue
            if opening.machine in task.barred:
                refused.append(opening)
            else:
                found = opening
        for opening in refused:
            heappush(heap, opening)
        return found


def openings_of(
    limits: ScalingLimits,
    seen: PlanInput,
    machines: Sequence[Machine],
    assigned: Sequence[tuple[WaitingTask, Machine]],
) -> SlotOpenings:
    """Find the openings of the machines that exist; `assigned`: tasks that are to have a slot which is free, or coming."""
    found = SlotOpenings()
    first: defaultdict[MachineId, list[WaitingTask]] = defaultdict(list)
    for task, machine in assigned:
        first[machine.id].append(task)
    for machine in machines:
        load = seen.loads.get(machine.id, Load())
        if machine.state not in USED or machine.silent or load.locked or not load.online:
            continue
        if bool(load.tasks) is not (machine.state is MachineState.BUSY):
            continue  # nobody knows what it does
        tasks = first[machine.id]
        left = tasks_left(limits, machine) - len(tasks)
        if left <= 0:
            continue
        begins_ms = starts_in_ms(seen, machine)
        free = [running_left_ms(seen, machine, load, task) for task in load.tasks]
        free += [begins_ms + seen.run_times.expected_ms(seen.workload(task), machine.size) for task in tasks]
        free += [begins_ms] * (machine.tasks_at_once_count - len(free))
        found.add(machine.id, capacity_of(machine), free, left)
    return found


def starts_in_ms(seen: PlanInput, machine: Machine) -> float:
    """Say in how many milliseconds a machine should be there; one that is late takes a while yet."""
    if machine.state not in ON_ITS_WAY:
        return 0.0
    been_ms = seen.now_ms - (machine.called_at_ms or seen.now_ms)
    return max(seen.history.starts.start_ms(machine.size) - been_ms, been_ms * LATE)


def outlook_of(seen: PlanInput) -> tuple[MachineOutlook, ...]:
    """Say which machines take tasks, or will, and when: the first of them that are there, or will be there soonest."""
    used = [machine for machine in seen.machines if machine.state in USED and not machine.silent]
    found = [
        MachineOutlook(
            machine=machine.id,
            size=machine.size,
            slots_count=machine.tasks_at_once_count,
            max_images=machine.max_images,
            price_per_hour=machine.price_per_hour,
            ready_in_ms=round(starts_in_ms(seen, machine)),
            labels=machine.labels,
        )
        for machine in used
    ]
    return tuple(sorted(found, key=lambda each: each.ready_in_ms)[: SupplyChanged.OUTLOOK_COUNT])


def running_left_ms(seen: PlanInput, machine: Machine, load: Load, task: TaskId) -> float:
    """Say how long a task on a machine should go on; nothing is known of when one that is being uploaded begins."""
    workload = seen.workloads.get(task) or Workload(images_count=machine.max_images)
    since_ms = load.running_since_ms.get(task, seen.now_ms)
    return seen.run_times.left_ms(workload, machine.size, max(0, seen.now_ms - since_ms))
