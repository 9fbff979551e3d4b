"""What a plan sees: the cluster at one moment, machines by what their nodes do, and how old everything about them is.

What is seen of a machine's node becomes the machine's state: busy, idle, offline, how many tasks it has done.

Limits of a machine (run time, idle time, uploads, silence) and what it has cost depend on times in its record, which are wall times. A
plan must not change because the wall clock steps: so before a plan is made, each of these times is said anew, as far before the
present as the monotonic clock has counted since it was first seen here. After a start that is what the wall clock says, within bounds.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from clusterodm.libs.common.clocks import InstantCache, Now, WallMs
from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.run_times import RunTimes, Workload
from clusterodm.services.autoscaler.cluster.core import Load
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.machine_life.life import MachineStep, after

WATCHED = {MachineState.ONLINE, MachineState.BUSY, MachineState.IDLE, MachineState.DRAINING}
LONGEST_S: Final = 7 * 24 * 3600.0
"""How old at most anything counts as that this process has not seen begin."""
TIMES: Final = (
    "requested_at_ms",
    "state_at_ms",
    "called_at_ms",
    "created_at_ms",
    "online_at_ms",
    "emptied_at_ms",
    "failed_at_ms",
    "offline_since_ms",
)
TASK_TIME: Final = "since_ms"


def observed(machine: Machine, load: Load, now_ms: WallMs) -> Machine:
    """Bring a machine up to date; the same object when nothing is new."""
    if machine.state not in WATCHED:
        return machine
    facts = changed(machine, load, now_ms)
    current = msgspec.structs.replace(machine, **facts) if facts else machine
    if load.tasks and machine.state in {MachineState.ONLINE, MachineState.IDLE}:
        return after(current, MachineStep.TAKE, now_ms, doing(load.tasks))
    if not load.tasks and machine.state is MachineState.BUSY:
        return after(current, MachineStep.EMPTY, now_ms, "its task has left")
    if current.done and machine.state is MachineState.ONLINE:
        passed = after(current, MachineStep.TAKE, now_ms, "a short task")
        return after(passed, MachineStep.EMPTY, now_ms, "its task has left")
    return current


def changed(machine: Machine, load: Load, now_ms: WallMs) -> dict[str, Any]:
    """Collect what is new besides the state."""
    facts: dict[str, Any] = {}
    if load.labels is not None and load.labels != machine.labels:
        facts["labels"] = load.labels
    if load.tasks != machine.tasks:
        facts["tasks"] = load.tasks
        if load.tasks and machine.state is MachineState.BUSY:
            facts["reason"] = doing(load.tasks)
    if machine.tasks and not load.tasks:
        facts["emptied_at_ms"] = now_ms
    done = [task for task in load.done if task not in machine.done and task not in load.tasks]
    if done:
        facts["done"] = (*machine.done, *done)
    if load.online != (machine.offline_since_ms is None):
        facts["offline_since_ms"] = None if load.online else now_ms
    return facts


def doing(tasks: Sequence[TaskId]) -> str:
    """Say what a machine is busy with."""
    return f"{'task' if len(tasks) == 1 else 'tasks'} {', '.join(tasks)}"


class Ages:
    """What has been counted of the machines that exist."""

    def __init__(self) -> None:
        self._instants: InstantCache[tuple[str, str]] = InstantCache()

    def restated(self, machine: Machine, now: Now) -> Machine:
        """Say a machine's times anew."""
        times = {name: self.time_ms(machine.id, name, getattr(machine, name), now) for name in TIMES}
        return msgspec.structs.replace(machine, **times)

    def time_ms(self, machine: MachineId, name: str, at_ms: int | None, now: Now) -> int | None:
        """Say one time anew; None and 0 are none."""
        return self._restated((machine, name), at_ms, now) if at_ms else at_ms

    def task_time_ms(self, task: TaskId, at_ms: int, now: Now) -> int:
        """Say anew since when a task waits or runs; 0 is none."""
        return self._restated((task, TASK_TIME), at_ms, now) if at_ms else at_ms

    def _restated(self, key: tuple[str, str], at_ms: int, now: Now) -> int:
        age_s = now.instant - self._instants.since(key, at_ms, now, LONGEST_S)
        return now.wall_ms - round(age_s * 1000)

    def keep(self, machines: Iterable[MachineId], tasks: Iterable[TaskId]) -> None:
        """Forget all others."""
        of_machines = {(machine, name) for machine in machines for name in (*TIMES, "uploading_since_ms")}
        self._instants.keep(of_machines | {(task, TASK_TIME) for task in tasks})


@dataclass(frozen=True, kw_only=True)
class PlanInput:
    """Everything that a plan depends on."""

    now_ms: WallMs
    machines: Sequence[Machine]
    """Those that exist."""
    history: MachineHistory
    """What became of all of them, and of those that have ended: back-off and budget are read from it."""
    waiting: Sequence[WaitingTask] = ()
    """Those that a machine would help, in the order of the queue, without those that have found a node meanwhile."""
    slot_free: Sequence[WaitingTask] = ()
    """Those for which a slot is free: they need no other machine, and the one that is there may be for them."""
    loads: dict[MachineId, Load]
    paused: str = ""
    """Why nothing is to be started; empty: it may be."""
    workloads: Mapping[TaskId, Workload] = field(default_factory=dict)
    """Of tasks that wait or run, as far as more is known than demand says."""
    run_times: RunTimes = field(default_factory=RunTimes)
    never_needed: Mapping[str, int] = field(default_factory=dict)
    """How many machines of each size could have been missing for a whole `idleTimeout` (planning/core/consolidation.py)."""

    def workload(self, task: WaitingTask) -> Workload:
        """Say what a waiting task is."""
        return self.workloads.get(task.task) or Workload.of(task)
