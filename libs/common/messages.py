"""Every message on the bus, each beside its subject and the type of its reply.

Three kinds (docs/subjects.md shows an example of each; integrations rely on them):

    Request   asked of one owner, answered once            clusterodm.<owner>.<verb_noun>
    Event     told to whoever listens, kept in EVENTS      clusterodm.event.<noun>.<past>
    Snapshot  the whole of a changing fact, last one wins  clusterodm.<noun>.<past>

Rules: a new field has a default; an unknown field is ignored; nothing here holds a token or a key that is not the subject
of the message. Buckets are the key-value stores, each with the one service that writes it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, Generic, TypeVar, cast

import msgspec

from libs.common.model import (
    ClusterSecret,
    ClusterSummary,
    Ended,
    Frozen,
    Incarnation,
    InstanceId,
    Machine,
    MachineId,
    MachineState,
    Node,
    NodeId,
    NodeInfo,
    NodeTaskId,
    Observation,
    OptionValue,
    Owner,
    Proxy,
    ReferenceOptions,
    Task,
    TaskId,
    TaskState,
    Tombstone,
    Upload,
)

Asked = TypeVar("Asked")
Reply = TypeVar("Reply")
Told = TypeVar("Told")
Value = TypeVar("Value")

PREFIX: Final = "clusterodm"


@dataclass(frozen=True)
class Request(Generic[Asked, Reply]):
    """A question to the one service that owns the answer."""

    name: str
    """`owner.verb_noun`"""
    asked: type[Asked]
    reply: type[Reply]
    """The type of the answer, or a union of tagged Structs."""
    timeout_s: float = 5.0
    """How long the caller waits before it takes the owner for absent."""
    idempotent: bool = False
    """Asked twice it does what it does once, and is answered the same: it may be sent again to the next leader of its owner."""

    @property
    def subject(self) -> str:
        """Where it is sent."""
        return f"{PREFIX}.{self.name}"

    @property
    def owner(self) -> str:
        """The service that answers."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class LongPoll(Request[Asked, Reply]):
    """A question that stays open until there is something to say: those that are open take nobody's turn."""


@dataclass(frozen=True)
class Event(Generic[Told]):
    """Something that has happened."""

    name: str
    told: type[Told]

    @property
    def subject(self) -> str:
        """Where it is told."""
        return f"{PREFIX}.event.{self.name}"


@dataclass(frozen=True)
class Snapshot(Generic[Told]):
    """The whole of a fact that changes; kept in a stream of its own that holds the last value only."""

    name: str
    told: type[Told]
    stream: str

    @property
    def subject(self) -> str:
        """Where it is told."""
        return f"{PREFIX}.{self.name}"


@dataclass(frozen=True)
class BucketName(Generic[Value]):
    """A key-value store: keys to values of one type."""

    name: str
    value: type[Value]
    writer: str
    """The only service that writes it."""
    durable: bool = True
    """A write is on disk before it is answered; otherwise soon afterwards, at a tenth of the price (one server of NATS only). What is not
    durable may be lost: it is made anew when NATS cannot keep it as the settings say, or its only server is gone."""
    expires_s: float = 0.0
    """After so long a key that is not written again goes by itself; 0: it stays."""


@dataclass(frozen=True)
class ObjectsName:
    """A store of things that are too large for a bucket: keys to bytes, each deleted some time after it was written."""

    name: str
    writer: str
    """The only service that writes it."""


EVENTS_STREAM: Final = "EVENTS"
EVENTS_SUBJECTS: Final = f"{PREFIX}.event.>"

