"""Carries out commands over the bus. Every command gets an answer, whatever fails: an operator's prompt never goes missing.

Node numbers are places in a list that changes. They are resolved once, by asking for the list; then the command goes by the
node's id, so that a node removed in between makes it fail instead of hitting its successor.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound, Refused, Unreadable
from clusterodm.libs.common.messages.boot_logs import READ_BOOT_LOG, BootLogLines, ReadBootLog
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.logs import LOG_LEVEL_SET, LogLevelSet
from clusterodm.libs.common.messages.machines import (
    DESTROY_MACHINE,
    GET_AUTOSCALER_STATUS,
    LIST_MACHINES,
    PAUSE_AUTOSCALER,
    PLAN_MACHINES,
    RESUME_AUTOSCALER,
    VIEW_COMMAND,
    DestroyMachine,
    GetAutoscalerStatus,
    ListMachines,
    PauseAutoscaler,
    PlanMachines,
    ResumeAutoscaler,
    ViewCommand,
)
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    BEST_NODE,
    DRAIN_NODE,
    LABEL_NODE,
    LIST_NODES,
    LOCK_NODE,
    REMOVE_NODE,
    UNLOCK_NODE,
    UPDATE_NODES,
    AddNode,
    BestNode,
    DrainNode,
    LabelNode,
    ListNodes,
    LockNode,
    NodeRef,
    NodeView,
    UpdateNodes,
)
from clusterodm.libs.common.messages.operators import OPERATOR_ACTED, OperatorActed
from clusterodm.libs.common.messages.tasks import (
    CANCEL_TASK,
    DESCRIBE_TASK,
    GET_TASK,
    LIST_TASKS,
    MOVE_TASK_UP,
    READ_CONSOLE,
    REMOVE_TASK,
    RESTART_TASK,
    SET_TASK_PRIORITY,
    ListTasks,
    ReadConsole,
    RestartTask,
    SetTaskPriority,
    TaskRef,
    TaskSummary,
)
from clusterodm.libs.common.messages.usage import GET_USAGE, GetUsage, UsageRow
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.process.wall_clock import now_ms
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.access.roles import Principal, acting, refusal
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.acts import act_of, needed_role, outcome_of
from clusterodm.services.admin.commands.core.answers import (
    Answer,
    AutoscalerReport,
    ConsoleLines,
    Declined,
    DoneWithNote,
    Failed,
    Invalid,
    MachineCommandLine,
    MachineListing,
    MachinePlan,
    NodeChoice,
    NodeDetail,
    NodeListing,
    Ok,
    Route,
    RouteDetail,
    RouteListing,
    TaskChanged,
    TaskDetail,
    TaskListing,
    Unavailable,
    UsageReport,
    meant,
    name_of,
    numbered,
    route_of,
)
from clusterodm.services.admin.commands.core.commands import NodeAct, TaskAct
from clusterodm.services.admin.metrics import COMMANDS, label_of

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus  # a command of a moment needs no more than it asks

NODE_REQUESTS: Final[dict[NodeAct, tuple[Request[Any, Any], Callable[..., NodeRef]]]] = {
    NodeAct.DEL: (REMOVE_NODE, NodeRef),
    NodeAct.LOCK: (LOCK_NODE, LockNode),
    NodeAct.UNLOCK: (UNLOCK_NODE, NodeRef),
}
TASK_REQUESTS: Final[dict[TaskAct, Request[TaskRef, Any]]] = {
    TaskAct.CANCEL: CANCEL_TASK,
    TaskAct.REMOVE: REMOVE_TASK,
    TaskAct.UP: MOVE_TASK_UP,
}
"""To restart is another: it may come with other options."""


async def execute(bus: "Bus", command: commands.Command) -> Answer:
    """Carry out one command if whoever acts may give it, and count it; what changes something is told to the bus."""
    act, principal = act_of(command), acting.get()
    denied = refusal(principal, needed_role(command))
    answer = Declined(denied) if denied else await answered(bus, command)
    if act:
        await publish_act(bus, principal, *act, *outcome_of(answer))
    COMMANDS.inc(label_of(type(command)), label_of(type(answer)))
    return answer


async def publish_act(bus: "Bus", principal: Principal, act: str, target: str, outcome: str, reason: str) -> None:  # noqa: PLR0913, PLR0917 its account
    """Put an act of an operator on record: in the log and on the bus."""
    log.info(
        "operator.acted", user=principal.user, door=principal.door, address=principal.address, act=act, outcome=outcome
    )
    told = OperatorActed(
        at_ms=now_ms(),
        user=principal.user,
        role=principal.role.word,
        door=principal.door,
        address=principal.address,
        act=act,
        target=target,
        outcome=outcome,
        reason=reason,
    )
    await bus.publish(OPERATOR_ACTED, told)


async def answered(bus: "Bus", command: commands.Command) -> Answer:
    """Carry out one command."""
    owner = "autoscaler" if isinstance(command, commands.AutoscalerCommand) else "scheduler"
    try:
        return await HANDLERS[type(command)](bus, command)
    except NotFound as error:
        return Invalid(error.message)
    except Unreadable as error:
        return Failed(error.message)
    except BusFailed as error:
        log.warning("request.unanswered", owner=owner, reason=error.message)
        return Unavailable(f"The {owner} does not answer.")
    except ClusterError as error:
        return Failed(error.message)


async def unknown(_bus: "Bus", command: commands.UnknownCommand) -> Answer:
    """Say that a line was no command."""
    return Invalid(command.reason)


async def add_node(bus: "Bus", command: commands.AddNodeCommand) -> Answer:
    """NODE ADD."""
    try:
        node = await bus.request(
            ADD_NODE,
            AddNode(
                hostname=command.hostname,
                port=command.port,
                token=command.token,
                labels=command.labels,
                locked=command.locked,
            ),
        )
    except BusFailed:
        raise
    except ClusterError as error:
        return Declined(error.message)
    log.info("node.add_requested", node=name_of(node), node_id=node.id)
    return Ok()


async def change_node(bus: "Bus", command: commands.ChangeNodeCommand) -> Answer:
    """NODE DEL, LOCK, UNLOCK."""
    node = meant(await nodes_of(bus), command)
    if node is None or command.name not in {"", name_of(node)}:
        return Declined("there is no such node")
    request, asked = NODE_REQUESTS[command.act]
    if refusal := await refusal_of(bus.request(request, asked(node=node.id))):
        return refusal
    log.info("node.change_requested", act=command.act.value, node=name_of(node), node_id=node.id)
    return Ok()


async def drain_node(bus: "Bus", command: commands.DrainNodeCommand) -> Answer:
    """NODE DRAIN."""
    node = meant(await nodes_of(bus), command)
    if node is None:
        return Declined("there is no such node")
    wanted = DrainNode(node=node.id, deadline_s=command.deadline_s)
    if refusal := await refusal_of(bus.request(DRAIN_NODE, wanted)):
        return refusal
    log.info("node.drain_requested", node=name_of(node), node_id=node.id, deadline_s=command.deadline_s)
    return Ok()


async def label_node(bus: "Bus", command: commands.LabelNodeCommand) -> Answer:
    """NODE LABEL."""
    node = meant(await nodes_of(bus), command)
    if node is None:
        return Declined("there is no such node")
    wanted = LabelNode(node=node.id, labels=command.labels)
    if refusal := await refusal_of(bus.request(LABEL_NODE, wanted)):
        return refusal
    log.info("node.label_requested", node=name_of(node), node_id=node.id, labels=command.labels)
    return Ok()


async def show_node(bus: "Bus", command: commands.ShowNodeCommand) -> Answer:
    """NODE INFO."""
    node = numbered(await nodes_of(bus), command.number)
    return Invalid("there is no such node") if node is None else NodeDetail(node)


async def list_nodes(bus: "Bus", _command: commands.ListNodesCommand) -> Answer:
    """NODE LIST."""
    return NodeListing(await nodes_of(bus))


async def update_nodes(bus: "Bus", _command: commands.UpdateNodesCommand) -> Answer:
    """NODE UPDATE."""
    await bus.request(UPDATE_NODES, UpdateNodes())
    return Ok()


async def best_node(bus: "Bus", command: commands.BestNodeCommand) -> Answer:
    """NODE BEST."""
    found = await bus.request(BEST_NODE, BestNode(images_count=command.images_count))
    return NodeChoice(found.node)


async def list_routes(bus: "Bus", command: commands.ListRoutesCommand) -> Answer:
    """ROUTE LIST."""
    nodes = await nodes_of(bus)
    node = numbered(nodes, command.number)
    if command.number is not None and node is None:
        return Invalid("there is no such node")
    tokens = {each.id for each in nodes if each.has_token}
    found = [summary async for summary in tasks_of(bus, node) if summary.node is not None]
    return RouteListing(tuple(route_of(task, tokens) for task in found))


async def show_route(bus: "Bus", command: commands.ShowRouteCommand) -> Answer:
    """ROUTE INFO."""
    task, node = await task_and_node(bus, command.task)
    if task.attempt is None or node is None:
        return Invalid("the task has been sent to no node that the cluster knows")
    seen_ms = task.known.seen_at_ms if task.known else task.committed_at_ms
    return RouteDetail(Route(task.id, node.hostname, node.port, node.has_token, bool(task.owner), seen_ms))


async def list_tasks(bus: "Bus", command: commands.ListTasksCommand) -> Answer:
    """TASK LIST."""
    node = None if command.number is None else numbered(await nodes_of(bus), command.number)
    if command.number is not None and node is None:
        return Invalid("there is no such node")
    return TaskListing(tuple([summary async for summary in tasks_of(bus, node)]))


async def show_task(bus: "Bus", command: commands.ShowTaskCommand) -> Answer:
    """TASK INFO."""
    found = await bus.request(DESCRIBE_TASK, TaskRef(task=command.task))
    return TaskDetail(found.task, found.summary.node_name, found.summary.expected)


async def show_console(bus: "Bus", command: commands.ShowConsoleCommand) -> Answer:
    """TASK OUTPUT."""
    wanted = ReadConsole(task=command.task, from_line=command.from_line)
    return ConsoleLines((await bus.request(READ_CONSOLE, wanted)).lines)


async def change_task(bus: "Bus", command: commands.ChangeTaskCommand) -> Answer:
    """TASK CANCEL, REMOVE, RESTART, UP."""
    try:
        if command.act is TaskAct.RESTART:
            await bus.request(RESTART_TASK, RestartTask(task=command.task))
        else:
            await bus.request(TASK_REQUESTS[command.act], TaskRef(task=command.task))
    except (NotFound, BusFailed):
        raise
    except ClusterError as error:
        return TaskChanged(error.message)
    log.info("task.change_requested", act=command.act.value, task=command.task)
    return TaskChanged()


async def prioritize_task(bus: "Bus", command: commands.PrioritizeTaskCommand) -> Answer:
    """TASK PRIORITY."""
    try:
        await bus.request(SET_TASK_PRIORITY, SetTaskPriority(task=command.task, priority=command.priority))
    except (NotFound, BusFailed):
        raise
    except ClusterError as error:
        return TaskChanged(error.message)
    log.info("task.priority_requested", task=command.task, priority=command.priority)
    return TaskChanged()


async def show_usage(bus: "Bus", command: commands.ShowUsageCommand) -> Answer:
    """TENANT USAGE."""
    rows: list[UsageRow] = []
    try:
        while True:
            asked = replace(command.asked, offset_count=len(rows), limit_count=GetUsage.MOST)
            page = await bus.request(GET_USAGE, asked)
            rows += page.rows
            if not page.rows or len(rows) >= page.total_count:
                return UsageReport(tuple(rows), page.total)
    except Refused as error:
        return Failed(error.message)


async def view_machine_command(bus: "Bus", command: commands.ViewMachineCommand) -> Answer:
    """ASR VIEWCMD."""
    wanted = ViewCommand(images_count=command.images_count)
    try:
        return MachineCommandLine((await bus.request(VIEW_COMMAND, wanted)).command)
    except Refused as error:
        return Invalid(error.message)


async def plan_machines(bus: "Bus", command: commands.PlanMachinesCommand) -> Answer:
    """Say what would be done."""
    try:
        return MachinePlan((await bus.request(PLAN_MACHINES, PlanMachines(demand=command.demand))).steps)
    except Refused as error:
        return Invalid(error.message)


async def list_machines(bus: "Bus", _command: commands.ListMachinesCommand) -> Answer:
    """ASR LIST."""
    return MachineListing((await bus.request(LIST_MACHINES, ListMachines())).machines)


async def show_autoscaler(bus: "Bus", _command: commands.ShowAutoscalerCommand) -> Answer:
    """ASR STATUS."""
    return AutoscalerReport(await bus.request(GET_AUTOSCALER_STATUS, GetAutoscalerStatus()))


async def destroy_machine(bus: "Bus", command: commands.DestroyMachineCommand) -> Answer:
    """ASR DESTROY."""
    found = await machine_of(bus, command.number, command.machine)
    if found is None or command.name not in {"", found}:
        return Declined("there is no such machine")
    try:
        view = await bus.request(DESTROY_MACHINE, DestroyMachine(machine=found))
    except Refused as error:
        return Declined(error.message)
    log.info("machine.destroy_requested", machine=found)
    return DoneWithNote(view.told) if view.told else Ok()


async def show_boot_log(bus: "Bus", command: commands.ShowBootLogCommand) -> Answer:
    """ASR OUTPUT."""
    found = command.machine or await machine_of(bus, command.number, None)
    if found is None:
        return Invalid("there is no such machine")
    try:
        return ConsoleLines((await boot_log(bus, found, command.from_line)).lines)
    except Refused as error:
        return Invalid(error.message)


async def boot_log(bus: "Bus", machine: MachineId, from_line: int) -> BootLogLines:
    """Ask for what a machine has said while it booted. Raises NotFound, Refused without an autoscaler, and BusFailed."""
    return await bus.request(READ_BOOT_LOG, ReadBootLog(machine=machine, from_line=from_line))


async def machine_of(bus: "Bus", number: int, machine: MachineId | None) -> MachineId | None:
    """Find the machine that is meant by its number, or see that the one that is named is there."""
    views = (await bus.request(LIST_MACHINES, ListMachines())).machines
    meant_ids = (view.machine.id for view in views if (view.number == number if machine is None else view.machine.id == machine))  # fmt: skip
    return next(meant_ids, None)


async def pause_autoscaler(bus: "Bus", command: commands.PauseAutoscalerCommand) -> Answer:
    """ASR PAUSE."""
    wanted = PauseAutoscaler(reason=command.reason)
    if refusal := await refusal_of(bus.request(PAUSE_AUTOSCALER, wanted), Refused):
        return refusal
    log.info("autoscaler.pause_requested", reason=command.reason)
    return Ok()


async def resume_autoscaler(bus: "Bus", _command: commands.ResumeAutoscalerCommand) -> Answer:
    """ASR RESUME."""
    if refusal := await refusal_of(bus.request(RESUME_AUTOSCALER, ResumeAutoscaler()), Refused):
        return refusal
    log.info("autoscaler.resume_requested")
    return Ok()


async def set_log_level(bus: "Bus", command: commands.SetLogLevelCommand) -> Answer:
    """LOG LEVEL. It is told to every process; one that is away does not hear of it."""
    if not bus.connected:
        raise BusFailed("NATS is away")
    await bus.publish(LOG_LEVEL_SET, LogLevelSet(level=command.level, service=command.service))
    return Ok()


async def refusal_of(change: Awaitable[Any], kind: type[ClusterError] = ClusterError) -> Declined | None:
    """Wait for a change; None when it is done. Raises what is not of a kind, and BusFailed."""
    try:
        await change
    except BusFailed:
        raise
    except kind as error:
        return Declined(error.message)
    return None


async def nodes_of(bus: "Bus") -> tuple[NodeView, ...]:
    """Ask for all nodes."""
    return (await bus.request(LIST_NODES, ListNodes())).nodes


async def tasks_of(bus: "Bus", node: NodeView | None) -> AsyncIterator[TaskSummary]:
    """Ask for all tasks, page by page; with a node, only for those on it."""
    after: TaskId | None = None
    while True:
        page = await bus.request(LIST_TASKS, ListTasks(node=node.id if node else None, after=after))
        for summary in page.tasks:
            yield summary
        if not page.more or not page.tasks:
            return
        after = page.tasks[-1].id


async def task_and_node(bus: "Bus", task_id: TaskId) -> tuple[Task, NodeView | None]:
    """Ask for a task and for the node that it is on. Raises NotFound."""
    task = (await bus.request(GET_TASK, TaskRef(task=task_id))).task
    if task.attempt is None:
        return task, None
    on = task.attempt.node
    return task, next((node for node in await nodes_of(bus) if node.id == on), None)


HANDLERS: Final[dict[type, Callable[["Bus", Any], Awaitable[Answer]]]] = {
    commands.UnknownCommand: unknown,
    commands.AddNodeCommand: add_node,
    commands.ChangeNodeCommand: change_node,
    commands.DrainNodeCommand: drain_node,
    commands.LabelNodeCommand: label_node,
    commands.ShowNodeCommand: show_node,
    commands.ListNodesCommand: list_nodes,
    commands.UpdateNodesCommand: update_nodes,
    commands.BestNodeCommand: best_node,
    commands.ListRoutesCommand: list_routes,
    commands.ShowRouteCommand: show_route,
    commands.ListTasksCommand: list_tasks,
    commands.ShowTaskCommand: show_task,
    commands.ShowConsoleCommand: show_console,
    commands.ChangeTaskCommand: change_task,
    commands.PrioritizeTaskCommand: prioritize_task,
    commands.ShowUsageCommand: show_usage,
    commands.ViewMachineCommand: view_machine_command,
    commands.PlanMachinesCommand: plan_machines,
    commands.ListMachinesCommand: list_machines,
    commands.ShowAutoscalerCommand: show_autoscaler,
    commands.DestroyMachineCommand: destroy_machine,
    commands.ShowBootLogCommand: show_boot_log,
    commands.PauseAutoscalerCommand: pause_autoscaler,
    commands.SetLogLevelCommand: set_log_level,
    commands.ResumeAutoscalerCommand: resume_autoscaler,
}
"""Who carries out which command."""
