"""Machines that stay for a while after their last task, because nobody but they have its results (`keepResults`).

Such a machine takes no more tasks. Where the file says so (`keptMachinesLimit`), it does not count among those that may exist at a
time, so that tasks need not wait for results to be fetched; it costs all the same, and the budget counts it.
"""

from collections.abc import Iterable
from math import inf

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.services.autoscaler.config.core.configuration import ScalingLimits
from clusterodm.services.autoscaler.planning.core.offer_fallback import clock_time

EMPTY = {MachineState.ONLINE, MachineState.IDLE, MachineState.DRAINING}


def tasks_left(limits: ScalingLimits, machine: Machine) -> float:
    """Say how many more tasks a machine may have (`maxTasksPerMachine`)."""
    most = limits.tasks_per_machine_count
    return most - len({*machine.done, *machine.tasks}) if most else inf


def is_used_up(limits: ScalingLimits, machine: Machine) -> bool:
    """Whether a machine has had all the tasks that it may have, those on it included."""
    return tasks_left(limits, machine) <= 0


def kept_until_ms(limits: ScalingLimits, machine: Machine) -> int | None:
    """Say until when results may be fetched from a machine that alone has them; None: it has none that are kept."""
    keep_s = limits.of(machine.provider).keep_results_s
    if not machine.done or machine.tasks or not keep_s:
        return None
    since_ms = machine.state_at_ms if machine.emptied_at_ms is None else machine.emptied_at_ms
    return since_ms + keep_s * 1000


def kept(limits: ScalingLimits, machine: Machine, now_ms: WallMs) -> int | None:
    """Say until when a machine stays for nothing but its results; None: it does not, or does something else."""
    until_ms = kept_until_ms(limits, machine) if machine.state in EMPTY else None
    if until_ms is None or now_ms >= until_ms:
        return None
    return until_ms if machine.state is MachineState.DRAINING or is_used_up(limits, machine) else None


def kept_because(limits: ScalingLimits, machine: Machine, now_ms: WallMs) -> str:
    """Say in words for how long a machine stays for its results, and why; empty: it does not."""
    until_ms = kept(limits, machine, now_ms)
    if until_ms is None:
        return ""
    return (
        f"it takes no more tasks and stays until {clock_time(until_ms)}: "
        f"only it has the results (keepResults {limits.of(machine.provider).keep_results_s} s)"
    )


def uncounted(limits: ScalingLimits, machines: Iterable[Machine], now_ms: WallMs) -> int:
    """Count the machines that stay for their results and do not count among those that may exist at a time."""
    most = limits.kept_machines_count
    if most == 0:
        return 0
    count = sum(kept(limits, machine, now_ms) is not None for machine in machines)
    return count if most is None else min(count, most)
