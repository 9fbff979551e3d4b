"""The grammar of telnet: a line of text becomes a command.

What is about the file of tokens is tenant_words.py's. The words, their arguments and their order are those that scripts have sent to ClusterODM's port 8080 for years.
Case does not matter, any white space separates, arguments beyond those a command knows are ignored. What is not a command
is `UnknownCommand`, and answered INVALID.
"""

from collections.abc import Callable, Sequence
from typing import Final

from clusterodm.libs.common.hosts import bare
from clusterodm.libs.common.messages.usage import GetUsage
from clusterodm.libs.common.model.nodes import labels_of
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.admin.commands.core.command_numbers import line_number, node_number, port, whole
from clusterodm.services.admin.commands.core.commands import (
    AddNodeCommand,
    BestNodeCommand,
    ChangeNodeCommand,
    ChangeTaskCommand,
    Command,
    DestroyMachineCommand,
    DrainNodeCommand,
    LabelNodeCommand,
    ListMachinesCommand,
    ListNodesCommand,
    ListRoutesCommand,
    ListTasksCommand,
    NodeAct,
    PauseAutoscalerCommand,
    PrioritizeTaskCommand,
    ResumeAutoscalerCommand,
    ShowAutoscalerCommand,
    ShowBootLogCommand,
    ShowConsoleCommand,
    ShowNodeCommand,
    ShowRouteCommand,
    ShowTaskCommand,
    ShowUsageCommand,
    TaskAct,
    UnknownCommand,
    UpdateNodesCommand,
    ViewMachineCommand,
    log_level_command,
)

Read = Callable[[Sequence[str]], Command]
"""Makes a command of the arguments that follow its two words; there are at least as many as it needs."""


def parse(line: str) -> Command:
    """Say which command a line is."""
    words = line.split()
    noun, verb = ([word.upper() for word in words[:2]] + ["", ""])[:2]
    if (noun, verb) not in GRAMMAR:
        return UnknownCommand("no such command")
    needed_count, read = GRAMMAR[noun, verb]
    arguments = words[2:]
    if len(arguments) < needed_count:
        return UnknownCommand(f"{noun} {verb} needs {needed_count} argument{'s' if needed_count > 1 else ''}")
    return read(arguments)


def read_add(arguments: Sequence[str]) -> Command:
    """Read what follows NODE ADD."""
    where = port(arguments[1])
    if where is None:
        return UnknownCommand(f"{arguments[1]} is no port")
    return AddNodeCommand(bare(arguments[0]), where, arguments[2] if len(arguments) > 2 else "")  # noqa: PLR2004 the third is optional


def read_drain(arguments: Sequence[str]) -> Command:
    """Read what follows NODE DRAIN."""
    seconds = whole(arguments[1]) if len(arguments) > 1 else None
    if len(arguments) > 1 and seconds is None:
        return UnknownCommand(f"{arguments[1]} is no number of seconds")
    return DrainNodeCommand(node_number(arguments[0]), seconds)


def read_best(arguments: Sequence[str]) -> Command:
    """Read what follows NODE BEST."""
    count = whole(arguments[0])
    return UnknownCommand(f"{arguments[0]} is no number of images") if count is None else BestNodeCommand(count)


def read_viewcmd(arguments: Sequence[str]) -> Command:
    """Read what follows ASR VIEWCMD."""
    count = whole(arguments[0])
    return UnknownCommand(f"{arguments[0]} is no number of images") if count is None else ViewMachineCommand(count)


def read_output(arguments: Sequence[str]) -> Command:
    """Read what follows TASK OUTPUT."""
    line = line_number(arguments[1]) if len(arguments) > 1 else 0
    return (
        UnknownCommand(f"{arguments[1]} is no line") if line is None else ShowConsoleCommand(TaskId(arguments[0]), line)
    )


def read_boot_log(arguments: Sequence[str]) -> Command:
    """Read what follows ASR OUTPUT: a machine's number or name, and a line."""
    line, number = line_number(arguments[1]) if len(arguments) > 1 else 0, whole(arguments[0])
    if line is None:
        return UnknownCommand(f"{arguments[1]} is no line")
    if number is not None:
        return ShowBootLogCommand(number, line)
    return ShowBootLogCommand(from_line=line, machine=MachineId(arguments[0]))


def read_destroy(arguments: Sequence[str]) -> Command:
    """Read what follows ASR DESTROY: a machine's number or name."""
    number = whole(arguments[0])
    return DestroyMachineCommand(machine=MachineId(arguments[0])) if number is None else DestroyMachineCommand(number)


def read_priority(arguments: Sequence[str]) -> Command:
    """Read what follows TASK PRIORITY."""
    priority = line_number(arguments[1].removeprefix("+"))
    if priority is None:
        return UnknownCommand(f"{arguments[1]} is no priority")
    return PrioritizeTaskCommand(TaskId(arguments[0]), priority)


def read_usage(arguments: Sequence[str]) -> Command:
    """Read what follows TENANT USAGE."""
    tenant, since, until = [*arguments[:3], "", "", ""][:3]
    return ShowUsageCommand(GetUsage(tenant="" if tenant == "*" else tenant, since=since, until=until))


