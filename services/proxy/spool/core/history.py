"""What a proxy keeps of a task beside its files, so that no loss of records loses the task. Pure.

It is when the task was committed, where it was tried, and how it ended. Records belong to the scheduler. This is what was done: kept in the spool before it is done, told again when the records do not know it.
"""

from typing import Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.placement import Placed
from clusterodm.libs.common.messages.tasks import AttemptStage, KnownAttempt, KnownEnd
from clusterodm.libs.common.model.tasks import Attempt, Cleanup, Task, TaskState
from clusterodm.libs.common.model.values import Frozen

KEPT_COUNT: Final = 20
"""Attempts that are remembered; older ones are long over."""


class History(Frozen, frozen=True, kw_only=True):
    """What happened to a task that the scheduler has acknowledged."""

    committed_at_ms: int = 0
    """When, as the scheduler said: its place in the queue."""
    attempts: tuple[KnownAttempt, ...] = ()
    end: KnownEnd | None = None


class Holding(Frozen, frozen=True, kw_only=True):
    """What a proxy has of a task."""

    is_held: bool = False
    """Its files, or what is kept beside them: it was committed here, and has not ended for good."""
    is_submitted: bool = False
    """The scheduler has acknowledged it once."""
    history: History | None = None
    is_replaced: bool = False
    """Nothing: another proxy runs where the one was that had it. Its spool is gone from there."""


def begun(history: History, placed: Placed, now_ms: WallMs, stage: AttemptStage = AttemptStage.SENDING) -> History:
    """Note an attempt that is about to begin; `stage`: how far it may have come when the next note is written."""
    attempt = KnownAttempt(
        number=placed.attempt,
        node=placed.node.id,
        hostname=placed.node.hostname,
        port=placed.node.port,
        node_task_id=placed.node_task_id,
        stage=stage,
        started_at_ms=now_ms,
        machine=placed.node.machine,
        ahead=placed.ahead,
    )
    return msgspec.structs.replace(history, attempts=(*history.attempts, attempt)[-KEPT_COUNT:], end=None)


def reached(history: History, stage: AttemptStage, now_ms: WallMs) -> History:
    """Note how far the last attempt has come."""
    if not history.attempts:
        return history
    running_at_ms = now_ms if stage is AttemptStage.COMMITTED else None
    last = msgspec.structs.replace(history.attempts[-1], stage=stage, running_at_ms=running_at_ms)
    return msgspec.structs.replace(history, attempts=(*history.attempts[:-1], last))


def ended(history: History, record: Task) -> History:
    """Note how a task ended."""
    cleanup = record.attempt.cleanup if record.attempt else Cleanup.NONE
    end = KnownEnd(state=record.state, at_ms=record.ended_at_ms or 0, error=record.error, cleanup=cleanup)
    return msgspec.structs.replace(history, end=end)


def removed(history: History, now_ms: WallMs) -> History:
    """Note that a task was removed of which nodes have still to be told. One that had not ended is canceled by that."""
    end = history.end or KnownEnd(state=TaskState.CANCELED, at_ms=now_ms)
    return msgspec.structs.replace(history, end=msgspec.structs.replace(end, removed=True))


def is_removed(history: History | None) -> bool:
    """Whether a task was removed: nothing more than what its nodes have still to be told is noted here."""
    return history is not None and history.end is not None and history.end.removed


def runs_again(history: History) -> History:
    """Note that it had not ended for good; what was removed has."""
    if is_removed(history):
        return history
    return msgspec.structs.replace(history, end=None)


# --- against the records -------------------------------------------------------------------------------------------


def contradicts(placed: Placed, history: History) -> bool:
    """Whether a placement comes from records that are older than what we have done: it counts an attempt again that was another one."""
    if is_removed(history):
        return True
    return bool(history.attempts) and placed.attempt <= history.attempts[-1].number and not is_noted(placed, history)


def is_noted(placed: Placed, history: History) -> bool:
    """Whether a placement is an attempt that was begun already."""
    return any((each.node, each.node_task_id) == (placed.node.id, placed.node_task_id) for each in history.attempts)


def is_behind(record: Task, history: History) -> bool:
    """Whether a record is older than what we have done."""
    if is_removed(history):
        return not record.removed
    last = history.attempts[-1] if history.attempts else None
    if last and not any((each.node, each.node_task_id) == (last.node, last.node_task_id) for each in record.attempts):
        return True
    return bool(history.end and not record.state.ended and is_before(record, history.end))


def is_before(record: Task, end: KnownEnd) -> bool:
    """Whether a task was not started again after an end. What else was written of it since, an older store's scheduler wrote, which does not know the end."""
    return record.restarted_at_ms <= end.at_ms


# --- from the records ----------------------------------------------------------------------------------------------


def recorded(record: Task) -> History:
    """Make the history of a task of which none was kept: an earlier version has taken it in."""
    known = (known_attempt(attempt) for attempt in record.attempts)
    return History(committed_at_ms=record.committed_at_ms, attempts=tuple(each for each in known if each))


def known_attempt(attempt: Attempt) -> KnownAttempt | None:
    """Take over what a record says of an attempt; None when it does not say where that was."""
    hostname, _, port = attempt.node_name.rpartition(":")
    if not (hostname and port.isdigit()):
        return None
    return KnownAttempt(
        number=attempt.number,
        node=attempt.node,
        hostname=hostname,
        port=int(port),
        node_task_id=attempt.node_task_id,
        stage=AttemptStage.COMMITTING if attempt.running_at_ms is None else AttemptStage.COMMITTED,
        started_at_ms=attempt.started_at_ms,
        running_at_ms=attempt.running_at_ms,
        machine=attempt.machine,
        ahead=attempt.ahead,
    )
