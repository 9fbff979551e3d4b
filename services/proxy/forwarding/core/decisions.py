"""What forwarding decides: the order of files, what an outcome means for the attempt, what is next, whose word counts. Pure.

The rules rest on how NodeODM stores uploads: a file sent twice under one id becomes a second image, a file cut off half-way
stays as it is, and nothing lists or takes back a single file of an uncommitted upload. So:

    not a byte of the body went out   nothing has happened: try again, under the same node task id
    the node said no                  the attempt is over; the task may not suit any node
    it has a task of that id          it may be this one, sent before the records were lost: it is asked, as after a commit
    it answered with an error (500)   as good as certain that it kept nothing: try again, and let the node's own count of
                                      images prove it after the commit (`counted`)
    no answer                         nobody knows what the node has: the attempt is over, the next one gets a fresh id;
                                      after a commit the node must first be asked whether it has the task

A node that was found out to have kept files that it had answered with an error costs a whole transfer each time (delivery.py), so for a
while its errors end the attempt at once (`Distrust`). The while is bounded, because one such error may have been an accident and without
retries a large task never gets through: a minute after the first time, doubling up to an hour while it is found out again, and forgotten
once its count was right after files had been repeated.

Every placement and every hint carries the epoch of the scheduler that says it (`Epochs`). One that was frozen may still have a word on
its way when its successor has long spoken; it is not acted on. An epoch that is lower for good is that of a cluster whose NATS
began anew: when the highest has not been heard for a while, the lower one counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import InstanceId, NodeId
from clusterodm.libs.common.retry import RetryPolicy

UNREACHED: Final = RetryPolicy(tries_count=5, within_s=60.0, first_s=0.5, longest_s=4.0)
ERRED: Final = RetryPolicy(tries_count=12, within_s=1_800.0, first_s=0.25, longest_s=4.0)
"""When every other request fails, a file fails twelve times in a row once in 4,096 files. A node that fails always is given up
after half a minute; the time limit is for files that take long to send."""
LEFTOVERS: Final = RetryPolicy(tries_count=3, within_s=60.0, first_s=1.0, longest_s=5.0)

FIRST_S: Final = 60.0
LONGEST_S: Final = 3_600.0
MAX_DOUBLINGS: Final = 16

FORGOTTEN_AFTER_S: Final = 60.0
"""Much longer than any term lasts without a renewal."""


NOBODY: Final = InstanceId("")
ID_TAKEN: Final = "Invalid set-uuid"
"""NodeODM's words when it has a task of that id already."""


class DeliveryStep(Enum):
    """What is being asked of the node."""

    BEGIN = auto()
    SEND = auto()
    COMMIT = auto()
    SUBMIT = auto()
    """Begin and commit in one request."""

    @property
    def begins(self) -> bool:
        """Whether it names the id of the task on the node."""
        return self in {DeliveryStep.BEGIN, DeliveryStep.SUBMIT}

    @property
    def commits(self) -> bool:
        """Whether the task may be running on the node afterwards."""
        return self in {DeliveryStep.COMMIT, DeliveryStep.SUBMIT}


class Outcome(Enum):
    """How the node's answer failed to come."""

    UNREACHABLE = auto()
    REFUSED = auto()
    ERRED = auto()
    """An answer came, and it is an error that may pass: 500, 503, 429."""
    UNKNOWN = auto()


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often a step is taken again."""

    unreached: RetryPolicy = UNREACHED
    erred: RetryPolicy = ERRED
    leftovers: RetryPolicy = LEFTOVERS
    """To remove something from a node; what is left then the node removes by itself, some days later."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed try of a step."""

    outcome: Outcome
    reason: str
    failures_count: int = 1
    """Of this step so far, this one included."""
    elapsed_s: float = 0.0
    """Since its first try began."""
    retry_after_s: float = 0.0
    """What the node asked for."""
    erred_before: bool = False
    """An earlier try was answered with an error: it may have been carried out."""
    provable: bool = True
    """Should it have been carried out although it was answered with an error, that will show."""


@dataclass(frozen=True, kw_only=True)
class StepDecision:
    """What a failure means."""

    reason: str
    again_after_s: float | None = None
    """Try the same step again after this pause; None: the attempt is over."""
    node_refused: bool = False
    commit_uncertain: bool = False


