"""How an event looks on the command line, and whether it is about something."""

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any, Final

from clusterodm.libs.common.messages import machines, nodes, operators, tasks
from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.ports import StoredEvent
from clusterodm.libs.common.settings.grammar import hint
from clusterodm.services.admin.cli.core.tables import GAP, broken
from clusterodm.services.admin.rendering.text import one_line

WHAT: Final = ("task", "machine", "node", "target", "instance", "owner")
"""Fields that say what an event is about, the first that is there."""
NARROW: Final = 80
"""A terminal with less columns gets several lines an event."""
NARROWEST: Final = 6
LEAST: Final = 4
"""Characters of the beginning of an id that are enough."""
KINDS: Final = tuple(
    each.name
    for module in (tasks, nodes, machines, operators)
    for each in vars(module).values()
    if isinstance(each, Event)
)
"""What events are called that are kept."""
NOUNS: Final = tuple(dict.fromkeys(name.partition(".")[0] for name in KINDS))
KIND: Final = re.compile(r"[a-z_]+(\.[a-z_]*)?", re.IGNORECASE)
"""What may have been meant for a noun or a name: ids and addresses have digits."""


def matches(event: StoredEvent, about: str) -> bool:
    """Whether an event is about this: its noun or name, or the id of a task, node or machine in it, or the beginning of one."""
    if not about or event.name == about or event.name.startswith(f"{about}."):
        return True
    values = [str(event.payload[name]) for name in WHAT if event.payload.get(name)]
    return any(value == about or (len(about) >= LEAST and value.startswith(about)) for value in values)


def mistaken(about: str) -> str:
    """Say what is wrong with a word that no event is about; empty: it may be an id, or a kind that has not happened yet."""
    if about in {"", *KINDS, *NOUNS} or not KIND.fullmatch(about):
        return ""
    return f"no event is about {about!r}, and there is no such kind{hint(about, (*NOUNS, *KINDS))}: one of {', '.join((*NOUNS, *KINDS))}"


def line(event: StoredEvent) -> str:
    """Write an event in a line: when, what happened to what, and the rest of it."""
    what = next((str(event.payload[name]) for name in WHAT if event.payload.get(name)), "")
    rest = {
        name: value
        for name, value in event.payload.items()
        if name not in {"at_ms", "reason"} and value not in ("", None, what)
    }
    reason = f": {event.payload['reason']}" if event.payload.get("reason") else ""
    more = " ".join(f"{name}={value}" for name, value in rest.items() if not isinstance(value, dict | list))
    return f"{moment(event)}  {event.name:<24}  {what}{reason}{f'  ({more})' if more else ''}"


def lines(event: StoredEvent, width: int | None) -> Iterator[str]:
    """Write an event for a terminal: in a line, and where that is narrower than an id with a date, in several, the first with the time and the name."""
    whole = one_line(line(event))
    if width is None or width >= NARROW or len(whole) <= width:
        yield whole
        return
    *head, rest = [*whole.split(" ", 3), "", ""][:4]
    yield from broken(" ".join(head), width)
    yield from (f"{GAP}{text}" for text in broken(rest, max(NARROWEST, width - len(GAP))))


def moment(event: StoredEvent) -> str:
    """Write when it was, in local time."""
    at = dt.datetime.fromtimestamp(event.at_ms / 1000, tz=dt.UTC).astimezone()
    return at.strftime("%Y-%m-%d %H:%M:%S")


def document(event: StoredEvent) -> dict[str, Any]:
    """Write an event for programs."""
    return {
        "event": event.name,
        "sequence": event.sequence,
        "at_ms": event.at_ms,
        **event.payload,
        "cause": event.cause,
    }
