"""How values are shown to people: bytes, times, names. Pure; what time it is, is an argument.

Names come from clients and nodes. What turns the direction of writing, is invisible or controls a terminal is shown as its escape, so that nobody
reads another name than there is. HTML is escaped by the templates, always.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from clusterodm.libs.common.amounts import several
from clusterodm.libs.common.clocks import WallMs
from clusterodm.services.admin.rendering.text import CONTROLS, HIDDEN, escaped
from clusterodm.services.admin.web.core.task_views import ExpectedView, TaskRow

UNSEEN: Final = re.compile(f"[{''.join(map(chr, (*CONTROLS, *HIDDEN)))}]")
"""Control characters but tab and newline, marks of direction, and what has no width."""
UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
THOUSAND: Final = 1000
MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
PACE_STEP: Final = 1.2
NONE: Final = "–"  # noqa: RUF001 a dash where there is nothing to say


def visible(value: Any) -> Any:
    """Show what hides; what is no text stays as it is."""
    if type(value) is not str:
        return value
    return UNSEEN.sub(lambda found: escaped(ord(found.group())), value)


def bytes_text(count: float | None) -> str:
    """Show a number of bytes."""
    if count is None:
        return NONE
    value, unit = float(count), 0
    while value >= THOUSAND and unit < len(UNITS) - 1:
        value /= THOUSAND
        unit += 1
    return f"{value:.0f} {UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {UNITS[unit]}"  # noqa: PLR2004 three digits are enough


def rate_text(bytes_per_s: float) -> str:
    """Show how fast bytes come."""
    return f"{bytes_text(bytes_per_s)}/s" if bytes_per_s else ""


def duration_text(seconds: float | None) -> str:
    """Show how long something takes, in its two largest units."""
    if seconds is None or seconds < 0:
        return NONE
    whole = int(seconds)
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return f"{whole // MINUTE_S} min {whole % MINUTE_S} s"
    if whole < DAY_S:
        return f"{whole // HOUR_S} h {whole % HOUR_S // MINUTE_S} min"
    return f"{whole // DAY_S} d {whole % DAY_S // HOUR_S} h"


def ms_text(milliseconds: float | None) -> str:
    """Show how long something takes; a negative number: nobody knows."""
    return duration_text(None if milliseconds is None or milliseconds < 0 else milliseconds / 1000)


def ago_text(at_ms: float | None, now_ms: WallMs) -> str:
    """Show how long ago something was, or in how long it will be."""
    if not at_ms:
        return NONE
    seconds = (now_ms - at_ms) / 1000
    if abs(seconds) < 1:
        return "now"
    text = duration_text(abs(seconds)).split(" s")[0] if abs(seconds) >= HOUR_S else duration_text(abs(seconds))
    largest = " ".join(text.split(" ")[:2])
    return f"{largest} ago" if seconds > 0 else f"in {largest}"


def utc_text(at_ms: float | None) -> str:
    """Show a time as ISO 8601 has it; empty: there is none, or it cannot be."""
    if not at_ms:
        return ""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return ""


def clock_text(at_ms: float | None) -> str:
    """Show a time as people read it, UTC."""
    return utc_text(at_ms).replace("T", " ").replace("Z", "")


def month_text(at_ms: float) -> str:
    """Show the month of a time, UTC: `2026-11`."""
    return utc_text(at_ms)[:7]


def start_between(expected: ExpectedView) -> str:
    """Show the interval of a start."""
    between = f"{clock_text(expected.start_from_ms)} to {clock_text(expected.start_until_ms)} UTC"
    return between + held_text(expected.start_held_percent)


def end_between(expected: ExpectedView) -> str:
    """Show the interval of an end."""
    between = f"{clock_text(expected.end_from_ms)} to {clock_text(expected.end_until_ms)} UTC"
    return between + held_text(expected.end_held_percent)


def held_text(percent: int | None) -> str:
    """Say how often such an interval was right."""
    return "" if percent is None else f" (held for {percent} % of the last tasks)"


def count_text(count: float | None) -> str:
    """Show a number with its thousands apart."""
    return NONE if count is None else f"{count:,.0f}".replace(",", "\u202f")


def amount_text(count: float | None, noun: str) -> str:
    """Show how many there are of a thing."""
    return f"{count_text(count)} {several(noun, 0 if count is None else count)}"


def money_text(amount: float | None) -> str:
    """Show an amount of money in whatever currency the configuration has."""
    return NONE if amount is None else f"{amount:.2f}"


def pace_text(pace: int) -> str:
    """Show how fast a node is; its steps are a fifth each (the scheduler's placement/core/pace.py)."""
    if not pace:
        return "usual"
    return f"{PACE_STEP ** abs(pace):.1f}x {'slower' if pace > 0 else 'faster'}"


def progress_of(task: TaskRow) -> float | None:
    """Say how far a task is, percent; None: that is not known."""
    if task.state == "forwarding":
        return min(100.0, 100 * task.sent_bytes / task.size_bytes) if task.size_bytes else None
    if task.state in {"uploading", "waiting"}:
        return None
    return max(0.0, min(100.0, task.progress))


def sent_text(task: TaskRow) -> str:
    """Show how much of a task its node has."""
    return f"{bytes_text(task.sent_bytes)} of {bytes_text(task.size_bytes)} sent"


def left_text(task: TaskRow) -> str:
    """Show how long the rest takes if it goes on as it has; empty: nobody knows."""
    left_bytes = task.size_bytes - task.sent_bytes
    return (
        f"{duration_text(left_bytes / task.rate_bytes_per_s)} left" if left_bytes > 0 and task.rate_bytes_per_s else ""
    )


def doing_of(task: TaskRow) -> str:
    """Say what is happening to a task, in a few words."""
    match task.state:
        case "uploading":
            rate = rate_text(task.rate_bytes_per_s)
            return f"{bytes_text(task.arrived_bytes)} received{f', {rate}' if rate else ''}"
        case "forwarding" if task.size_bytes:
            return ", ".join(filter(None, (sent_text(task), rate_text(task.rate_bytes_per_s), left_text(task))))
        case "waiting":
            place = f"place {task.position}" if task.position else ""
            return "; ".join(filter(None, (place, task.reason)))
        case _:
            return task.reason
