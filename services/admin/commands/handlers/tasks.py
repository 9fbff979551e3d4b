"""The commands about tasks, where they are (ROUTE, as the original calls it), their consoles and what their owners have used."""

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound, Refused
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.tasks import (
    CANCEL_TASK,
    DESCRIBE_TASK,
    MOVE_TASK_UP,
    READ_CONSOLE,
    REMOVE_TASK,
    RESTART_TASK,
    SET_TASK_PRIORITY,
    ReadConsole,
    RestartTask,
    SetTaskPriority,
    TaskRef,
)
from clusterodm.libs.common.messages.usage import GET_USAGE, GetUsage, UsageRow
from clusterodm.libs.common.telemetry.lazy_log import log
from clusterodm.services.admin.commands.core import answers, commands
from clusterodm.services.admin.commands.core.answers import Answer
from clusterodm.services.admin.commands.core.commands import TaskAct
from clusterodm.services.admin.commands.handlers.queries import nodes_of, task_and_node, tasks_of, upload_of

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus  # a command of a moment needs no more than it asks


TASK_REQUESTS: Final[dict[TaskAct, Request[TaskRef, Any]]] = {
    TaskAct.CANCEL: CANCEL_TASK,
    TaskAct.REMOVE: REMOVE_TASK,
    TaskAct.UP: MOVE_TASK_UP,
}
"""To restart is another: it may come with other options."""


async def list_routes(bus: "Bus", command: commands.ListRoutesCommand) -> Answer:
    """ROUTE LIST."""
    nodes = await nodes_of(bus)
    node = answers.numbered(nodes, command.number)
    if command.number is not None and node is None:
        return answers.Invalid("there is no such node")
    tokens = {each.id for each in nodes if each.has_token}
    found = [summary async for summary in tasks_of(bus, node) if summary.node is not None]
    return answers.RouteListing(tuple(answers.route_of(task, tokens) for task in found))


async def show_route(bus: "Bus", command: commands.ShowRouteCommand) -> Answer:
    """ROUTE INFO."""
    task, node = await task_and_node(bus, command.task)
    if task.attempt is None or node is None:
        return answers.Invalid("the task has been sent to no node that the cluster knows")
    seen_ms = task.known.seen_at_ms if task.known else task.committed_at_ms
    return answers.RouteDetail(
        answers.Route(task.id, node.hostname, node.port, node.has_token, bool(task.owner), seen_ms)
    )


async def list_tasks(bus: "Bus", command: commands.ListTasksCommand) -> Answer:
    """TASK LIST."""
    node = None if command.number is None else answers.numbered(await nodes_of(bus), command.number)
    if command.number is not None and node is None:
        return answers.Invalid("there is no such node")
    return answers.TaskListing(tuple([summary async for summary in tasks_of(bus, node)]))


async def show_task(bus: "Bus", command: commands.ShowTaskCommand) -> Answer:
    """TASK INFO."""
    try:
        found = await bus.request(DESCRIBE_TASK, TaskRef(task=command.task))
    except NotFound:
        if upload := await upload_of(bus, command.task):
            return answers.UploadDetail(upload)
        raise
    return answers.TaskDetail(found.task, found.summary.node_name, found.summary.expected)


async def show_console(bus: "Bus", command: commands.ShowConsoleCommand) -> Answer:
    """TASK OUTPUT."""
    wanted = ReadConsole(task=command.task, from_line=command.from_line)
    try:
        return answers.ConsoleLines((await bus.request(READ_CONSOLE, wanted)).lines)
    except NotFound:
        if await upload_of(bus, command.task):
            return answers.ConsoleLines(())  # it begins with the commit
        raise


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
        return answers.TaskChanged(error.message)
    log.info("task.change_requested", act=command.act.value, task=command.task)
    return answers.TaskChanged()


async def prioritize_task(bus: "Bus", command: commands.PrioritizeTaskCommand) -> Answer:
    """TASK PRIORITY."""
    try:
        await bus.request(SET_TASK_PRIORITY, SetTaskPriority(task=command.task, priority=command.priority))
    except (NotFound, BusFailed):
        raise
    except ClusterError as error:
        return answers.TaskChanged(error.message)
    log.info("task.priority_requested", task=command.task, priority=command.priority)
    return answers.TaskChanged()


async def show_usage(bus: "Bus", command: commands.ShowUsageCommand) -> Answer:
    """TENANT USAGE."""
    rows: list[UsageRow] = []
    try:
        while True:
            asked = replace(command.asked, offset_count=len(rows), limit_count=GetUsage.MOST)
            page = await bus.request(GET_USAGE, asked)
            rows += page.rows
            if not page.rows or len(rows) >= page.total_count:
                return answers.UsageReport(tuple(rows), page.total)
    except Refused as error:
        return answers.Failed(error.message)
