"""Which machines a plan requests, within limits and budget, and why a task gets none."""

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Final

from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.model.values import NOBODY, MachineId, Owner, TaskId
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.orders import Creation, Size
from clusterodm.services.autoscaler.planning.core.budget import Budgets
from clusterodm.services.autoscaler.planning.core.kept_results import uncounted
from clusterodm.services.autoscaler.planning.core.observation import PlanInput
from clusterodm.services.autoscaler.planning.core.offer_fallback import OfferFallback
from clusterodm.services.autoscaler.planning.core.openings import Capacity, SlotOpenings
from clusterodm.services.autoscaler.planning.core.sizing import fitting_sizes, why_none, why_not_there

SHARES: Final = "a machine gets free for it in time"


class MachineRequests:
    """The machines that one plan requests, within limits and budget."""

    def __init__(self, limits: ScalingLimits, seen: PlanInput, openings: SlotOpenings) -> None:
        self.creations: list[Creation] = []
        self.waits: list[TaskWaits] = []
        self.shared: list[TaskWaits] = []
        """Tasks for which a slot of some machine gets free in time."""
        self._limits = limits
        self._seen = seen
        self._openings = openings
        self._rate_left = rate_left(limits, seen)
        self._starts_ms: dict[str, int] = {}
        self._paused = seen.paused
        self._count = len(seen.machines) - uncounted(limits, seen.machines, seen.now_ms)
        self._fallback = OfferFallback(limits, seen.machines, seen.history, seen.now_ms)
        self._budgets = Budgets(limits, seen.machines, seen.history, seen.now_ms)
        self._memories = seen.history.memories()
        self._refusals: dict[tuple[str, ...], str] = {}
        """Why none of some sizes can be had now: while a plan is made there is only ever less to be had."""

    @property
    def trouble(self) -> str:
        """What the provider failed with last."""
        return self._fallback.trouble

    @property
    def troubles(self) -> dict[str, str]:
        """The same by provider."""
        return self._fallback.troubles

    def for_tasks(self, tasks: Sequence[WaitingTask]) -> None:
        """Put each task, in their order, on a machine that gets free in time, or request one for it, or note why not."""
        for task in tasks:
            if self._shares(task):
                self.shared.append(TaskWaits(task=task.task, reason=SHARES))
            elif because := self._request(task, task.task):
                self.waits.append(TaskWaits(task=task.task, reason=because, never=bool(self._never(task))))

    def for_pool(self, missing: Sequence[int]) -> None:
        """Request the machines that the warm pool lacks."""
        for images in missing:
            self._request(WaitingTask(task=TaskId(""), images_count=images), None)

    def _shares(self, task: WaitingTask) -> bool:
        """Whether a slot gets free for a task before a machine of its own would be there, or within `targetWait`."""
        if not self._openings:
            return False
        sizes = fitting_sizes(task, self._limits, self._memories)
        start_ms = self._start_ms(sizes[0].slug if sizes else "")
        waited_ms = max(0, self._seen.now_ms - (task.waiting_since_ms or self._seen.now_ms))
        return self._openings.take(
            task, max(start_ms, self._limits.target_wait_s * 1000 - waited_ms), self._runs_ms(task)
        )

    def _start_ms(self, size: str) -> int:
        if size not in self._starts_ms:
            self._starts_ms[size] = self._seen.history.starts.start_ms(size)
        return self._starts_ms[size]

    def _runs_ms(self, task: WaitingTask) -> Callable[[str], float]:
        load = self._seen.workload(task)
        return lambda size: self._seen.run_times.expected_ms(load, size)

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
        if self._rate_left <= 0:
            rate_count = self._limits.create_rate_count or 0
            return (
                f"no more than {amount(rate_count, 'machine')} {'is' if rate_count == 1 else 'are'} started in a minute"
            )
        slugs = (self._owner(task), *(f"{size.provider} {size.offered}" for size in sizes))
        if slugs not in self._refusals and (because := self._order(task, for_task, sizes)):
            self._refusals[slugs] = because
        return self._refusals.get(slugs, "")

    def _never(self, task: WaitingTask) -> str:
        """Say why there will be no machine for a task however long it waits; empty: there may be."""
        if because := why_not_there(task, self._limits):
            return because
        if task.images_count is not None and 0 < task.images_count < self._limits.min_images:
            return f"{amount(task.images_count, 'image')} {'is' if task.images_count == 1 else 'are'} too few for a machine (minImages {self._limits.min_images})"
        return "" if fitting_sizes(task, self._limits, self._memories) else why_none(task, self._limits)

    def _order(self, task: WaitingTask, for_task: TaskId | None, sizes: Sequence[Size]) -> str:
        owner = self._owner(task) if for_task else NOBODY
        objections = {size: self._budgets.objection(size.price_per_hour, owner) for size in sizes}
        affordable = [size for size in sizes if not objections[size]]
        if not affordable:
            return objections[sizes[0]]
        choice = self._fallback.take(affordable, largest_first=task.images_count is None, gpu=task.gpu)
        if choice.offer is None:
            return choice.reason + too_dear(objections)
        self._budgets.take(choice.offer.size.price_per_hour, owner)
        self._count += 1
        self._rate_left -= 1
        size = choice.offer.size
        self._open(task, for_task, size)
        images_count = size.max_images if task.images_count is None else task.images_count
        reason = f"{why(task, for_task)}{because_of(choice.reason)}"
        if task.interruptions_count and not size.spot:
            reason = f"{reason}; on demand, {interrupted(task)}"
        self.creations.append(
            Creation(offer=choice.offer, images_count=images_count, for_task=for_task, reason=reason, owner=owner)
        )
        return ""

    def _owner(self, task: WaitingTask) -> Owner:
        """Say whose budget counts: a tenant goes by its name, whatever its tasks are marked with."""
        return Owner(task.tenant) if task.tenant else self._seen.workload(task).owner

    def _open(self, task: WaitingTask, for_task: TaskId | None, size: Size) -> None:
        """Count on the machine that has just been requested, for the tasks behind this one."""
        start_ms = float(self._start_ms(size.slug))
        memory_bytes = (size.memory_bytes or self._memories.get(size.slug, 0)) // size.tasks_at_once_count
        kind = (self._limits.labels, size.gpu, size.interruptions_limit_count)
        capacity = Capacity(size.max_images, size.max_bytes, memory_bytes, size.slug, *kind)
        own = [start_ms + self._runs_ms(task)(size.slug)] if for_task else []
        free = own + [start_ms] * (size.tasks_at_once_count - len(own))
        left = (self._limits.tasks_per_machine_count or inf) - len(own)
        self._openings.add(MachineId(f"new {len(self.creations)}"), capacity, free, left)


def rate_left(limits: ScalingLimits, seen: PlanInput) -> float:
    """Say how many machines may still be requested in this minute (`createRate`)."""
    most = limits.create_rate_count
    return inf if most is None else most - seen.history.starts.requested_count(seen.now_ms)


def why(task: WaitingTask, for_task: TaskId | None) -> str:
    """Say what a machine is requested for."""
    if for_task is None:
        return "the warm pool lacks a machine"
    count = task.images_count
    images = "an unknown number of images" if count is None else amount(count, "image")
    wants = " that asks for a graphics card" if task.gpu else ""
    return f"a task of {images}{wants} waits"


def too_dear(objections: Mapping[Size, str]) -> str:
    """Say which size nobody tried because of its price, besides those that are not to be had: the first."""
    return next((f"; {size.offered}: {because}" for size, because in objections.items() if because), "")


def because_of(reason: str) -> str:
    """Say what is not to be had before the offer that was chosen; nothing, where it was the first."""
    return f"; what comes before it is not to be had: {reason}" if reason else ""


def interrupted(task: WaitingTask) -> str:
    """Say how many machines were taken away from a task."""
    count = task.interruptions_count
    return "since its machine was taken away" if count == 1 else f"since {count} machines were taken away from it"