NODES: Final = BucketName("nodes", Node, writer="scheduler")
TASKS: Final = BucketName("tasks", Task, writer="scheduler")
"""The active ones, and those that ended a moment ago. What is here counts, whatever `ENDED` says of the same task."""
ENDED: Final = BucketName("ended", Ended, writer="scheduler")
"""Tasks that have ended; nobody loads all of them but the scheduler, in the background."""
OBSERVATIONS: Final = BucketName(
    "observations", Observation, writer="scheduler", durable=False, expires_s=7 * 24 * 3600.0
)
"""What nodes last said of the tasks that run there: written seldom, and lost without harm."""
CLUSTER: Final = BucketName("cluster", Incarnation, writer="service that comes first")
"""One key, `INCARNATION_KEY`, written once."""
INCARNATION_KEY: Final = "incarnation"
TOMBSTONES: Final = BucketName("tombstones", Tombstone, writer="scheduler")
"""Tasks whose records were deleted, written before that; each expires after `--tombstones-d` days."""
UPLOADS: Final = BucketName("uploads", Upload, writer="proxy")
PROXIES: Final = BucketName("proxies", Proxy, writer="proxy")
"""Which proxies there are, or were not long ago: by their instance ids."""
SUMMARY: Final = BucketName("summary", ClusterSummary, writer="scheduler")
"""One key, `SUMMARY_KEY`."""
OPTIONS: Final = BucketName("options", ReferenceOptions, writer="scheduler")
"""One key, `SUMMARY_KEY`."""
SUMMARY_KEY: Final = "cluster"
SECRETS: Final = BucketName("secrets", ClusterSecret, writer="proxy")
"""What proxies know each other by: one key, `SUMMARY_KEY`, written once by the first of them."""
CONSOLES: Final = ObjectsName("consoles", writer="scheduler")
"""The whole console of each ended task's last attempt: zlib over a JSON array of lines."""
MACHINES: Final = BucketName("machines", Machine, writer="autoscaler")
"""Machines that exist, or did within the last day."""


# --- what any request may be answered with -------------------------------------------------------------------------


class Done(Frozen, frozen=True, kw_only=True):
    """It is done; there is nothing more to say."""


# --- health: scheduler, autoscaler ---------------------------------------------------------------------------------


class LoopReport(Frozen, frozen=True, kw_only=True):
    """How a loop of a service is. Ages are seconds up to now."""

    name: str
    ok: bool
    """It has neither failed last nor is it late."""
    success_age_s: float | None = None
    """Since it last went round well; None: it never has, or it only waits for events."""
    failures_count: int = 0
    """In a row."""
    late: bool = False
    """It hangs."""
    error: str = ""
    """What it last failed with, or was interrupted by."""


class ReportHealth(Frozen, frozen=True, kw_only=True):
    """How is this service? Answered by the one that leads."""


class ServiceSeen(Frozen, frozen=True, kw_only=True):
    """What one service knows of another that it needs."""

    ok: bool
    """It has answered a short while ago."""
    heard_age_s: float | None = None
    """Since its last answer; None: it has never answered."""
    error: str = ""
    """Why it did not answer the last time."""


class HealthReport(Frozen, frozen=True, kw_only=True):
    """Answer to ReportHealth, and what `/healthz` and `/readyz` say."""

    ok: bool
    """All facts hold, all loops and all services that it needs are well: it is ready."""
    alive: bool = True
    """None of its loops hangs."""
    service: str
    facts: dict[str, bool] = msgspec.field(default_factory=dict)
    """What it needs, by name, and whether it is there."""
    loops: tuple[LoopReport, ...] = ()
    services: dict[str, ServiceSeen] = msgspec.field(default_factory=dict)
    """The services that it needs."""


SCHEDULER_HEALTH: Final = Request("scheduler.report_health", ReportHealth, HealthReport, timeout_s=2.0)
AUTOSCALER_HEALTH: Final = Request("autoscaler.report_health", ReportHealth, HealthReport, timeout_s=2.0)


# --- nodes: scheduler ----------------------------------------------------------------------------------------------


class NodeView(Frozen, frozen=True, kw_only=True):
    """A node as operators see it: no token, with what only the scheduler's memory knows."""

    id: NodeId
    number: int
    """Its place in the list, from 1: the `<n>` of the telnet words."""
    hostname: str
    port: int
    has_token: bool = False
    locked: bool = False
    draining: bool = False
    drain_until_ms: int | None = None
    auto_spawned: bool = False
    labels: tuple[str, ...] = ()
    online: bool = False
    info: NodeInfo | None = None
    """Its last answer; None while it has never answered."""
    info_at_ms: int | None = None
    slots_used_count: int = 0
    """Tasks of this cluster on it, reservations included."""
    trouble: str = ""
    """Why it is offline, in one line."""


class AddNode(Frozen, frozen=True, kw_only=True):
    """Register a node. Refused when hostname and port are taken or not valid."""

    hostname: str
    port: int
    token: str = ""
    locked: bool = False
    labels: tuple[str, ...] = ()
    machine: MachineId | None = None

    def __repr__(self) -> str:
        """Show everything but the token."""
        return f"AddNode({self.hostname}:{self.port})"


class NodeRef(Frozen, frozen=True, kw_only=True):
    """One registered node."""

    node: NodeId