def judge(step: DeliveryStep, failure: Failure, retries: Retries, chance: float) -> StepDecision:
    """Decide what a failed step means for the attempt."""
    outcome, reason = failure.outcome, failure.reason
    may_have_begun = step.commits and (outcome in {Outcome.UNKNOWN, Outcome.ERRED} or failure.erred_before)
    if outcome is Outcome.REFUSED and step.begins and reason.startswith(ID_TAKEN):
        return StepDecision(reason=reason, commit_uncertain=True)
    if outcome is Outcome.REFUSED and not may_have_begun:
        return StepDecision(reason=reason, node_refused=True)
    again_s = None
    if outcome is Outcome.UNREACHABLE:
        again_s = retries.unreached.pause_s(failure.failures_count, failure.elapsed_s, chance)
    elif outcome is Outcome.ERRED and (failure.provable or step is not DeliveryStep.SEND):
        again_s = retries.erred.pause_s(failure.failures_count, failure.elapsed_s, chance, failure.retry_after_s)
    if again_s is not None:
        return StepDecision(reason=reason, again_after_s=again_s)
    if failure.failures_count > 1:
        reason = f"{reason} (tried {failure.failures_count} times)"
    return StepDecision(reason=reason, commit_uncertain=may_have_begun)


class Proof(Enum):
    """What a node's count of images says about files that it may have kept twice."""

    RIGHT = auto()
    WRONG = auto()
    OPEN = auto()
    """Ask again."""


@dataclass(frozen=True)
class ImagesCount:
    """What a node says of the images of a committed task."""

    count: int
    settled: bool
    """It has sorted out what is no image."""


def counted(seen: ImagesCount, files_count: int, images_count: int, doubted_count: int) -> Proof:
    """Judge the `imagesCount` of a task that was committed with `doubted_count` images that may lie there twice.

    Each file is there at least once, because each was answered with success once. NodeODM counts all files until it has sorted
    out what is no image, and the images from then on; until it has counted at all it says -1 or 0.
    """
    seen_count = seen.count
    if seen_count == images_count:
        return Proof.RIGHT
    if seen.settled:
        return Proof.WRONG
    if seen_count <= 0:
        return Proof.OPEN
    if seen_count == files_count:
        return Proof.RIGHT if doubted_count < files_count - images_count else Proof.OPEN
    return Proof.WRONG


def sending_order(sizes_bytes: Mapping[str, int]) -> list[str]:
    """Order the files of a task: the largest first, so that parallel transfers end together."""
    return sorted(sizes_bytes, key=lambda name: (-sizes_bytes[name], name))


class NextStep(Enum):
    """What a held task needs when there is nothing to place."""

    WATCH = auto()
    FINISH = auto()
    DROP = auto()
    ADOPT = auto()
    """The scheduler has lost it: it is to be told of it again."""
    KEEP_NOTES = auto()
    """It was removed, and nodes have still to be told: its inputs go, what is noted of its attempts stays until they have been."""
    IGNORE = auto()
    """Another proxy holds it: what lies here is a copy."""


def next_step(
    state: TaskState | None, *, removed: bool = False, untold: bool = False, held_by: InstanceId = NOBODY
) -> NextStep:
    """Decide what to do with the inputs of a task in this state.

    None: the scheduler knows no such task. Only where it says `removed` as well has anybody decided that the inputs may go.
    `held_by`: another proxy, which does all of this.
    """
    if state is None and removed:
        return NextStep.KEEP_NOTES if untold else NextStep.DROP
    if state is None:
        return NextStep.ADOPT
    if held_by:
        return NextStep.IGNORE
    return NextStep.FINISH if state.ended else NextStep.WATCH


@dataclass(frozen=True)
class Suspicion:
    """What is held against a node."""

    times_count: int
    until: Instant


class Distrust:
    """Nodes to which nothing is sent again after an error."""

    def __init__(self) -> None:
        self._suspicions: dict[NodeId, Suspicion] = {}

    def holds(self, node: NodeId, now: Instant) -> bool:
        """Whether nothing is sent to a node again now."""
        suspicion = self._suspicions.get(node)
        return suspicion is not None and now < suspicion.until

    def found_out(self, node: NodeId, now: Instant) -> float:
        """Note that its count was wrong; for how long that holds, in seconds."""
        before = self._suspicions.get(node)
        times_count = before.times_count + 1 if before else 1
        seconds = min(FIRST_S * 2.0 ** min(times_count - 1, MAX_DOUBLINGS), LONGEST_S)
        self._suspicions[node] = Suspicion(times_count, now + seconds)
        return seconds

    def proven(self, node: NodeId) -> None:
        """Note that its count was right although files had been sent again."""
        self._suspicions.pop(node, None)


class Epochs:
    """The highest epoch, and when it was last heard."""

    def __init__(self) -> None:
        self.highest = 0
        self._heard: Instant | None = None

    def forget(self) -> None:
        """Count anew: the records began anew, and so did the epochs."""
        self.highest = 0

    def counts(self, epoch: int, now: Instant) -> bool:
        """Take in an epoch; whether what came with it counts. 0: whoever says it does not know of terms."""
        if epoch == 0:
            return True
        if epoch < self.highest and self._heard is not None and now - self._heard < FORGOTTEN_AFTER_S:
            return False
        self.highest, self._heard = epoch, now
        return True
