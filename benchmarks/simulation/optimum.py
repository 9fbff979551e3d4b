"""The shortest makespan that anybody could have reached who knew everything beforehand. Pure.

Tasks are not interrupted, a task takes `work / speed` of its slot, comes at its time, fits on some slots only, and has to end
before its slot is lost. On one slot the order of arrival is as good as any other, so a schedule is only the choice of a slot
for each task: `search` tries them all, cutting off what cannot become better than the best so far (branch and bound). Where that
takes too long, `bound` is never above the optimum and the best schedule that was found never below it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.simulation.trace import Trace, TraceTask

STEPS_LIMIT_COUNT = 400_000
SEARCHED_COUNT = 24
"""Tasks; with more of them a search ends by its limit and finds nothing."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Slot:
    """Room for one task at a time."""

    speed: float
    limit: int | None = None
    from_s: float = 0.0
    until_s: float = math.inf

    def end_s(self, ready_s: float, task: TraceTask) -> float:
        """Say when a task would end here; infinity when it cannot be here."""
        if self.limit is not None and task.images > self.limit:
            return math.inf
        end_s = max(ready_s, task.at_s) + task.work_s / self.speed
        return end_s if end_s <= self.until_s else math.inf


@dataclass(frozen=True)
class Best:
    """What is known of the optimum: it lies between these, and is `found_s` when they are equal."""

    bound_s: float
    found_s: float

    @property
    def exact(self) -> bool:
        """Whether it is known."""
        return self.found_s <= self.bound_s * (1 + 1e-6)

    def but_not_above(self, found_s: float) -> "Best":
        """Take in a schedule that somebody else has found."""
        return Best(self.bound_s, max(self.bound_s, min(self.found_s, found_s)))


def slots_of(trace: Trace) -> list[Slot]:
    """List all slots, the fast ones first."""
    slots = [
        Slot(node.speed, node.max_images, node.from_s, math.inf if node.until_s is None else node.until_s)
        for node in trace.nodes
        for _ in range(node.slots)
    ]
    return sorted(slots, key=lambda slot: -slot.speed)


def best(trace: Trace, steps_count: int = STEPS_LIMIT_COUNT) -> Best:
    """Find the optimum, or what encloses it."""
    slots, tasks = slots_of(trace), sorted(trace.tasks, key=lambda task: (task.at_s, -task.work_s))
    bound_s = bound(slots, tasks)
    found_s = min(greedy(slots, tasks), greedy(slots, sorted(tasks, key=lambda task: -task.work_s)))
    if found_s <= bound_s * (1 + ROUNDING) or len(tasks) > SEARCHED_COUNT:
        return Best(bound_s, found_s)
    searched_s, complete = search(slots, tasks, found_s, steps_count)
    return Best(searched_s if complete else bound_s, searched_s)


# --- bounds --------------------------------------------------------------------------------------------------------


def bound(slots: Sequence[Slot], tasks: Sequence[TraceTask]) -> float:
    """Say what no schedule can be shorter than."""
    alone = max(min(slot.end_s(slot.from_s, task) for slot in slots) for task in tasks)
    needs = {task.images for task in tasks} & {slot.limit + 1 for slot in slots if slot.limit is not None} | {0}
    needs |= {
        min((task.images for task in tasks if task.images > slot.limit), default=0) for slot in slots if slot.limit
    }
    return max([alone, *(crowded(slots, tasks, images) for images in needs)])


def crowded(slots: Sequence[Slot], tasks: Sequence[TraceTask], images: int) -> float:
    """Bound it by the work of tasks of so many images and more, on the slots that take these."""
    fitting = [slot for slot in slots if slot.limit is None or slot.limit >= images]
    wanted = sorted((task for task in tasks if task.images >= images), key=lambda task: -task.at_s)
    if not wanted:
        return 0.0
    latest, work_s, longest = 0.0, 0.0, list[float]()
    for at, task in enumerate(wanted):
        work_s += task.work_s
        longest.append(task.work_s)
        if at + 1 == len(wanted) or wanted[at + 1].at_s < task.at_s:
            latest = max(latest, filled(fitting, task.at_s, work_s), packed(fitting, task.at_s, longest))
    return latest


def filled(slots: Iterable[Slot], at_s: float, work_s: float) -> float:
    """Say when so much work is done at the earliest, if all slots share it perfectly from `at_s` on."""
    spans = [(max(at_s, slot.from_s), slot.until_s, slot.speed) for slot in slots if slot.until_s > at_s]
    times = sorted({time for begin, end, _ in spans for time in (begin, end)} - {math.inf})
    now_s = at_s
    for time in (*times, math.inf):
        speed = sum(rate for begin, end, rate in spans if begin <= now_s < end)
        if speed and now_s + work_s / speed <= time:
            return now_s + work_s / speed
        if time > now_s:
            work_s -= speed * (time - now_s) if speed else 0.0
            now_s = time
    return math.inf


