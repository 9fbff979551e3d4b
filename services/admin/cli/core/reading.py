"""How the arguments of the command line are read. Raises ValueError with what is wrong. The clock is an argument."""

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from clusterodm.libs.common.settings.grammar import hint
from clusterodm.services.admin.cli.core.words import STATES
from clusterodm.services.admin.commands.core import command_numbers

if TYPE_CHECKING:
    import datetime as dt

    from clusterodm.libs.common.clocks import WallMs

DURATION: Final = r"([0-9]+)([smhdw]?)"
LONGEST_S: Final = 315_360_000
"""Ten years, as of every setting (libs/common/settings/fields.py, which would have to be loaded for it)."""
MONTH_LENGTH: Final = 7
HIGHEST_PRIORITY: Final = 10  # libs/common/tenancy.py, which would have to be loaded for it
UNITS_S: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def number(text: str) -> int:
    """Read the number of a node or of a machine."""
    if not (found := command_numbers.node_number(text)):
        raise ValueError(f"{text!r} is no number of the list")
    return found


def seconds(text: str) -> int:
    """Read a number of seconds."""
    if (found := command_numbers.whole(text)) is None or found > LONGEST_S:
        raise ValueError(f"{text!r} is no number of seconds (ten years at most)")
    return found


def count(text: str) -> int:
    """Read a number of images, or of what is listed."""
    if (found := command_numbers.whole(text)) is None:
        raise ValueError(f"{text!r} is no number")
    return found


def port(text: str) -> int:
    """Read a port."""
    if (found := command_numbers.port(text)) is None:
        raise ValueError(f"{text!r} is no port (1 to 65535)")
    return found


def line(text: str) -> int:
    """Read a line of a console."""
    if (found := command_numbers.line_number(text)) is None:
        raise ValueError(f"{text!r} is no line")
    return found


def priority(text: str) -> int:
    """Read the priority of a task."""
    found = command_numbers.line_number(text.removeprefix("+"))
    if found is None or abs(found) > HIGHEST_PRIORITY:
        raise ValueError(f"{text!r} is no priority ({-HIGHEST_PRIORITY} to {HIGHEST_PRIORITY})")
    return found


def duration(text: str) -> int:
    """Read a time span, in seconds: 90, 90s, 30m, 12h, 7d."""
    found = re.fullmatch(DURATION, text.strip().lower())
    if found is None or len(found[1]) > command_numbers.LONGEST_NUMBER:
        raise ValueError(f"{text!r} is no time span such as 90s, 30m, 12h or 7d")
    if (span_s := int(found[1]) * UNITS_S[found[2]]) > LONGEST_S:
        raise ValueError(f"{text!r} is a time span of more than ten years")
    return span_s


def since(text: str) -> "int | dt.datetime":
    """Read a time: how many seconds ago, or a point in time (local, where it says nothing else)."""
    try:
        return duration(text)
    except ValueError:
        pass
    import datetime as dt  # few words need it, and all would wait for it

    try:
        return dt.datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is neither a time span such as 12h nor a time such as 2026-05-01T12:00") from None


def began_ms(when: "int | dt.datetime", now_ms: "WallMs") -> int:
    """Say when that was, in milliseconds since 1970."""
    return now_ms - when * 1000 if isinstance(when, int) else int(when.timestamp() * 1000)


def day(text: str) -> str:
    """Read a day or a month; empty: whatever it is, as for the scheduler."""
    import datetime as dt  # few words need it, and all would wait for it

    try:
        dt.date.fromisoformat(f"{text}-01" if len(text) == MONTH_LENGTH else text or "2026-01-01")
    except ValueError:
        raise ValueError(f"{text!r} is no day such as 2026-11-27, nor a month such as 2026-11") from None
    return text


def states(text: str) -> tuple[str, ...]:
    """Read states of tasks that are separated by commas."""
    words = tuple(word.strip().lower() for word in text.split(",") if word.strip())
    for word in words:
        if word not in STATES:
            raise ValueError(f"unknown state {word!r}{hint(word, STATES)}: one of {', '.join(STATES)}")
    if not words:
        raise ValueError(f"no state is given: one of {', '.join(STATES)}")
    return words


READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "text": str,
    "number": number,
    "seconds": seconds,
    "count": count,
    "port": port,
    "line": line,
    "duration": duration,
    "priority": priority,
    "since": since,
    "day": day,
    "states": states,
}
"""By the name that stands in the table of words."""
