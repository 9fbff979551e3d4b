"""Where tasks run: proxies ask the scheduler for nodes, and report what became of what they sent there."""

from typing import ClassVar, Final, cast

import msgspec

from clusterodm.libs.common.messages.kinds import Announcement, Done, LongPoll, Request
from clusterodm.libs.common.messages.tasks import StagedFiles, TaskRecord
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import Frozen, InstanceId, NodeId, NodeTaskId, Owner, TaskId


class PlanStageIn(Frozen, frozen=True, kw_only=True):
    """Where would this upload go if it were committed now? Its upload owner sends files there and asks again every few seconds.

    No slot is reserved by that. Not asked for some seconds, the scheduler forgets about it.
    """

    task: TaskId
    upload_owner: InstanceId = msgspec.field(name="holder")
    owner: Owner = Owner("")
    images_count: int
    """Those that have come so far."""
    options: tuple[OptionValue, ...] = ()
    """As it will be committed with: some ask for a graphics card."""
    node: NodeId | None = None
    """Where its files go at present: the answer is this node, or none."""


class StageInPlanned(Frozen, frozen=True, kw_only=True, tag="aimed"):
    """Files may go ahead to this node."""

    node: Node

    def __repr__(self) -> str:
        """Show everything but the node's token."""
        return f"Aimed({self.node.name})"


class StageInDeclined(Frozen, frozen=True, kw_only=True, tag="no-aim"):
    """Send nothing ahead now, and end what is under way."""

    reason: str


class PlaceTask(Frozen, frozen=True, kw_only=True):
    """Which node takes this task now? Only its upload owner asks, and it can send it at once; answered at once.

    For one task by itself. Who holds many asks PLACE_TASKS.
    """

    task: TaskId
    upload_owner: InstanceId = msgspec.field(name="holder")
    ahead: StagedFiles | None = None
    """What went ahead: an attempt on the same node goes on under that id."""


class TaskQuery(Frozen, frozen=True, kw_only=True):
    """A task about which its upload owner wants to know something now."""

    task: TaskId
    ahead: StagedFiles | None = None
    """What went ahead: an attempt on the same node goes on under that id."""


class PlaceTasks(Frozen, frozen=True, kw_only=True):
    """Which of my tasks go where? An upload owner keeps this question open while tasks of its wait: nothing is reserved for others.

    It is answered as soon as a slot is free for one of them, or one that waited does so no more; at once where `tasks` are
    named; and after `hold_s` whatever happens. Then it is asked again. An open question of the same upload owner is answered when
    another comes.
    """

    upload_owner: InstanceId = msgspec.field(name="holder")
    places_count: int
    """Tasks that it can send at once, those in `sending` included. 0: it is about to stop."""
    run: str = ""
    """Another one for each start of the upload owner: what an earlier run had asked counts no more."""
    sending: dict[TaskId, int] = msgspec.field(default_factory=dict)
    """Attempts, by their numbers, that it has begun and not ended; what else it should be sending is answered again."""
    tasks: tuple[TaskQuery, ...] = ()
    """About these it wants an answer now, whatever it is; at most `NAMED`."""
    hold_s: float = 0.0
    """How long it would wait for something to be said, seconds; at most `HOLD_S`."""
    renews_first: bool = False
    """It renews each attempt before it begins it: a node has heard nothing of one that was never renewed. Else this question counts for the first renewal
    of what it names, and a commit may follow it by `COMMIT_WITHIN_S`."""
    number: int = 0
    """Counts the questions of a run from 1: one that comes twice (it is sent again when another scheduler leads) gets nothing new
    the second time, because nobody may listen any more. 0: from a proxy of an earlier version."""

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
    trace: str = ""
    """The `traceparent` of the attempt, for what is done for it; empty: nobody traces."""

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
    untold: bool = False
    """And nodes have still to be told: what is noted of its attempts stays until they have been, only its inputs go."""
    held_by: InstanceId = InstanceId("")
    """Another upload owner than the one that asks: whom its record names. Empty: the one that asks."""


COMMIT_WITHIN_S: Final = 3.0
"""An upload owner sends the commit to the node within so long of asking RENEW_ATTEMPT (or PLACE_TASKS, where that counts for it), or asks again: see `RenewAttempt`."""


class RenewAttempt(Frozen, frozen=True, kw_only=True):
    """The upload owner is still forwarding this attempt. Refused when the attempt no longer counts: stop forwarding.

    It is asked before the commit, too, and then counts for `COMMIT_WITHIN_S`. Who is silent for longer than that has nothing on its way.
    """

    task: TaskId
    attempt: int
    upload_owner: InstanceId = msgspec.field(name="holder")
    sent_count: int = 0
    sent_bytes: int = 0
    doubtful: bool = False
    """Images may lie on the node twice: what is found there afterwards counts only when the upload owner has reported it."""
    epoch: int = 0
    """That of the answer that placed it."""


class ReportForwarded(Frozen, frozen=True, kw_only=True):
    """The node has taken the commit of this attempt."""

    task: TaskId
    attempt: int
    upload_owner: InstanceId = msgspec.field(name="holder")
    epoch: int = 0
    """That of the answer that placed it."""


class ReportForwardFailed(Frozen, frozen=True, kw_only=True):
    """This attempt's forwarding is over without success."""

    task: TaskId
    attempt: int
    upload_owner: InstanceId = msgspec.field(name="holder")
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
    """The upload owner is about to delete the inputs of this task, and does so once it is answered.

    Refused when the task may still be sent to a node: its inputs then stay. Answered, no new attempt can follow.
    """

    task: TaskId
    upload_owner: InstanceId = msgspec.field(name="holder")
    reason: str
    """Why they go, for the timeline: the disk of the proxy is full, they were kept long enough."""


class ReportInputsLost(Frozen, frozen=True, kw_only=True):
    """The upload owner does not have the inputs of this task, although its record says so: the record is older than what happened to them."""

    task: TaskId
    upload_owner: InstanceId = msgspec.field(name="holder")


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
StageInReply = StageInPlanned | StageInDeclined
PLAN_STAGE_IN: Final = Request("scheduler.aim_upload", PlanStageIn, cast("type[StageInReply]", StageInReply))
RENEW_ATTEMPT: Final = Request("scheduler.renew_attempt", RenewAttempt, Done, idempotent=True)
REPORT_FORWARDED: Final = Request("scheduler.report_forwarded", ReportForwarded, TaskRecord)
REPORT_FORWARD_FAILED: Final = Request("scheduler.report_forward_failed", ReportForwardFailed, TaskRecord)
REPORT_INPUTS_GONE: Final = Request("scheduler.report_inputs_gone", ReportInputsGone, TaskRecord)
REPORT_INPUTS_LOST: Final = Request("scheduler.report_inputs_lost", ReportInputsLost, TaskRecord, timeout_s=15.0)


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


PLACEMENT_POSSIBLE: Final = Announcement("hint.placement_possible", PlacementPossible)
FINISH_REPORTED: Final = Announcement("hint.finish_reported", FinishReported)
