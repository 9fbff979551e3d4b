"""The operators' words: a line of text becomes a command.

The words, their arguments and their order are those that scripts have sent to ClusterODM's port 8080 for years.
Case does not matter, any white space separates, arguments beyond those a command knows are ignored. What is not a command
is `Unknown`, and answered INVALID.

A number must be a number: "1abc" names no node. A node number that is none becomes `NO_NUMBER`, which no node has, so
that the answer is the one for a node that does not exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from libs.common.hosts import bare
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

Read = Callable[[Sequence[str]], Command]
"""Makes a command of the arguments that follow its two words; there are at least as many as it needs."""


def parse(line: str) -> Command:
    """Say which command a line is."""
    words = line.split()
    noun, verb = ([word.upper() for word in words[:2]] + ["", ""])[:2]
    if (noun, verb) not in GRAMMAR:
        return Unknown("no such command")
    needed_count, read = GRAMMAR[noun, verb]
    arguments = words[2:]
    if len(arguments) < needed_count:
        return Unknown(f"{noun} {verb} needs {needed_count} argument{'s' if needed_count > 1 else ''}")
    return read(arguments)


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


def read_add(arguments: Sequence[str]) -> Command:
    """Read what follows NODE ADD."""
    where = port(arguments[1])
    if where is None:
        return Unknown(f"{arguments[1]} is no port")
    return AddNode(bare(arguments[0]), where, arguments[2] if len(arguments) > 2 else "")  # noqa: PLR2004 the third is optional


def read_drain(arguments: Sequence[str]) -> Command:
    """Read what follows NODE DRAIN."""
    seconds = whole(arguments[1]) if len(arguments) > 1 else None
    if len(arguments) > 1 and seconds is None:
        return Unknown(f"{arguments[1]} is no number of seconds")
    return DrainNode(node_number(arguments[0]), seconds)


def read_best(arguments: Sequence[str]) -> Command:
    """Read what follows NODE BEST."""
    count = whole(arguments[0])
    return Unknown(f"{arguments[0]} is no number of images") if count is None else BestNode(count)


def read_viewcmd(arguments: Sequence[str]) -> Command:
    """Read what follows ASR VIEWCMD."""
    count = whole(arguments[0])
    return Unknown(f"{arguments[0]} is no number of images") if count is None else ViewMachineCommand(count)


def read_output(arguments: Sequence[str]) -> Command:
    """Read what follows TASK OUTPUT."""
    line = line_number(arguments[1]) if len(arguments) > 1 else 0
    return Unknown(f"{arguments[1]} is no line") if line is None else ShowConsole(TaskId(arguments[0]), line)


def optional_number(arguments: Sequence[str]) -> int | None:
    """Read the node that a list is restricted to, when there is one."""
    return node_number(arguments[0]) if arguments else None


GRAMMAR: Final[dict[tuple[str, str], tuple[int, Read]]] = {
    ("NODE", "ADD"): (2, read_add),
    ("NODE", "DEL"): (1, lambda words: ChangeNode(NodeAct.DEL, node_number(words[0]))),
    ("NODE", "INFO"): (1, lambda words: ShowNode(node_number(words[0]))),
    ("NODE", "LIST"): (0, lambda _: ListNodes()),
    ("NODE", "LOCK"): (1, lambda words: ChangeNode(NodeAct.LOCK, node_number(words[0]))),
    ("NODE", "DRAIN"): (1, read_drain),
    ("NODE", "UNLOCK"): (1, lambda words: ChangeNode(NodeAct.UNLOCK, node_number(words[0]))),
    ("NODE", "UPDATE"): (0, lambda _: UpdateNodes()),
    ("NODE", "BEST"): (1, read_best),
    ("ROUTE", "INFO"): (1, lambda words: ShowRoute(TaskId(words[0]))),
    ("ROUTE", "LIST"): (0, lambda words: ListRoutes(optional_number(words))),
    ("TASK", "LIST"): (0, lambda words: ListTasks(optional_number(words))),
    ("TASK", "INFO"): (1, lambda words: ShowTask(TaskId(words[0]))),
    ("TASK", "OUTPUT"): (1, read_output),
    ("TASK", "CANCEL"): (1, lambda words: ChangeTask(TaskAct.CANCEL, TaskId(words[0]))),
    ("TASK", "REMOVE"): (1, lambda words: ChangeTask(TaskAct.REMOVE, TaskId(words[0]))),
    ("ASR", "VIEWCMD"): (1, read_viewcmd),
    ("ASR", "LIST"): (0, lambda _: ListMachines()),
    ("ASR", "STATUS"): (0, lambda _: ShowAutoscaler()),
    ("ASR", "DESTROY"): (1, lambda words: DestroyMachine(node_number(words[0]))),
    ("ASR", "PAUSE"): (0, lambda words: PauseAutoscaler(" ".join(words))),
    ("ASR", "RESUME"): (0, lambda _: ResumeAutoscaler()),
}
"""The two words of a command: how many arguments it needs, and how they are read."""

HELP: Final = (
    "NODE ADD <hostname> <port> [token] - Register a NodeODM node",
    "NODE DEL <node number> - Forget a node",
    "NODE INFO <node number> - Show all that is known of a node",
    "NODE LIST - List the nodes with their numbers",
    "NODE LOCK <node number> - Send no new tasks to a node",
    "NODE UNLOCK <node number> - Send tasks to a node again",
    "NODE DRAIN <node number> [seconds] - Forget a node when it has no task left; move what waits there after some time",
    "NODE UPDATE - Ask every node for its state now",
    "NODE BEST <number of images> - Show where a task of that size would go",
    "ROUTE INFO <taskId> - Show which node has a task",
    "ROUTE LIST [node number] - List which node has which task",
    "TASK LIST [node number] - List tasks, waiting ones too",
    "TASK INFO <taskId> - Show the state of a task",
    "TASK OUTPUT <taskId> [lines] - Show a task's console, from a line on or the last -n lines",
    "TASK CANCEL <taskId> - Stop a task",
    "TASK REMOVE <taskId> - Delete a task and its results",
    "ASR VIEWCMD <number of images> - Show the command that would start a machine",
    "ASR LIST - List the machines with their numbers",
    "ASR STATUS - Show what the autoscaler does, and why",
    "ASR DESTROY <machine number> - Destroy a machine; a task on it gets a new attempt",
    "ASR PAUSE [reason] - Start no more machines",
    "ASR RESUME - Start machines again",
    "!! - Do the last command again",
)
"""The answer to HELP."""
