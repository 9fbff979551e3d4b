"""What comes of a command, before it is rendered. Telnet's text, JSON and tables each render all of these.

Ok             done                                    Declined      not done, because ...
DoneWithNote   done, and something is said about it    Invalid       the command names nothing that exists
TaskChanged    a task was changed, or refused it       Unavailable   a service behind the bus does not answer
                                                       Failed        something else failed, in words
and the values: NodeListing, NodeDetail, NodeChoice, RouteListing, RouteDetail, TaskListing, TaskDetail, ConsoleLines,
MachineCommandLine, MachinePlan, MachineListing, AutoscalerReport, UsageReport
"""

from dataclasses import dataclass

from clusterodm.libs.common.hosts import shown
from clusterodm.libs.common.messages.machines import AutoscalerStatus, MachineView, PlannedStep
from clusterodm.libs.common.messages.nodes import NodeView
from clusterodm.libs.common.messages.tasks import TaskSummary
from clusterodm.libs.common.messages.usage import UsageRow, Used
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import NodeId, TaskId
from clusterodm.services.admin.commands.core.commands import ChangeNodeCommand, DrainNodeCommand
from clusterodm.services.admin.commands.core.commands import port as port_number


@dataclass(frozen=True)
class Ok:
    """It is done."""


@dataclass(frozen=True)
class DoneWithNote:
    """It is done, and there is something to say about it."""

    text: str


@dataclass(frozen=True)
class Declined:
    """It is not done."""

    reason: str


@dataclass(frozen=True)
class Invalid:
    """The command is none, or names what does not exist."""

    reason: str


@dataclass(frozen=True)
class Unavailable:
    """Nobody answered."""

    reason: str


@dataclass(frozen=True)
class TaskChanged:
    """A task was told to do something; `error` is empty when it did."""

    error: str = ""


@dataclass(frozen=True)
class Failed:
    """A question that could not be answered."""

    error: str


@dataclass(frozen=True)
class NodeListing:
    """All nodes, in order."""

    nodes: tuple[NodeView, ...]


@dataclass(frozen=True)
class NodeDetail:
    """One node in detail."""

    node: NodeView


@dataclass(frozen=True)
class NodeChoice:
    """Where a task would go."""

    node: NodeView | None


@dataclass(frozen=True)
class Route:
    """Which node has a task."""

    task: TaskId
    hostname: str
    port: int
    node_has_token: bool
    has_owner: bool
    accessed_ms: int
    """When the cluster last heard of the task."""


@dataclass(frozen=True)
class RouteListing:
    """Several of them."""

    routes: tuple[Route, ...]


@dataclass(frozen=True)
class RouteDetail:
    """One of them."""

    route: Route


@dataclass(frozen=True)
class TaskListing:
    """Tasks, in the order of their commits."""

    tasks: tuple[TaskSummary, ...]


@dataclass(frozen=True)
class TaskDetail:
    """One task in detail."""

    task: Task
    node_name: str
    """Where it is or was last; empty before its first attempt."""


@dataclass(frozen=True)
class ConsoleLines:
    """Part of a console."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class MachineCommandLine:
    """The command that would start a machine, secrets masked."""

    command: str


@dataclass(frozen=True)
class MachinePlan:
    """What the autoscaler would do now."""

    steps: tuple[PlannedStep, ...]


@dataclass(frozen=True)
class MachineListing:
    """All machines that exist, in the order of their requests."""

    machines: tuple[MachineView, ...]


@dataclass(frozen=True)
class AutoscalerReport:
    """What the autoscaler does."""

    status: AutoscalerStatus


@dataclass(frozen=True)
class UsageReport:
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


def meant(nodes: tuple[NodeView, ...], command: ChangeNodeCommand | DrainNodeCommand) -> NodeView | None:
    """Find the node that a command is about: by its id, or by its number."""
    if command.node is not None:
        return next((node for node in nodes if node.id == command.node), None)
    return numbered(nodes, command.number)


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
