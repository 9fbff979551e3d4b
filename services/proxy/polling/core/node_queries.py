"""Whether a node is asked at all, and for how long, and to whom, what it has said may be told again. Pure.

A circuit breaker per node, as values:

    closed ──failure──▶ open ──the pause is over──▶ half open ──success──▶ closed
                         ▲  nobody asks             one asks   │
                         └───────── failure, a longer pause ───┘

What is not asked is answered from the record at once, so a hung node costs one poll now and then its time limit, and all
others nothing. The pauses are short: what a client sees of a node that is back is old by PAUSES_S[-1] at most.

An answer about a task that runs is kept by these rules:

    age       counts from the moment at which the node was asked: what is told is never older than the limit
    record    the answer was put together with one revision of the task's record and counts with that one only. Whoever tells it has that
              revision confirmed (cluster/handlers/confirming.py): so no cancel, no end, no restart and no other node is missed
    content   only that a task runs is told again. That it waits on its node, or has ended there, is asked for each time: that it has
              begun, or ended, is to be told at once
    console   lines from one on answer whoever wants later ones
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.tasks import TaskRecord
from clusterodm.libs.common.model.tasks import StatusCode
from clusterodm.services.proxy.polling.core.task_info import status_code

PAUSES_S: Final = (1.0, 2.0, 4.0)
"""After the first failure, the second in a row, every further one."""

CONSOLE_LIMIT_CHARS: Final = 65_536
"""A longer one is not kept."""
LINE_CHARS: Final = 8
"""What each of its lines counts beside its own: an empty one takes room, too."""
INFO_LIMIT_BYTES: Final = 65_536
"""Nor is what a node says of a task where that is longer without its console: a node may say anything beside what is known here."""
ENCODED_COUNT: Final = 16
"""Of so many different lines on, what is told of one answer of a node is kept."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is remembered of a node that failed; a node without one is closed."""

    failures_count: int
    """In a row."""
    open_until: Instant
    trying: bool = False
    """Half open: somebody is asking."""

    def lets_through(self, now: Instant) -> bool:
        """Whether one may ask."""
        return now >= self.open_until and not self.trying


def failed(breaker: Breaker | None, now: Instant) -> Breaker:
    """Open after a failure. One of several that were under way together does not count again."""
    if breaker is None:
        return Breaker(1, now + PAUSES_S[0])
    if not breaker.trying:
        return breaker
    count = breaker.failures_count + 1
    return Breaker(count, now + PAUSES_S[min(count, len(PAUSES_S)) - 1])


def tried(breaker: Breaker) -> Breaker:
    """Let one through."""
    return Breaker(breaker.failures_count, breaker.open_until, trying=True)


def let_go(breaker: Breaker) -> Breaker:
    """Let the next one ask: the one that was let through has left without an outcome."""
    return Breaker(breaker.failures_count, breaker.open_until)


@dataclass(slots=True)
class NodeAnswer:
    """What a node said of a task, and when it was asked."""

    record: TaskRecord
    asked: Instant
    info: dict[str, Any] | None
    """Without its console; None: the console alone was asked for."""
    first_line: int | None
    """The number of the first of its lines, as it was asked for; None: no lines were."""
    lines: Sequence[str] = ()
    wanted_line: int | None = None
    """The earliest line from which somebody has wanted its console."""
    encoded: dict[int | None, bytes] = field(default_factory=dict)
    """What was told, by the line from which it was wanted."""

    def holds(self, now: Instant, fresh_s: float) -> bool:
        """Whether it may be told now."""
        return now - self.asked <= fresh_s

    def want(self, line: int | None) -> None:
        """Remember from which line on its console is wanted."""
        self.wanted_line = None if line is None else widest(line, self.wanted_line)

    def keep_encoded(self, line: int | None, content: bytes) -> bytes:
        """Keep what is told from a line on; what is kept for it already is told."""
        if len(self.encoded) >= ENCODED_COUNT:
            self.encoded.clear()
        return self.encoded.setdefault(line, content)

    def lines_from(self, line: int | None) -> Sequence[str] | None:
        """Take its lines from one on, none for None; None: it does not have them."""
        return () if line is None else lines_from(self.first_line, self.lines, line)


def lines_from(first: int | None, lines: Sequence[str], wanted: int) -> Sequence[str] | None:
    """Take lines from one on out of those from another on. Negative: counted from the end, as NodeODM does. None: they are not there."""
    if first is None:
        return None
    if wanted < 0:
        is_there = first == 0 or len(lines) >= -wanted or 0 > wanted >= first
        return lines[wanted:] if is_there else None
    return lines[wanted - first :] if 0 <= first <= wanted else None


def may_be_told_again(answer: NodeAnswer) -> bool:
    """Whether an answer is short and says nothing but that its task runs."""
    if sum(map(len, answer.lines)) + LINE_CHARS * len(answer.lines) > CONSOLE_LIMIT_CHARS:
        return False
    if answer.info is None:
        return True
    if len(msgspec.json.encode(answer.info)) > INFO_LIMIT_BYTES:
        return False
    return status_code(answer.info) is StatusCode.RUNNING


def widest(one: int | None, other: int | None) -> int | None:
    """Say from which line on to ask so that both are answered; from `one` on when that cannot be said."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other) if (one < 0) is (other < 0) else one
