"""What is read out of records by more than one story. Pure."""

from clusterodm.libs.common.model.machines import Machine, MachineState


def wanted(machine: Machine) -> bool:
    """Whether the record says that it should live: draining ones still have work."""
    return not machine.state.ended and machine.state is not MachineState.DESTROYING
