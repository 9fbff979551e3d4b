"""What is read out of records by more than one story. Pure."""

from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import InstanceId, Owner


def wanted(machine: Machine) -> bool:
    """Whether the record says that it should live: draining ones still have work."""
    return not machine.state.ended and machine.state is not MachineState.DESTROYING


class InputsElsewhere:
    """What the inputs of active tasks take, by owner and by the proxy that keeps them, added up as records change."""

    def __init__(self) -> None:
        self._owners: dict[Owner, dict[InstanceId, int]] = {}

    def change(self, old: Task | None, new: Task | None) -> None:
        """Count a record as it is now, instead of as it was."""
        if old is not None and old.inputs_kept:
            self._add(old.owner, old.upload_owner, -old.size_bytes)
        if new is not None and new.inputs_kept:
            self._add(new.owner, new.upload_owner, new.size_bytes)

    def elsewhere(self, owner: Owner, but: InstanceId) -> int:
        """Say what an owner's inputs take at all proxies but one, in bytes."""
        return sum(size_bytes for proxy, size_bytes in self._owners.get(owner, {}).items() if proxy != but)

    def _add(self, owner: Owner, proxy: InstanceId, size_bytes: int) -> None:
        at = self._owners.setdefault(owner, {})
        at[proxy] = at.get(proxy, 0) + size_bytes
        if not at[proxy]:
            del at[proxy]
        if not at:
            del self._owners[owner]
