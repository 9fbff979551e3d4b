"""The grammar of telnet: a line of text becomes a command.

What is about the file of tokens is tenant_words.py's. The words, their arguments and their order are those that scripts have sent to ClusterODM's port 8080 for years.
Case does not matter, any white space separates, arguments beyond those a command knows are ignored. What is not a command
is `UnknownCommand`, and answered INVALID.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from clusterodm.libs.common.hosts import bare
from clusterodm.libs.common.messages.usage import GetUsage
from clusterodm.libs.common.model.nodes import labels_of
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.command_numbers import line_number, node_number, port, whole
from clusterodm.services.admin.commands.core.commands import (
    Command,
    NodeAct,
    TaskAct,
    UnknownCommand,
    log_level_command,
)

HTTP: Final = re.compile(r"\S+ \S+ HTTP/\d(\.\d)?|host:.*", re.IGNORECASE)
Made = TypeVar("Made")
Grammar = Mapping[tuple[str, str], tuple[int, Callable[[Sequence[str]], Made]]]
"""The two words of a command: how many arguments it needs, and what makes it of those that follow; there are at least as many."""


class Mistake(Exception):
    """What is wrong with a line, in words."""


def is_http(line: str) -> bool:
    """Whether a browser has sent this, led here by some page, whose words would stand in the lines behind it: how a request begins, or the line that all of them have."""
    return HTTP.fullmatch(line.strip()) is not None


def parse(line: str) -> Command:
    """Say which command a line is."""
    return read_line(line, GRAMMAR) or UnknownCommand("no such command")


def read_line(line: str, grammar: Grammar[Made]) -> Made | UnknownCommand | None:
    """Read a line by a grammar; None: its words are not in there."""
    words = line.split()
    noun, verb = ([word.upper() for word in words[:2]] + ["", ""])[:2]
    if (noun, verb) not in grammar:
        return None
    needed_count, read = grammar[noun, verb]
    arguments = words[2:]
    if len(arguments) < needed_count:
        return UnknownCommand(f"{noun} {verb} needs {needed_count} argument{'s' if needed_count > 1 else ''}")
    try:
        return read(arguments)
    except Mistake as error:
        return UnknownCommand(str(error))


def number(text: str, what: str = "number") -> int:
    """Read a number; it may be negative. Raises Mistake."""
    return there(line_number(text), text, what)


def count(text: str, what: str = "number") -> int:
    """Read a number that is not negative. Raises Mistake."""
    return there(whole(text), text, what)


def there(found: int | None, text: str, what: str) -> int:
    """Pass on what was read. Raises Mistake where nothing was."""
    if found is None:
        raise Mistake(f"{text} is no {what}")
    return found


def read_add(arguments: Sequence[str]) -> Command:
    """Read what follows NODE ADD."""
    where = there(port(arguments[1]), arguments[1], "port")
    return commands.AddNodeCommand(bare(arguments[0]), where, arguments[2] if len(arguments) > 2 else "")  # noqa: PLR2004 the third is optional


def read_drain(arguments: Sequence[str]) -> Command:
    """Read what follows NODE DRAIN."""
    seconds = count(arguments[1], "number of seconds") if len(arguments) > 1 else None
    return commands.DrainNodeCommand(node_number(arguments[0]), seconds)


def read_boot_log(arguments: Sequence[str]) -> Command:
    """Read what follows ASR OUTPUT: a machine's number or name, and a line."""
    line, place = optional_line(arguments), whole(arguments[0])
    if place is None:
        return commands.ShowBootLogCommand(from_line=line, machine=MachineId(arguments[0]))
    return commands.ShowBootLogCommand(place, line)


def read_destroy(arguments: Sequence[str]) -> Command:
    """Read what follows ASR DESTROY: a machine's number or name."""
    place = whole(arguments[0])
    if place is None:
        return commands.DestroyMachineCommand(machine=MachineId(arguments[0]))
    return commands.DestroyMachineCommand(place)


def priority(text: str) -> int:
    """Read a priority. Raises Mistake."""
    return there(line_number(text.removeprefix("+")), text, "priority")