class ListNodes(Frozen, frozen=True, kw_only=True):
    """All nodes, in the order in which they were added."""


class NodeList(Frozen, frozen=True, kw_only=True):
    """Answer to ListNodes and UpdateNodes."""

    nodes: tuple[NodeView, ...]


class UpdateNodes(Frozen, frozen=True, kw_only=True):
    """Probe every node now; answered when all have answered or timed out (10 s at most)."""


class BestNode(Frozen, frozen=True, kw_only=True):
    """Which node would a task with so many images go to now? Advances the turn, as the original does.

    None as `images_count` takes only nodes without a limit.
    """

    images_count: int | None


class BestNodeFound(Frozen, frozen=True, kw_only=True):
    """Answer to BestNode; None when no node is able to take such a task."""

    node: NodeView | None


class DrainNode(Frozen, frozen=True, kw_only=True):
    """Send no new tasks to a node, and take it off the list when it has none. UNLOCK_NODE ends it.

    At the deadline, tasks that wait there for their turn are moved elsewhere; those that run are left to end.
    """

    node: NodeId
    deadline_s: float | None = None
    """Seconds from now; None: nothing is moved."""


class LoseNode(Frozen, frozen=True, kw_only=True):
    """The machine of this node goes, or is gone: its tasks get a new attempt at once, and the node is removed."""

    node: NodeId | None = None
    """None: it is not registered (any more), and tasks are told by their machine alone."""
    machine: MachineId | None = None
    """A node that has this address and belongs to another machine stays."""
    reason: str


class FindUiNode(Frozen, frozen=True, kw_only=True):
    """Which node serves the web page? Answered with NoNode when none is online."""


class UiNode(Frozen, frozen=True, kw_only=True):
    """Answer to FindUiNode."""

    node: NodeId


ADD_NODE: Final = Request("scheduler.add_node", AddNode, NodeView)
REMOVE_NODE: Final = Request("scheduler.remove_node", NodeRef, Done)
LOSE_NODE: Final = Request("scheduler.lose_node", LoseNode, Done)
LOCK_NODE: Final = Request("scheduler.lock_node", NodeRef, NodeView, idempotent=True)
DRAIN_NODE: Final = Request("scheduler.drain_node", DrainNode, NodeView, idempotent=True)
UNLOCK_NODE: Final = Request("scheduler.unlock_node", NodeRef, NodeView, idempotent=True)
LIST_NODES: Final = Request("scheduler.list_nodes", ListNodes, NodeList, idempotent=True)
UPDATE_NODES: Final = Request("scheduler.update_nodes", UpdateNodes, NodeList, timeout_s=15.0)
BEST_NODE: Final = Request("scheduler.best_node", BestNode, BestNodeFound, idempotent=True)
FIND_UI_NODE: Final = Request("scheduler.find_ui_node", FindUiNode, UiNode, idempotent=True)


# --- tasks: scheduler ----------------------------------------------------------------------------------------------


class TaskRecord(Frozen, frozen=True, kw_only=True):
    """A task and the revision of its record: of two, the higher revision is the newer."""

    task: Task
    revision: int
    archived: bool = False
    """It has ended and is kept in KV `ended`: in KV `tasks` it was last at this revision."""


class SentAhead(Frozen, frozen=True, kw_only=True):
    """Where files of an upload went before its commit."""

    node: NodeId
    node_task_id: NodeTaskId


class SubmitTask(Frozen, frozen=True, kw_only=True):
    """A client's commit. Sent again it gets the same answer and nothing happens twice."""

    task: TaskId
    owner: Owner = Owner("")
    name: str
    holder: InstanceId
    created_at_ms: int
    images_count: int | None
    """None: nobody has counted them, they are in an archive."""
    size_bytes: int = 0
    options: tuple[OptionValue, ...] = ()
    outputs: str = ""
    skip_post_processing: bool = False
    zip_url: str = ""
    submodel: bool = False
    ahead: SentAhead | None = None
    """What went ahead: an attempt on the same node that begins at once goes on under that id."""


class AttemptStage(StrEnum):
    """How far an attempt has come, as its holder knows it."""

    SENDING = "sending"
    """The node may have files of it."""
    COMMITTING = "committing"
    """Its commit may have been sent: whether the node has the task, it knows alone."""
    COMMITTED = "committed"
    """The node has answered the commit."""


class KnownAttempt(Frozen, frozen=True, kw_only=True):
    """An attempt as its holder knows it. It names the node without its token."""

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
    """How a task had ended, as its holder was told."""

    state: TaskState
    at_ms: int
    error: str = ""


