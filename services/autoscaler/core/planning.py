"""What to create, drain and destroy: demand, machines, limits and the time in; a plan with reasons out.

Level-triggered set arithmetic. *Wanted* is one machine for each waiting task and those of the warm pool; what is *on its
way* or *free* is set against it, the largest task first; what is left over on one side is created, on the other destroyed
when it has been idle long enough. Every plan is made from nothing but what is true now, so a message that is lost, late or
doubled changes nothing: the next plan says the same.

Nothing oscillates: a machine on its way counts as much as one that is there, a task that has found a node is not waiting
even when an old snapshot says so (the caller leaves such tasks out), and a free machine goes only after a grace.

A machine is kept for a task only while that may come. One whose task is no longer in the snapshot (its proxy is away, its owner has
enough under way) is left over like any other; and one that nobody has taken for minutes, whatever the snapshot says, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

from libs.common.clocks import WallMs
from libs.common.messages import TaskWaits, WaitingTask
from libs.common.model import Machine, MachineId, MachineState, TaskId
from services.autoscaler.core.budget import Budget
from services.autoscaler.core.configuration import Limits
from services.autoscaler.core.history import History
from services.autoscaler.core.ladder import Ladder
from services.autoscaler.core.offers import Offer, Size
from services.autoscaler.core.sizing import fitting_sizes, matched, why_none
from services.autoscaler.core.telling import coming, meant
from services.autoscaler.core.warmth import wanted

SILENCE_MS: Final = 30_000
"""A free machine counts so long although its node is silent: one that was just registered has not been asked yet."""
UNUSED_GRACE_MS: Final = 60_000
"""A machine whose task has gone elsewhere waits so long for another, even without an idle timeout."""
UNCLAIMED_MS: Final = 600_000
"""A machine that is free for so long although a task of its size waits is kept for none: that task cannot come."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a machine's node does now."""

    tasks: tuple[TaskId, ...] = ()
    done: tuple[TaskId, ...] = ()
    """Those that ran there and do not any more, as far as that is remembered."""
    running_count: int = 0
    """How many of them run; the others are being uploaded."""
    uploading_since_ms: int | None = None
    """When the oldest of those uploads began."""
    online: bool = True
    locked: bool = False
    """An operator lets it take no tasks."""


@dataclass(frozen=True, kw_only=True)
class View:
    """Everything that a plan depends on."""

    now_ms: WallMs
    machines: Sequence[Machine]
    """Those that exist."""
    history: History
    """What became of all of them, and of those that have ended: back-off and budget are read from it."""
    waiting: Sequence[WaitingTask] = ()
    """Those that a machine would help, in the order of the queue, without those that have found a node meanwhile."""
    slot_free: Sequence[WaitingTask] = ()
    """Those for which a slot is free: they need no other machine, and the one that is there may be for them."""
    loads: dict[MachineId, Load]
    paused: str = ""
    """Why nothing is to be started; empty: it may be."""


@dataclass(frozen=True, kw_only=True)
class Creation:
    """A machine to be requested."""

    offer: Offer
    images_count: int
    """What it is for; part of its name."""
    for_task: TaskId | None
    reason: str


class Asks(Enum):
    """What its node is asked before a machine goes: the records may not know of everything that it does."""

    NOTHING = auto()
    TASKS = auto()
    """It stays while its node has tasks that have not ended."""
    ANSWER = auto()
    """It stays while its node does not say that it has none."""