def optional_number(arguments: Sequence[str]) -> int | None:
    """Read the node that a list is restricted to, when there is one."""
    return node_number(arguments[0]) if arguments else None


GRAMMAR: Final[dict[tuple[str, str], tuple[int, Read]]] = {
    ("NODE", "ADD"): (2, read_add),
    ("NODE", "DEL"): (1, lambda words: ChangeNodeCommand(NodeAct.DEL, node_number(words[0]))),
    ("NODE", "INFO"): (1, lambda words: ShowNodeCommand(node_number(words[0]))),
    ("NODE", "LIST"): (0, lambda _: ListNodesCommand()),
    ("NODE", "LOCK"): (1, lambda words: ChangeNodeCommand(NodeAct.LOCK, node_number(words[0]))),
    ("NODE", "DRAIN"): (1, read_drain),
    ("NODE", "LABEL"): (1, lambda words: LabelNodeCommand(node_number(words[0]), labels_of(" ".join(words[1:])))),
    ("NODE", "UNLOCK"): (1, lambda words: ChangeNodeCommand(NodeAct.UNLOCK, node_number(words[0]))),
    ("NODE", "UPDATE"): (0, lambda _: UpdateNodesCommand()),
    ("NODE", "BEST"): (1, read_best),
    ("ROUTE", "INFO"): (1, lambda words: ShowRouteCommand(TaskId(words[0]))),
    ("ROUTE", "LIST"): (0, lambda words: ListRoutesCommand(optional_number(words))),
    ("TASK", "LIST"): (0, lambda words: ListTasksCommand(optional_number(words))),
    ("TASK", "INFO"): (1, lambda words: ShowTaskCommand(TaskId(words[0]))),
    ("TASK", "OUTPUT"): (1, read_output),
    ("TASK", "CANCEL"): (1, lambda words: ChangeTaskCommand(TaskAct.CANCEL, TaskId(words[0]))),
    ("TASK", "REMOVE"): (1, lambda words: ChangeTaskCommand(TaskAct.REMOVE, TaskId(words[0]))),
    ("TASK", "RESTART"): (1, lambda words: ChangeTaskCommand(TaskAct.RESTART, TaskId(words[0]))),
    ("TASK", "PRIORITY"): (2, read_priority),
    ("TASK", "UP"): (1, lambda words: ChangeTaskCommand(TaskAct.UP, TaskId(words[0]))),
    ("ASR", "VIEWCMD"): (1, read_viewcmd),
    ("TENANT", "USAGE"): (0, read_usage),
    ("ASR", "LIST"): (0, lambda _: ListMachinesCommand()),
    ("ASR", "STATUS"): (0, lambda _: ShowAutoscalerCommand()),
    ("ASR", "DESTROY"): (1, read_destroy),
    ("ASR", "OUTPUT"): (1, read_boot_log),
    ("ASR", "PAUSE"): (0, lambda words: PauseAutoscalerCommand(" ".join(words))),
    ("ASR", "RESUME"): (0, lambda _: ResumeAutoscalerCommand()),
    ("LOG", "LEVEL"): (1, lambda words: log_level_command(*words[:2])),
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
    "NODE LABEL <node number> [label ...] - Give a node these labels and no others; tenant=NAME reserves it for a tenant",
    "NODE UPDATE - Ask every node for its state now",
    "NODE BEST <number of images> - Show where a task of that size would go",
    "ROUTE INFO <taskId> - Show which node has a task",
    "ROUTE LIST [node number] - List which node has which task",
    "TASK LIST [node number] - List tasks, waiting ones too",
    "TASK INFO <taskId> - Show the state of a task",
    "TASK OUTPUT <taskId> [lines] - Show a task's console, from a line on or the last -n lines",
    "TASK CANCEL <taskId> - Stop a task",
    "TASK REMOVE <taskId> - Delete a task and its results",
    "TASK RESTART <taskId> - Run a task again that has ended",
    "TASK PRIORITY <taskId> <-10 to 10> - Let a waiting task go sooner or later than others; 0 is usual",
    "TASK UP <taskId> - Move a waiting task in front of its owner's others",
    "TENANT USAGE [tenant|*] [since] [until] - Show what tenants have used by month, as CSV; days as 2026-11-27, months as 2026-11",
    "ASR VIEWCMD <number of images> - Show the command that would start a machine",
    "ASR LIST - List the machines with their numbers",
    "ASR STATUS - Show what the autoscaler does, and why",
    "ASR DESTROY <machine number or name> - Destroy a machine; a task on it gets a new attempt",
    "ASR OUTPUT <machine number or name> [line] - Show what a machine has said while it booted, from a line on or the last -n lines",
    "ASR PAUSE [reason] - Start no more machines",
    "ASR RESUME - Start machines again",
    "LOG LEVEL <debug|info|warning|error> [service] - Log more or less from now on, in all services or one",
    "!! - Do the last command again",
)
"""The answer to HELP."""
