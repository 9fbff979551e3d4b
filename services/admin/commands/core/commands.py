"""What operators can ask for, and how the numbers in it are read, whichever way a command comes.

A number must be a number: "1abc" names no node. A node number that is none becomes `NO_NUMBER`, which no node has, so
that the answer is the one for a node that does not exist.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from libs.common.model import TaskId

NO_NUMBER: Final = 0
"""Nodes are numbered from 1."""
LARGEST_PORT: Final = 65535
LONGEST_NUMBER: Final = 9
"""Digits; what is longer is no node, no number of images and no line of a console."""


class NodeAct(StrEnum):
    """What can be done to one node."""

    DEL = "DEL"
    LOCK = "LOCK"
    UNLOCK = "UNLOCK"


class TaskAct(StrEnum):
    """What can be done to one task."""

    CANCEL = "CANCEL"
    REMOVE = "REMOVE"


@dataclass(frozen=True)
class AddNode:
    """NODE ADD <hostname> <port> [token]."""

    hostname: str
    port: int
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class ChangeNode:
    """NODE DEL, NODE LOCK, NODE UNLOCK <n>."""

    act: NodeAct
    number: int
    name: str = ""
    """When given, the node with that number must be called so: the list may have changed since it was shown."""


@dataclass(frozen=True)
class DrainNode:
    """NODE DRAIN <n> [seconds]."""

    number: int
    deadline_s: int | None = None
    """After so long, what waits on the node for its turn is moved elsewhere."""


@dataclass(frozen=True)
class ShowNode:
    """NODE INFO <n>."""

    number: int


@dataclass(frozen=True)
class ListNodes:
    """NODE LIST."""


@dataclass(frozen=True)
class UpdateNodes:
    """NODE UPDATE."""


@dataclass(frozen=True)
class BestNode:
    """NODE BEST <number of images>."""

    images_count: int


@dataclass(frozen=True)
class ListRoutes:
    """ROUTE LIST [n]."""

    number: int | None = None


@dataclass(frozen=True)
class ShowRoute:
    """ROUTE INFO <task id>."""

    task: TaskId


@dataclass(frozen=True)
class ListTasks:
    """TASK LIST [n]."""

    number: int | None = None


@dataclass(frozen=True)
class ShowTask:
    """TASK INFO <task id>."""

    task: TaskId


@dataclass(frozen=True)
class ShowConsole:
    """TASK OUTPUT <task id> [line]; a negative line means the last lines."""

    task: TaskId
    from_line: int = 0


@dataclass(frozen=True)
class ChangeTask:
    """TASK CANCEL, TASK REMOVE <task id>."""

    act: TaskAct
    task: TaskId


@dataclass(frozen=True)
class ViewMachineCommand:
    """ASR VIEWCMD <number of images>."""

    images_count: int


@dataclass(frozen=True)
class ListMachines:
    """ASR LIST."""


@dataclass(frozen=True)
class ShowAutoscaler:
    """ASR STATUS."""


@dataclass(frozen=True)
class DestroyMachine:
    """ASR DESTROY <n>."""

    number: int
    name: str = ""
    """When given, the machine with that number must be called so: the list may have changed since it was shown."""


@dataclass(frozen=True)
class PauseAutoscaler:
    """ASR PAUSE [reason]."""

    reason: str = ""


@dataclass(frozen=True)
class ResumeAutoscaler:
    """ASR RESUME."""


@dataclass(frozen=True)
class Unknown:
    """No command of ours."""

    reason: str


AutoscalerCommand = (
    ViewMachineCommand | ListMachines | ShowAutoscaler | DestroyMachine | PauseAutoscaler | ResumeAutoscaler
)
"""What is asked of the autoscaler; all else is the scheduler's."""

Command = (
    AddNode
    | ChangeNode
    | DrainNode
    | ShowNode
    | ListNodes
    | UpdateNodes
    | BestNode
    | ListRoutes
    | ShowRoute
    | ListTasks
    | ShowTask
    | ShowConsole
    | ChangeTask
    | AutoscalerCommand
    | Unknown
)
"""What an operator can ask for, over whichever road."""


def whole(text: str) -> int | None:
    """Read a number without sign; None when it is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else None


def node_number(text: str) -> int:
    """Read a node's number."""
    return whole(text) or NO_NUMBER


def port(text: str) -> int | None:
    """Read a TCP port."""
    number = whole(text)
    return number if number and number <= LARGEST_PORT else None


def line_number(text: str) -> int | None:
    """Read the line from which a console is wanted; it may be negative."""
    number = whole(text.removeprefix("-"))
    return -number if number is not None and text.startswith("-") else number
