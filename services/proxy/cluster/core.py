"""What is read out of records by more than one story. Pure."""

from clusterodm.libs.common.model import Attempt, Machine, MachineState, Task, TaskState


def attempt_on_node(task: Task) -> Attempt | None:
    """Find the attempt whose node has something to say: the last one, once it has run and unless another follows."""
    last = task.attempt
    if last is None or last.running_at_ms is None:
        return None
    return last if task.state is TaskState.RUNNING or task.state.ended else None


def wanted(machine: Machine) -> bool:
    """Whether the record says that it should live: draining ones still have work."""
    return not machine.state.ended and machine.state is not MachineState.DESTROYING