class AdoptTask(Frozen, frozen=True, kw_only=True):
    """A task that was acknowledged once and that the records do not, or not wholly, know: a store was lost, or an older one restored.

    Its holder tells all that it knows of it. Sent again it gets the same answer. Refused as removed: a tombstone says so.
    """

    submission: SubmitTask
    committed_at_ms: int = 0
    """When it was committed: its place in the queue."""
    attempts: tuple[KnownAttempt, ...] = ()
    end: KnownEnd | None = None
    inputs_kept: bool = True
    """Its files are still here."""


class AimUpload(Frozen, frozen=True, kw_only=True):
    """Where would this upload go if it were committed now? Its holder sends files there and asks again every few seconds.

    No slot is reserved by that. Not asked for some seconds, the scheduler forgets about it.
    """

    task: TaskId
    holder: InstanceId
    owner: Owner = Owner("")
    images_count: int
    """Those that have come so far."""
    node: NodeId | None = None
    """Where its files go at present: the answer is this node, or none."""


class Aimed(Frozen, frozen=True, kw_only=True, tag="aimed"):
    """Files may go ahead to this node."""

    node: Node

    def __repr__(self) -> str:
        """Show everything but the node's token."""
        return f"Aimed({self.node.name})"


class NoAim(Frozen, frozen=True, kw_only=True, tag="no-aim"):
    """Send nothing ahead now, and end what is under way."""

    reason: str


class PlaceTask(Frozen, frozen=True, kw_only=True):
    """Which node takes this task now? Only its holder asks, and it can send it at once; answered at once.

    For one task by itself. Who holds many asks PLACE_TASKS.
    """

    task: TaskId
    holder: InstanceId
    ahead: SentAhead | None = None
    """What went ahead: an attempt on the same node goes on under that id."""


class AskedTask(Frozen, frozen=True, kw_only=True):
    """A task about which its holder wants to know something now."""

    task: TaskId
    ahead: SentAhead | None = None
    """What went ahead: an attempt on the same node goes on under that id."""


class PlaceTasks(Frozen, frozen=True, kw_only=True):
    """Which of my tasks go where? A holder keeps this question open while tasks of its wait: nothing is reserved for others.

    It is answered as soon as a slot is free for one of them, or one that waited does so no more; at once where `tasks` are
    named; and after `hold_s` whatever happens. Then it is asked again. An open question of the same holder is answered when
    another comes.
    """

    holder: InstanceId
    places_count: int
    """Tasks that it can send at once, those in `sending` included. 0: it is about to stop."""
    run: str = ""
    """Another one for each start of the holder: what an earlier run had asked counts no more."""
    sending: dict[TaskId, int] = msgspec.field(default_factory=dict)
    """Attempts, by their numbers, that it has begun and not ended; what else it should be sending is answered again."""
    tasks: tuple[AskedTask, ...] = ()
    """About these it wants an answer now, whatever it is; at most `NAMED`."""
    hold_s: float = 0.0
    """How long it would wait for something to be said, seconds; at most `HOLD_S`."""
    renews_first: bool = False
    """It renews each attempt before it begins it: a node has heard nothing of one that was never renewed."""

    NAMED: ClassVar[int] = 500
    HOLD_S: ClassVar[float] = 20.0


class Placed(Frozen, frozen=True, kw_only=True, tag="placed"):
    """Send it there; the slot is reserved. The same question gets the same answer until the attempt is over."""

    node: Node
    attempt: int
    node_task_id: NodeTaskId
    revision: int
    epoch: int = 0
    """The term of the scheduler that says so; one of an earlier term than the highest that was seen does not count."""
    ahead: bool = False
    """It goes on with what was sent ahead under this id: the node knows it already."""
    again: bool = False
    """The attempt began with an earlier question: who does not know of it may have begun to send before a restart."""

    def __repr__(self) -> str:
        """Show everything but the node's token."""
        return f"Placed({self.node.name} attempt={self.attempt})"


class Waiting(Frozen, frozen=True, kw_only=True, tag="waiting"):
    """No slot yet. PLACE_TASKS is answered when there is one; who asks PLACE_TASK asks again every few seconds."""

    position: int
    """Place in the queue, from 1."""
    reason: str


