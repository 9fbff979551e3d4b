"""What a command is called in the account of operators' acts, what it is done to, and which role it needs."""

from typing import Final

from clusterodm.libs.common.hosts import shown
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.answers import Answer, Declined, Failed, Invalid, TaskChanged, Unavailable
from clusterodm.services.admin.commands.core.commands import NodeAct

UNDOABLE: Final = frozenset({NodeAct.LOCK, NodeAct.UNLOCK})


def needed_role(command: commands.Command) -> Role:
    """Say which role may give a command."""
    match command:
        case commands.AddNodeCommand() | commands.DestroyMachineCommand():
            return Role.ADMIN
        case commands.ChangeNodeCommand(act):
            return Role.OPERATOR if act in UNDOABLE else Role.ADMIN
        case _:
            return Role.VIEWER if act_of(command) is None else Role.OPERATOR


def without_role(command: commands.Command, reason: str) -> Answer:
    """Refuse a command to whoever lacks its role, in the words in which that command refuses anything."""
    match command:
        case commands.ChangeTaskCommand() | commands.PrioritizeTaskCommand():
            return TaskChanged(reason)
        case _:
            return Declined(reason, told=True)


def act_of(command: commands.Command) -> tuple[str, str] | None:
    """Name an act and what it is done to; None: the command only reads."""
    match command:
        case commands.AddNodeCommand(hostname, port):
            return "NODE ADD", shown(hostname, port)
        case commands.ChangeTaskCommand(act, task):
            return f"TASK {act.value}", task
        case commands.PrioritizeTaskCommand(task, priority):
            return "TASK PRIORITY", f"{task} {priority:+}"
        case _:
            return act_on_nodes(command) or act_on_services(command)


def act_on_nodes(command: commands.Command) -> tuple[str, str] | None:
    """Name an act on nodes that are registered."""
    match command:
        case commands.ChangeNodeCommand(act):
            return f"NODE {act.value}", target_of(command.node or command.name, command.number)
        case commands.DrainNodeCommand():
            return "NODE DRAIN", target_of(command.node or "", command.number)
        case commands.LabelNodeCommand():
            return "NODE LABEL", target_of(command.node or "", command.number)
        case commands.UpdateNodesCommand():
            return "NODE UPDATE", ""
        case _:
            return None


def act_on_services(command: commands.Command) -> tuple[str, str] | None:
    """Name an act that is the autoscaler's, or about logs."""
    match command:
        case commands.DestroyMachineCommand():
            return "ASR DESTROY", target_of(command.machine or command.name, command.number)
        case commands.PauseAutoscalerCommand():
            return "ASR PAUSE", ""
        case commands.ResumeAutoscalerCommand():
            return "ASR RESUME", ""
        case commands.SetLogLevelCommand(level, service):
            return "LOG LEVEL", f"{level} {service}".rstrip()
        case _:
            return None


def target_of(name: str, number: int) -> str:
    """Say what was meant, by its name or its number."""
    return name or f"number {number}"


def outcome_of(answer: Answer) -> tuple[str, str]:
    """Say how an act went: done, refused or failed; and why."""
    match answer:
        case Declined(reason) | Invalid(reason):
            return "refused", reason
        case Unavailable(reason) | Failed(reason):
            return "failed", reason
        case TaskChanged(error) if error:
            return "refused", error
        case _:
            return "done", ""