def read_usage(arguments: Sequence[str]) -> Command:
    """Read what follows TENANT USAGE."""
    tenant, since, until = [*arguments[:3], "", "", ""][:3]
    return commands.ShowUsageCommand(GetUsage(tenant="" if tenant == "*" else tenant, since=since, until=until))


def optional_line(arguments: Sequence[str]) -> int:
    """Read from which line a console is wanted, where it is said. Raises Mistake."""
    return number(arguments[1], "line") if len(arguments) > 1 else 0


def optional_number(arguments: Sequence[str]) -> int | None:
    """Read the node that a list is restricted to, when there is one."""
    return node_number(arguments[0]) if arguments else None


GRAMMAR: Final[Grammar[Command]] = {
    ("NODE", "ADD"): (2, read_add),
    ("NODE", "DEL"): (1, lambda words: commands.ChangeNodeCommand(NodeAct.DEL, node_number(words[0]))),
    ("NODE", "INFO"): (1, lambda words: commands.ShowNodeCommand(node_number(words[0]))),
    ("NODE", "LIST"): (0, lambda _: commands.ListNodesCommand()),
    ("NODE", "LOCK"): (1, lambda words: commands.ChangeNodeCommand(NodeAct.LOCK, node_number(words[0]))),
    ("NODE", "DRAIN"): (1, read_drain),
    ("NODE", "LABEL"): (
        1,
        lambda words: commands.LabelNodeCommand(node_number(words[0]), labels_of(" ".join(words[1:]))),
    ),
    ("NODE", "UNLOCK"): (1, lambda words: commands.ChangeNodeCommand(NodeAct.UNLOCK, node_number(words[0]))),
    ("NODE", "UPDATE"): (0, lambda _: commands.UpdateNodesCommand()),
    ("NODE", "BEST"): (1, lambda words: commands.BestNodeCommand(count(words[0], "number of images"))),
    ("ROUTE", "INFO"): (1, lambda words: commands.ShowRouteCommand(TaskId(words[0]))),
    ("ROUTE", "LIST"): (0, lambda words: commands.ListRoutesCommand(optional_number(words))),
    ("TASK", "LIST"): (0, lambda words: commands.ListTasksCommand(optional_number(words))),
    ("TASK", "INFO"): (1, lambda words: commands.ShowTaskCommand(TaskId(words[0]))),
    ("TASK", "OUTPUT"): (1, lambda words: commands.ShowConsoleCommand(TaskId(words[0]), optional_line(words))),
    ("TASK", "CANCEL"): (1, lambda words: commands.ChangeTaskCommand(TaskAct.CANCEL, TaskId(words[0]))),
    ("TASK", "REMOVE"): (1, lambda words: commands.ChangeTaskCommand(TaskAct.REMOVE, TaskId(words[0]))),
    ("TASK", "RESTART"): (1, lambda words: commands.ChangeTaskCommand(TaskAct.RESTART, TaskId(words[0]))),
    ("TASK", "PRIORITY"): (2, lambda words: commands.PrioritizeTaskCommand(TaskId(words[0]), priority(words[1]))),
    ("TASK", "UP"): (1, lambda words: commands.ChangeTaskCommand(TaskAct.UP, TaskId(words[0]))),
    ("ASR", "VIEWCMD"): (1, lambda words: commands.ViewMachineCommand(count(words[0], "number of images"))),
    ("TENANT", "USAGE"): (0, read_usage),
    ("ASR", "LIST"): (0, lambda _: commands.ListMachinesCommand()),
    ("ASR", "STATUS"): (0, lambda _: commands.ShowAutoscalerCommand()),
    ("ASR", "DESTROY"): (1, read_destroy),
    ("ASR", "OUTPUT"): (1, read_boot_log),
    ("ASR", "PAUSE"): (0, lambda words: commands.PauseAutoscalerCommand(" ".join(words))),
    ("ASR", "RESUME"): (0, lambda _: commands.ResumeAutoscalerCommand()),
    ("LOG", "LEVEL"): (1, lambda words: log_level_command(*words[:2])),
}

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
