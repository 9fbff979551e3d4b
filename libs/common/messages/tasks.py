"""Tasks: submitted to the scheduler, read from it and steered; and what it tells of them."""

from enum import StrEnum
from typing import Final

import msgspec

from clusterodm.libs.common.messages.estimates import Expected
from clusterodm.libs.common.messages.kinds import Done, Event, Request
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.tasks import Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import Frozen, InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId


class TaskRecord(Frozen, frozen=True, kw_only=True):
    """A task and the revision of its record: of two, the higher revision is the newer."""

    task: Task
    revision: int
    archived: bool = False
    """It has ended and is kept in KV `ended`: in KV `tasks` it was last at this revision."""


class StagedFiles(Frozen, frozen=True, kw_only=True):
    """Where files of an upload went before its commit."""

    node: NodeId
    node_task_id: NodeTaskId


class SubmitTask(Frozen, frozen=True, kw_only=True):
    """A client's commit. Sent again it gets the same answer and nothing happens twice."""

    task: TaskId
    owner: Owner = Owner("")
    name: str
    upload_owner: InstanceId = msgspec.field(name="holder")
    created_at_ms: int
    images_count: int | None
    """None: nobody has counted them, they are in an archive."""
    size_bytes: int = 0
    options: tuple[OptionValue, ...] = ()
    outputs: str = ""
    skip_post_processing: bool = False
    zip_url: str = ""
    submodel: bool = False
    ahead: StagedFiles | None = None
    """What went ahead: an attempt on the same node that begins at once goes on under that id."""
    trace: str = ""
    """The `traceparent` of its client; see Task.trace."""


class AttemptStage(StrEnum):
    """How far an attempt has come, as its upload owner knows it."""

    SENDING = "sending"
    """The node may have files of it."""
    COMMITTING = "committing"
    """Its commit may have been sent: whether the node has the task, it knows alone."""
    COMMITTED = "committed"
    """The node has answered the commit."""


class KnownAttempt(Frozen, frozen=True, kw_only=True):
    """An attempt as its upload owner knows it. It names the node without its token."""

    number: int
    node: NodeId
    hostname: str
    port: int
    node_task_id: NodeTaskId
    stage: AttemptStage = AttemptStage.SENDING
    started_at_ms: int = 0
    running_at_ms: int | None = None
    machine: MachineId | None = None
    ahead: bool = False


class KnownEnd(Frozen, frozen=True, kw_only=True):
    """How a task had ended, as its upload owner was told."""

    state: TaskState
    at_ms: int
    error: str = ""
    cleanup: Cleanup = Cleanup.NONE
    """What the node of its last attempt had still to be told then."""
    removed: bool = False
    """And its client has removed it, while nodes had still to be told."""


class AdoptTask(Frozen, frozen=True, kw_only=True):
    """A task that was acknowledged once and that the records do not, or not wholly, know: a store was lost, or an older one restored.

    Its upload owner tells all that it knows of it. Sent again it gets the same answer. Refused as removed: a tombstone says so.
    """

    submission: SubmitTask
    committed_at_ms: int = 0
    """When it was committed: its place in the queue."""
    attempts: tuple[KnownAttempt, ...] = ()
    end: KnownEnd | None = None
    inputs_kept: bool = True
    """Its files are still here."""


class TaskRef(Frozen, frozen=True, kw_only=True):
    """One task. With an `owner`, it is found only when it is that owner's; None is an operator and finds every task."""

    task: TaskId
    owner: Owner | None = None


class SeenTask(Frozen, frozen=True, kw_only=True):
    """A task as somebody knows it."""

    task: TaskId
    revision: int
    state: TaskState | None = None
    """A revision alone may be one of a store that was restored since. None: an earlier version asks."""


class ConfirmTasks(Frozen, frozen=True, kw_only=True):
    """Are these the last revisions of their records? Asked before an answer is given from a mirror, which may be behind."""

    seen: tuple[SeenTask, ...]


