"""Tasks and their attempts, from the upload to the end."""

from collections.abc import Sequence
from enum import IntEnum, StrEnum

import msgspec

from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.values import Frozen, InstanceId, MachineId, NodeId, NodeTaskId, Owner, TaskId


class StatusCode(IntEnum):
    """NodeODM's status codes. No other number may ever be sent to a client (PyODM raises ValueError)."""

    QUEUED = 10
    RUNNING = 20
    FAILED = 30
    COMPLETED = 40
    CANCELED = 50


class TaskState(StrEnum):
    """Where a committed task is. The transitions are a table in scheduler/task_life/life.py."""

    WAITING = "waiting"
    """In the cluster's queue: no slot yet."""
    FORWARDING = "forwarding"
    """A slot is reserved and a proxy sends the files there."""
    RUNNING = "running"
    """Committed on a node (queued or processing there)."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to the task by itself."""
        return self in {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED}


class AttemptState(StrEnum):
    """Where one attempt is."""

    FORWARDING = "forwarding"
    UNCERTAIN = "uncertain"
    """Forwarding ended and nobody knows whether the node took the commit: the node is asked before anything else."""
    RUNNING = "running"
    ENDED = "ended"


class Cleanup(StrEnum):
    """What a node has still to be told about an attempt that is over for us."""

    NONE = "none"
    CANCEL = "cancel"
    REMOVE = "remove"


class Attempt(Frozen, frozen=True, kw_only=True):
    """One try of a task on one node."""

    number: int
    node: NodeId
    node_task_id: NodeTaskId
    state: AttemptState = AttemptState.FORWARDING
    started_at_ms: int = 0
    running_at_ms: int | None = None
    ended_at_ms: int | None = None
    reason: str = ""
    """Why it ended, or why it is uncertain; shown to the user."""
    cleanup: Cleanup = Cleanup.NONE
    epoch: int = 0
    """The term of the scheduler that began it."""
    node_name: str = ""
    """How operators call its node, also when that is gone."""
    outcome: str = ""
    """What became of it, when it ended without a result: "was lost", "failed"; `reason` says why."""
    fatal: bool = False
    """Its node died soon after the task had come to it."""
    counted: bool = False
    """It counts against `--max-attempts`: it ran and was lost, or the node said no; not so a node that nobody reached."""
    machine: MachineId | None = None
    """The rented machine of its node, which is gone before the result is fetched."""
    price_per_hour: float | None = None
    """What that costs, where its configuration says so."""
    ahead: bool = False
    """Files of it were sent to the node before the commit."""
    recovered: bool = False
    """Its record was lost, and its upload owner told of it again: its node may be registered later than the task."""
    unfit: bool = False
    """Its node refused it for a reason that another may not have (too many images, a full disk); it does not count, but stays."""
    barred: bool = False
    """And nothing that the node says of itself tells so: the task is not sent there again."""
    interrupted: bool = False
    """It was lost because the provider took its spot machine away."""


class LastKnown(Frozen, frozen=True, kw_only=True):
    """What the node last said of a task that runs or ran there."""

    code: StatusCode
    error: str = ""
    progress: float = 0.0
    """Percent, 0 to 100."""
    processing_time_ms: int = -1
    options: tuple[OptionValue, ...] = ()
    """All that it said of them. Kept is what follows instead (libs/common/chosen.py)."""
    options_changed: tuple[OptionValue, ...] = ()
    """Those that it has added, or given another value."""
    options_lacking: tuple[str, ...] = ()
    """Those of the task's that it has not."""
    images_count: int | None = None
    """None: it has not counted them yet."""
    console_count: int = 0
    """Lines in the node's console so far."""
    console_tail: tuple[str, ...] = ()
    """The last of these lines."""
    seen_at_ms: int = 0
    looks_count: int = 0
    """So often it has been looked at: of two of the same run the one with the higher number is the newer."""


class Observation(Frozen, frozen=True, kw_only=True):
    """What the node last said of a task that runs there, kept apart from the task's own record: it may be late, or missing."""

    node_task_id: NodeTaskId
    running_at_ms: int
    """Of which run: a task may run again on the same node under the same id."""
    known: LastKnown
    """Its console is short here."""


class Moment(Frozen, frozen=True, kw_only=True):
    """One line of a task's timeline."""

    at_ms: int
    text: str


def told_count(timeline: Sequence[Moment], until_ms: int) -> int:
    """Count the lines that were told until something happened that has a line of its own.

    By the place of that line, for the clock may have gone back before or since; by their times only where there is none.
    """
    own = [place for place, moment in enumerate(timeline) if moment.at_ms == until_ms]
    return own[-1] + 1 if own else sum(1 for moment in timeline if moment.at_ms <= until_ms)


