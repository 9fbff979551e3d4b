"""Carries out commands over the bus. Every command gets an answer, whatever fails: an operator's prompt never goes missing.

Node numbers are places in a list that changes. They are resolved once, by asking for the list; then the command goes by the
node's id, so that a node removed in between makes it fail instead of hitting its successor.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import structlog

from libs.common import messages
from libs.common.errors import BusFailed, ClusterError, NotFound, Refused, Unreadable
from libs.common.messages import NodeView, TaskSummary
from libs.common.model import NodeId, Task, TaskId
from libs.common.ports import Bus
from services.admin.commands.core import commands
from services.admin.commands.core.answers import (
    Acted,
    Answer,
    Autoscaler,
    Away,
    Best,
    ConsoleLines,
    Invalid,
    MachineCommand,
    Machines,
    No,
    Nodes,
    Ok,
    OneNode,
    OneRoute,
    OneTask,
    Route,
    Routes,
    Tasks,
    Told,
    Trouble,
    name_of,
)
from services.admin.commands.core.commands import NodeAct, TaskAct

log = structlog.get_logger()

NODE_REQUESTS: Final[dict[NodeAct, messages.Request[messages.NodeRef, Any]]] = {
    NodeAct.DEL: messages.REMOVE_NODE,
    NodeAct.LOCK: messages.LOCK_NODE,
    NodeAct.UNLOCK: messages.UNLOCK_NODE,
}
TASK_REQUESTS: Final[dict[TaskAct, messages.Request[messages.TaskRef, Any]]] = {
    TaskAct.CANCEL: messages.CANCEL_TASK,
    TaskAct.REMOVE: messages.REMOVE_TASK,
}


async def execute(bus: Bus, command: commands.Command) -> Answer:
    """Carry out one command."""
    owner = "autoscaler" if isinstance(command, commands.AutoscalerCommand) else "scheduler"
    try:
        return await WORDS[type(command)](bus, command)
    except NotFound as error:
        return Invalid(error.message)
    except Unreadable as error:
        return Trouble(error.message)
    except BusFailed as error:
        log.warning("no answer", owner=owner, reason=error.message)
        return Away(f"The {owner} does not answer.")
    except ClusterError as error:
        return Trouble(error.message)


async def unknown(_bus: Bus, command: commands.Unknown) -> Answer:
    """Say that a line was no command."""
    return Invalid(command.reason)


async def add_node(bus: Bus, command: commands.AddNode) -> Answer:
    """NODE ADD."""
    try:
        node = await bus.ask(
            messages.ADD_NODE, messages.AddNode(hostname=command.hostname, port=command.port, token=command.token)
        )
    except BusFailed:
        raise
    except ClusterError as error:
        return No(error.message)
    log.info("node added by an operator", node=name_of(node), node_id=node.id)
    return Ok()


async def change_node(bus: Bus, command: commands.ChangeNode) -> Answer:
    """NODE DEL, LOCK, UNLOCK."""
    node = numbered(await nodes_of(bus), command.number)
    if node is None or command.name not in {"", name_of(node)}:
        return No("there is no such node")
    try:
        await bus.ask(NODE_REQUESTS[command.act], messages.NodeRef(node=node.id))
    except BusFailed:
        raise
    except ClusterError as error:
        return No(error.message)
    log.info("node changed by an operator", act=command.act.value, node=name_of(node), node_id=node.id)
    return Ok()


async def drain_node(bus: Bus, command: commands.DrainNode) -> Answer:
    """NODE DRAIN."""
    node = numbered(await nodes_of(bus), command.number)
    if node is None:
        return No("there is no such node")
    try:
        await bus.ask(messages.DRAIN_NODE, messages.DrainNode(node=node.id, deadline_s=command.deadline_s))
    except BusFailed:
        raise
    except ClusterError as error:
        return No(error.message)
    log.info("node drained by an operator", node=name_of(node), node_id=node.id, deadline_s=command.deadline_s)
    return Ok()


async def show_node(bus: Bus, command: commands.ShowNode) -> Answer:
    """NODE INFO."""
    node = numbered(await nodes_of(bus), command.number)
    return Invalid("there is no such node") if node is None else OneNode(node)


async def list_nodes(bus: Bus, _command: commands.ListNodes) -> Answer:
    """NODE LIST."""
    return Nodes(await nodes_of(bus))


async def update_nodes(bus: Bus, _command: commands.UpdateNodes) -> Answer:
    """NODE UPDATE."""
    await bus.ask(messages.UPDATE_NODES, messages.UpdateNodes())
    return Ok()


async def best_node(bus: Bus, command: commands.BestNode) -> Answer:
    """NODE BEST."""
    found = await bus.ask(messages.BEST_NODE, messages.BestNode(images_count=command.images_count))
    return Best(found.node)


async def list_routes(bus: Bus, command: commands.ListRoutes) -> Answer:
    """ROUTE LIST."""
    nodes = await nodes_of(bus)
    node = numbered(nodes, command.number)
    if command.number is not None and node is None:
        return Invalid("there is no such node")
    tokens = {each.id for each in nodes if each.has_token}
    found = [summary async for summary in tasks_of(bus, node) if summary.node is not None]
    return Routes(tuple(route(task, tokens) for task in found))


async def show_route(bus: Bus, command: commands.ShowRoute) -> Answer:
    """ROUTE INFO."""
    task, node = await task_and_node(bus, command.task)
    if task.attempt is None or node is None:
        return Invalid("the task has been sent to no node that the cluster knows")
    seen_ms = task.known.seen_at_ms if task.known else task.committed_at_ms
    return OneRoute(Route(task.id, node.hostname, node.port, node.has_token, bool(task.owner), seen_ms))


async def list_tasks(bus: Bus, command: commands.ListTasks) -> Answer:
    """TASK LIST."""
    if command.number is None:
        return Tasks(tuple([summary async for summary in tasks_of(bus, None)]))
    node = numbered(await nodes_of(bus), command.number)
    if node is None:
        return Invalid("there is no such node")
    return Tasks(tuple([summary async for summary in tasks_of(bus, node)]))


async def show_task(bus: Bus, command: commands.ShowTask) -> Answer:
    """TASK INFO."""
    task, node = await task_and_node(bus, command.task)
    return OneTask(task, "" if node is None else name_of(node))


async def show_console(bus: Bus, command: commands.ShowConsole) -> Answer:
    """TASK OUTPUT."""
    wanted = messages.ReadConsole(task=command.task, from_line=command.from_line)
    return ConsoleLines((await bus.ask(messages.READ_CONSOLE, wanted)).lines)


async def change_task(bus: Bus, command: commands.ChangeTask) -> Answer:
    """TASK CANCEL, REMOVE."""
    try:
        await bus.ask(TASK_REQUESTS[command.act], messages.TaskRef(task=command.task))
    except (NotFound, BusFailed):
        raise
    except ClusterError as error:
        return Acted(error.message)
    log.info("task changed by an operator", act=command.act.value, task=command.task)
    return Acted()


async def view_machine_command(bus: Bus, command: commands.ViewMachineCommand) -> Answer:
    """ASR VIEWCMD."""
    wanted = messages.ViewCommand(images_count=command.images_count)
    try:
        return MachineCommand((await bus.ask(messages.VIEW_COMMAND, wanted)).command)
    except Refused as error:
        return Invalid(error.message)


async def list_machines(bus: Bus, _command: commands.ListMachines) -> Answer:
    """ASR LIST."""
    return Machines((await bus.ask(messages.LIST_MACHINES, messages.ListMachines())).machines)


async def show_autoscaler(bus: Bus, _command: commands.ShowAutoscaler) -> Answer:
    """ASR STATUS."""
    return Autoscaler(await bus.ask(messages.GET_AUTOSCALER_STATUS, messages.GetAutoscalerStatus()))


async def destroy_machine(bus: Bus, command: commands.DestroyMachine) -> Answer:
    """ASR DESTROY."""
    machines = (await bus.ask(messages.LIST_MACHINES, messages.ListMachines())).machines
    found = next((view.machine.id for view in machines if view.number == command.number), None)
    if found is None or command.name not in {"", found}:
        return No("there is no such machine")
    try:
        view = await bus.ask(messages.DESTROY_MACHINE, messages.DestroyMachine(machine=found))
    except Refused as error:
        return No(error.message)
    log.info("machine destroyed by an operator", machine=found)
    return Told(view.told) if view.told else Ok()


async def pause_autoscaler(bus: Bus, command: commands.PauseAutoscaler) -> Answer:
    """ASR PAUSE."""
    try:
        await bus.ask(messages.PAUSE_AUTOSCALER, messages.PauseAutoscaler(reason=command.reason))
    except Refused as error:
        return No(error.message)
    log.info("autoscaler paused by an operator", reason=command.reason)
    return Ok()


async def resume_autoscaler(bus: Bus, _command: commands.ResumeAutoscaler) -> Answer:
    """ASR RESUME."""
    try:
        await bus.ask(messages.RESUME_AUTOSCALER, messages.ResumeAutoscaler())
    except Refused as error:
        return No(error.message)
    log.info("autoscaler resumed by an operator")
    return Ok()


async def nodes_of(bus: Bus) -> tuple[NodeView, ...]:
    """Ask for all nodes."""
    return (await bus.ask(messages.LIST_NODES, messages.ListNodes())).nodes


def numbered(nodes: tuple[NodeView, ...], number: int | None) -> NodeView | None:
    """Find a node by its number."""
    return next((node for node in nodes if node.number == number), None)


async def tasks_of(bus: Bus, node: NodeView | None) -> AsyncIterator[TaskSummary]:
    """Ask for all tasks, page by page; with a node, only for those on it."""
    after: TaskId | None = None
    while True:
        page = await bus.ask(messages.LIST_TASKS, messages.ListTasks(node=node.id if node else None, after=after))
        for summary in page.tasks:
            yield summary
        if not page.more or not page.tasks:
            return
        after = page.tasks[-1].id


async def task_and_node(bus: Bus, task_id: TaskId) -> tuple[Task, NodeView | None]:
    """Ask for a task and for the node that it is on. Raises NotFound."""
    task = (await bus.ask(messages.GET_TASK, messages.TaskRef(task=task_id))).task
    if task.attempt is None:
        return task, None
    on = task.attempt.node
    return task, next((node for node in await nodes_of(bus) if node.id == on), None)


def route(task: TaskSummary, with_token: set[NodeId]) -> Route:
    """Say which node has a task."""
    hostname, _, port = task.node_name.rpartition(":")
    return Route(
        task=task.id,
        hostname=hostname,
        port=commands.port(port) or 0,
        node_has_token=task.node in with_token,
        has_owner=task.has_owner,
        accessed_ms=task.seen_at_ms or task.committed_at_ms,
    )


WORDS: Final[dict[type, Callable[[Bus, Any], Awaitable[Answer]]]] = {
    commands.Unknown: unknown,
    commands.AddNode: add_node,
    commands.ChangeNode: change_node,
    commands.DrainNode: drain_node,
    commands.ShowNode: show_node,
    commands.ListNodes: list_nodes,
    commands.UpdateNodes: update_nodes,
    commands.BestNode: best_node,
    commands.ListRoutes: list_routes,
    commands.ShowRoute: show_route,
    commands.ListTasks: list_tasks,
    commands.ShowTask: show_task,
    commands.ShowConsole: show_console,
    commands.ChangeTask: change_task,
    commands.ViewMachineCommand: view_machine_command,
    commands.ListMachines: list_machines,
    commands.ShowAutoscaler: show_autoscaler,
    commands.DestroyMachine: destroy_machine,
    commands.PauseAutoscaler: pause_autoscaler,
    commands.ResumeAutoscaler: resume_autoscaler,
}
"""Who carries out which command."""