class TasksConfirmed(Frozen, frozen=True, kw_only=True):
    """Those that are not, or that nobody knows, are to be asked for; all others are."""

    outdated: tuple[TaskId, ...] = ()


class RestartTask(Frozen, frozen=True, kw_only=True):
    """Run the task again, with other options where given."""

    task: TaskId
    owner: Owner | None = None
    options: tuple[OptionValue, ...] | None = None


class SetTaskPriority(Frozen, frozen=True, kw_only=True):
    """A task goes sooner, or later, from now on. For operators. Refused where it has ended."""

    task: TaskId
    priority: int
    """-10 to 10, added to its tenant's; 0: as usual. What is outside is refused."""


class ListTasks(Frozen, frozen=True, kw_only=True):
    """Committed tasks in the order of their commits; a page at a time."""

    owner: Owner | None = None
    node: NodeId | None = None
    after: TaskId | None = None
    """Continue behind this task."""
    limit_count: int = 500


class TaskSummary(Frozen, frozen=True, kw_only=True):
    """A task in a list."""

    id: TaskId
    name: str
    state: TaskState
    images_count: int | None
    """None: not known yet."""
    created_at_ms: int
    committed_at_ms: int
    progress: float = 0.0
    processing_time_ms: int = -1
    node: NodeId | None = None
    node_name: str = ""
    """`hostname:port`"""
    attempts_count: int = 0
    position: int | None = None
    """Place in the queue while it waits."""
    reason: str = ""
    """Why it waits or failed."""
    has_owner: bool = False
    seen_at_ms: int | None = None
    size_bytes: int = 0
    """Of its files, as far as they are known."""
    ended_at_ms: int | None = None
    sent_bytes: int = 0
    """So many of them its node has, while they are forwarded."""
    sent_count: int = 0
    expected: Expected | None = None
    sent_bytes_per_s: float = 0.0
    """How fast they went there so far."""
    priority: int = 0
    """An operator's."""
    tenant: str = ""
    """Its owner's name; where nobody has given it one, the owner: its tenant, or a digest of a token. Empty: nobody's."""
    order: str = ""
    """Why it stands where it does in the queue, while it waits."""


class TaskList(Frozen, frozen=True, kw_only=True):
    """Answer to ListTasks."""

    tasks: tuple[TaskSummary, ...]
    more: bool = False
    """There are more behind the last one."""


class TaskOrder(StrEnum):
    """What a list of tasks is sorted by."""

    COMMITTED = "committed"
    QUEUE = "queue"
    """In which waiting tasks should get slots: only those that wait are listed. With a text to be found: by their commits."""
    ENDED = "ended"
    NAME = "name"
    IMAGES = "images"
    TIME = "processing_time"


class SearchTasks(Frozen, frozen=True, kw_only=True):
    """Committed tasks that are like this, sorted: one page of them. For operators, who see everybody's."""

    text: str = ""
    """Part of a name or of an id, in any case."""
    states: tuple[TaskState, ...] = ()
    """Empty: whatever their state."""
    node: NodeId | None = None
    """The last attempt was there."""
    owner: Owner | None = None
    since_ms: int = 0
    """Committed then or later."""
    order: TaskOrder = TaskOrder.COMMITTED
    descending: bool = True
    offset_count: int = 0
    """So many come before the page."""
    limit_count: int = 50


class TaskPage(Frozen, frozen=True, kw_only=True):
    """Answer to SearchTasks."""

    tasks: tuple[TaskSummary, ...] = ()
    total_count: int = 0
    """How many are like this."""
    states: dict[str, int] = msgspec.field(default_factory=dict)
    """How many tasks there are in each state, whatever was asked for; states without any are left out."""


class TaskDescription(Frozen, frozen=True, kw_only=True):
    """Answer to the request for all that is known of a task: its record, with no more of addresses than their hosts, and how it stands now."""

    task: Task
    summary: TaskSummary


