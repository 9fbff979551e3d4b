"""How attempts end, what a node's refusal means, and when nothing more happens to a task.

An attempt that ran and was lost, or that the node refused, is *counted*; one that failed because nobody reached the node is
not: a cluster whose network is away for an hour must not fail its tasks. When `max_attempts_count` attempts were counted the
task has failed, with the reason of each. Before every new try there is a back-off that doubles.

A node that refuses a task for something that another may not have (`NodeRefusal`) is *unfit* for it: that does not count either, but
it is remembered, and after REFUSALS_COUNT of them the task has failed, so that it does not go round a large cluster for ever.
One whose spot machine was taken away does not count either (`interrupted`): the autoscaler sees to it that the task is not on such a machine
again and again (the `interruptions_limit_count` of nodes).

A task whose attempts coincide with the death of their nodes is not sent to node after node: when `killer_nodes_count` nodes
have died soon after it had come to them (*fatal* attempts), it has failed.

What is over for us may not be over for its node: `cleanup` says what the node has still to be told. An attempt is given up
only with its cleanup written in the same record, so that a node that returns from the dead cannot run it unnoticed.

What its words say of that is read here. A node refuses a task before it processes anything: in the answer to `init` or `commit`, or, where NodeODM finds out only
while it unpacks and counts, as the error of a task that has failed. Most such words are about the task, and every node would say
them. Those here are about the node: it takes fewer images, its disk is full, its engine is another. Then the attempt is over, and the
task is not: it goes to a node for which the reason does not hold (registry/ranking.py), and does not fail while there is one, or may be.

Not here: "Not enough memory" is said after hours of work, by nodes with enough of it too when another task had it; it is an
attempt that counts (task_life/transitions.py).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import Instant, WallMs
from clusterodm.libs.common.model.tasks import Attempt, AttemptState, Cleanup, Task

KEPT_COUNT: Final = 20
"""Attempts that stay in the record. Only ones that were not counted are ever dropped."""
REFUSALS_COUNT: Final = 20
INTERRUPTIONS_COUNT: Final = 10
"""So many interruptions of spot machines do not count; what goes beyond does, lest a task goes round for ever."""
MAX_DOUBLINGS: Final = 16
REASON_LENGTH: Final = 4_000
"""Longest reason that is kept; a node's words on bad options are a JSON array of many."""
ERROR_LENGTH: Final = 600
"""Longest error of a task: it is kept as long as the task is, and sent with each poll."""


@dataclass(frozen=True)
class AttemptPolicy:
    """How often and how soon a task is tried again."""

    max_attempts_count: int = 3
    first_backoff_ms: int = 1_000
    max_backoff_ms: int = 60_000
    killer_nodes_count: int = 3
    """So many nodes may die of a task; 0: any number."""

    def backoff_ms(self, failed_count: int) -> int:
        """How long to wait after so many failed attempts."""
        doublings = min(max(failed_count - 1, 0), MAX_DOUBLINGS)
        return min(self.first_backoff_ms << doublings, self.max_backoff_ms)


LOST: Final = "was lost"
FAILED: Final = "failed"
MOVED: Final = "was moved away"


@dataclass(frozen=True)
class AttemptResult:
    """Why an attempt is over without a result."""

    reason: str
    outcome: str = FAILED
    """What happened to the attempt, in words for the user."""
    counted: bool = False
    fatal: bool = False
    """Its node died soon after the task had come to it."""
    cleanup: Cleanup = Cleanup.NONE
    min_memory_bytes: int = 0
    """Its node had so much memory, and it was too little."""
    unfit: bool = False
    """Its node refused it for something that another may not have."""
    barred: bool = False
    """And it is not to be asked again, whatever it says of itself."""
    least_limit_count: int = 0
    """So many images a node must take."""
    interrupted: bool = False
    """Its provider has taken the spot machine away."""


class FirstRenewal(Enum):
    """When an upload owner says that it is at an attempt which it is being given."""

    BEFORE = auto()
    """Before it begins it: a node has heard nothing of one that was not renewed."""
    LATER = auto()
    """Perhaps after it has begun it."""
    DONE = auto()
    """With the question that is being answered."""


@dataclass
class ForwardingAttempt:
    """What is known of an attempt that is being forwarded, besides its record."""

    began: Instant
    heard_at: Instant
    """When its upload owner last said that it is at it."""
    uncertain_since: Instant | None = None
    unheard_since: Instant | None = None
    """It was placed then, and its upload owner has not renewed it since: the answer may have been lost."""
    renews_first: bool = False
    """Its upload owner begins nothing before it has renewed it."""
    doubtful: bool = False
    """Images may lie on the node twice, says its upload owner."""
    sent_count: int = 0
    sent_bytes: int = 0
    """So much of it the node has, says its upload owner."""

    def await_upload_owner(self, renewal: FirstRenewal) -> None:
        """Note that it has just been placed: its upload owner has still to say that it is at it, unless it has."""
        if renewal is not FirstRenewal.DONE:
            self.unheard_since, self.renews_first = self.heard_at, renewal is FirstRenewal.BEFORE

    def renew(self, now: Instant, *, doubtful: bool) -> None:
        """Note that its upload owner is at it."""
        self.heard_at, self.doubtful, self.unheard_since = now, doubtful, None

    def progress(self, sent_count: int, sent_bytes: int) -> None:
        """Note how much of it has been sent."""
        self.sent_count, self.sent_bytes = sent_count, sent_bytes

    def hear(self, now: Instant) -> None:
        """Note that its upload owner was told of it again, or is there and may yet take it up."""
        self.heard_at = now

    def doubt(self, *, doubtful: bool) -> None:
        """Note whether images may lie on the node twice."""
        self.doubtful = doubtful

    def suspect(self, now: Instant) -> None:
        """Note since when nobody knows how its forwarding has ended."""
        if self.uncertain_since is None:
            self.uncertain_since = now

    def excuse(self, now: Instant) -> None:
        """Let the silence of an upload owner that has not taken it up begin now: nobody listened before."""
        if self.unheard_since is not None:
            self.heard_at = self.unheard_since = now


