"""What is asked for before a command can be carried out: nodes, tasks, and whether a change was refused."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.messages.buckets import PROGRESS
from clusterodm.libs.common.messages.nodes import LIST_NODES, ListNodes, NodeView
from clusterodm.libs.common.messages.overview import UploadProgress
from clusterodm.libs.common.messages.tasks import GET_TASK, LIST_TASKS, ListTasks, TaskRef, TaskSummary
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.admin.commands.core.answers import Declined

if TYPE_CHECKING:
    from clusterodm.libs.common.ports import Bus  # a command of a moment needs no more than it asks


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


async def uploads(bus: "Bus") -> AsyncIterator[UploadProgress]:
    """Ask for all uploads in progress; there are none where nobody has made their bucket, as in a cluster of an earlier version."""
    with suppress(BusFailed):
        async for page in (await bus.bucket(PROGRESS)).pages():
            for entry in page:
                yield entry.value


async def upload_of(bus: "Bus", task: TaskId) -> UploadProgress | None:
    """Find an upload in progress; None: there is none."""
    found = [each async for each in uploads(bus) if each.task == task]
    return found[0] if found else None


async def task_and_node(bus: "Bus", task_id: TaskId) -> tuple[Task, NodeView | None]:
    """Ask for a task and for the node that it is on. Raises NotFound."""
    task = (await bus.request(GET_TASK, TaskRef(task=task_id))).task
    if task.attempt is None:
        return task, None
    on = task.attempt.node
    return task, next((node for node in await nodes_of(bus) if node.id == on), None)
