"""Which lines of a task's console are asked for.

The console of a task is its timeline, followed by the console of the node. Lines are counted over both, from 0; a negative number
asks for the last lines. Only the node has all of its lines; what is kept here is their tail and their number.
"""

from typing import Final

from libs.common.model import LastKnown, Task

TAIL_COUNT: Final = 200
"""Lines that are kept of the node's console."""
LINE_LENGTH: Final = 2_000
"""Longest line that is kept whole: 200 of these fit a record several times over."""


def node_line(task: Task, from_line: int) -> int:
    """Say from which line on the node has to be asked."""
    return from_line if from_line < 0 else max(0, from_line - len(task.timeline))


def assembled(task: Task, from_line: int, node_lines: tuple[str, ...]) -> tuple[str, ...]:
    """Put timeline and node lines together; the node was asked from `node_line(...)` on."""
    own = tuple(moment.text for moment in task.timeline)
    if from_line >= 0:
        return own[from_line:] + node_lines
    return (own + node_lines)[from_line:]


def kept_lines(known: LastKnown | None, from_line: int) -> tuple[str, ...]:
    """Say what is known here of the node's lines from `from_line` on."""
    if known is None:
        return ()
    if from_line < 0:
        return known.console_tail[from_line:]
    first_kept = known.console_count - len(known.console_tail)
    return known.console_tail[max(0, from_line - first_kept) :]


def grown(known: LastKnown | None, new_lines: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    """Add what the node wrote since; the number of lines and their tail."""
    count = known.console_count if known else 0
    tail = known.console_tail if known else ()
    shortened = tuple(line[:LINE_LENGTH] for line in new_lines[-TAIL_COUNT:])
    return count + len(new_lines), (tail + shortened)[-TAIL_COUNT:]