class NotWaiting(Frozen, frozen=True, kw_only=True, tag="not-waiting"):
    """There is nothing to place: the task is running already, has ended, or is unknown."""

    state: TaskState | None
    """None: there is no such task."""
    removed: bool = False
    """There was one: a record or a tombstone says that it was removed. Without that nothing of it may be deleted."""


COMMIT_WITHIN_S: Final = 3.0
"""A holder sends the commit to the node within so long of asking RENEW_ATTEMPT, or asks again: see `RenewAttempt`."""


class RenewAttempt(Frozen, frozen=True, kw_only=True):
    """The holder is still forwarding this attempt. Refused when the attempt no longer counts: stop forwarding.

    It is asked before the commit, too, and then counts for `COMMIT_WITHIN_S`. Who is silent for longer than that has nothing on its way.
    """

    task: TaskId
    attempt: int
    holder: InstanceId
    sent_count: int = 0
    sent_bytes: int = 0
    doubtful: bool = False
    """Images may lie on the node twice: what is found there afterwards counts only when the holder has reported it."""
    epoch: int = 0
    """That of the answer that placed it."""


class ReportForwarded(Frozen, frozen=True, kw_only=True):
    """The node has taken the commit of this attempt."""

    task: TaskId
    attempt: int
    holder: InstanceId
    epoch: int = 0
    """That of the answer that placed it."""


class ReportForwardFailed(Frozen, frozen=True, kw_only=True):
    """This attempt's forwarding is over without success."""

    task: TaskId
    attempt: int
    holder: InstanceId
    reason: str
    """In words for the user; no token, no URL with a query."""
    node_refused: bool = False
    """The node answered and said no to this task (a bad option, too many images): counts as an attempt of the task's."""
    commit_uncertain: bool = False
    """The commit was sent and its answer was not seen."""
    doubtful: bool = False
    """As in `RenewAttempt`."""
    epoch: int = 0
    """That of the answer that placed it; 0: not known any more."""


class ReportInputsGone(Frozen, frozen=True, kw_only=True):
    """The holder is about to delete the inputs of this task, and does so once it is answered.

    Refused when the task may still be sent to a node: its inputs then stay. Answered, no new attempt can follow.
    """

    task: TaskId
    holder: InstanceId
    reason: str
    """Why they go, for the timeline: the disk of the proxy is full, they were kept long enough."""


class ReportInputsLost(Frozen, frozen=True, kw_only=True):
    """The holder does not have the inputs of this task, although its record says so: the record is older than what happened to them."""

    task: TaskId
    holder: InstanceId


class TaskRef(Frozen, frozen=True, kw_only=True):
    """One task. With an `owner`, it is found only when it is that owner's; None is an operator and finds every task."""

    task: TaskId
    owner: Owner | None = None


class SeenTask(Frozen, frozen=True, kw_only=True):
    """A task as somebody knows it."""

    task: TaskId
    revision: int


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


class TaskList(Frozen, frozen=True, kw_only=True):
    """Answer to ListTasks."""

    tasks: tuple[TaskSummary, ...]
    more: bool = False
    """There are more behind the last one."""


class ListTaskIds(Frozen, frozen=True, kw_only=True):
    """The ids of an owner's tasks in the order of their commits; a page at a time. Nothing of a task is read for it."""

    owner: Owner
    after: TaskId | None = None
    """Continue behind this task."""


class TaskIds(Frozen, frozen=True, kw_only=True):
    """Answer to ListTaskIds."""

    tasks: tuple[TaskId, ...]
    more: bool = False
    """There are more behind the last one."""


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
PlaceReply = Placed | Waiting | NotWaiting

PLACE_TASK: Final = Request("scheduler.place_task", PlaceTask, cast("type[PlaceReply]", PlaceReply))


class TaskPlacement(Frozen, frozen=True, kw_only=True):
    """What is to be said of one task."""

    task: TaskId
    answer: PlaceReply


class Placements(Frozen, frozen=True, kw_only=True):
    """Answer to PlaceTasks. Tasks that were not named are there when something is new about them, or it was held to the end."""

    tasks: tuple[TaskPlacement, ...] = ()
    epoch: int = 0
    """The term of the scheduler that says so."""


PLACE_TASKS: Final = LongPoll(
    "scheduler.place_tasks", PlaceTasks, Placements, timeout_s=PlaceTasks.HOLD_S + 10, idempotent=True
)
AimReply = Aimed | NoAim

