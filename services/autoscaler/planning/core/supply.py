"""What waiting tasks are told of the machines that are on their way to them.

A plan sets tasks against machines by size, anew each time, so who gets which may change from plan to plan. A task's user
reads steady words all the same: of the machine that was requested for this very task as long as there is one, and of any
other only that it comes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from clusterodm.libs.common.messages.demand import WaitingTask
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.autoscaler.planning.core.sizing import fits_machine

PROGRESS: Final = {
    MachineState.REQUESTED: "is requested",
    MachineState.CREATING: "is being created",
    MachineState.SETTING_UP: "is being set up",
}
READY: Final = "is ready"
REASON_BYTES: Final = 200
"""Longest reason that is told: those of all listed tasks have to fit one message of 1 MiB."""


def coming(served: Mapping[TaskId, Machine], ready: Sequence[Machine]) -> tuple[TaskWaits, ...]:
    """Say of each task that is served how far its machine is."""
    own = {machine.for_task: machine for machine in ready if machine.for_task}
    return tuple(TaskWaits(task=task, reason=progress(own.get(task), machine)) for task, machine in served.items())


def meant(waiting: Sequence[WaitingTask], ready: Sequence[Machine]) -> dict[TaskId, MachineId]:
    """Say which machine was requested for which waiting task: where another takes it, one has to be requested again."""
    tasks = {task.task: task for task in waiting}
    theirs = ((machine, tasks.get(machine.for_task)) for machine in ready if machine.for_task)
    return {task.task: machine.id for machine, task in theirs if task and fits_machine(task, machine)}


def progress(own: Machine | None, any_other: Machine) -> str:
    """Say it in words."""
    if own is not None:
        return f"machine {own.id} {PROGRESS.get(own.state, READY)}"
    return f"a machine {'is on its way' if any_other.state.coming else 'is free'}"


def clipped(told: Iterable[TaskWaits]) -> tuple[TaskWaits, ...]:
    """Shorten what is too long: a provider's words may be very many."""
    return tuple(each if fits(each) else msgspec.structs.replace(each, reason=shortened(each.reason)) for each in told)


def fits(told: TaskWaits) -> bool:
    """Whether a reason may stay as it is."""
    return len(told.reason.encode()) <= REASON_BYTES


def shortened(reason: str) -> str:
    """Cut a reason in the middle; its end, which says when the next try is, stays."""
    _, mark, tail = reason.rpartition("; ")
    end = f"…{mark}{tail}" if mark and len(tail.encode()) < REASON_BYTES // 2 else "…"
    return reason.encode()[: REASON_BYTES - len(end.encode())].decode(errors="ignore") + end
