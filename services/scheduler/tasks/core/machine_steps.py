"""What the console of a task says of the machine that is rented for it: each step of its life once, in its order.

    Machine x (large in fsn1 at hetzner) is ordered: a task of 120 images waits; what comes before it is not to be had: ...
    Machine x is being created
    Machine x is being set up
    Machine x is ready
    Machine x failed: ...                   the next one is ordered with the reason for its size
    Machine x is given up: ...              it went before it was ready, without a failure

The machine's record has a timeline of its own, and what is missing of it in the task's is added: so a step that was passed over while
nobody looked is told late, one that was told is not told again, and a restart of either service changes nothing. No step is told
after a later one: lines that were shown stay where they are. What happens to the machine once it was ready concerns its task no more, and
while the task runs nothing is added (libs/common/console.py).
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import Task, TaskState
from clusterodm.services.scheduler.task_life.life import with_minor_line

WORDS: Final = {
    MachineState.CREATING: "is being created",
    MachineState.SETTING_UP: "is being set up",
    MachineState.ONLINE: "is ready",
}
LEAVING: Final = {MachineState.DESTROYING, MachineState.GONE, MachineState.FAILED}
TELLING: Final = {TaskState.WAITING, TaskState.FORWARDING}


def steps_of(machine: Machine) -> Iterator[tuple[str, str]]:
    """Give each step that a machine has taken for its task: how its line begins, which tells it from all others, and how it goes on."""
    told = [moment.text.partition(": ") for moment in machine.timeline]
    reasons = {state: reason for state, _, reason in reversed(told)}
    ordered = machine.reason if machine.state is MachineState.REQUESTED else reasons.get(MachineState.CREATING, "")
    place = f" in {machine.region}" if machine.region else ""
    yield (
        f"Machine {machine.id} ({machine.size}{place} at {machine.provider}) is ordered",
        f": {ordered}" if ordered else "",
    )
    yield from ((f"Machine {machine.id} {word}", "") for state, word in WORDS.items() if state in reasons)
    if MachineState.ONLINE in reasons:
        return
    if machine.failure:
        yield f"Machine {machine.id} failed", f": {machine.failure}"
    elif machine.state in LEAVING:
        yield f"Machine {machine.id} is given up", f": {machine.reason}"


def missing_steps(task: Task, machine: Machine) -> tuple[str, ...]:
    """Give the lines that the console lacks."""
    if machine.for_task != task.id or task.state not in TELLING or task.removed:
        return ()
    lines = [moment.text for moment in task.timeline]
    steps = list(steps_of(machine))
    told = [place for place, (begins, _) in enumerate(steps) if any(line.startswith(begins) for line in lines)]
    return tuple(f"{begins}{rest}" for begins, rest in steps[max(told, default=-1) + 1 :])


def with_steps(task: Task, machine: Machine, now_ms: WallMs) -> Task:
    """Add what is missing; the same task where nothing is."""
    timeline = task.timeline
    for line in missing_steps(task, machine):
        timeline = with_minor_line(timeline, line, now_ms)
    return task if timeline is task.timeline else msgspec.structs.replace(task, timeline=timeline)
