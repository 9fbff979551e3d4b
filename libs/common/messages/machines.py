"""Machines: what the autoscaler has rented, and what operators do with it; and what it tells of them."""

from typing import Annotated, Final

import msgspec

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.kinds import Event, Request
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import Frozen, MachineId, NodeId, NodeTaskId, Owner, TaskId


class ViewCommand(Frozen, frozen=True, kw_only=True):
    """Which command would start a machine for so many images? Refused without an autoscaler."""

    images_count: int


class CommandView(Frozen, frozen=True, kw_only=True):
    """Answer to ViewCommand; secrets are masked."""

    command: str


class ImaginedTasks(Frozen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """So many tasks of one kind that might come: an entry of the file for `clusterodm asr plan --demand`."""

    images: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """None: nobody knows how many."""
    gigabytes: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    gpu: bool = False
    """They ask for a graphics card."""
    owner: str = ""
    """Whose they are, as `budgets` and labels name it; empty: nobody's."""
    labels: tuple[str, ...] = ()
    """Their nodes must have all of these."""
    interruptions: Annotated[int, msgspec.Meta(ge=0)] = 0
    """So many spot machines were taken away from each."""
    count: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 1


class PlanMachines(Frozen, frozen=True, kw_only=True):
    """What would be done now, and why? Nothing is done. Refused without an autoscaler."""

    demand: tuple[ImaginedTasks, ...] | None = None
    """Instead of the tasks that wait; None: those."""


class PlannedStep(Frozen, frozen=True, kw_only=True):
    """Something that would be done, as often as it would be done for the same reason."""

    act: str
    """`create`, `drain`, `destroy`; `share`: a task waits for a machine that gets free; `wait`: it gets none."""
    what: str
    """A size and a region, a machine, or empty."""
    reason: str
    count: int = 1

    def __str__(self) -> str:
        """Say it in a line."""
        times = f"{self.count} x " if self.count > 1 or not self.what else ""
        return f"{self.act} {times}{self.what or 'task'}: {self.reason}"


class PlannedMachines(Frozen, frozen=True, kw_only=True):
    """Answer to PlanMachines."""

    steps: tuple[PlannedStep, ...]


def imagined(text: str) -> tuple[ImaginedTasks, ...]:
    """Read the file for `--demand`: a list of objects. Raises Refused with one line."""
    try:
        found = msgspec.json.decode(text, type=tuple[ImaginedTasks, ...])
    except msgspec.DecodeError as error:
        raise Refused(f"not a list of tasks: {error}") from None
    if sum(each.count for each in found) > MOST_IMAGINED:
        raise Refused(f"more than {MOST_IMAGINED} tasks")
    return found


MOST_IMAGINED: Final = 2000
"""As many as a snapshot of demand lists."""


class GetAutoscalerStatus(Frozen, frozen=True, kw_only=True):
    """What the autoscaler does at present."""


class AutoscalerStatus(Frozen, frozen=True, kw_only=True):
    """Answer to GetAutoscalerStatus."""

    enabled: bool
    reason: str
    """Why it is not enabled, or what it last decided."""
    demand_count: int = 0
    """Waiting tasks in the last snapshot of demand that it has seen."""
    demand_at_ms: int | None = None
    provider: str = ""
    paused: bool = False
    machines_limit_count: int | None = None
    """None: no limit."""
    states: dict[str, int] = msgspec.field(default_factory=dict)
    """How many machines are in which state; those that have ended are left out."""
    cost_per_hour: float = 0.0
    """Of the machines that exist, as far as the configuration names prices."""
    cost_last_day: float = 0.0
    max_hourly_cost: float | None = None
    """The budget; None: there is none."""
    max_daily_cost: float | None = None
    waits: tuple["TaskWaits", ...] = ()
    """Waiting tasks for which no machine is started, and why."""
    trouble: str = ""
    """The provider's last failure, while it has not succeeded since."""
    providers: tuple["ProviderStatus", ...] = ()
    """Each provider, where the configuration has several, in its order."""
    file_check: str = ""
    """What the provider's API says of the keys, image, regions and sizes of the file, in words; empty: it is not asked."""
    file_mistakes: tuple[str, ...] = ()
    """What of it the provider does not accept, a line each."""
    left_alone: tuple[str, ...] = ()
    """What providers have whose names begin like those of our machines and are none: nobody here touches it."""
    budgets: tuple["BudgetStatus", ...] = ()
    """Each owner that has a budget, machines or bills of the last day."""


class ProviderStatus(Frozen, frozen=True, kw_only=True):
    """One of several providers."""

    name: str
    machines_count: int = 0
    machines_limit_count: int | None = None
    """None: no limit of its own."""
    cost_per_hour: float = 0.0
    trouble: str = ""
    """Its last failure, while it has not succeeded since."""


class BudgetStatus(Frozen, frozen=True, kw_only=True):
    """What is spent for the tasks of one owner."""

    owner: Owner
    cost_per_hour: float = 0.0
    cost_last_day: float = 0.0
    max_hourly_cost: float | None = None
    """None: no limit of its own."""
    max_daily_cost: float | None = None


class TaskWaits(Frozen, frozen=True, kw_only=True):
    """Why no machine is started for a waiting task."""

    task: TaskId
    reason: str
    never: bool = False
    """There is no size of machine for it; no waiting will help."""


class MachineView(Frozen, frozen=True, kw_only=True):
    """A machine as operators see it."""

    number: int
    """Its place in the list, from 1: the `<n>` of ASR DESTROY."""
    machine: Machine
    age_ms: int = 0
    """Since the provider was called."""
    cost: float = 0.0
    """So far, when the configuration names its price."""
    kept: str = ""
    """For how long it stays because nobody but it has the results of its last task, in words; empty: it does not."""
    kept_until_ms: int | None = None
    told: str = ""
    """In the answer to `destroy_machine`: what is done where it is not begun just now; empty: it is."""


class ListMachines(Frozen, frozen=True, kw_only=True):
    """All machines, in the order in which they were requested."""

    ended: bool = False
    """Those of the last day that have ended too; they stand at the end of the list."""


class MachineList(Frozen, frozen=True, kw_only=True):
    """Answer to ListMachines."""

    machines: tuple[MachineView, ...]


class DestroyMachine(Frozen, frozen=True, kw_only=True):
    """Destroy a machine whatever it does; a task on it gets a new attempt. Answered at once: the list shows how it goes."""

    machine: MachineId
    reason: str = "destroyed by an operator"


class PauseAutoscaler(Frozen, frozen=True, kw_only=True):
    """Start no more machines until resumed; those that exist go on and end as usual. It survives restarts."""

    reason: str = ""


class ResumeAutoscaler(Frozen, frozen=True, kw_only=True):
    """Start machines again."""


class FindResult(Frozen, frozen=True, kw_only=True):
    """Where does a result of a task that ran on a machine lie? NotFound: not there; Refused: results are kept nowhere."""

    node_task_id: NodeTaskId
    """Results lie under the id that the task had on its node."""
    asset: str
    """As clients call it: `all.zip`, `orthophoto.tif`."""
    head: bool = False
    """The address is for HEAD: a signed one serves one method only."""


class ResultFound(Frozen, frozen=True, kw_only=True):
    """Answer to FindResult: it is there at this moment."""

    url: str
    """Signed and good for a short while, unless the bucket is public: to be kept and logged nowhere."""
    stream: bool = False
    """To be streamed to the client, who shall not be sent there."""

    def __repr__(self) -> str:
        """Show nothing that opens anything."""
        return f"ResultFound({self.url.partition('?')[0]}{' stream' if self.stream else ''})"


class ReportBootFailure(Frozen, frozen=True, kw_only=True):
    """A machine says that its boot has failed; whoever sends this has seen the machine's own secret."""

    machine: MachineId
    last_words: str
    """What it has said last: one line, printable, bounded."""


class BootFailureHeard(Frozen, frozen=True, kw_only=True):
    """Answer to ReportBootFailure."""

    destroyed: bool
    """False: it is known to have come up, or to be going already."""


REPORT_BOOT_FAILURE: Final = Request(
    "autoscaler.report_boot_failure", ReportBootFailure, BootFailureHeard, idempotent=True
)
FIND_RESULT: Final = Request("autoscaler.find_result", FindResult, ResultFound, timeout_s=15.0, idempotent=True)
VIEW_COMMAND: Final = Request("autoscaler.view_command", ViewCommand, CommandView, idempotent=True)
GET_AUTOSCALER_STATUS: Final = Request(
    "autoscaler.get_status", GetAutoscalerStatus, AutoscalerStatus, idempotent=True, for_programs=True
)
PLAN_MACHINES: Final = Request("autoscaler.plan", PlanMachines, PlannedMachines, idempotent=True)
LIST_MACHINES: Final = Request(
    "autoscaler.list_machines", ListMachines, MachineList, idempotent=True, for_programs=True
)
DESTROY_MACHINE: Final = Request("autoscaler.destroy_machine", DestroyMachine, MachineView)
PAUSE_AUTOSCALER: Final = Request("autoscaler.pause", PauseAutoscaler, AutoscalerStatus, idempotent=True)
RESUME_AUTOSCALER: Final = Request("autoscaler.resume", ResumeAutoscaler, AutoscalerStatus, idempotent=True)


class MachineEvent(Frozen, frozen=True, kw_only=True):
    """Something happened to a machine."""

    at_ms: int
    machine: MachineId
    state: MachineState
    task: TaskId | None = None
    node: NodeId | None = None
    reason: str = ""


MACHINE_REQUESTED: Final = Event("machine.requested", MachineEvent)
MACHINE_CREATED: Final = Event("machine.created", MachineEvent)
MACHINE_ONLINE: Final = Event("machine.came_online", MachineEvent)
MACHINE_DRAINED: Final = Event("machine.drained", MachineEvent)
"""It takes no more tasks."""
MACHINE_CONDEMNED: Final = Event("machine.condemned", MachineEvent)
"""It is being destroyed, and why."""
MACHINE_DESTROYED: Final = Event("machine.destroyed", MachineEvent)
MACHINE_FAILED: Final = Event("machine.failed", MachineEvent)
MACHINE_LOST: Final = Event("machine.lost", MachineEvent)
"""The provider no longer lists it although nobody destroyed it."""
MACHINE_LEAKED: Final = Event("machine.leaked", MachineEvent)
"""The provider lists a machine of this cluster that should not exist; it is destroyed."""
