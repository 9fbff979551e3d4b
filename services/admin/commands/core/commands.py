"""What operators can ask for, whichever way a command comes.

A node number that is none becomes `NO_NUMBER` (command_numbers.py), which no node has, so that the answer is the one for a node that does not
exist.
"""

from enum import StrEnum
from typing import Final, get_args

from clusterodm.libs.common.messages.machines import ImaginedTasks
from clusterodm.libs.common.messages.operators import LogLevel
from clusterodm.libs.common.messages.usage import GetUsage
from clusterodm.libs.common.model.values import Frozen, MachineId, NodeId, TaskId
from clusterodm.services.admin.commands.core.command_numbers import NO_NUMBER


class NodeAct(StrEnum):
    """What can be done to one node."""

    DEL = "DEL"
    LOCK = "LOCK"
    UNLOCK = "UNLOCK"


class TaskAct(StrEnum):
    """What can be done to one task."""

    CANCEL = "CANCEL"
    REMOVE = "REMOVE"
    RESTART = "RESTART"
    UP = "UP"


class AddNodeCommand(Frozen, frozen=True):
    """NODE ADD <hostname> <port> [token]."""

    hostname: str
    port: int
    token: str = ""
    labels: tuple[str, ...] = ()
    locked: bool = False

    def __repr__(self) -> str:
        """Show everything but the token."""
        return f"AddNodeCommand({self.hostname}:{self.port} labels={self.labels} locked={self.locked})"


class ChangeNodeCommand(Frozen, frozen=True):
    """NODE DEL, NODE LOCK, NODE UNLOCK <n>."""

    act: NodeAct
    number: int = NO_NUMBER
    name: str = ""
    """When given, the node with that number must be called so: the list may have changed since it was shown."""
    node: NodeId | None = None
    """When given, this node, whatever its number is."""


class DrainNodeCommand(Frozen, frozen=True):
    """NODE DRAIN <n> [seconds]."""

    number: int = NO_NUMBER
    deadline_s: int | None = None
    """After so long, what waits on the node for its turn is moved elsewhere."""
    node: NodeId | None = None
    """When given, this node, whatever its number is."""


class LabelNodeCommand(Frozen, frozen=True):
    """NODE LABEL <n> [label ...]."""

    number: int = NO_NUMBER
    labels: tuple[str, ...] = ()
    """From now on these and no others."""
    node: NodeId | None = None
    """When given, this node, whatever its number is."""


OneNodeCommand = ChangeNodeCommand | DrainNodeCommand | LabelNodeCommand
"""What changes a node that is registered."""


class ShowNodeCommand(Frozen, frozen=True):
    """NODE INFO <n>."""

    number: int


class ListNodesCommand(Frozen, frozen=True):
    """NODE LIST."""


class UpdateNodesCommand(Frozen, frozen=True):
    """NODE UPDATE."""


class BestNodeCommand(Frozen, frozen=True):
    """NODE BEST <number of images>."""

    images_count: int


class ListRoutesCommand(Frozen, frozen=True):
    """ROUTE LIST [n]."""

    number: int | None = None


class ShowRouteCommand(Frozen, frozen=True):
    """ROUTE INFO <task id>."""

    task: TaskId


class ListTasksCommand(Frozen, frozen=True):
    """TASK LIST [n]."""

    number: int | None = None


class ShowTaskCommand(Frozen, frozen=True):
    """TASK INFO <task id>."""

    task: TaskId


class ShowConsoleCommand(Frozen, frozen=True):
    """TASK OUTPUT <task id> [line]; a negative line means the last lines."""

    task: TaskId
    from_line: int = 0


class ChangeTaskCommand(Frozen, frozen=True):
    """TASK CANCEL, TASK REMOVE, TASK RESTART, TASK UP <task id>."""

    act: TaskAct
    task: TaskId


class PrioritizeTaskCommand(Frozen, frozen=True):
    """TASK PRIORITY <task id> <n>."""

    task: TaskId
    priority: int


class ViewMachineCommand(Frozen, frozen=True):
    """ASR VIEWCMD <number of images>."""

    images_count: int


class PlanMachinesCommand(Frozen, frozen=True):
    """`clusterodm asr plan`: what would be done."""

    demand: tuple[ImaginedTasks, ...] | None
    """Instead of the tasks that wait; None: those."""


class ListMachinesCommand(Frozen, frozen=True):
    """ASR LIST."""


class ShowAutoscalerCommand(Frozen, frozen=True):
    """ASR STATUS."""


class DestroyMachineCommand(Frozen, frozen=True):
    """ASR DESTROY <n|name>."""

    number: int = NO_NUMBER
    name: str = ""
    """When given, the machine with that number must be called so: the list may have changed since it was shown."""
    machine: MachineId | None = None
    """When given, this machine, whatever its number is."""


class ShowBootLogCommand(Frozen, frozen=True):
    """ASR OUTPUT <n> [line]; a negative line means the last lines."""

    number: int = NO_NUMBER
    from_line: int = 0
    machine: MachineId | None = None
    """When given, this machine, whatever its number is; it may have ended."""


class PauseAutoscalerCommand(Frozen, frozen=True):
    """ASR PAUSE [reason]."""

    reason: str = ""


class ResumeAutoscalerCommand(Frozen, frozen=True):
    """ASR RESUME."""


class SetLogLevelCommand(Frozen, frozen=True):
    """LOG LEVEL <level> [service]."""

    level: LogLevel
    service: str = ""
    """Empty: all of them."""


class ShowUsageCommand(Frozen, frozen=True):
    """TENANT USAGE [tenant] [since] [until]: all rows, whatever page is asked for."""

    asked: GetUsage = GetUsage()


class UnknownCommand(Frozen, frozen=True):
    """No command of ours."""

    reason: str


AutoscalerCommand = (
    ViewMachineCommand
    | PlanMachinesCommand
    | ListMachinesCommand
    | ShowAutoscalerCommand
    | DestroyMachineCommand
    | ShowBootLogCommand
    | PauseAutoscalerCommand
    | ResumeAutoscalerCommand
)
"""What is asked of the autoscaler; all else is the scheduler's."""

Command = (
    AddNodeCommand
    | OneNodeCommand
    | ShowNodeCommand
    | ListNodesCommand
    | UpdateNodesCommand
    | BestNodeCommand
    | ListRoutesCommand
    | ShowRouteCommand
    | ListTasksCommand
    | ShowTaskCommand
    | ShowConsoleCommand
    | ChangeTaskCommand
    | PrioritizeTaskCommand
    | ShowUsageCommand
    | AutoscalerCommand
    | SetLogLevelCommand
    | UnknownCommand
)
"""What an operator can ask for, over whichever road."""


LOG_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
LOGGING_SERVICES: Final = ("proxy", "scheduler", "autoscaler", "admin")


def log_level_command(level: str, service: str = "") -> SetLogLevelCommand | UnknownCommand:
    """Read what follows LOG LEVEL, over whichever road."""
    known = next((each for each in LOG_LEVELS if each == level.lower()), None)
    if known is None:
        return UnknownCommand(f"{level} is no level: {', '.join(LOG_LEVELS)}")
    if service and service.lower() not in LOGGING_SERVICES:
        return UnknownCommand(f"{service} is no service: {', '.join(LOGGING_SERVICES)}")
    return SetLogLevelCommand(known, service.lower())
