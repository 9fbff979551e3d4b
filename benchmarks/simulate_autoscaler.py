"""A thousand waiting tasks against a provider with limits and failures, in simulated time, with the real decisions.

    python -m benchmarks.simulate_autoscaler [--tasks 1000] [--seed 1] [--curves FILE.csv]

The pure core decides (services/autoscaler/core/planning.py); provider, scheduler and clock are played here. Each row of
the table is one situation. `cost` and `makespan` stand beside the best possible: every task on the cheapest machine that
fits, started the moment a machine may exist, with nothing failing; `turns` counts how often the number of machines changed
direction (up, then down, or down, then up): one is a single hill, which is what a single burst of tasks should make.
"""

import argparse
import heapq
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from libs.common.errors import Trouble
from libs.common.messages import WaitingTask
from libs.common.model import Machine, MachineId, MachineState, TaskId
from services.autoscaler.core.budget import HOUR_MS, cost
from services.autoscaler.core.configuration import Limits
from services.autoscaler.core.life import Step, after
from services.autoscaler.core.observing import WATCHED, observed
from services.autoscaler.core.offers import Size
from services.autoscaler.core.planning import Creation, Load, View, plan

TURN_MS: Final = 5_000
BOOT_S: Final = (60.0, 240.0)
DESTROY_S: Final = (5.0, 30.0)
SIZES: Final = (
    Size(slug="small", max_images=50, price_per_hour=0.05),
    Size(slug="medium", max_images=250, price_per_hour=0.12),
    Size(slug="large", max_images=1500, price_per_hour=0.40),
)
LONGEST_MS: Final = 14 * 24 * HOUR_MS