class Task(Frozen, frozen=True, kw_only=True):
    """A committed task, as the scheduler keeps it. Everything a proxy needs to answer for it is here."""

    id: TaskId
    owner: Owner = Owner("")
    name: str
    state: TaskState = TaskState.WAITING
    upload_owner: InstanceId = msgspec.field(name="holder")
    """On the wire and in records it has the name that earlier versions read."""
    """The proxy that has the inputs."""
    created_at_ms: int
    """The client's dateCreated, or when init came. It tells the task from others of the same id, and so it stays."""
    restarted_at_ms: int = 0  # what is shown as its date from then on, as on NodeODM; 0: never
    committed_at_ms: int
    ended_at_ms: int | None = None
    images_count: int | None
    """Files that count as images; None: not known, until its node has unpacked the archive and says so."""
    size_bytes: int = 0
    options: tuple[OptionValue, ...] = ()
    outputs: str = ""
    """JSON array of paths as the client sent it, or empty."""
    skip_post_processing: bool = False
    zip_url: str = ""
    """The images are fetched by the node from here; there are no files."""
    submodel: bool = False
    """Sent by a split-merge run: shown as running while it waits, for there QUEUED means "node limit reached"."""
    beyond: bool = False
    """A sub-model for which there was no room beside those that count as running: shown as QUEUED while it waits."""
    attempts: tuple[Attempt, ...] = ()
    known: LastKnown | None = None
    """What its node said of its end; while it runs, see `Observation`."""
    error: str = ""
    """Why it failed, in NodeODM's words where there are any."""
    waiting_because: str = ""
    upload_owner_away_since_ms: int = msgspec.field(default=0, name="holder_away_since_ms")
    """Since when it waits for the proxy that holds its photos; 0: that is not what it waits for."""
    inputs_missing_since_ms: int = 0
    """Since when it waits for a node that has it, because its upload owner does not have its photos; 0: that is not known."""
    start_told_ms: int = 0
    """The start that its user was last told to expect; 0: none was."""
    priority: int = 0
    """An operator's, -10 to 10: added to its tenant's. The higher, the sooner."""
    queued_at_ms: int = 0
    """What counts in the queue instead of its commit, where an operator has moved it up; 0: its commit."""
    not_before_ms: int = 0
    """Back-off: no new attempt before this."""
    min_memory_bytes: int = 0
    """A node with this much memory had too little for it; 0: none had."""
    least_limit_count: int = 0
    """A node that counted so many images has refused it: it goes to one whose limit is at least that, or that has none; 0: none has."""
    timeline: tuple[Moment, ...] = ()
    """What the cluster did with it; also the first lines of its console."""
    inputs_kept: bool = False
    """Its upload owner still has its files, so that another attempt may follow."""
    console_kept: bool = False
    """The whole console of its last attempt is in the object store `consoles`."""
    accounted: bool = False
    """What its last run has used is in its tenant's account; said of tasks in the archive, until they run again."""
    removed: bool = False
    """Removed by its client. Invisible everywhere; the record stays only until its nodes have been told."""
    trace: str = ""
    """The `traceparent` that came with init (W3C Trace Context); empty: its trace follows from its id."""
    from_url: bool = False
    """It came over the bus with the address of its images: whoever holds it needs nothing but this record."""
    gpu: bool = False
    """Its options ask for a graphics card (`gpu_options`)."""

    def __post_init__(self) -> None:
        """Read what versions before this one wrote where they did not know: 0 images in an archive."""
        if self.zip_url and self.images_count == 0:
            msgspec.structs.force_setattr(self, "images_count", None)

    @property
    def attempt(self) -> Attempt | None:
        """The attempt that counts now, if one is under way or was the last."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_untold(self) -> bool:
        """Whether a node has still to be told something about an attempt of it that is over."""
        return any(attempt.cleanup is not Cleanup.NONE for attempt in self.attempts)

    @property
    def interruptions_count(self) -> int:
        """So many spot machines were taken away from it."""
        return sum(attempt.interrupted for attempt in self.attempts)

    @property
    def needed_count(self) -> int | None:
        """So many images a node must take; None: it may turn out to be any number."""
        if self.images_count is None and not self.least_limit_count:
            return None
        return max(self.images_count or 0, self.least_limit_count)

    def with_seen(self, seen: Observation | None) -> "Task":
        """Show it with what its node last said, if that is of its present run and newer than what is here."""
        last = self.attempt
        if seen is None or last is None or self.state is not TaskState.RUNNING:
            return self
        if (seen.node_task_id, seen.running_at_ms) != (last.node_task_id, last.running_at_ms):
            return self
        if self.known is not None and self.known.looks_count >= seen.known.looks_count:
            return self
        return msgspec.structs.replace(self, known=seen.known)

    def __repr__(self) -> str:
        """Show the state in one line; names and options are the user's business."""
        return f"Task({self.id} {self.state} images={self.images_count} attempts={len(self.attempts)})"


class Ended(Frozen, frozen=True, kw_only=True):
    """A task that has ended and that nobody has still to be told of, as it is kept apart from the active ones."""

    task: Task
    revision: int
    """That of its last record among the active ones: of two records of a task the one with the higher revision is the newer."""


class Tombstone(Frozen, frozen=True, kw_only=True):
    """What is left of a task whose record was deleted on purpose. It expires; where there is none, nobody has decided anything."""

    task: TaskId
    owner: Owner = Owner("")
    created_at_ms: int
    """The task's own: tells it from another that takes its id later."""
    at_ms: int
    reason: str


class Upload(Frozen, frozen=True, kw_only=True):
    """An upload before commit, or the kept inputs of a task: which proxy holds it."""

    task: TaskId
    instance: InstanceId
    url: str
    """Where the other proxies reach that instance."""
    created_at_ms: int
    owner: Owner | None = None
    """Whose it is; None: a proxy of an earlier version has announced it."""
