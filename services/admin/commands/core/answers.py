"""What comes of a command, before it is rendered. Telnet's text, JSON and tables each render all of these.

Ok             done                                    Declined      not done, because ...
DoneWithNote   done, and something is said about it    Invalid       the command names nothing that exists
TaskChanged    a task was changed, or refused it       Unavailable   a service behind the bus does not answer
                                                       Failed        something else failed, in words
and the values: NodeListing, NodeDetail, NodeChoice, RouteListing, RouteDetail, TaskListing, TaskDetail, UploadDetail,
ConsoleLines, MachineCommandLine, MachinePlan, MachineListing, AutoscalerReport, UsageReport
"""

from typing import Final

from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.machines import AutoscalerStatus, MachineView, PlannedStep
from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.libs.common.messages.usage import UsageRow, Used
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import Frozen, NodeId, TaskId
from clusterodm.services.admin.commands.core.command_numbers import port as port_number
from clusterodm.services.admin.commands.core.commands import ChangeNodeCommand, OneNodeCommand

UPLOADING: Final = "uploading"
"""What an upload is that is not committed, where tasks are listed."""


class Ok(Frozen, frozen=True):
    """It is done."""


class DoneWithNote(Frozen, frozen=True):
    """It is done, and there is something to say about it."""

    text: str


class Declined(Frozen, frozen=True):
    """It is not done."""

    reason: str
    told: bool = False
    """Whether telnet gives the reason, too: not where the original says no, and its word is bare."""


class Invalid(Frozen, frozen=True):
    """The command is none, or names what does not exist."""

    reason: str


class Unavailable(Frozen, frozen=True):
    """Nobody answered."""

    reason: str


class TaskChanged(Frozen, frozen=True):
    """A task was told to do something; `error` is empty when it did."""

    error: str = ""


class Failed(Frozen, frozen=True):
    """A question that could not be answered."""

    error: str


class NodeListing(Frozen, frozen=True):
    """All nodes, in order."""

    nodes: tuple[NodeView, ...]


class NodeDetail(Frozen, frozen=True):
    """One node in detail."""

    node: NodeView


class NodeChoice(Frozen, frozen=True):
    """Where a task would go."""

    node: NodeView | None


class Route(Frozen, frozen=True):
    """Which node has a task."""

    task: TaskId
    hostname: str
    port: int
    node_has_token: bool
    has_owner: bool
    accessed_ms: int
    """When the cluster last heard of the task."""


class RouteListing(Frozen, frozen=True):
    """Several of them."""

    routes: tuple[Route, ...]


class RouteDetail(Frozen, frozen=True):
    """One of them."""

    route: Route


class TaskListing(Frozen, frozen=True):
    """Tasks, in the order of their commits."""

    tasks: tuple[TaskSummary, ...]
    uploads: tuple[UploadProgress, ...] = ()
    """Those that are to become tasks, the newest last; where they were asked for."""
    filtered: bool = False
    """Others may be there: it was asked for some alone."""


class TaskDetail(Frozen, frozen=True):
    """One task in detail."""

    task: Task
    node_name: str
    """Where it is or was last; empty before its first attempt."""
    expected: Expected | None = None
    """None: it has ended, or nothing is known yet."""


class UploadDetail(Frozen, frozen=True):
    """An upload in detail, which is to become a task."""

    upload: UploadProgress


class ConsoleLines(Frozen, frozen=True):
    """Part of a console."""

    lines: tuple[str, ...]


class MachineCommandLine(Frozen, frozen=True):
    """The command that would start a machine, secrets masked."""

    command: str


class MachinePlan(Frozen, frozen=True):
    """What the autoscaler would do now."""

    steps: tuple[PlannedStep, ...]


class MachineListing(Frozen, frozen=True):
    """All machines that exist, in the order of their requests."""

    machines: tuple[MachineView, ...]


class AutoscalerReport(Frozen, frozen=True):
    """What the autoscaler does."""

    status: AutoscalerStatus


class UsageReport(Frozen, frozen=True):
    """What tenants have used."""

    rows: tuple[UsageRow, ...]
    total: Used


Answer = (
    Ok
    | DoneWithNote
    | Declined
    | Invalid
    | Unavailable
    | TaskChanged
    | Failed
    | NodeListing
    | NodeDetail
    | NodeChoice
    | RouteListing
    | RouteDetail
    | TaskListing
    | TaskDetail
    | UploadDetail
    | ConsoleLines
    | MachineCommandLine
    | MachinePlan
    | MachineListing
    | AutoscalerReport
    | UsageReport
)
"""What comes of a command."""


def name_of(node: NodeView) -> str:
    """How operators call a node."""
    return shown(node.hostname, node.port)


def meant(nodes: tuple[NodeView, ...], command: OneNodeCommand) -> NodeView | None:
    """Find the node that a command is about: by its id, or by its number, where its name must be as well what was seen."""
    if command.node is not None:
        found = next((node for node in nodes if node.id == command.node), None)
    else:
        found = numbered(nodes, command.number)
    if isinstance(command, ChangeNodeCommand) and found and command.name not in {"", name_of(found)}:
        return None
    return found


def numbered(nodes: tuple[NodeView, ...], number: int | None) -> NodeView | None:
    """Find a node by its number."""
    return next((node for node in nodes if node.number == number), None)


def route_of(task: TaskSummary, with_token: set[NodeId]) -> Route:
    """Say which node has a task."""
    hostname, _, port = task.node_name.rpartition(":")
    return Route(
        task=task.id,
        hostname=hostname,
        port=port_number(port) or 0,
        node_has_token=task.node in with_token,
        has_owner=task.has_owner,
        accessed_ms=task.seen_at_ms or task.committed_at_ms,
    )
