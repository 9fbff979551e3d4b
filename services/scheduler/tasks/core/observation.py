"""What is seen of a task on its node: what of it is worth a write, and which lines of its console are asked for.

While a task runs, only the node has all of its lines (clusterodm.libs.common.console), and the record their tail and number;
once it has ended, all of them are kept packed.
"""

import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.model.nodes import percent, whole_ms
from clusterodm.libs.common.model.tasks import LastKnown, StatusCode
from clusterodm.services.scheduler.node_client.ports import ObservedTask

TAIL_COUNT: Final = 200
"""Lines that are kept of the node's console."""
SHORT_COUNT: Final = 10
SHORT_LENGTH: Final = 800
"""Lines, and letters of them, that are written while a task runs: for when its node does not answer."""
LINE_LENGTH: Final = 500
"""Longest line that is kept whole: 200 of these fit a record of 1 MiB even when every sign needs six bytes."""

OBSERVE_S: Final = 10.0
"""At least so long between two writes of what is seen of a task."""
PROCESSING_STEP_MS: Final = 5_000
"""A task that runs gets older all the time; its record follows in steps of this."""


def grown(known: LastKnown | None, new_lines: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Add what the node wrote since; the number of lines and their tail."""
    count = known.console_count if known else 0
    tail = known.console_tail if known else ()
    shortened = tuple(line[:LINE_LENGTH] for line in new_lines[-TAIL_COUNT:])
    return count + len(new_lines), (tail + shortened)[-TAIL_COUNT:]


@dataclass(frozen=True)
class KeptConsole:
    """A node's console as it is kept of a task that has ended: all of it, or what was last seen."""

    lines: tuple[str, ...]
    before_count: int = 0
    """Lines before the first of these, which nobody has any more."""

    @property
    def count(self) -> int:
        """How many lines the node has written."""
        return self.before_count + len(self.lines)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return not self.before_count

    def behind(self, from_line: int) -> tuple[str, ...]:
        """Give the node's lines from one on; negative: the last ones."""
        return self.lines[from_line if from_line < 0 else max(0, from_line - self.before_count) :]


def tail_of(known: LastKnown) -> KeptConsole:
    """Keep what was last seen of a console."""
    return KeptConsole(known.console_tail, max(0, known.console_count - len(known.console_tail)))


def shortened(known: LastKnown) -> tuple[str, ...]:
    """Keep so many of the last lines as may be written again and again."""
    left = SHORT_LENGTH
    kept: list[str] = []
    for line in reversed(known.console_tail[-SHORT_COUNT:]):
        left -= len(line)
        if left < 0 and kept:
            break
        kept.append(line[:SHORT_LENGTH])
    return tuple(reversed(kept))


def packed(console: KeptConsole) -> bytes:
    """Make a console small: a list of its lines, before it the number of those that are missing, if any."""
    content = console.lines if console.is_whole else (console.before_count, *console.lines)
    return zlib.compress(msgspec.json.encode(content))


def unpacked(content: bytes) -> KeptConsole:
    """Read a packed console."""
    said = msgspec.json.decode(zlib.decompress(content), type=tuple[str | int, ...])
    lines = tuple(line for line in said if isinstance(line, str))
    return KeptConsole(lines, said[0] if said and isinstance(said[0], int) else 0)


@dataclass(frozen=True)
class PollInterval:
    """How often tasks are looked at."""

    first_s: float = 1.0
    slow_s: float = 10.0
    slow_after_s: float = 300.0

    def interval_s(self, age_s: float) -> float:
        """When to look again at a task that has been running for so long: often at first, then ever less."""
        share = min(age_s / self.slow_after_s, 1.0)
        return self.first_s + (self.slow_s - self.first_s) * share


def began_anew(known: LastKnown, observation: ObservedTask) -> bool:
    """Whether the node runs it from the start again (NodeODM requeues after a restart, with an empty console)."""
    under_way = observation.code in {StatusCode.QUEUED, StatusCode.RUNNING}
    return under_way and observation.processing_time_ms < known.processing_time_ms


def known_of(known: LastKnown | None, observation: ObservedTask, now_ms: WallMs) -> LastKnown:
    """Take a look in. After a new beginning, the next look asks for the console from its first line."""
    count, tail = (0, ()) if known and began_anew(known, observation) else grown(known, observation.lines)
    return LastKnown(
        code=observation.code,
        error=observation.error,
        progress=float(percent(observation.progress)),
        processing_time_ms=whole_ms(observation.processing_time_ms),
        options=observation.options,
        images_count=observation.images_count,
        console_count=count,
        console_tail=tail,
        seen_at_ms=now_ms,
        looks_count=(known.looks_count if known else 0) + 1,
    )


def has_changed(before: LastKnown | None, after: LastKnown) -> bool:
    """Whether a look is worth a write: anything but the mere passing of time."""
    if before is None:
        return True
    if abs(after.processing_time_ms - before.processing_time_ms) >= PROCESSING_STEP_MS:
        return True
    passed = {"seen_at_ms": after.seen_at_ms, "looks_count": after.looks_count}
    return msgspec.structs.replace(before, processing_time_ms=after.processing_time_ms, **passed) != after


def is_due(written: LastKnown | None, after: LastKnown, since_s: float) -> bool:
    """Whether an observation is to be written now: at once when the task stands differently, else what is news, now and then."""
    if written is None or written.code is not after.code or after.console_count < written.console_count:
        return True
    return since_s >= OBSERVE_S and has_changed(written, after)
