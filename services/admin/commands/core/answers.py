"""What comes of a command, before it is rendered. Each road (telnet, JSON, table) renders all of these.

Ok           done                                   No        not done, because ...
Invalid      the command names nothing that exists  Away      a service behind the bus does not answer
Told         done, and something is said about it
Acted        a task was acted upon, or refused      Trouble   something else failed, in words
and the values: Nodes, OneNode, Best, Routes, OneRoute, Tasks, OneTask, ConsoleLines, MachineCommand, Machines, Autoscaler
"""

from dataclasses import dataclass

from libs.common.hosts import shown
from libs.common.messages import AutoscalerStatus, MachineView, NodeView, TaskSummary
from libs.common.model import Task, TaskId


@dataclass(frozen=True)
class Ok:
    """It is done."""


@dataclass(frozen=True)
class Told:
    """It is done, and there is something to say about it."""

    text: str


@dataclass(frozen=True)
class No:
    """It is not done."""

    reason: str


@dataclass(frozen=True)
class Invalid:
    """The command is none, or names what does not exist."""

    reason: str


@dataclass(frozen=True)
class Away:
    """Nobody answered."""

    reason: str


@dataclass(frozen=True)
class Acted:
    """A task was told to do something; `error` is empty when it did."""

    error: str = ""


@dataclass(frozen=True)
class Trouble:
    """A question that could not be answered."""

    error: str


@dataclass(frozen=True)
class Nodes:
    """All nodes, in order."""

    nodes: tuple[NodeView, ...]


@dataclass(frozen=True)
class OneNode:
    """One node in detail."""

    node: NodeView


@dataclass(frozen=True)
class Best:
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
class Routes:
    """Several of them."""

    routes: tuple[Route, ...]


@dataclass(frozen=True)
class OneRoute:
    """One of them."""

    route: Route


@dataclass(frozen=True)
class Tasks:
    """Tasks, in the order of their commits."""

    tasks: tuple[TaskSummary, ...]


@dataclass(frozen=True)
class OneTask:
    """One task in detail."""

    task: Task
    node_name: str
    """Where it is or was last; empty before its first attempt."""


@dataclass(frozen=True)
class ConsoleLines:
    """Part of a console."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class MachineCommand:
    """The command that would start a machine, secrets masked."""

    command: str


@dataclass(frozen=True)
class Machines:
    """All machines that exist, in the order of their requests."""

    machines: tuple[MachineView, ...]


@dataclass(frozen=True)
class Autoscaler:
    """What the autoscaler does."""

    status: AutoscalerStatus


Answer = (
    Ok
    | Told
    | No
    | Invalid
    | Away
    | Acted
    | Trouble
    | Nodes
    | OneNode
    | Best
    | Routes
    | OneRoute
    | Tasks
    | OneTask
    | ConsoleLines
    | MachineCommand
    | Machines
    | Autoscaler
)
"""What comes of a command."""


def name_of(node: NodeView) -> str:
    """How operators call a node."""
    return shown(node.hostname, node.port)