AIM_UPLOAD: Final = Request("scheduler.aim_upload", AimUpload, cast("type[AimReply]", AimReply))
RENEW_ATTEMPT: Final = Request("scheduler.renew_attempt", RenewAttempt, Done, idempotent=True)
REPORT_FORWARDED: Final = Request("scheduler.report_forwarded", ReportForwarded, TaskRecord)
REPORT_FORWARD_FAILED: Final = Request("scheduler.report_forward_failed", ReportForwardFailed, TaskRecord)
REPORT_INPUTS_GONE: Final = Request("scheduler.report_inputs_gone", ReportInputsGone, TaskRecord)
REPORT_INPUTS_LOST: Final = Request("scheduler.report_inputs_lost", ReportInputsLost, TaskRecord, timeout_s=15.0)
GET_TASK: Final = Request("scheduler.get_task", TaskRef, TaskRecord, idempotent=True)
CONFIRM_TASKS: Final = Request("scheduler.confirm_tasks", ConfirmTasks, TasksConfirmed, idempotent=True)
LIST_TASKS: Final = Request("scheduler.list_tasks", ListTasks, TaskList, idempotent=True)
LIST_TASK_IDS: Final = Request("scheduler.list_task_ids", ListTaskIds, TaskIds, idempotent=True)
READ_CONSOLE: Final = Request("scheduler.read_console", ReadConsole, Console, timeout_s=15.0, idempotent=True)
CANCEL_TASK: Final = Request("scheduler.cancel_task", TaskRef, TaskRecord, timeout_s=15.0, idempotent=True)
REMOVE_TASK: Final = Request("scheduler.remove_task", TaskRef, Done, timeout_s=15.0)
RESTART_TASK: Final = Request("scheduler.restart_task", RestartTask, TaskRecord, timeout_s=15.0)
IMPORT_ROUTE: Final = Request("scheduler.import_route", ImportRoute, TaskRecord)


# --- machines: autoscaler ------------------------------------------------------------------------------------------


class ViewCommand(Frozen, frozen=True, kw_only=True):
    """Which command would start a machine for so many images? Refused without an autoscaler."""

    images_count: int


class CommandView(Frozen, frozen=True, kw_only=True):
    """Answer to ViewCommand; secrets are masked."""

    command: str


class GetAutoscalerStatus(Frozen, frozen=True, kw_only=True):
    """What the autoscaler does at present."""


class AutoscalerStatus(Frozen, frozen=True, kw_only=True):
    """Answer to GetAutoscalerStatus."""

    enabled: bool
    reason: str
    """Why it is not enabled, or what it last decided."""
    demand_count: int = 0
    """Waiting tasks in the last snapshot of demand that it has seen."""
    demand_at_ms: int | None = None
    provider: str = ""
    paused: bool = False
    machines_limit_count: int | None = None
    """None: no limit."""
    states: dict[str, int] = msgspec.field(default_factory=dict)
    """How many machines are in which state; those that have ended are left out."""
    cost_per_hour: float = 0.0
    """Of the machines that exist, as far as the configuration names prices."""
    cost_last_day: float = 0.0
    waits: tuple["TaskWaits", ...] = ()
    """Waiting tasks for which no machine is started, and why."""
    trouble: str = ""
    """The provider's last failure, while it has not succeeded since."""


class TaskWaits(Frozen, frozen=True, kw_only=True):
    """Why no machine is started for a waiting task."""

    task: TaskId
    reason: str
    never: bool = False
    """There is no size of machine for it; no waiting will help."""


class MachineView(Frozen, frozen=True, kw_only=True):
    """A machine as operators see it."""

    number: int
    """Its place in the list, from 1: the `<n>` of ASR DESTROY."""
    machine: Machine
    age_ms: int = 0
    """Since the provider was called."""
    cost: float = 0.0
    """So far, when the configuration names its price."""
    told: str = ""
    """In the answer to `destroy_machine`: what is done where it is not begun just now; empty: it is."""


class ListMachines(Frozen, frozen=True, kw_only=True):
    """All machines, in the order in which they were requested."""

    ended: bool = False
    """Those of the last day that have ended too; they stand at the end of the list."""


class MachineList(Frozen, frozen=True, kw_only=True):
    """Answer to ListMachines."""

    machines: tuple[MachineView, ...]


class DestroyMachine(Frozen, frozen=True, kw_only=True):
    """Destroy a machine whatever it does; a task on it gets a new attempt. Answered at once: the list shows how it goes."""

    machine: MachineId
    reason: str = "destroyed by an operator"


