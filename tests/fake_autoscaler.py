"""An autoscaler that rents nothing: it answers the requests of operators from what a test puts there."""

from collections.abc import Mapping
from typing import Any

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.boot_logs import READ_BOOT_LOG, BootLogLines, ReadBootLog
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.machines import (
    DESTROY_MACHINE,
    GET_AUTOSCALER_STATUS,
    LIST_MACHINES,
    PAUSE_AUTOSCALER,
    RESUME_AUTOSCALER,
    AutoscalerStatus,
    BudgetStatus,
    DestroyMachine,
    GetAutoscalerStatus,
    ListMachines,
    MachineList,
    MachineView,
    PauseAutoscaler,
    ResumeAutoscaler,
)
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, Owner, TaskId
from clusterodm.libs.common.ports import Handler


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
        self.boot_logs: dict[MachineId, tuple[str, ...]] = {}
        self.booting = True

    def handlers(self) -> Mapping[Request[Any, Any], Handler]:
        """Answer everything that operators ask."""
        return {
            LIST_MACHINES: self._list,
            GET_AUTOSCALER_STATUS: self._status,
            DESTROY_MACHINE: self._destroy,
            PAUSE_AUTOSCALER: self._pause,
            RESUME_AUTOSCALER: self._resume,
            READ_BOOT_LOG: self._boot_log,
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
            budgets=(
                BudgetStatus(owner=Owner("survey"), cost_per_hour=0.5, cost_last_day=3.25, max_daily_cost=20.0),
                BudgetStatus(owner=Owner("guest"), max_hourly_cost=0.75, max_daily_cost=2.0),
            ),
        )

    async def _boot_log(self, asked: ReadBootLog) -> BootLogLines:
        if asked.machine not in {view.machine.id for view in self.machines}:
            raise NotFound(f"There is no machine {asked.machine}")
        lines = self.boot_logs.get(asked.machine, ())
        first = max(0, len(lines) + asked.from_line) if asked.from_line < 0 else min(asked.from_line, len(lines))
        return BootLogLines(lines=lines[first:], from_line=first, next_line=len(lines), ended=not self.booting)

    async def _list(self, _asked: ListMachines) -> MachineList:
        return MachineList(machines=tuple(self.machines))

    async def _status(self, _asked: GetAutoscalerStatus) -> AutoscalerStatus:
        return self.status()

    async def _destroy(self, asked: DestroyMachine) -> MachineView:
        found = next((view for view in self.machines if view.machine.id == asked.machine), None)
        if found is None:
            raise NotFound(f"There is no machine {asked.machine}")
        self.destroyed.append(asked.machine)
        return found

    async def _pause(self, asked: PauseAutoscaler) -> AutoscalerStatus:
        self.paused = asked.reason
        return self.status()

    async def _resume(self, _asked: ResumeAutoscaler) -> AutoscalerStatus:
        self.paused = None
        return self.status()
