"""A provider, a scheduler and a clock, played around the autoscaler's real decisions (services/autoscaler/planning/core/plan.py)."""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

import msgspec

from clusterodm.libs.common.errors import Trouble
from clusterodm.libs.common.messages.demand import SupplyChanged, WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.run_times import RunTimes, Workload
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.machine_life.history import HOUR_MS, MachineHistory
from clusterodm.services.autoscaler.machine_life.life import MachineStep, after
from clusterodm.services.autoscaler.orders import Creation, Size
from clusterodm.services.autoscaler.planning.core.budget import cost
from clusterodm.services.autoscaler.planning.core.consolidation import IdleCounts
from clusterodm.services.autoscaler.planning.core.observation import WATCHED, PlanInput, observed
from clusterodm.services.autoscaler.planning.core.plan import ScalingPlan, plan
from clusterodm.services.autoscaler.planning.core.sizing import fits_machine
from clusterodm.services.scheduler.placement.core.supply import Supply

TURN_MS: Final = 5_000
BOOT_S: Final = (60.0, 240.0)
DESTROY_S: Final = (5.0, 30.0)
REFUSE_S: Final = (2.0, 10.0)
SIZES: Final = (
    Size(slug="small", max_images=50, price_per_hour=0.05),
    Size(slug="medium", max_images=250, price_per_hour=0.12),
    Size(slug="large", max_images=1500, price_per_hour=0.40),
)
LONGEST_MS: Final = 14 * 24 * HOUR_MS
FREE: Final = {MachineState.ONLINE, MachineState.IDLE}


@dataclass(frozen=True)
class Job:
    """One task of the trace."""

    task: WaitingTask
    run_ms: int
    after_ms: int = 0
    """When it comes, from the beginning."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the provider is like, and what the file says."""

    name: str
    failing_part: float = 0.0
    """Creations that fail."""
    quota: int | None = None
    """More machines than these are refused as out of capacity."""
    quotas: dict[str, int] | None = None
    """The same by region, or by provider."""
    lost_part: float = 0.0
    """Machines that vanish while they work; of those of a file with spot machines, only these."""
    limits: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """One moment of both curves."""

    at_ms: int
    waiting_count: int
    machines_count: int
    """Those that the provider has; not those that it is about to refuse."""


def trace(count: int, seed: int) -> list[Job]:
    """Make tasks: most of them small, some large; the time to run grows with the images."""
    chance = random.Random(seed)
    jobs = []
    for number in range(count):
        images = min(1500, max(3, round(chance.lognormvariate(4.2, 1.1))))
        task = WaitingTask(task=TaskId(f"t{number:04}"), images_count=images, waiting_since_ms=number)
        jobs.append(Job(task, round((300 + 12 * images) * 1000 * chance.uniform(0.8, 1.2))))
    return jobs