class PauseAutoscaler(Frozen, frozen=True, kw_only=True):
    """Start no more machines until resumed; those that exist go on and end as usual. It survives restarts."""

    reason: str = ""


class ResumeAutoscaler(Frozen, frozen=True, kw_only=True):
    """Start machines again."""


class FindResult(Frozen, frozen=True, kw_only=True):
    """Where does a result of a task that ran on a machine lie? NotFound: not there; Refused: results are kept nowhere."""

    node_task_id: NodeTaskId
    """Results lie under the id that the task had on its node."""
    asset: str
    """As clients call it: `all.zip`, `orthophoto.tif`."""
    head: bool = False
    """The address is for HEAD: a signed one serves one method only."""


class ResultFound(Frozen, frozen=True, kw_only=True):
    """Answer to FindResult: it is there at this moment."""

    url: str
    """Signed and good for a short while, unless the bucket is public: to be kept and logged nowhere."""
    stream: bool = False
    """To be streamed to the client, who shall not be sent there."""

    def __repr__(self) -> str:
        """Show nothing that opens anything."""
        return f"ResultFound({self.url.partition('?')[0]}{' stream' if self.stream else ''})"


FIND_RESULT: Final = Request("autoscaler.find_result", FindResult, ResultFound, timeout_s=15.0, idempotent=True)
VIEW_COMMAND: Final = Request("autoscaler.view_command", ViewCommand, CommandView, idempotent=True)
GET_AUTOSCALER_STATUS: Final = Request("autoscaler.get_status", GetAutoscalerStatus, AutoscalerStatus, idempotent=True)
LIST_MACHINES: Final = Request("autoscaler.list_machines", ListMachines, MachineList, idempotent=True)
DESTROY_MACHINE: Final = Request("autoscaler.destroy_machine", DestroyMachine, MachineView)
PAUSE_AUTOSCALER: Final = Request("autoscaler.pause", PauseAutoscaler, AutoscalerStatus, idempotent=True)
RESUME_AUTOSCALER: Final = Request("autoscaler.resume", ResumeAutoscaler, AutoscalerStatus, idempotent=True)


# --- demand: scheduler tells, autoscaler consumes ------------------------------------------------------------------


class WaitingTask(Frozen, frozen=True, kw_only=True):
    """A waiting task without a slot, as far as a machine's size depends on it."""

    task: TaskId
    images_count: int | None
    """What a machine must take at least; None: nobody knows."""
    size_bytes: int = 0
    waiting_since_ms: int = 0
    min_memory_bytes: int = 0
    barred: tuple[MachineId, ...] = ()
    """Machines whose nodes have refused it."""


def supersedes(epoch: int, last_epoch: int) -> bool:
    """Whether a snapshot counts after one of another term. They come in the order of the stream; 0: an older version's.

    Never by their times, which are of different hosts.
    """
    return epoch == 0 or epoch >= last_epoch


class DemandChanged(Frozen, frozen=True, kw_only=True):
    """The whole demand of a moment. A lost or doubled one does no harm: the next says everything again."""

    at_ms: int
    """For people: what is ordered is ordered by stream and term."""
    epoch: int = 0
    """The term of the scheduler that says so; 0: of an older version."""
    waiting: tuple[WaitingTask, ...] = ()
    """Those for which a machine would help, in the order of the queue; at most `LISTED` of them."""
    waiting_count: int = 0
    """How many they are; those that are counted below are none of them."""
    free_slots_count: int = 0
    running_count: int = 0
    slot_free: tuple[WaitingTask, ...] = ()
    """Those for which a slot is free and that begin there: nothing is to be started for them, and what is there is to stay.
    In the order of the queue; at most `LISTED` of them."""
    slot_free_count: int = 0
    """How many they are: their holder is sending as many tasks as it can, or they end earlier on a faster node."""
    holder_away_count: int = 0
    """Waiting tasks whose photos lie with a proxy that does not answer."""
    owner_limit_count: int = 0
    """Waiting tasks beyond what their owner may have under way."""

    LISTED: ClassVar[int] = 2000


DEMAND_CHANGED: Final = Snapshot("demand.changed", DemandChanged, stream="DEMAND")


