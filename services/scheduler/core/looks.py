"""What a look at a task on its node brings, and what of it is worth a write."""

from dataclasses import dataclass
from typing import Final

import msgspec

from libs.common.clocks import WallMs
from libs.common.model import LastKnown, OptionValue, StatusCode
from services.scheduler.core.console import grown

OBSERVE_S: Final = 10.0
"""At least so long between two writes of what is seen of a task."""
PROCESSING_STEP_MS: Final = 5_000
"""A task that runs gets older all the time; its record follows in steps of this."""


@dataclass(frozen=True)
class Look:
    """What a node says of a task."""

    code: StatusCode
    error: str = ""
    progress: float = 0.0
    processing_time_ms: int = -1
    options: tuple[OptionValue, ...] = ()
    lines: tuple[str, ...] = ()
    """The console from the line that was asked for on."""
    name: str = ""
    created_at_ms: int = 0
    images_count: int | None = None
    """None: it has not counted them yet."""


def count_of(code: StatusCode, processing_time_ms: int, images_count: int) -> int | None:
    """Read how many images a node has counted.

    While it initialises a task (RUNNING, no processing time yet), and when it has failed to, it says how many files came: an archive is one.
    """
    initialised = code is StatusCode.QUEUED or processing_time_ms >= 0
    return images_count if images_count > 0 and initialised else None


@dataclass(frozen=True)
class Rhythm:
    """How often tasks are looked at."""

    first_s: float = 1.0
    slow_s: float = 10.0
    slow_after_s: float = 300.0

    def interval_s(self, age_s: float) -> float:
        """When to look again at a task that has been running for so long: often at first, then ever less."""
        share = min(age_s / self.slow_after_s, 1.0)
        return self.first_s + (self.slow_s - self.first_s) * share


def began_anew(known: LastKnown, look: Look) -> bool:
    """Whether the node runs it from the start again (NodeODM requeues after a restart, with an empty console)."""
    under_way = look.code in {StatusCode.QUEUED, StatusCode.RUNNING}
    return under_way and look.processing_time_ms < known.processing_time_ms


def known_of(known: LastKnown | None, look: Look, now_ms: WallMs) -> LastKnown:
    """Take a look in. After a new beginning, the next look asks for the console from its first line."""
    count, tail = (0, ()) if known and began_anew(known, look) else grown(known, look.lines)
    return LastKnown(
        code=look.code,
        error=look.error,
        progress=look.progress,
        processing_time_ms=look.processing_time_ms,
        options=look.options,
        images_count=look.images_count,
        console_count=count,
        console_tail=tail,
        seen_at_ms=now_ms,
        looks_count=(known.looks_count if known else 0) + 1,
    )


def is_news(before: LastKnown | None, after: LastKnown) -> bool:
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
    return since_s >= OBSERVE_S and is_news(written, after)