class Simulation:
    """One run: every task comes at its time, most traces' all at once."""

    def __init__(self, situation: Situation, jobs: list[Job], seed: int) -> None:
        self.limits = ScalingLimits(
            **{"sizes": SIZES, "regions": ("north", "south"), "create_retries": 4, **situation.limits}
        )
        self.now_ms = self.begun_ms = 1_000_000_000
        self.ended_ms = 0
        """When the last task was done."""
        self.curve: list[Point] = []
        self.ended: list[Machine] = []
        self.asked_count = 0
        """Creations that the provider was asked for."""
        self.repeated_count = 0
        """Tasks that had to begin again because their machine vanished."""
        self.waits_s: list[float] = []
        """How long each task waited for the attempt that ended."""
        self.caused = 0.0
        """What the provider bills, reckoned by itself when a machine has gone."""
        self._run_times = RunTimes()
        self._idle = IdleCounts(self.limits.idle_timeout_s)
        self._situation = situation
        self._chance = random.Random(seed)
        self._jobs = {job.task.task: job for job in jobs}
        self._waiting: dict[TaskId, WaitingTask] = {}
        self._begun: dict[TaskId, int] = {}
        self._alive: dict[MachineId, Machine] = {}
        self._history = MachineHistory()
        self._supply = Supply()
        self._on: dict[MachineId, TaskId] = {}
        self._done: dict[MachineId, list[TaskId]] = {}
        self._interrupted: Counter[TaskId] = Counter()
        self._any_spot = any(size.spot for size in self.limits.sizes)
        self._due: list[tuple[int, int, str, str]] = []
        self._number = 0
        for job in jobs:
            self._later(job.after_ms / 1000, "arrived", job.task.task)

    def run(self) -> "Simulation":
        """Run until no task waits and no machine is left."""
        while self._due or self._waiting or self._on or self._alive:
            self._happen()
            self._place()
            self._carry_out(self._decide())
            self.curve.append(Point(self.now_ms, len(self._waiting), len(self._alive) - self._refused_soon_count()))
            self.now_ms += TURN_MS
            if self.now_ms - self.begun_ms > LONGEST_MS:
                raise AssertionError(f"{self._situation.name}: no end after {LONGEST_MS // HOUR_MS} hours")
        return self

    @property
    def cost(self) -> float:
        """What all machines have cost."""
        return sum(cost(machine, self.now_ms) for machine in self.ended)

    @property
    def unused_count(self) -> int:
        """How many machines came online and went without ever having had a task."""
        return (
            sum(machine.online_at_ms is not None and not machine.done for machine in self.ended) - self.repeated_count
        )

    # --- what happens by itself ------------------------------------------------------------------------------------

    def _happen(self) -> None:
        happen: dict[str, Callable[[Any], None]] = {
            "arrived": self._arrived,
            "refused": self._refused,
            "came": self._came,
            "finished": self._finished,
            "vanished": self._vanished,
        }
        while self._due and self._due[0][0] <= self.now_ms:
            _, _, what, machine = heapq.heappop(self._due)
            happen.get(what, self._gone)(machine)

    def _refused_soon_count(self) -> int:
        return sum(what == "refused" for _, _, what, _ in self._due)

    def _later(self, after_s: float, what: str, machine: str) -> None:
        self._number += 1
        heapq.heappush(self._due, (self.now_ms + round(after_s * 1000), self._number, what, machine))

    def _keep(self, machine: Machine) -> None:
        self._history.take(machine)
        if machine.state.ended:
            del self._alive[machine.id]
            self.ended.append(machine)
        else:
            self._alive[machine.id] = machine

    def _step(self, machine: MachineId, step: MachineStep, reason: str, **facts: Any) -> None:
        self._keep(after(self._alive[machine], step, self.now_ms, reason, **facts))

    def _arrived(self, task: TaskId) -> None:
        job = self._jobs[task]
        self._waiting[task] = msgspec.structs.replace(job.task, waiting_since_ms=self.begun_ms + job.after_ms)

    def _refused(self, machine: MachineId) -> None:
        self._bill(self._alive[machine])
        limited = self._situation.quota is not None or self._situation.quotas is not None
        trouble = Trouble.RETRYABLE if not limited else Trouble.OUT_OF_CAPACITY
        failure = {"failure": "made to fail", "trouble": str(trouble), "failed_at_ms": self.now_ms}
        self._step(machine, MachineStep.STOP, "it did not come up", **failure)
        self._step(machine, MachineStep.CONFIRM, "nothing is there")

    def _came(self, machine: MachineId) -> None:
        if self._alive[machine].state is MachineState.CREATING:
            self._step(machine, MachineStep.CREATED, "", created_at_ms=self.now_ms)
            self._step(machine, MachineStep.READY, "", online_at_ms=self.now_ms)

    def _finished(self, machine: MachineId) -> None:
        if machine in self._on:
            task = self._on.pop(machine)
            self._done.setdefault(machine, []).append(task)
            self.ended_ms = self.now_ms
            job = self._jobs[task]
            self.waits_s.append((self._begun[task] - self.begun_ms - job.after_ms) / 1000)
            self._run_times.learn(Workload.of(job.task), self._alive[machine].size, job.run_ms)

    def _vanished(self, machine: MachineId) -> None:
        task = self._on.pop(machine)
        self.repeated_count += 1
        self._interrupted[task] += self._alive[machine].spot
        again = msgspec.structs.replace(self._jobs[task].task, interruptions_count=self._interrupted[task])
        self._waiting = {task: again, **self._waiting}
        self._step(machine, MachineStep.STOP, "lost", tasks=())
        self._later(1, "gone", machine)

    def _gone(self, machine: MachineId) -> None:
        self._bill(self._alive[machine])
        self._step(machine, MachineStep.CONFIRM, "")

    def _bill(self, machine: Machine) -> None:
        """Charge a machine as a provider would: by started units, at least so much."""
        used_s = max(self.now_ms - (machine.called_at_ms or 0), machine.billed_least_ms) / 1000
        if unit_s := machine.billed_unit_ms / 1000:
            used_s = ceil(used_s / unit_s) * unit_s
        self.caused += used_s / 3600 * (machine.price_per_hour or 0.0)

    def _place(self) -> None:
        """Give waiting tasks to free machines, in the order of the queue."""
        free = [each for each in self._alive.values() if each.state in FREE and each.id not in self._on]
        free.sort(key=lambda machine: machine.max_images or 0)
        for task in list(self._waiting.values()) if free else []:
            machine = next((each for each in free if fits_machine(task, each)), None)
            if machine is None or self._supply.is_for_another(task.task, machine.id, clocks_at(self.now_ms).instant):
                continue
            free.remove(machine)
            del self._waiting[task.task]
            self._on[machine.id] = task.task
            self._begun[task.task] = self.now_ms
            may_vanish = machine.spot or not self._any_spot
            lost = self._chance.random() < self._situation.lost_part and may_vanish
            run_s = self._jobs[task.task].run_ms / 1000
            self._later(run_s * (0.5 if lost else 1.0), "vanished" if lost else "finished", machine.id)
            if not free:
                return

    # --- what is decided -------------------------------------------------------------------------------------------

    def _load(self, machine: MachineId) -> Load:
        here = (self._on[machine],) if machine in self._on else ()
        since_ms = {task: self._begun[task] for task in here}
        return Load(
            tasks=here, running_count=len(here), running_since_ms=since_ms, done=tuple(self._done.get(machine, ()))
        )

    def _decide(self) -> ScalingPlan:
        loads = {machine.id: self._load(machine.id) for machine in self._alive.values() if machine.state in WATCHED}
        for machine, load in loads.items():
            self._keep(observed(self._alive[machine], load, self.now_ms))
        view = PlanInput(
            now_ms=self.now_ms,
            machines=list(self._alive.values()),
            history=self._history,
            waiting=list(self._waiting.values()),
            loads=loads,
            workloads={task: Workload.of(self._jobs[task].task) for task in self._on.values()},
            run_times=self._run_times,
            never_needed=self._idle.never_needed(clocks_at(self.now_ms).instant),
        )
        decided = plan(self.limits, view)
        self._idle.note(decided.spare, clocks_at(self.now_ms).instant)
        return decided

    def _carry_out(self, decided: ScalingPlan) -> None:
        self._supply.take(SupplyChanged(at_ms=self.now_ms, meant=decided.meant), clocks_at(self.now_ms).instant)
        for decision in decided.destroy:
            self._step(decision.machine, MachineStep.STOP, decision.reason)
            if decision.machine in self._alive:
                self._later(self._chance.uniform(*DESTROY_S), "gone", decision.machine)
        for decision in decided.drain:
            self._step(decision.machine, MachineStep.DRAIN, decision.reason)
        for creation in decided.create:
            self._create(creation)

    def _create(self, creation: Creation) -> None:
        self.asked_count += 1
        size = creation.offer.size
        machine = Machine(
            id=MachineId(f"m{self.asked_count:06}"),
            provider=size.provider or "played",
            spot=size.spot,
            interruptions_limit_count=size.interruptions_limit_count,
            region=creation.offer.region,
            size=size.slug,
            max_images=size.max_images,
            price_per_hour=size.price_per_hour,
            billed_unit_ms=0 if size.billed_unit_s == 1 else size.billed_unit_s * 1000,
            billed_least_ms=size.billed_least_s * 1000,
            for_task=creation.for_task,
            requested_at_ms=self.now_ms,
            state_at_ms=self.now_ms,
        )
        existing = sum(each.created_at_ms is not None for each in self._alive.values())
        pending = sum(what == "came" for _, _, what, _ in self._due)
        called = msgspec.structs.replace(machine, called_at_ms=self.now_ms)
        self._keep(after(called, MachineStep.BEGIN, self.now_ms, creation.reason))
        full = self._situation.quota is not None and existing + pending >= self._situation.quota
        for name, most in (self._situation.quotas or {}).items():
            here = sum(name in {each.region, each.provider} for each in self._alive.values()) - 1
            full = full or (name in {machine.region, machine.provider} and here >= most)
        if full or self._chance.random() < self._situation.failing_part:
            self._later(self._chance.uniform(*REFUSE_S), "refused", machine.id)
        else:
            self._later(self._chance.uniform(*BOOT_S), "came", machine.id)
