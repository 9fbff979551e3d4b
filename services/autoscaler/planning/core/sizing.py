"""Whether a task fits on a machine or a size: by images, by bytes, by the memory that was too little elsewhere, and by labels.

Several tasks on a machine share its memory: each counts on its part.

A task whose images nobody has counted (they are in an archive) fits anywhere, as far as is known, and is best off where most are taken: a
machine that turns out too small costs its start twice.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import objection
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.orders import Size


def fits_size(task: WaitingTask, size: Size, memory_bytes: int | None) -> bool:
    """Whether a machine of this size could take the task. Memory that nobody knows is no obstacle."""
    return not is_other_kind(task, gpu=size.gpu, interruptions_limit_count=size.interruptions_limit_count) and fits(
        task, size.max_images, size.max_bytes, (memory_bytes or 0) // size.tasks_at_once_count
    )


def fits_machine(task: WaitingTask, machine: Machine) -> bool:
    """Whether this machine could take the task."""
    is_other = is_other_kind(task, gpu=machine.gpu, interruptions_limit_count=machine.interruptions_limit_count)
    if is_other or machine.id in task.barred or objection(machine.labels, task.tenant, task.labels):
        return False
    return fits(task, machine.max_images, machine.max_bytes, machine.memory_bytes // machine.tasks_at_once_count)


def is_other_kind(task: WaitingTask, *, gpu: bool, interruptions_limit_count: int) -> bool:
    """Whether a task goes to no machine of a kind: without a graphics card, or a spot machine after too many interruptions."""
    too_often = interruptions_limit_count and task.interruptions_count >= interruptions_limit_count
    return (task.gpu and not gpu) or bool(too_often)


def fits(task: WaitingTask, max_images: int | None, max_bytes: int | None, memory_bytes: int) -> bool:
    """Compare a task with what is there."""
    if max_images is not None and (task.images_count or 0) > max_images:
        return False
    if max_bytes is not None and task.size_bytes > max_bytes:
        return False
    return not memory_bytes or memory_bytes > task.min_memory_bytes


def fitting_sizes(task: WaitingTask, limits: ScalingLimits, memories: dict[str, int]) -> tuple[Size, ...]:
    """All sizes for a task, the smallest first; where nobody knows how many images it has, the largest first.

    Those with a graphics card come last for a task that does not ask for one.
    """
    sizes = [size for size in limits.sizes if fits_size(task, size, size.memory_bytes or memories.get(size.slug))]
    if task.images_count is None:
        last_first = list(reversed(sizes))
        sizes = sorted(last_first, key=lambda size: (-size.max_images, not size.spot))
    return tuple(sizes if task.gpu else sorted(sizes, key=lambda size: size.gpu))


def why_not_there(task: WaitingTask, limits: ScalingLimits) -> str:
    """Say why a task may not go to machines at all; empty: it may."""
    because = objection(limits.labels, task.tenant, task.labels)
    return (
        f"machines are {because}" if because.startswith("reserved") else f"machines have {because}" if because else ""
    )


def why_none(task: WaitingTask, limits: ScalingLimits) -> str:
    """Say why there is no size for a task."""
    if task.gpu and not any(size.gpu for size in limits.sizes):
        return "no machine size has a graphics card, which its options ask for"
    none = "no machine size with a graphics card" if task.gpu else "no machine size"
    if task.min_memory_bytes:
        return f"{none} has more memory than the one that was too small"
    if task.images_count is None:
        return f"{none} takes {task.size_bytes} bytes"
    largest = max((size.max_images for size in limits.sizes if size.gpu or not task.gpu), default=0)
    if task.images_count > largest:
        return f"{none} takes {amount(task.images_count, 'image')} (the largest {largest})"
    return f"{none} takes {amount(task.images_count, 'image')} of {task.size_bytes} bytes"


def matched(tasks: Sequence[WaitingTask], machines: Sequence[Machine]) -> dict[TaskId, Machine]:
    """Give each task a slot as far as they go round: of the machine that was requested for it, else by size.

    A machine stands in the list once for each of its free slots.
    """
    own = {machine.for_task: machine for machine in machines if machine.for_task}
    found = {task.task: own[task.task] for task in tasks if task.task in own and fits_machine(task, own[task.task])}
    others = [task for task in tasks if task.task not in found]
    return found | matched_by_size(others, without(machines, found.values()))


def without(machines: Sequence[Machine], taken: Iterable[Machine]) -> list[Machine]:
    """Leave out one slot for each that is taken."""
    left = Counter(machine.id for machine in taken)
    kept = []
    for machine in machines:
        if left[machine.id]:
            left[machine.id] -= 1
        else:
            kept.append(machine)
    return kept


def matched_by_size(tasks: Sequence[WaitingTask], machines: Sequence[Machine]) -> dict[TaskId, Machine]:
    """Match them: the largest task first, to the smallest machine that takes it; of unknown size last, to the largest that is left.

    Machines with a graphics card are for tasks that ask for one, before all others, and for others where nothing else is left.
    """
    if not any(machine.gpu for machine in machines):
        return matched_alike(tasks, machines)
    found = matched_alike([task for task in tasks if task.gpu], [machine for machine in machines if machine.gpu])
    others = [task for task in tasks if not task.gpu]
    found |= matched_alike(others, [machine for machine in machines if not machine.gpu])
    left = [task for task in others if task.task not in found]
    return found | matched_alike(left, without([each for each in machines if each.gpu], found.values()))


def matched_alike(tasks: Sequence[WaitingTask], machines: Sequence[Machine]) -> dict[TaskId, Machine]:
    """Match tasks and machines by size; of equal ones those that may be taken away first."""
    free = sorted(machines, key=lambda machine: (largest(machine), not machine.spot, machine.id))
    found: dict[TaskId, Machine] = {}
    for task in sorted(tasks, key=lambda task: (-size_of(task), task.waiting_since_ms, task.task)) if free else ():
        large_enough = range(bisect_left(free, float(size_of(task)), key=largest), len(free))
        if task.images_count is None:
            large_enough = large_enough[::-1]
        place = next((place for place in large_enough if fits_machine(task, free[place])), None)
        if place is not None:
            found[task.task] = free.pop(place)
    return found


def size_of(task: WaitingTask) -> int:
    """Say how many images a task has for certain."""
    return task.images_count or 0


def largest(machine: Machine) -> float:
    """Say how many images a machine takes."""
    return inf if machine.max_images is None else machine.max_images
