"""A scheduler that schedules nothing: it answers the requests of operators from lists that a test fills.

Served over a real bus or `MemoryBus`; its answers have the shapes and refusals of the real one.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.health.settings_in_force import settings_handler
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH, SCHEDULER_SETTINGS
from clusterodm.libs.common.messages.kinds import Done, Request
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
    BestNodeFound,
    DrainNode,
    LabelNode,
    NodeList,
    NodeRef,
    NodeView,
)
from clusterodm.libs.common.messages.overview import GET_OVERVIEW, ClusterOverview, GetOverview
from clusterodm.libs.common.messages.tasks import (
    CANCEL_TASK,
    DESCRIBE_TASK,
    GET_TASK,
    IMPORT_ROUTE,
    LIST_TASKS,
    MOVE_TASK_UP,
    READ_CONSOLE,
    REMOVE_TASK,
    RESTART_TASK,
    SEARCH_TASKS,
    SET_TASK_PRIORITY,
    Console,
    ImportRoute,
    ListTasks,
    ReadConsole,
    RestartTask,
    SearchTasks,
    SetTaskPriority,
    TaskDescription,
    TaskList,
    TaskOrder,
    TaskPage,
    TaskRecord,
    TaskRef,
    TaskSummary,
)
from clusterodm.libs.common.messages.usage import GET_USAGE, GetUsage, UsagePage, UsageRow, Used
from clusterodm.libs.common.model.nodes import NodeInfo, mistake_in_labels
from clusterodm.libs.common.model.tasks import Attempt, LastKnown, Task, TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId, Owner, TaskId
from clusterodm.libs.common.ports import Bus, Handler
from clusterodm.libs.common.settings.fields import Settings
from clusterodm.libs.common.tenancy import HIGHEST_PRIORITY

SORTS: Mapping[TaskOrder, Callable[[Task], Any]] = {
    TaskOrder.COMMITTED: lambda each: each.committed_at_ms,
    TaskOrder.QUEUE: lambda each: each.committed_at_ms,
    TaskOrder.ENDED: lambda each: each.ended_at_ms or 0,
    TaskOrder.NAME: lambda each: each.name.lower(),
    TaskOrder.IMAGES: lambda each: each.images_count or 0,
    TaskOrder.TIME: lambda each: each.known.processing_time_ms if each.known else -1,
}
INFO = NodeInfo(
    version="2.2.4",
    max_images=None,
    max_parallel_tasks=2,
    task_queue_count=1,
    total_memory=16 * 1024**3,
    available_memory=9 * 1024**3,
    cpu_cores=8,
    engine="odm",
    engine_version="3.5.5",
)


def node(number: int, hostname: str = "127.0.0.1", port: int = 4001, **changes: Any) -> NodeView:
    """Make a node that is online, unless told otherwise."""
    fields: dict[str, Any] = {"online": True, "info": INFO, "info_at_ms": 1_700_000_000_000, **changes}
    return NodeView(id=NodeId(f"{hostname}-{port}"), number=number, hostname=hostname, port=port, **fields)


def task(task_id: str, state: TaskState = TaskState.RUNNING, on: NodeView | None = None, **changes: Any) -> Task:
    """Make a task, on a node when one is given."""
    attempts = (Attempt(number=1, node=on.id, node_task_id=NodeTaskId(task_id)),) if on else ()
    known = LastKnown(code=20, progress=42.0, processing_time_ms=61_000, seen_at_ms=1_700_000_000_500) if on else None
    fields: dict[str, Any] = {"name": f"task {task_id[:4]}", "images_count": 12, "attempts": attempts, "known": known}
    fields |= {
        "upload_owner": InstanceId("p1"),
        "created_at_ms": 1_700_000_000_000,
        "committed_at_ms": 1_700_000_000_100,
    }
    return Task(id=TaskId(task_id), state=state, **{**fields, **changes})


def admin_health(bus: Bus) -> Health:
    """How the admin is, as its main puts it together."""
    return Health("admin", lambda: {"nats": bus.connected})


class FakeScheduler:
    """Nodes and tasks in lists, consoles in a dict."""

    def __init__(self) -> None:
        self.nodes: list[NodeView] = []
        self.tasks: list[Task] = []
        self.consoles: dict[str, tuple[str, ...]] = {}
        self.asked: list[Any] = []
        self.asked_tasks: list[TaskRef] = []
        self.tokens: dict[str, str] = {}
        self.page_count = 500
        self.usage: list[UsageRow] = []

    def handlers(self) -> Mapping[Request[Any, Any], Handler]:
        """What it answers."""
        return {
            LIST_NODES: self.list_nodes,
            GET_USAGE: self.get_usage,
            ADD_NODE: self.add_node,
            REMOVE_NODE: self.remove_node,
            LOCK_NODE: self.lock_node,
            DRAIN_NODE: self.drain_node,
            UNLOCK_NODE: self.unlock_node,
            LABEL_NODE: self.label_node,
            UPDATE_NODES: self.list_nodes,
            BEST_NODE: self.best_node,
            LIST_TASKS: self.list_tasks,
            GET_TASK: self.get_task,
            READ_CONSOLE: self.read_console,
            SEARCH_TASKS: self.search_tasks,
            DESCRIBE_TASK: self.describe_task,
            GET_OVERVIEW: self.get_overview,
            RESTART_TASK: self.restart_task,
            SCHEDULER_HEALTH: Health("scheduler", lambda: {"bus": True}).answer,
            SCHEDULER_SETTINGS: settings_handler("scheduler", Settings()),
            CANCEL_TASK: self.cancel_task,
            SET_TASK_PRIORITY: self.set_task_priority,
            MOVE_TASK_UP: self.move_task_up,
            REMOVE_TASK: self.remove_task,
            IMPORT_ROUTE: self.import_route,
        }

    async def list_nodes(self, _asked: Any) -> NodeList:
        return NodeList(nodes=tuple(self.nodes))

    async def add_node(self, asked: AddNode) -> NodeView:
        if any((each.hostname, each.port) == (asked.hostname, asked.port) for each in self.nodes):
            raise Refused(f"{asked.hostname}:{asked.port} is registered already")
        added = node(len(self.nodes) + 1, asked.hostname, asked.port, has_token=bool(asked.token), locked=asked.locked)
        self.nodes.append(added)
        self.tokens[added.id] = asked.token
        return added

    async def get_usage(self, asked: GetUsage) -> UsagePage:
        self.asked.append(asked)
        if asked.since == "2026-02-30":
            raise Refused("there is no such day")
        found = [each for each in self.usage if asked.tenant in {"", each.tenant} and asked.text in each.tenant]
        total = Used()
        for each in found:
            total = total.plus(each.used)
        rows = tuple(found[asked.offset_count : asked.offset_count + min(asked.limit_count, self.page_count)])
        return UsagePage(rows=rows, total_count=len(found), total=total)

    async def remove_node(self, asked: NodeRef) -> Done:
        self.nodes.remove(self.node(asked))
        self.number_again()
        return Done()

    async def lock_node(self, asked: NodeRef) -> NodeView:
        return self.change(self.node(asked), locked=True)

    async def label_node(self, asked: LabelNode) -> NodeView:
        self.asked.append(asked)
        if mistake := mistake_in_labels(asked.labels):
            raise Refused(mistake)
        return self.change(self.node(asked), labels=asked.labels)

    async def drain_node(self, asked: DrainNode) -> NodeView:
        self.asked.append(asked)
        return self.change(self.node(asked), draining=True)

    async def unlock_node(self, asked: NodeRef) -> NodeView:
        return self.change(self.node(asked), locked=False)

    async def best_node(self, asked: BestNode) -> BestNodeFound:
        self.asked.append(asked)
        free = [each for each in self.nodes if each.online and not each.locked]
        return BestNodeFound(node=free[0] if free else None)

    async def list_tasks(self, asked: ListTasks) -> TaskList:
        self.asked.append(asked)
        found = [each for each in self.tasks if asked.node in {None, each.attempt.node if each.attempt else ""}]
        found = [each for each in found if asked.owner in {None, each.owner}]
        start = next((place + 1 for place, each in enumerate(found) if each.id == asked.after), 0)
        page = found[start : start + self.page_count]
        return TaskList(tasks=tuple(map(self.summary, page)), more=start + len(page) < len(found))

    async def get_task(self, asked: TaskRef) -> TaskRecord:
        self.asked_tasks.append(asked)
        return TaskRecord(task=self.task(asked.task), revision=1)

    async def search_tasks(self, asked: SearchTasks) -> TaskPage:
        self.asked.append(asked)
        found = [
            each
            for each in self.tasks
            if (not asked.states or each.state in asked.states)
            and (asked.text.lower() in each.name.lower() or asked.text.lower() in each.id)
            and asked.node in {None, each.attempt.node if each.attempt else ""}
            and each.committed_at_ms >= asked.since_ms
            and asked.owner in {None, each.owner}
        ]
        found.sort(key=SORTS[asked.order], reverse=asked.descending)
        states = Counter(each.state.value for each in self.tasks)
        some = found[asked.offset_count : asked.offset_count + asked.limit_count]
        return TaskPage(tasks=tuple(map(self.summary, some)), total_count=len(found), states=states)

    async def describe_task(self, asked: TaskRef) -> TaskDescription:
        found = self.task(asked.task)
        return TaskDescription(task=found, summary=self.summary(found))

    async def get_overview(self, _asked: GetOverview) -> ClusterOverview:
        online = [each for each in self.nodes if each.online]
        return ClusterOverview(
            at_ms=1_700_000_000_000,
            epoch=3,
            states=Counter(each.state.value for each in self.tasks),
            nodes_count=len(self.nodes),
            nodes_online_count=len(online),
            slots_count=sum(each.info.max_parallel_tasks for each in online if each.info),
            slots_used_count=sum(each.slots_used_count for each in online),
        )

    async def restart_task(self, asked: RestartTask) -> TaskRecord:
        found = self.task(asked.task)
        if not found.state.ended:
            raise Refused("Task cannot be restarted")
        again = task(found.id, TaskState.WAITING, name=found.name)
        self.tasks[self.tasks.index(found)] = again
        return TaskRecord(task=again, revision=3)

    async def read_console(self, asked: ReadConsole) -> Console:
        self.asked.append(asked)
        lines = self.consoles.get(self.task(asked.task).id, ())
        return Console(lines=lines[asked.from_line :])

    async def cancel_task(self, asked: TaskRef) -> TaskRecord:
        found = self.task(asked.task)
        if found.state.ended:
            raise Refused("the task has ended")
        canceled = task(found.id, TaskState.CANCELED)
        self.tasks[self.tasks.index(found)] = canceled
        return TaskRecord(task=canceled, revision=2)

    async def set_task_priority(self, asked: SetTaskPriority) -> TaskRecord:
        found = self.task(asked.task)
        if found.state.ended or abs(asked.priority) > HIGHEST_PRIORITY:
            raise Refused("It has ended" if found.state.ended else "a priority is -10 to 10")
        changed = task(found.id, found.state, name=found.name, priority=asked.priority)
        self.tasks[self.tasks.index(found)] = changed
        return TaskRecord(task=changed, revision=2)

    async def move_task_up(self, asked: TaskRef) -> TaskRecord:
        found = self.task(asked.task)
        if found.state is not TaskState.WAITING:
            raise Refused("It does not wait: it has its slot already")
        self.tasks.sort(key=lambda each: each is not found)
        return TaskRecord(task=found, revision=2)

    async def remove_task(self, asked: TaskRef) -> Done:
        self.tasks.remove(self.task(asked.task))
        return Done()

    async def import_route(self, asked: ImportRoute) -> TaskRecord:
        on = next((each for each in self.nodes if each.id == asked.node), None)
        if on is None:
            raise NotFound("there is no such node")
        self.tasks.append(task(asked.task, on=on, owner=asked.owner))
        return TaskRecord(task=self.tasks[-1], revision=1)

    def owner_of(self, task_id: str) -> Owner:
        """Say whose task it is."""
        return self.task(TaskId(task_id)).owner

    def node(self, asked: NodeRef) -> NodeView:
        found = next((each for each in self.nodes if each.id == asked.node), None)
        if found is None:
            raise NotFound("there is no such node")
        return found

    def task(self, task_id: TaskId) -> Task:
        found = next((each for each in self.tasks if each.id == task_id), None)
        if found is None:
            raise NotFound(f"{task_id} not found")
        return found

    def change(self, old: NodeView, **changes: Any) -> NodeView:
        fields = {name: getattr(old, name) for name in old.__struct_fields__}
        new = NodeView(**{**fields, **changes})
        self.nodes[self.nodes.index(old)] = new
        return new

    def number_again(self) -> None:
        for place, each in enumerate(list(self.nodes), start=1):
            self.change(each, number=place)

    def summary(self, found: Task) -> TaskSummary:
        on = next((each for each in self.nodes if found.attempt and each.id == found.attempt.node), None)
        waiting = found.state is TaskState.WAITING
        return TaskSummary(
            id=found.id,
            name=found.name,
            state=found.state,
            images_count=found.images_count,
            created_at_ms=found.created_at_ms,
            committed_at_ms=found.committed_at_ms,
            progress=found.known.progress if found.known else 0.0,
            processing_time_ms=found.known.processing_time_ms if found.known else -1,
            node=on.id if on else None,
            node_name=f"{on.hostname}:{on.port}" if on else "",
            attempts_count=len(found.attempts),
            position=1 if waiting else None,
            reason=found.waiting_because or found.error,
            has_owner=bool(found.owner),
            priority=found.priority,
            order=f"priority {found.priority:+}" if waiting and found.priority else "",
            seen_at_ms=found.known.seen_at_ms if found.known else None,
        )
