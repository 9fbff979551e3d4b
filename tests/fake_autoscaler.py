"""An autoscaler that rents nothing: it answers the requests of operators from what a test puts there."""

from collections.abc import Mapping
from typing import Any

from libs.common import messages
from libs.common.errors import NotFound
from libs.common.messages import AutoscalerStatus, MachineView, Request
from libs.common.model import Machine, MachineId, MachineState, TaskId
from libs.common.ports import Handler


def machine(number: int, **changes: Any) -> MachineView:
    """Make a machine at work, unless told otherwise."""
    fields: dict[str, Any] = {
        "id": MachineId(f"clusterodm-abc123-{number}0-xyz"),
        "state": MachineState.BUSY,
        "provider": "digitalocean",
        "region": "sfo2",
        "size": "s-2vcpu-2gb",
        "reason": "it has a task",
        "requested_at_ms": 1_700_000_000_000,
        "hostname": f"10.0.0.{number}",
        "tasks": (TaskId("t1"),),
        **changes,
    }
    return MachineView(number=number, machine=Machine(**fields), age_ms=61_000, cost=0.25)


class FakeAutoscaler:
    """Machines in a list, and a switch."""

    def __init__(self) -> None:
        self.machines = [machine(1), machine(2, state=MachineState.CREATING, hostname="", tasks=())]
        self.paused: str | None = None
        self.destroyed: list[MachineId] = []

    def handlers(self) -> Mapping[Request[Any, Any], Handler]:
        """Answer everything that operators ask."""
        return {
            messages.LIST_MACHINES: self._list,
            messages.GET_AUTOSCALER_STATUS: self._status,
            messages.DESTROY_MACHINE: self._destroy,
            messages.PAUSE_AUTOSCALER: self._pause,
            messages.RESUME_AUTOSCALER: self._resume,
        }

    def status(self) -> AutoscalerStatus:
        """Say how it stands."""
        return AutoscalerStatus(
            enabled=True,
            reason=f"paused: {self.paused}" if self.paused is not None else "2 machines",
            provider="digitalocean",
            paused=self.paused is not None,
            machines_limit_count=3,
            states={"busy": 1, "creating": 1},
            cost_per_hour=0.5,
        )

    async def _list(self, _asked: messages.ListMachines) -> messages.MachineList:
        return messages.MachineList(machines=tuple(self.machines))

    async def _status(self, _asked: messages.GetAutoscalerStatus) -> AutoscalerStatus:
        return self.status()

    async def _destroy(self, asked: messages.DestroyMachine) -> MachineView:
        found = next((view for view in self.machines if view.machine.id == asked.machine), None)
        if found is None:
            raise NotFound(f"There is no machine {asked.machine}")
        self.destroyed.append(asked.machine)
        return found

    async def _pause(self, asked: messages.PauseAutoscaler) -> AutoscalerStatus:
        self.paused = asked.reason
        return self.status()

    async def _resume(self, _asked: messages.ResumeAutoscaler) -> AutoscalerStatus:
        self.paused = None
        return self.status()
