"""Which command the arguments of a word are. Raises Refused."""

import argparse
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.hosts import bare
from clusterodm.libs.common.messages.machines import imagined
from clusterodm.libs.common.messages.usage import GetUsage, UsageBy
from clusterodm.libs.common.model.nodes import labels_of
from clusterodm.libs.common.model.values import MachineId
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.command_numbers import whole
from clusterodm.services.admin.commands.core.commands import NodeAct, TaskAct

Arguments = argparse.Namespace
Build = Callable[[Arguments], commands.Command]


def command_of(given: Arguments) -> commands.Command:
    """Make the command."""
    return BUILDERS[given.noun, given.verb](given)


def takes_token(given: Arguments) -> str:
    """Say from which file a token is to be read; empty: it stands there, or there is none."""
    path = getattr(given, "token_file", None)
    if path and given.token:
        raise Refused("either a token or --token-file, not both")
    return str(path or "")


def changing_node(act: NodeAct) -> Build:
    """Make the reader of a command that changes a node."""
    return lambda given: commands.ChangeNodeCommand(act, given.number)


def changing_task(act: TaskAct) -> Build:
    """Make the reader of a command that changes a task."""
    return lambda given: commands.ChangeTaskCommand(act, given.task)


def boot_log_of(given: Arguments) -> commands.Command:
    """Make the command that shows a machine's boot log: by its number or its name."""
    number = whole(given.machine)
    if number is not None:
        return commands.ShowBootLogCommand(number, given.line)
    return commands.ShowBootLogCommand(from_line=given.line, machine=MachineId(given.machine))


def destroy_of(given: Arguments) -> commands.Command:
    """Make the command that destroys a machine: by its number or its name."""
    number = whole(given.machine)
    if number is not None:
        return commands.DestroyMachineCommand(number)
    return commands.DestroyMachineCommand(machine=MachineId(given.machine))


def snapshot_first(given: Arguments) -> NoReturn:
    """Say how it is written. Raises Refused."""
    raise Refused(f"write it so, the flags behind: clusterodm asr snapshot {given.file}")


def check_first(given: Arguments) -> NoReturn:
    """Say how it is written: the autoscaler's own module does it, as it needs no cluster. Raises Refused."""
    raise Refused(f"write it so, without flags: clusterodm asr check {given.file}")


BUILDERS: Final[Mapping[tuple[str, str], Build]] = {
    ("node", "list"): lambda _: commands.ListNodesCommand(),
    ("node", "update"): lambda _: commands.UpdateNodesCommand(),
    ("node", "add"): lambda given: commands.AddNodeCommand(
        bare(given.hostname), given.port, given.token, labels_of(given.labels)
    ),
    ("node", "del"): changing_node(NodeAct.DEL),
    ("node", "lock"): changing_node(NodeAct.LOCK),
    ("node", "unlock"): changing_node(NodeAct.UNLOCK),
    ("node", "drain"): lambda given: commands.DrainNodeCommand(given.number, given.seconds),
    ("node", "label"): lambda given: commands.LabelNodeCommand(given.number, labels_of(given.labels)),
    ("node", "info"): lambda given: commands.ShowNodeCommand(given.number),
    ("node", "best"): lambda given: commands.BestNodeCommand(given.images),
    ("route", "list"): lambda given: commands.ListRoutesCommand(given.number),
    ("route", "info"): lambda given: commands.ShowRouteCommand(given.task),
    ("task", "list"): lambda given: commands.ListTasksCommand(given.number),
    ("task", "info"): lambda given: commands.ShowTaskCommand(given.task),
    ("task", "output"): lambda given: commands.ShowConsoleCommand(given.task, given.line),
    ("task", "cancel"): changing_task(TaskAct.CANCEL),
    ("task", "remove"): changing_task(TaskAct.REMOVE),
    ("task", "restart"): changing_task(TaskAct.RESTART),
    ("task", "up"): changing_task(TaskAct.UP),
    ("task", "priority"): lambda given: commands.PrioritizeTaskCommand(given.task, given.priority),
    ("tenant", "usage"): lambda given: commands.ShowUsageCommand(
        GetUsage(tenant=given.tenant, since=given.since, until=given.until, by=UsageBy(given.by))
    ),
    ("asr", "viewcmd"): lambda given: commands.ViewMachineCommand(given.images),
    ("asr", "plan"): lambda given: commands.PlanMachinesCommand(
        imagined(given.demand_text) if given.demand_text is not None else None
    ),
    ("asr", "list"): lambda _: commands.ListMachinesCommand(),
    ("asr", "status"): lambda _: commands.ShowAutoscalerCommand(),
    ("asr", "destroy"): destroy_of,
    ("asr", "output"): boot_log_of,
    ("asr", "pause"): lambda given: commands.PauseAutoscalerCommand(given.reason),
    ("asr", "resume"): lambda _: commands.ResumeAutoscalerCommand(),
    ("asr", "check"): check_first,
    ("asr", "snapshot"): snapshot_first,
    ("log", "level"): lambda given: commands.log_level_command(given.level, given.service),
}
"""By noun and verb. What goes on for a while (`events`, `task wait`, `--follow`, `--watch`) is in handlers."""