@dataclass(frozen=True)
class Job:
    """One task of the trace."""

    task: WaitingTask
    run_ms: int


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the provider is like."""

    name: str
    failing_part: float = 0.0
    """Creations that fail."""
    trouble: Trouble = Trouble.RETRYABLE
    quota: int | None = None
    """More machines than these are refused as out of capacity."""
    lost_part: float = 0.0
    """Machines that vanish while they work."""
    limits: dict[str, Any] = field(default_factory=dict)


SITUATIONS: Final = (
    Situation(name="no limit, no failure", limits={}),
    Situation(name="50 machines", limits={"machines_count": 50}),
    Situation(
        name="50, used again", limits={"machines_count": 50, "tasks_per_machine_count": 0, "idle_timeout_s": 120}
    ),
    Situation(name="50, 10% fail", limits={"machines_count": 50}, failing_part=0.1),
    Situation(name="50, 30% fail, 2% vanish", limits={"machines_count": 50}, failing_part=0.3, lost_part=0.02),
    Situation(name="provider's quota of 40", quota=40),
    Situation(name="5 per hour to spend", limits={"max_hourly_cost": 5.0}),
)


def trace(count: int, chance: random.Random) -> list[Job]:
    """Make tasks: most of them small, some large; the time to run grows with the images."""
    jobs = []
    for number in range(count):
        images = min(1500, max(3, round(chance.lognormvariate(4.2, 1.1))))
        task = WaitingTask(task=TaskId(f"t{number:04}"), images_count=images, waiting_since_ms=number)
        jobs.append(Job(task, round((300 + 12 * images) * 1000 * chance.uniform(0.8, 1.2))))
    return jobs


class Simulation:
    """One run."""

    def __init__(self, situation: Situation, jobs: list[Job], seed: int) -> None:
        self.limits = Limits(**{"sizes": SIZES, "regions": ("north", "south"), "create_retries": 4, **situation.limits})
        self.now_ms = 1_000_000_000
        self.curve: list[tuple[int, int, int]] = []
        """Time, tasks that wait, machines."""
        self.machines: dict[MachineId, Machine] = {}
        self._situation = situation
        self._chance = random.Random(seed)
        self._jobs = {job.task.task: job for job in jobs}
        self._waiting = [job.task.task for job in jobs]
        self._on: dict[MachineId, TaskId] = {}
        self._done: dict[MachineId, list[TaskId]] = {}
        self._locked: set[MachineId] = set()
        self._due: list[tuple[int, int, str, MachineId]] = []
        self._number = 0
        self.created_count = 0
        self.most_count = 0

    def run(self) -> "Simulation":
        """Run until no task waits and no machine is left."""
        begun_ms = self.now_ms
        while self._waiting or self._on or self._alive():
            self._happen()
            self._place()
            self._decide()
            self.now_ms += TURN_MS
            if self.now_ms - begun_ms > LONGEST_MS:
                raise AssertionError(f"{self._situation.name}: no end after {LONGEST_MS // HOUR_MS} hours")
        return self

    def _alive(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if not machine.state.ended]

    def _later(self, after_s: float, what: str, machine: MachineId) -> None:
        self._number += 1
        heapq.heappush(self._due, (self.now_ms + round(after_s * 1000), self._number, what, machine))

    def _step(self, machine: MachineId, step: Step, reason: str, **facts: Any) -> None:
        self.machines[machine] = after(self.machines[machine], step, self.now_ms, reason, **facts)

    def _happen(self) -> None:
        """Let everything happen that is due."""
        while self._due and self._due[0][0] <= self.now_ms:
            _, _, what, machine = heapq.heappop(self._due)
            getattr(self, f"_{what}")(machine)

    def _refused(self, machine: MachineId) -> None:
        failure = {"failure": "made to fail", "trouble": str(self._trouble()), "failed_at_ms": self.now_ms}
        self._step(machine, Step.STOP, "it did not come up", **failure)
        self._step(machine, Step.CONFIRM, "nothing is there")

    def _trouble(self) -> Trouble:
        return Trouble.OUT_OF_CAPACITY if self._situation.quota is not None else self._situation.trouble

    def _came(self, machine: MachineId) -> None:
        if self.machines[machine].state is MachineState.CREATING:
            self._step(machine, Step.CREATED, "", created_at_ms=self.now_ms)
            self._step(machine, Step.READY, "", online_at_ms=self.now_ms)

    def _finished(self, machine: MachineId) -> None:
        if machine in self._on:
            self._done.setdefault(machine, []).append(self._on.pop(machine))

    def _vanished(self, machine: MachineId) -> None:
        if task := self._on.pop(machine, None):
            self._waiting.insert(0, task)
            self._step(machine, Step.STOP, "lost", tasks=())
            self._later(1, "gone", machine)

    def _gone(self, machine: MachineId) -> None:
        self._step(machine, Step.CONFIRM, "")

    def _place(self) -> None:
        """Give waiting tasks to free machines, in the order of the queue."""
        free = [
            machine
            for machine in self.machines.values()
            if machine.state in {MachineState.ONLINE, MachineState.IDLE}
            and machine.id not in self._on
            and machine.id not in self._locked
        ]
        free.sort(key=lambda machine: machine.max_images or 0)
        for task in list(self._waiting) if free else []:
            job = self._jobs[task]
            machine = next((each for each in free if (each.max_images or 0) >= job.task.images_count), None)
            if machine is None:
                continue
            free.remove(machine)
            self._waiting.remove(task)
            self._on[machine.id] = task
            lost = self._chance.random() < self._situation.lost_part
            self._later(job.run_ms / 1000 * (0.5 if lost else 1.0), "vanished" if lost else "finished", machine.id)

    def _load(self, machine: MachineId) -> Load:
        here = (self._on[machine],) if machine in self._on else ()
        return Load(tasks=here, running_count=len(here), done=tuple(self._done.get(machine, ())))

    def _decide(self) -> None:
        loads = {machine.id: self._load(machine.id) for machine in self._alive() if machine.state in WATCHED}
        for machine, load in loads.items():
            self.machines[machine] = observed(self.machines[machine], load, self.now_ms)
        waiting = [self._jobs[task].task for task in self._waiting]
        decided = plan(
            self.limits, View(now_ms=self.now_ms, machines=list(self.machines.values()), waiting=waiting, loads=loads)
        )
        for verdict in decided.destroy:
            self._step(verdict.machine, Step.STOP, verdict.reason)
            if not self.machines[verdict.machine].state.ended:
                self._later(self._chance.uniform(*DESTROY_S), "gone", verdict.machine)
        for verdict in decided.drain:
            self._step(verdict.machine, Step.DRAIN, verdict.reason)
        for creation in decided.create:
            self._create(creation)
        count = len(self._alive())
        self.most_count = max(self.most_count, count)
        self.curve.append((self.now_ms, len(waiting), count))

    def _create(self, creation: Creation) -> None:
        self.created_count += 1
        size = creation.offer.size
        machine = Machine(
            id=MachineId(f"m{self.created_count}"),
            provider="played",
            region=creation.offer.region,
            size=size.slug,
            max_images=size.max_images,
            price_per_hour=size.price_per_hour,
            for_task=creation.for_task,
            requested_at_ms=self.now_ms,
            state_at_ms=self.now_ms,
        )
        called = msgspec.structs.replace(machine, called_at_ms=self.now_ms)
        self.machines[machine.id] = after(called, Step.BEGIN, self.now_ms, creation.reason)
        existing = sum(each.state is not MachineState.CREATING for each in self._alive())
        pending = sum(what == "came" for _, _, what, _ in self._due)
        full = self._situation.quota is not None and existing + pending >= self._situation.quota
        if full or self._chance.random() < self._situation.failing_part:
            self._later(self._chance.uniform(2, 10), "refused", machine.id)
        else:
            self._later(self._chance.uniform(*BOOT_S), "came", machine.id)


def best_possible(jobs: list[Job], most: int | None) -> tuple[float, float]:
    """Cost and makespan in hours that nothing could beat: the cheapest size, the mean boot once per slot, no failure."""
    boot_ms = BOOT_S[0] * 1000
    cheapest = 0.0
    for job in jobs:
        size = next(size for size in SIZES if size.max_images >= job.task.images_count)
        cheapest += (size.price_per_hour or 0) * job.run_ms / HOUR_MS
    longest = max(job.run_ms for job in jobs) + boot_ms
    total = sum(job.run_ms for job in jobs)
    makespan = longest if most is None else max(longest, total / most + boot_ms)
    return cheapest, makespan / HOUR_MS


def turns(curve: list[tuple[int, int, int]], noise: int) -> int:
    """Count how often the number of machines turned round by more than the noise."""
    found, direction, extreme = 0, 0, curve[0][2]
    for _, _, count in curve:
        if direction >= 0 and count > extreme:
            extreme, direction = count, 1
        elif direction <= 0 and count < extreme:
            extreme, direction = count, -1
        elif abs(count - extreme) > noise:
            found, direction, extreme = found + 1, -direction or 1, count
    return found


def main() -> None:
    """Run every situation and print the table."""
    parser = argparse.ArgumentParser(description="Simulate the autoscaler's decisions")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--curves", type=Path, help="write time, waiting tasks and machines of every situation to a CSV"
    )
    arguments = parser.parse_args()
    jobs = trace(arguments.tasks, random.Random(arguments.seed))
    rows = ["situation,at_s,waiting,machines"]
    print(f"{'situation':28} {'cost':>8} {'best':>8} {'ratio':>6} {'hours':>7} {'best':>7} {'ratio':>6} "
          f"{'created':>8} {'most':>5} {'turns':>6}")  # fmt: skip
    for situation in SITUATIONS:
        done = Simulation(situation, jobs, arguments.seed).run()
        spent = sum(cost(machine, done.now_ms) for machine in done.machines.values())
        hours = (done.curve[-1][0] - done.curve[0][0]) / HOUR_MS
        cheapest, shortest = best_possible(jobs, situation.limits.get("machines_count", situation.quota))
        print(
            f"{situation.name:28} {spent:8.2f} {cheapest:8.2f} {spent / cheapest:6.2f} {hours:7.2f} {shortest:7.2f} "
            f"{hours / shortest:6.2f} {done.created_count:8} {done.most_count:5} "
            f"{turns(done.curve, max(3, done.most_count // 10)):6}"
        )
        begun_ms = done.curve[0][0]
        rows += [f"{situation.name},{(at - begun_ms) // 1000},{waits},{count}" for at, waits, count in done.curve]
    if arguments.curves:
        arguments.curves.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