@dataclass(frozen=True)
class Verdict:
    """What is to happen to a machine."""

    machine: MachineId
    reason: str
    asks: Asks = Asks.NOTHING


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do now."""

    create: tuple[Creation, ...] = ()
    drain: tuple[Verdict, ...] = ()
    """To take no more tasks; it goes when it has none."""
    destroy: tuple[Verdict, ...] = ()
    waits: tuple[TaskWaits, ...] = ()
    """Waiting tasks for which no machine is started, and why."""
    comes: tuple[TaskWaits, ...] = ()
    """Waiting tasks for which there is a machine or will be one, and how far it is."""
    meant: dict[TaskId, MachineId] = field(default_factory=dict)
    """Machines without a task, by the waiting tasks for which they were requested."""
    trouble: str = ""


def plan(limits: Limits, view: View) -> Plan:
    """Decide."""
    condemned = {verdict.machine: verdict for machine in view.machines if (verdict := overdue(limits, view, machine))}
    ready = [machine for machine in view.machines if machine.id not in condemned and is_ready(limits, view, machine)]
    served = matched(view.waiting, ready)
    kept = matched(view.slot_free, [machine for machine in ready if machine not in served.values()])
    taken = {machine.id for machine in (*served.values(), *kept.values()) if not is_unclaimed(view, machine)}
    spare = [machine for machine in ready if machine.id not in taken]
    missing, warm = against_pool(limits, view.now_ms, spare)
    surplus = [machine for machine in spare if machine.id not in warm]
    orders = Orders(limits, view)
    orders.for_tasks([task for task in view.waiting if task.task not in served])
    orders.for_pool(missing)
    return Plan(
        create=tuple(orders.creations),
        drain=tuple(verdict for machine in view.machines if (verdict := used_up(limits, view, machine))),
        destroy=(*condemned.values(), *(verdict for each in surplus if (verdict := unused(limits, view, each)))),
        waits=tuple(orders.waits),
        comes=coming(served, ready),
        meant=meant((*view.waiting, *view.slot_free), ready),
        trouble=orders.trouble,
    )


# --- which machines may take another task --------------------------------------------------------------------------


def is_ready(limits: Limits, view: View, machine: Machine) -> bool:
    """Whether a machine has room for a waiting task, now or as soon as it is there."""
    if machine.state in {MachineState.REQUESTED, MachineState.CREATING, MachineState.SETTING_UP}:
        return not machine.silent
    if machine.state not in {MachineState.ONLINE, MachineState.IDLE} or is_used_up(limits, machine):
        return False
    silent_ms = view.now_ms - machine.offline_since_ms if machine.offline_since_ms is not None else 0
    load = view.loads.get(machine.id, Load())
    return silent_ms < SILENCE_MS and not load.tasks and not load.locked


def is_unclaimed(view: View, machine: Machine) -> bool:
    """Whether a machine has been free for so long that the task which it is kept for cannot come."""
    is_there = machine.state in {MachineState.ONLINE, MachineState.IDLE}
    return is_there and view.now_ms - machine.state_at_ms > UNCLAIMED_MS


def is_used_up(limits: Limits, machine: Machine) -> bool:
    """Whether a machine has had all the tasks that it may have, those on it included."""
    most = limits.tasks_per_machine_count
    return bool(most) and len({*machine.done, *machine.tasks}) >= most


def used_up(limits: Limits, view: View, machine: Machine) -> Verdict | None:
    """Drain a machine on which the last task runs; while one is only being uploaded, it may still have to be sent again."""
    running = view.loads.get(machine.id, Load()).running_count
    if machine.state is MachineState.BUSY and running and is_used_up(limits, machine):
        return Verdict(machine.id, "it has its last task")
    return None


# --- which machines have to go -------------------------------------------------------------------------------------


def overdue(limits: Limits, view: View, machine: Machine) -> Verdict | None:
    """Destroy a machine whatever the demand is."""
    if machine.state.ended or machine.state in {MachineState.DESTROYING, MachineState.REQUESTED}:
        return None
    begun_ms = machine.called_at_ms or machine.requested_at_ms
    if limits.max_runtime_s is not None and view.now_ms - begun_ms > limits.max_runtime_s * 1000:
        return Verdict(machine.id, f"it has exceeded its maximum runtime of {limits.max_runtime_s} s")
    because = without_task(limits, view, machine) or spent(limits, view, machine)
    return Verdict(machine.id, because, Asks.TASKS) if because else None


def without_task(limits: Limits, view: View, machine: Machine) -> str:
    """Say why a machine that should have a task by now has none; empty when it need not."""
    if limits.max_upload_s is None or machine.state in {MachineState.CREATING, MachineState.SETTING_UP}:
        return ""
    most_ms = limits.max_upload_s * 1000
    load = view.loads.get(machine.id, Load())
    if machine.offline_since_ms is not None and view.now_ms - machine.offline_since_ms > most_ms:
        return f"it has been offline for more than {limits.max_upload_s} s"
    if load.running_count:
        return ""
    since_ms = machine.state_at_ms if load.uploading_since_ms is None else load.uploading_since_ms
    if (
        machine.state in {MachineState.ONLINE, MachineState.BUSY, MachineState.DRAINING}
        and view.now_ms - since_ms > most_ms
    ):
        return f"it has exceeded its maximum upload time of {limits.max_upload_s} s"
    return ""


def has_results(limits: Limits, view: View, machine: Machine) -> bool:
    """Whether results may still be fetched from a machine that alone has them."""
    since_ms = machine.state_at_ms if machine.emptied_at_ms is None else machine.emptied_at_ms
    return bool(machine.done) and view.now_ms - since_ms < limits.keep_results_s * 1000


def spent(limits: Limits, view: View, machine: Machine) -> str:
    """Say why an empty machine has done what it was for; empty when it has not."""
    if machine.tasks or has_results(limits, view, machine):
        return ""
    if machine.state is MachineState.DRAINING:
        return "it is drained"
    if machine.state is MachineState.IDLE and is_used_up(limits, machine):
        return f"it has done its {len(machine.done)} task{'s' if len(machine.done) > 1 else ''}"
    return ""


def unused(limits: Limits, view: View, machine: Machine) -> Verdict | None:
    """Destroy a machine that no waiting task needs, after a while; one that is on its way is waited for."""
    if machine.state is MachineState.REQUESTED:
        return Verdict(machine.id, "no task needs it any more")
    idle_ms = limits.idle_timeout_s * 1000
    if machine.state is MachineState.ONLINE:
        idle_ms = max(idle_ms, UNUSED_GRACE_MS)
    elif machine.state is not MachineState.IDLE or has_results(limits, view, machine):
        return None
    if view.now_ms - machine.state_at_ms < idle_ms:
        return None
    return Verdict(machine.id, f"it has been idle for {(view.now_ms - machine.state_at_ms) // 1000} s", Asks.ANSWER)


def against_pool(limits: Limits, now_ms: WallMs, spare: Sequence[Machine]) -> tuple[list[int], set[MachineId]]:
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


# --- which machines to request -------------------------------------------------------------------------------------


class Orders:
    """The machines that one plan requests, within limits and budget."""

    def __init__(self, limits: Limits, view: View) -> None:
        self.creations: list[Creation] = []
        self.waits: list[TaskWaits] = []
        self._limits = limits
        self._paused = view.paused
        self._count = len(view.machines)
        self._ladder = Ladder(limits, view.machines, view.history, view.now_ms)
        self._budget = Budget(limits, view.machines, view.history.spending, view.now_ms)
        self._memories = view.history.memories()
        self._refusals: dict[tuple[str, ...], str] = {}
        """Why none of some sizes can be had now: while a plan is made there is only ever less to be had."""

    @property
    def trouble(self) -> str:
        """What the provider failed with last."""
        return self._ladder.trouble

    def for_tasks(self, tasks: Sequence[WaitingTask]) -> None:
        """Request a machine for each task, in their order, or note why not."""
        for task in tasks:
            if because := self._request(task, task.task):
                self.waits.append(TaskWaits(task=task.task, reason=because, never=bool(self._never(task))))

    def for_pool(self, missing: Sequence[int]) -> None:
        """Request the machines that the warm pool lacks."""
        for images in missing:
            self._request(WaitingTask(task=TaskId(""), images_count=images), None)

    def _request(self, task: WaitingTask, for_task: TaskId | None) -> str:
        if for_task and (never := self._never(task)):
            return never
        sizes = fitting_sizes(task, self._limits, self._memories)
        if not sizes:
            return why_none(task, self._limits)
        if self._paused:
            return self._paused
        most = self._limits.machines_count
        if most is not None and self._count >= most:
            return f"the limit of {most} machine{'' if most == 1 else 's'} is reached"
        slugs = tuple(size.slug for size in sizes)
        if slugs not in self._refusals and (because := self._order(task, for_task, sizes)):
            self._refusals[slugs] = because
        return self._refusals.get(slugs, "")

    def _never(self, task: WaitingTask) -> str:
        """Say why there will be no machine for a task however long it waits; empty: there may be."""
        if task.images_count is not None and 0 < task.images_count < self._limits.min_images:
            return f"{task.images_count} images are too few for a machine (minImages {self._limits.min_images})"
        return "" if fitting_sizes(task, self._limits, self._memories) else why_none(task, self._limits)

    def _order(self, task: WaitingTask, for_task: TaskId | None, sizes: Sequence[Size]) -> str:
        affordable = [size for size in sizes if not self._budget.objection(size.price_per_hour)]
        if not affordable:
            return self._budget.objection(sizes[0].price_per_hour)
        choice = self._ladder.take(affordable)
        if choice.offer is None:
            return choice.reason
        self._budget.take(choice.offer.size.price_per_hour)
        self._count += 1
        size = choice.offer.size
        images_count = size.max_images if task.images_count is None else task.images_count
        other = "larger" if task.images_count is None else "smaller"
        reason = (
            f"{why(task, for_task)}; {other} is sold out: {choice.reason}" if choice.reason else why(task, for_task)
        )
        self.creations.append(Creation(offer=choice.offer, images_count=images_count, for_task=for_task, reason=reason))
        return ""


def why(task: WaitingTask, for_task: TaskId | None) -> str:
    """Say what a machine is requested for."""
    if for_task is None:
        return "the warm pool lacks a machine"
    count = "an unknown number of" if task.images_count is None else task.images_count
    return f"a task of {count} images waits"