class SupplyChanged(Frozen, frozen=True, kw_only=True):
    """What the autoscaler does about the demand, whole: machines on their way, and why there are no more of them."""

    at_ms: int
    """For people: what is ordered is ordered by stream and term."""
    epoch: int = 0
    """The term of the autoscaler that says so; 0: of an older version."""
    coming_count: int = 0
    waits: tuple[TaskWaits, ...] = ()
    comes: tuple[TaskWaits, ...] = ()
    """Waiting tasks for which there will be a machine, and how far it is."""
    meant: dict[TaskId, MachineId] = msgspec.field(default_factory=dict)
    """The machines without a task that were requested for a task which still waits."""

    BELIEVED_S: ClassVar[float] = 120.0
    """What is older is no longer true: an autoscaler tells again well before, news or not."""


SUPPLY_CHANGED: Final = Snapshot("supply.changed", SupplyChanged, stream="SUPPLY")


# --- events --------------------------------------------------------------------------------------------------------


class NodeEvent(Frozen, frozen=True, kw_only=True):
    """Something happened to a node."""

    at_ms: int
    node: NodeId
    reason: str = ""


class TaskEvent(Frozen, frozen=True, kw_only=True):
    """Something happened to a task."""

    at_ms: int
    task: TaskId
    state: TaskState
    attempt: int = 0
    node: NodeId | None = None
    reason: str = ""


class PlacementPossible(Frozen, frozen=True, kw_only=True):
    """A slot is free that fits these tasks: whoever asks PLACE_TASK should do so now. A hint; nothing is reserved by it.

    Without tasks: another scheduler leads from now on. What was asked of its predecessor is to be asked again.
    """

    tasks: tuple[TaskId, ...]
    epoch: int = 0
    """The term of the scheduler that tells."""


class FinishReported(Frozen, frozen=True, kw_only=True):
    """A node called `POST /commit`: worth polling that task now. A hint, from a source that nobody has proved."""

    node_task_id: NodeTaskId


NODE_ADDED: Final = Event("node.added", NodeEvent)
NODE_REMOVED: Final = Event("node.removed", NodeEvent)
NODE_LOCKED: Final = Event("node.locked", NodeEvent)
NODE_UNLOCKED: Final = Event("node.unlocked", NodeEvent)
NODE_DRAINED: Final = Event("node.drained", NodeEvent)
"""A drain has begun."""
NODE_ONLINE: Final = Event("node.came_online", NodeEvent)
NODE_OFFLINE: Final = Event("node.went_offline", NodeEvent)

TASK_SUBMITTED: Final = Event("task.submitted", TaskEvent)
TASK_PLACED: Final = Event("task.placed", TaskEvent)
TASK_STARTED: Final = Event("task.started", TaskEvent)
TASK_ATTEMPT_ENDED: Final = Event("task.attempt_ended", TaskEvent)
TASK_FINISHED: Final = Event("task.finished", TaskEvent)
TASK_REMOVED: Final = Event("task.removed", TaskEvent)
TASK_RESTARTED: Final = Event("task.restarted", TaskEvent)


class MachineEvent(Frozen, frozen=True, kw_only=True):
    """Something happened to a machine."""

    at_ms: int
    machine: MachineId
    state: MachineState
    task: TaskId | None = None
    node: NodeId | None = None
    reason: str = ""


MACHINE_REQUESTED: Final = Event("machine.requested", MachineEvent)
MACHINE_CREATED: Final = Event("machine.created", MachineEvent)
MACHINE_ONLINE: Final = Event("machine.came_online", MachineEvent)
MACHINE_DRAINED: Final = Event("machine.drained", MachineEvent)
"""It takes no more tasks."""
MACHINE_CONDEMNED: Final = Event("machine.condemned", MachineEvent)
"""It is being destroyed, and why."""
MACHINE_DESTROYED: Final = Event("machine.destroyed", MachineEvent)
MACHINE_FAILED: Final = Event("machine.failed", MachineEvent)
MACHINE_LOST: Final = Event("machine.lost", MachineEvent)
"""The provider no longer lists it although nobody destroyed it."""
MACHINE_LEAKED: Final = Event("machine.leaked", MachineEvent)
"""The provider lists a machine of this cluster that should not exist; it is destroyed."""

PLACEMENT_POSSIBLE: Final = Event("hint.placement_possible", PlacementPossible)
FINISH_REPORTED: Final = Event("hint.finish_reported", FinishReported)


class LeaderAnswers(Frozen, frozen=True, kw_only=True):
    """A leader answers the requests of its service from now on: it was elected, or its connection is back."""

    owner: str
    """The service."""
    epoch: int


LEADER_ANSWERS: Final = Event("hint.leader_answers", LeaderAnswers)
