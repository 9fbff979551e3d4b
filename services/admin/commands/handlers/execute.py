"""Carries out commands over the bus. Every command gets an answer, whatever fails: an operator's prompt never goes missing.

Node numbers are places in a list that changes. They are resolved once, by asking for the list; then the command goes by the
node's id, so that a node removed in between makes it fail instead of hitting its successor.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound, OutcomeUnknown, Unreadable
from clusterodm.libs.common.messages.operators import LOG_LEVEL_SET, OPERATOR_ACTED, LogLevelSet, OperatorActed
from clusterodm.libs.common.process.wall_clock import monotonic_s, now_ms
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.access.roles import NEEDS_ROLE, Principal, acting, refusal, reported
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.acts import act_of, needed_role, outcome_of, without_role
from clusterodm.services.admin.commands.core.answers import Answer, Failed, Invalid, Ok, Unavailable
from clusterodm.services.admin.commands.handlers import machines, nodes, tasks
from clusterodm.services.admin.metrics import COMMANDS, label_of

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus  # a command of a moment needs no more than it asks

NATS: Final = "NATS"
MAY_BE_DONE: Final = "This may have been done all the same: look before you repeat it."
LONGEST_COUNT: Final = 200
"""Characters of what an act is called, and of what it was done to, that are put on record; a reason is a sentence."""
LONGEST_REASON_COUNT: Final = 500


async def execute(bus: "Bus", command: commands.Command) -> Answer:
    """Carry out one command if whoever acts may give it, and count it; what changes something is told to the bus."""
    act, principal = act_of(command), acting.get()
    denied = refusal(principal, needed_role(command))
    answer = without_role(command, denied) if denied else await answered(bus, command)
    if act:
        await publish_act(bus, principal, *act, *outcome_of(answer))
    COMMANDS.inc(label_of(type(command)), label_of(type(answer)))
    return answer


async def publish_act(  # noqa: PLR0913, PLR0917 its account
    bus: "Bus", principal: Principal, act: str, target: str, outcome: str, reason: str, count: int = 1
) -> None:
    """Put an act of an operator on record, or so many alike: in the log and on the bus. A refusal for lack of a role is, where that is so, once a while."""
    act, target, reason = act[:LONGEST_COUNT], target[:LONGEST_COUNT], reason[:LONGEST_REASON_COUNT]
    told_lately = reported.get()
    if told_lately is not None and reason.startswith(NEEDS_ROLE) and not told_lately.is_new(principal, act, target, monotonic_s()):  # fmt: skip
        return
    log.info(
        "operator.acted", user=principal.shown, door=principal.door, address=principal.address, act=act, outcome=outcome
    )
    told = OperatorActed(
        at_ms=now_ms(),
        user=principal.shown,
        role=principal.role.word,
        door=principal.door,
        address=principal.address,
        act=act,
        target=target,
        outcome=outcome,
        reason=reason,
        count=count,
    )
    await bus.publish(OPERATOR_ACTED, told)


async def answered(bus: "Bus", command: commands.Command) -> Answer:
    """Carry out one command."""
    try:
        return await HANDLERS[type(command)](bus, command)
    except NotFound as error:
        return Invalid(error.message)
    except Unreadable as error:
        return Failed(error.message)
    except BusFailed as error:
        owner = owner_of(command)
        log.warning("request.unanswered", owner=owner, reason=error.message)
        silent = f"{owner if owner == NATS else f'The {owner}'} does not answer."
        return Unavailable(
            f"{silent} {MAY_BE_DONE}" if isinstance(error, OutcomeUnknown) and act_of(command) else silent
        )
    except ClusterError as error:
        return Failed(error.message)


def owner_of(command: commands.Command) -> str:
    """Say who answers a command."""
    if isinstance(command, commands.SetLogLevelCommand):
        return NATS
    return "autoscaler" if isinstance(command, commands.AutoscalerCommand) else "scheduler"


async def unknown(_bus: "Bus", command: commands.UnknownCommand) -> Answer:
    """Say that a line was no command."""
    return Invalid(command.reason)


async def set_log_level(bus: "Bus", command: commands.SetLogLevelCommand) -> Answer:
    """LOG LEVEL. It is told to every process; one that is away does not hear of it."""
    if not bus.connected:
        raise BusFailed("NATS is away")
    await bus.publish(LOG_LEVEL_SET, LogLevelSet(level=command.level, service=command.service))
    return Ok()


HANDLERS: Final[dict[type, Callable[["Bus", Any], Awaitable[Answer]]]] = {
    commands.UnknownCommand: unknown,
    commands.AddNodeCommand: nodes.add_node,
    commands.ChangeNodeCommand: nodes.change_node,
    commands.DrainNodeCommand: nodes.drain_node,
    commands.LabelNodeCommand: nodes.label_node,
    commands.ShowNodeCommand: nodes.show_node,
    commands.ListNodesCommand: nodes.list_nodes,
    commands.UpdateNodesCommand: nodes.update_nodes,
    commands.BestNodeCommand: nodes.best_node,
    commands.ListRoutesCommand: tasks.list_routes,
    commands.ShowRouteCommand: tasks.show_route,
    commands.ListTasksCommand: tasks.list_tasks,
    commands.ShowTaskCommand: tasks.show_task,
    commands.ShowConsoleCommand: tasks.show_console,
    commands.ChangeTaskCommand: tasks.change_task,
    commands.PrioritizeTaskCommand: tasks.prioritize_task,
    commands.ShowUsageCommand: tasks.show_usage,
    commands.ViewMachineCommand: machines.view_machine_command,
    commands.PlanMachinesCommand: machines.plan_machines,
    commands.ListMachinesCommand: machines.list_machines,
    commands.ShowAutoscalerCommand: machines.show_autoscaler,
    commands.DestroyMachineCommand: machines.destroy_machine,
    commands.ShowBootLogCommand: machines.show_boot_log,
    commands.PauseAutoscalerCommand: machines.pause_autoscaler,
    commands.SetLogLevelCommand: set_log_level,
    commands.ResumeAutoscalerCommand: machines.resume_autoscaler,
}
"""Who carries out which command."""