class ListTaskIds(Frozen, frozen=True, kw_only=True):
    """The ids of an owner's tasks in the order of their commits; a page at a time. Nothing of a task is read for it."""

    owner: Owner
    after: TaskId | None = None
    """Continue behind this task."""


class TaskIds(Frozen, frozen=True, kw_only=True):
    """Answer to ListTaskIds."""

    tasks: tuple[TaskId, ...]
    more: bool = False


class ReadConsole(Frozen, frozen=True, kw_only=True):
    """The console of a task from a line on; negative: the last lines."""

    task: TaskId
    owner: Owner | None = None
    from_line: int = 0


class Console(Frozen, frozen=True, kw_only=True):
    """Answer to ReadConsole."""

    lines: tuple[str, ...]


class ImportRoute(Frozen, frozen=True, kw_only=True):
    """Take over a task that the original cluster had sent to a node (its data/routes.json)."""

    task: TaskId
    node: NodeId
    owner: Owner = Owner("")


SUBMIT_TASK: Final = Request("scheduler.submit_task", SubmitTask, TaskRecord, idempotent=True)
ADOPT_TASK: Final = Request("scheduler.adopt_task", AdoptTask, TaskRecord, idempotent=True)
GET_TASK: Final = Request("scheduler.get_task", TaskRef, TaskRecord, idempotent=True)
CONFIRM_TASKS: Final = Request("scheduler.confirm_tasks", ConfirmTasks, TasksConfirmed, idempotent=True)
LIST_TASKS: Final = Request("scheduler.list_tasks", ListTasks, TaskList, idempotent=True, for_programs=True)
SEARCH_TASKS: Final = Request("scheduler.search_tasks", SearchTasks, TaskPage, idempotent=True, for_programs=True)
DESCRIBE_TASK: Final = Request("scheduler.describe_task", TaskRef, TaskDescription, idempotent=True, for_programs=True)
LIST_TASK_IDS: Final = Request("scheduler.list_task_ids", ListTaskIds, TaskIds, idempotent=True)
READ_CONSOLE: Final = Request(
    "scheduler.read_console", ReadConsole, Console, timeout_s=15.0, idempotent=True, for_programs=True
)
CANCEL_TASK: Final = Request(
    "scheduler.cancel_task", TaskRef, TaskRecord, timeout_s=15.0, idempotent=True, for_programs=True
)
REMOVE_TASK: Final = Request("scheduler.remove_task", TaskRef, Done, timeout_s=15.0, for_programs=True)
SET_TASK_PRIORITY: Final = Request("scheduler.set_task_priority", SetTaskPriority, TaskRecord, idempotent=True)
MOVE_TASK_UP: Final = Request("scheduler.move_task_up", TaskRef, TaskRecord, idempotent=True)
"""It goes in front of its owner's other waiting tasks of its priority. Refused where it does not wait."""
RESTART_TASK: Final = Request("scheduler.restart_task", RestartTask, TaskRecord, timeout_s=15.0, for_programs=True)
IMPORT_ROUTE: Final = Request("scheduler.import_route", ImportRoute, TaskRecord)


class TaskEvent(Frozen, frozen=True, kw_only=True):
    """Something happened to a task."""

    at_ms: int
    task: TaskId
    state: TaskState
    attempt: int = 0
    node: NodeId | None = None
    reason: str = ""


TASK_SUBMITTED: Final = Event("task.submitted", TaskEvent)
TASK_PLACED: Final = Event("task.placed", TaskEvent)
TASK_STARTED: Final = Event("task.started", TaskEvent)
TASK_ATTEMPT_ENDED: Final = Event("task.attempt_ended", TaskEvent)
TASK_FINISHED: Final = Event("task.finished", TaskEvent)
TASK_REMOVED: Final = Event("task.removed", TaskEvent)
TASK_PRIORITIZED: Final = Event("task.prioritized", TaskEvent)
TASK_MOVED_UP: Final = Event("task.moved_up", TaskEvent)
TASK_RESTARTED: Final = Event("task.restarted", TaskEvent)
