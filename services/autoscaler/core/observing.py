"""What is seen of a machine's node becomes the machine's state: busy, idle, offline, how many tasks it has done."""

from typing import Any

import msgspec

from libs.common.clocks import WallMs
from libs.common.model import Machine, MachineState
from services.autoscaler.core.life import Step, after
from services.autoscaler.core.planning import Load

WATCHED = {MachineState.ONLINE, MachineState.BUSY, MachineState.IDLE, MachineState.DRAINING}


def observed(machine: Machine, load: Load, now_ms: WallMs) -> Machine:
    """Bring a machine up to date; the same object when nothing is new."""
    if machine.state not in WATCHED:
        return machine
    facts = changed(machine, load, now_ms)
    current = msgspec.structs.replace(machine, **facts) if facts else machine
    if load.tasks and machine.state in {MachineState.ONLINE, MachineState.IDLE}:
        return after(current, Step.TAKE, now_ms, f"task {load.tasks[0]}")
    if not load.tasks and machine.state is MachineState.BUSY:
        return after(current, Step.EMPTY, now_ms, "its task has left")
    if current.done and machine.state is MachineState.ONLINE:
        passed = after(current, Step.TAKE, now_ms, "a short task")
        return after(passed, Step.EMPTY, now_ms, "its task has left")
    return current


def changed(machine: Machine, load: Load, now_ms: WallMs) -> dict[str, Any]:
    """Collect what is new besides the state."""
    facts: dict[str, Any] = {}
    if load.tasks != machine.tasks:
        facts["tasks"] = load.tasks
    if machine.tasks and not load.tasks:
        facts["emptied_at_ms"] = now_ms
    done = [task for task in load.done if task not in machine.done and task not in load.tasks]
    if done:
        facts["done"] = (*machine.done, *done)
    if load.online != (machine.offline_since_ms is None):
        facts["offline_since_ms"] = None if load.online else now_ms
    return facts
