"""What forwarding decides: the order of files, what an outcome means for the attempt, how patient to be. Pure.

The rules rest on how NodeODM stores uploads: a file sent twice under one id becomes a second image, a file cut off half-way
stays as it is, and nothing takes an uncommitted upload back. So:

    the connection never came about   nothing has happened: try again, under the same node task id
    the node said no                  the attempt is over; the task may not suit any node
    anything else                     nobody knows what the node has: the attempt is over, the next one gets a fresh id;
                                      after a commit the node must first be asked whether it has the task
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from libs.common.model import TaskState

RETRY_AFTER_S: Final = (0.5, 1.0, 2.0, 4.0)
"""Pauses between tries to reach a node."""
WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 60.0
PLACES_PER_S: Final = 20
"""The further back in the queue, the longer the wait before asking again: each so many places add a second."""


class Step(Enum):
    """What is being asked of the node."""

    BEGIN = auto()
    SEND = auto()
    COMMIT = auto()
    SUBMIT = auto()
    """Begin and commit in one request."""

    @property
    def commits(self) -> bool:
        """Whether the task may be running on the node afterwards."""
        return self in {Step.COMMIT, Step.SUBMIT}


class Outcome(Enum):
    """How the node's answer failed to come."""

    UNREACHABLE = auto()
    REFUSED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a failure means."""

    reason: str
    again_after_s: float | None = None
    """Try the same step again after this pause; None: the attempt is over."""
    node_refused: bool = False
    commit_uncertain: bool = False


def judge(step: Step, outcome: Outcome, reason: str, tries_count: int) -> Verdict:
    """Decide what a failed step means for the attempt. `tries_count` includes the one that failed."""
    if outcome is Outcome.REFUSED:
        return Verdict(reason=reason, node_refused=True)
    if outcome is Outcome.UNKNOWN:
        return Verdict(reason=reason, commit_uncertain=step.commits)
    again = RETRY_AFTER_S[tries_count - 1] if tries_count <= len(RETRY_AFTER_S) else None
    return Verdict(reason=reason, again_after_s=again)


def sending_order(sizes_bytes: Mapping[str, int]) -> list[str]:
    """Order the files of a task: the largest first, so that parallel transfers end together."""
    return sorted(sizes_bytes, key=lambda name: (-sizes_bytes[name], name))


def patience_s(position: int) -> float:
    """Say how long a waiting task waits for a hint before it asks by itself."""
    return min(WAIT_S + position / PLACES_PER_S, LONGEST_WAIT_S)


class Move(Enum):
    """What a held task needs when there is nothing to place."""

    WATCH = auto()
    FINISH = auto()
    DROP = auto()
    ADOPT = auto()
    """The scheduler has lost it: it is to be told of it again."""


def next_move(state: TaskState | None, *, removed: bool = False) -> Move:
    """Decide what to do with the inputs of a task in this state.

    None: the scheduler knows no such task. Only where it says `removed` as well has anybody decided that the inputs may go.
    """
    if state is None:
        return Move.DROP if removed else Move.ADOPT
    return Move.FINISH if state.ended else Move.WATCH