def ended(attempts: Sequence[Attempt], result: AttemptResult, now_ms: WallMs) -> tuple[Attempt, ...]:
    """End the last attempt. An interruption of a spot machine says nothing against the task, as long as there are not too many."""
    excused = result.interrupted and sum(each.interrupted for each in attempts) < INTERRUPTIONS_COUNT
    last = msgspec.structs.replace(
        attempts[-1],
        state=AttemptState.ENDED,
        ended_at_ms=now_ms,
        reason=result.reason[:REASON_LENGTH],
        outcome=result.outcome,
        counted=result.counted and not excused,
        fatal=result.fatal and not excused,
        interrupted=result.interrupted,
        unfit=result.unfit,
        barred=result.barred,
        cleanup=result.cleanup,
    )
    return trimmed((*attempts[:-1], last))


def trimmed(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """Drop the oldest attempts that say nothing more, when there are very many."""
    surplus = len(attempts) - KEPT_COUNT
    kept: list[Attempt] = []
    for attempt in attempts:
        if surplus > 0 and not (attempt.counted or attempt.unfit) and attempt.cleanup is Cleanup.NONE:
            surplus -= 1
        else:
            kept.append(attempt)
    return tuple(kept)


def counted(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Find the attempts that count against the limit."""
    return [attempt for attempt in attempts if attempt.counted]


def refused(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Find the attempts whose nodes were unfit."""
    return [attempt for attempt in attempts if attempt.unfit]


def killed_count(attempts: Sequence[Attempt]) -> int:
    """Count the nodes that died soon after the task had come to them."""
    return len({attempt.node for attempt in attempts if attempt.fatal})


def described(attempt: Attempt) -> str:
    """Say how an attempt ended."""
    where = attempt.node_name or attempt.node
    return f"attempt {attempt.number} on node {where} {attempt.outcome or FAILED}: {attempt.reason}"


def failed_count(task: Task) -> int:
    """How often it was tried in vain."""
    return task.attempts[-1].number if task.attempts else 0


def all_reasons(attempts: Sequence[Attempt]) -> str:
    """Say why a task is given up: the reason itself when all counted attempts ended for the same one, else each by number, all of one length at most."""
    spent = counted(attempts)
    if len({attempt.reason for attempt in spent}) == 1:
        return spent[0].reason
    length = max(ERROR_LENGTH // max(len(spent), 1) - len("; "), 1)
    return "; ".join(shortened(f"attempt {attempt.number}: {attempt.reason}", length) for attempt in spent)


def shortened(text: str, length: int) -> str:
    """Keep the beginning of a long text, and say that it is one."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def to_clean(task: Task, number: int, cleanup: Cleanup) -> Task:
    """Note that the node has still to be told something about an attempt."""
    return msgspec.structs.replace(
        task,
        attempts=tuple(
            msgspec.structs.replace(one, cleanup=cleanup) if one.number == number else one for one in task.attempts
        ),
    )


TOO_MANY: Final = re.compile(r"(\d{1,9}) images uploaded, but this node can only process up to \d+\.?")
"""NodeODM's libs/taskNew.js; it counts everything beside the images too, the archive that it has unpacked included."""
FULL_DISK: Final = re.compile(
    r"ENOSPC|EDQUOT|no space left on device|disk quota exceeded|unzip exited with code 50\b", re.IGNORECASE
)
"""Node.js, the engine's tools, and unzip(1)."""
OTHER_OPTIONS: Final = re.compile(r'\A\s*\[\s*\{\s*"name"\s*:.*"error"\s*:', re.DOTALL)
"""What NodeODM says of options: a JSON array as text. We have checked them with the cluster's list, so this node has another."""
OTHER_ENGINE: Final = re.compile(
    r"\b(engine|version|gpu|cuda)\b.{0,80}\b(not supported|unsupported|not available|too old|required)\b"
    r"|\b(unsupported|requires?|needs)\b.{0,80}\b(engine|version|gpu|cuda)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class NodeRefusal:
    """A refusal that another node might not give."""

    least_limit_count: int = 0
    """So many images it must take; 0: that is not what it was about."""


def refusal_in(words: str) -> NodeRefusal | None:
    """Read it out of a node's words; None: every node would say so."""
    if too_many := TOO_MANY.search(words):
        return NodeRefusal(int(too_many[1]))
    if any(pattern.search(words) for pattern in (FULL_DISK, OTHER_OPTIONS, OTHER_ENGINE)):
        return NodeRefusal()
    return None
