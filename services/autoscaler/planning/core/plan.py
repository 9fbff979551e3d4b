"""What to create, drain and destroy: demand, machines, limits and the time in; a plan with reasons out.

Level-triggered set arithmetic. *Wanted* is one machine for each waiting task and those of the warm pool; what is *on its
way* or *free* is set against it, the largest task first; for what is left of the tasks a slot may get free in time (openings.py). What is
left over then is created, and on the other side destroyed when it has been idle long enough and its paid time is over. Every plan is made from nothing but what is true now, so a message that is lost, late or
doubled changes nothing: the next plan says the same.

Nothing oscillates: a machine on its way counts as much as one that is there, a task that has found a node is not waiting
even when an old snapshot says so (the caller leaves such tasks out), and a free machine goes only after a grace.

A machine is kept for a task only while that may come. One whose task is no longer in the snapshot (its proxy is away, its owner has
enough under way) is left over like any other; and one that nobody has taken for minutes, whatever the snapshot says, too.

The warm pool says how many machines are to stand ready at a moment of the week; its times are UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits, WarmPool
from clusterodm.services.autoscaler.machine_life.life import leaves_paid_time
from clusterodm.services.autoscaler.machines.core import MachineDecision, NodeCheck
from clusterodm.services.autoscaler.orders import Creation
from clusterodm.services.autoscaler.planning.core.consolidation import never_needed
from clusterodm.services.autoscaler.planning.core.kept_results import is_used_up, kept_until_ms, tasks_left
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.openings import openings_of
from clusterodm.services.autoscaler.planning.core.requests import MachineRequests
from clusterodm.services.autoscaler.planning.core.sizing import matched, without
from clusterodm.services.autoscaler.planning.core.supply import coming, meant

SILENCE_MS: Final = 30_000
"""A free machine counts so long although its node is silent: one that was just registered has not been asked yet."""
UNUSED_GRACE_MS: Final = 60_000
"""A machine whose task has gone elsewhere waits so long for another, even without an idle timeout."""
DEAD_MS: Final = 180_000
"""A machine without a task is no use any more when its node has been silent for so long: it takes none, and costs."""
UNCLAIMED_MS: Final = 600_000
"""A machine that is free for so long although a task of its size waits is kept for none: that task cannot come."""

MINUTE_MS: Final = 60_000
MINUTES_PER_DAY: Final = 24 * 60
DAYS_PER_WEEK: Final = 7
FIRST_DAY: Final = 3
"""1970-01-01 was a Thursday; Monday is 0."""


@dataclass(frozen=True, kw_only=True)
class ScalingPlan:
    """What to do now."""

    create: tuple[Creation, ...] = ()
    drain: tuple[MachineDecision, ...] = ()
    """To take no more tasks; it goes when it has none."""
    destroy: tuple[MachineDecision, ...] = ()
    waits: tuple[TaskWaits, ...] = ()
    """Waiting tasks for which no machine is started, and why."""
    comes: tuple[TaskWaits, ...] = ()
    """Waiting tasks for which there is a machine or will be one, and how far it is."""
    meant: dict[TaskId, MachineId] = field(default_factory=dict)
    """Machines without a task, by the waiting tasks for which they were requested."""
    spare: tuple[Machine, ...] = ()
    """Those that nobody needs now, whether they go yet or not."""
    trouble: str = ""
    troubles: Mapping[str, str] = field(default_factory=dict)
    """By provider."""


def plan(limits: ScalingLimits, seen: PlanInput) -> ScalingPlan:
    """Decide."""
    condemned = {
        decision.machine: decision for machine in seen.machines if (decision := overdue(limits, seen, machine))
    }
    ready = [machine for machine in seen.machines if machine.id not in condemned and is_ready(limits, seen, machine)]
    slots = [machine for machine in ready for _ in range(room_count(limits, seen, machine))]
    served = matched(seen.waiting, slots)
    kept = matched(seen.slot_free, without(slots, served.values()))
    assigned = {task.task: task for task in (*seen.waiting, *seen.slot_free)}
    coming_tasks = [(assigned[task], machine) for task, machine in (*served.items(), *kept.items())]
    taken = {machine.id for _, machine in coming_tasks if not is_unclaimed(seen, machine)}
    spare = [machine for machine in ready if machine.id not in taken and not machine.tasks]
    missing, warm = against_pool(limits, seen.now_ms, spare)
    surplus = [machine for machine in spare if machine.id not in warm]
    idle = never_needed(surplus, seen.never_needed, seen.now_ms)
    openings = openings_of(limits, seen, [each for each in seen.machines if each.id not in condemned], coming_tasks)
    orders = MachineRequests(limits, seen, openings)
    orders.for_tasks([task for task in seen.waiting if task.task not in served])
    orders.for_pool(missing)
    return ScalingPlan(
        create=tuple(orders.creations),
        drain=tuple(decision for machine in seen.machines if (decision := used_up(limits, seen, machine))),
        destroy=(
            *condemned.values(),
            *(decision for each in surplus if (decision := unused(limits, seen, each, never_needed=each.id in idle))),
        ),
        waits=tuple(orders.waits),
        comes=(*coming(served, ready), *orders.shared),
        meant=meant((*seen.waiting, *seen.slot_free), ready),
        spare=tuple(surplus),
        trouble=orders.trouble,
        troubles=orders.troubles,
    )


# --- which machines may take another task --------------------------------------------------------------------------


def is_ready(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> bool:
    """Whether a machine has room for a waiting task, now or as soon as it is there."""
    if machine.state in {MachineState.REQUESTED, MachineState.CREATING, MachineState.SETTING_UP}:
        return not machine.silent
    if machine.state not in {MachineState.ONLINE, MachineState.IDLE, MachineState.BUSY} or is_used_up(limits, machine):
        return False
    silent_ms = seen.now_ms - machine.offline_since_ms if machine.offline_since_ms is not None else 0
    load = seen.loads.get(machine.id, Load())
    has_room = len(load.tasks) < machine.tasks_at_once_count
    has_room = has_room and bool(load.tasks) is (machine.state is MachineState.BUSY)
    return silent_ms < SILENCE_MS and has_room and not load.locked


def room_count(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> int:
    """Count the tasks that may come to a machine with room at once."""
    free = machine.tasks_at_once_count - len(seen.loads.get(machine.id, Load()).tasks)
    return int(max(0, min(free, tasks_left(limits, machine))))


def is_unclaimed(seen: PlanInput, machine: Machine) -> bool:
    """Whether a machine has been free for so long that the task which it is kept for cannot come."""
    is_there = machine.state in {MachineState.ONLINE, MachineState.IDLE}
    return is_there and seen.now_ms - machine.state_at_ms > UNCLAIMED_MS


def used_up(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> MachineDecision | None:
    """Drain a machine on which the last task runs; while one is only being uploaded, it may still have to be sent again."""
    load = seen.loads.get(machine.id, Load())
    all_run = load.running_count and load.running_count == len(load.tasks)
    if machine.state is MachineState.BUSY and all_run and is_used_up(limits, machine):
        return MachineDecision(machine.id, "it has its last task")
    return None


# --- which machines have to go -------------------------------------------------------------------------------------


def overdue(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> MachineDecision | None:
    """Destroy a machine whatever the demand is."""
    if machine.state.ended or machine.state in {MachineState.DESTROYING, MachineState.REQUESTED}:
        return None
    begun_ms = machine.called_at_ms or machine.requested_at_ms
    if limits.max_runtime_s is not None and seen.now_ms - begun_ms > limits.max_runtime_s * 1000:
        return MachineDecision(machine.id, f"it has exceeded its maximum runtime of {limits.max_runtime_s} s")
    because = without_task(limits, seen, machine) or dead(limits, seen, machine) or spent(limits, seen, machine)
    return MachineDecision(machine.id, because, NodeCheck.TASKS) if because else None


def without_task(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> str:
    """Say why a machine that should have a task by now has none; empty when it need not."""
    if limits.max_upload_s is None or machine.state in {MachineState.CREATING, MachineState.SETTING_UP}:
        return ""
    most_ms = limits.max_upload_s * 1000
    load = seen.loads.get(machine.id, Load())
    if machine.offline_since_ms is not None and seen.now_ms - machine.offline_since_ms > most_ms:
        return f"it has been offline for more than {limits.max_upload_s} s"
    if load.running_count:
        return ""
    since_ms = machine.state_at_ms if load.uploading_since_ms is None else load.uploading_since_ms
    if (
        machine.state in {MachineState.ONLINE, MachineState.BUSY, MachineState.DRAINING}
        and seen.now_ms - since_ms > most_ms
    ):
        return f"it has exceeded its maximum upload time of {limits.max_upload_s} s"
    return ""


def dead(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> str:
    """Say that nothing more is to be expected of a machine without a task, whatever its idle timeout; empty where it is."""
    is_free = machine.state in {MachineState.ONLINE, MachineState.IDLE} and not machine.tasks
    if not is_free or machine.offline_since_ms is None or has_results(limits, seen, machine):
        return ""
    silent_ms = seen.now_ms - machine.offline_since_ms
    return f"its node has not answered for {silent_ms // 1000} s" if silent_ms >= DEAD_MS else ""


def has_results(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> bool:
    """Whether results may still be fetched from a machine that alone has them."""
    until_ms = kept_until_ms(limits, machine)
    return until_ms is not None and seen.now_ms < until_ms


def spent(limits: ScalingLimits, seen: PlanInput, machine: Machine) -> str:
    """Say why an empty machine has done what it was for; empty when it has not."""
    if machine.tasks or has_results(limits, seen, machine):
        return ""
    if machine.state is MachineState.DRAINING:
        return "it is drained"
    if machine.state is MachineState.IDLE and is_used_up(limits, machine):
        return f"it has done its {len(machine.done)} task{'s' if len(machine.done) > 1 else ''}"
    return ""


def unused(limits: ScalingLimits, seen: PlanInput, machine: Machine, *, never_needed: bool) -> MachineDecision | None:
    """Destroy a machine that no waiting task needs, after a while; one that is on its way, or paid for, is waited for."""
    if machine.state is MachineState.REQUESTED:
        return MachineDecision(machine.id, "no task needs it any more")
    idle_ms = limits.idle_timeout_s * 1000
    if machine.state is MachineState.ONLINE:
        idle_ms = max(idle_ms, UNUSED_GRACE_MS)
    elif machine.state is not MachineState.IDLE or has_results(limits, seen, machine):
        return None
    if leaves_paid_time(machine, seen.now_ms):
        return None
    if seen.now_ms - machine.state_at_ms >= idle_ms:
        reason = f"it has been idle for {(seen.now_ms - machine.state_at_ms) // 1000} s"
    elif never_needed:
        reason = f"others were idle as well for {limits.idle_timeout_s} s, and do its work"
    else:
        return None
    return MachineDecision(machine.id, reason, NodeCheck.ANSWER)


# --- the warm pool ---------------------------------------------------------------------------------------------------


def open_now(window: WarmPool, now_ms: WallMs) -> bool:
    """Whether a window is open. One that ends before it begins goes over midnight and belongs to the day it began."""
    day, minute = divmod(now_ms // MINUTE_MS, MINUTES_PER_DAY)
    today = (day + FIRST_DAY) % DAYS_PER_WEEK
    if window.from_minute < window.to_minute:
        return today in window.days and window.from_minute <= minute < window.to_minute
    yesterday = (today - 1) % DAYS_PER_WEEK
    return (today in window.days and minute >= window.from_minute) or (
        yesterday in window.days and minute < window.to_minute
    )


def wanted(limits: ScalingLimits, now_ms: WallMs) -> tuple[int, ...]:
    """For how many images each machine of the pool is to be, one number per machine, the largest first."""
    found = [
        window.max_images for window in limits.warm if open_now(window, now_ms) for _ in range(window.machines_count)
    ]
    return tuple(sorted(found, reverse=True))


def against_pool(limits: ScalingLimits, now_ms: WallMs, spare: Sequence[Machine]) -> tuple[list[int], set[MachineId]]:
    """Set free machines against the warm pool: for how many images machines are missing, and which belong to it."""
    missing: list[int] = []
    kept: set[MachineId] = set()
    for images in wanted(limits, now_ms):
        found = next((each for each in spare if each.id not in kept and (each.max_images or images) >= images), None)
        if found:
            kept.add(found.id)
        else:
            missing.append(images)
    return missing, kept