def packed(slots: Sequence[Slot], at_s: float, works_s: Sequence[float]) -> float:
    """Bound it by the longest tasks: k tasks run on k slots at most (Horvath, Lam, Sethi 1977)."""
    longest = sorted(works_s, reverse=True)[: len(slots)]
    latest, work_s, speed = at_s, 0.0, 0.0
    for work, slot in zip(longest, sorted(slots, key=lambda slot: -slot.speed), strict=False):
        work_s += work
        speed += slot.speed
        latest = max(latest, at_s + work_s / speed)
    return latest


# --- schedules -----------------------------------------------------------------------------------------------------


def greedy(slots: Sequence[Slot], tasks: Sequence[TraceTask]) -> float:
    """Give each task in this order to the slot where it ends first; infinity when one fits nowhere."""
    ready_s = [slot.from_s for slot in slots]
    for task in tasks:
        ends_s = [slot.end_s(ready, task) for slot, ready in zip(slots, ready_s, strict=True)]
        end_s = min(ends_s)
        if end_s == math.inf:
            return math.inf
        ready_s[ends_s.index(end_s)] = end_s
    return max(ready for ready, slot in zip(ready_s, slots, strict=True) if ready > slot.from_s)


def search(slots: Sequence[Slot], tasks: Sequence[TraceTask], found_s: float, steps_count: int) -> tuple[float, bool]:
    """Try every choice of slots that may be shorter than `found_s`: the shortest, and whether all were tried."""
    left_s = [sum(task.work_s for task in tasks[at:]) for at in range(len(tasks) + 1)]
    steps = 0

    def hopeless(at: int, ready_s: list[float], makespan_s: float) -> bool:
        room_s = sum(
            slot.speed * max(0.0, min(found_s, slot.until_s) - max(ready, tasks[at].at_s))
            for slot, ready in zip(slots, ready_s, strict=True)
        )
        return makespan_s >= found_s * (1 - ROUNDING) or room_s <= left_s[at] * (1 - ROUNDING)

    def descend(at: int, ready_s: list[float], makespan_s: float) -> None:
        nonlocal found_s, steps
        if at == len(tasks):
            found_s = min(found_s, makespan_s)
            return
        if steps >= steps_count or hopeless(at, ready_s, makespan_s):
            return
        for end_s, number in choices(slots, ready_s, tasks[at]):
            steps += 1
            if max(makespan_s, end_s) < found_s * (1 - ROUNDING):
                before_s, ready_s[number] = ready_s[number], end_s
                descend(at + 1, ready_s, max(makespan_s, end_s))
                ready_s[number] = before_s

    descend(0, [slot.from_s for slot in slots], 0.0)
    return found_s, steps < steps_count


def choices(slots: Sequence[Slot], ready_s: Sequence[float], task: TraceTask) -> list[tuple[float, int]]:
    """List the slots for a task, that where it ends first first; of slots that are alike only one."""
    different = {
        (slot, max(ready, task.at_s)): number for number, (slot, ready) in enumerate(zip(slots, ready_s, strict=True))
    }
    ends = [(slot.end_s(ready, task), number) for (slot, ready), number in different.items()]
    return sorted(end for end in ends if end[0] < math.inf)


def mean_flow_bound(trace: Trace) -> float:
    """Bound the mean time from coming to ending: one slot as fast as all together, the shortest rest first (SRPT)."""
    import heapq

    speed = sum(slot.speed for slot in slots_of(trace))
    coming = sorted(trace.tasks, key=lambda task: task.at_s)
    fastest = max(node.speed for node in trace.nodes)
    rest: list[tuple[float, float]] = []
    now_s, flow_s, at = 0.0, 0.0, 0
    while at < len(coming) or rest:
        if not rest:
            now_s = max(now_s, coming[at].at_s)
        while at < len(coming) and coming[at].at_s <= now_s:
            heapq.heappush(rest, (coming[at].work_s, coming[at].at_s))
            at += 1
        work_s, came_s = heapq.heappop(rest)
        next_s = coming[at].at_s if at < len(coming) else math.inf
        if now_s + work_s / speed <= next_s:
            now_s += work_s / speed
            flow_s += now_s - came_s
        else:
            heapq.heappush(rest, (work_s - (next_s - now_s) * speed, came_s))
            now_s = next_s
    alone_s = sum(task.work_s / fastest for task in coming)
    return max(flow_s, alone_s) / len(coming)
