"""What becomes of an attempt that was placed with a proxy: by its silence, by its reports, and by what its node says.

    never renewed, and nothing else heard of its upload owner either ──▶ NOT_TAKEN_UP: the slot goes to somebody else
    renewed once, and silent since                            ──▶ SUSPECT: its node is asked whether it has the task

The first is quick and asks nobody, because an upload owner begins nothing before its first renewal was answered: what it never renewed, no
node has heard of. Should it wake up after all, that renewal is refused. A question about a task by name that does not say so (`renews_first`)
counts for the first renewal of what it gets (decision 154). What else such a question gets, and whoever asks PLACE_TASK, may be begun at once: after a silence
the node is asked.
"""

from collections.abc import Set as AbstractSet
from enum import Enum, auto
from typing import Final

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.placement import ReportForwardFailed
from clusterodm.libs.common.model.tasks import AttemptState, Cleanup, Task
from clusterodm.libs.common.model.values import TaskId
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.task_life.attempts import AttemptResult, ForwardingAttempt, refusal_in
from clusterodm.services.scheduler.task_life.transitions import Site

TAKE_UP_S: Final = 3.0
"""An answer takes milliseconds, and any word of its upload owner counts; so much a busy computer may be late."""
UNHEARD_S: Final = 15.0
"""However alive its upload owner is: by then an attempt that it has not renewed even once got lost on its way."""


class Silence(Enum):
    """What to do about it."""

    NOTHING = auto()
    NOT_TAKEN_UP = auto()
    SUSPECT = auto()


def judge(forwarding: ForwardingAttempt, now: Instant, longest_s: float) -> Silence:
    """Judge an attempt that is being forwarded. `longest_s`: how long an upload owner may be silent that has begun it."""
    silent_s = now - forwarding.heard_at
    if forwarding.unheard_since is not None and forwarding.renews_first:
        lost = silent_s > TAKE_UP_S or now - forwarding.unheard_since > UNHEARD_S
        return Silence.NOT_TAKEN_UP if lost else Silence.NOTHING
    return Silence.SUSPECT if silent_s > longest_of(forwarding, longest_s) else Silence.NOTHING


def longest_of(forwarding: ForwardingAttempt, longest_s: float) -> float:
    """How long the upload owner of an attempt may be silent before its node is asked."""
    return min(longest_s, UNHEARD_S) if forwarding.unheard_since is not None else longest_s


def is_current(task: Task, number: int, *states: AttemptState) -> bool:
    """Whether this attempt is the one that counts, and in one of these states."""
    return bool(task.attempt and task.attempt.number == number and task.attempt.state in states)


def over(task: Task, number: int) -> bool:
    """Whether this attempt was given up, so that what its upload owner did is in vain."""
    attempt = task.attempt
    if attempt is None or attempt.number != number:
        return True
    return attempt.state is AttemptState.ENDED and attempt.running_at_ms is None


class Denials:
    """Attempts that their node says it does not have: that counts when it has said so for long enough, without a break."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._since: dict[TaskId, tuple[int, Instant]] = {}
        """The number of the attempt, and since when."""

    def is_final(self, task: TaskId, number: int, now: Instant) -> bool:
        """Note that the node does not have an attempt; whether it has said so for long enough."""
        denied_number, since = self._since.get(task, (number, now))
        if denied_number != number:
            since = now
        self._since[task] = (number, since)
        return now - since >= self._settle_s

    def forget(self, task: TaskId) -> None:
        """Begin anew when the node does not answer."""
        self._since.pop(task, None)

    def keep(self, tasks: AbstractSet[TaskId]) -> None:
        """Forget all but these."""
        for task in self._since.keys() - tasks:
            del self._since[task]


def died_or_not(forwarding: ForwardingAttempt | None, reason: str, node: NodeState) -> AttemptResult:
    """End an attempt whose commit the node may have seen: it is fatal when the node has been away since."""
    fatal = forwarding is not None and node.missed_at is not None and forwarding.began <= node.missed_at
    return AttemptResult(reason, counted=fatal, fatal=fatal, cleanup=Cleanup.REMOVE)


def failure_of(request: ReportForwardFailed, site: Site) -> AttemptResult:
    """End an attempt that could not be sent, or that its node refused; for something that another node may not have, perhaps."""
    refusal = refusal_in(request.reason) if request.node_refused else None
    return (
        site.unfit(refusal, request.reason) if refusal else AttemptResult(request.reason, counted=request.node_refused)
    )
