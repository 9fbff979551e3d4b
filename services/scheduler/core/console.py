"""Which lines of a task's console are asked for.

The console of a task is what the cluster did until the present attempt began to run, then the console of the node, then, once the
task has ended, what the cluster did since. Lines are counted over all of it, from 0; a negative number asks for the last
lines. While an attempt runs nothing is added before the node's lines, so a reader that asks from where it stopped gets each
line once. While it runs, only the node has all of its lines, and the record their tail and number;
once it has ended, all of them are kept packed.
"""

import zlib
from typing import Final

import msgspec

from libs.common.model import LastKnown, Task, TaskState

TAIL_COUNT: Final = 200
"""Lines that are kept of the node's console."""
LINE_LENGTH: Final = 500
"""Longest line that is kept whole: 200 of these fit a record of 1 MiB even when every sign needs six bytes."""


def is_on_node(task: Task) -> bool:
    """Whether the last attempt has run and no other will follow it: then its node has something to say."""
    last = task.attempt
    return last is not None and last.running_at_ms is not None and (task.state is TaskState.RUNNING or task.state.ended)


def own_lines(task: Task) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the timeline into the lines before the node's and those after."""
    last = task.attempt
    if last is None or last.running_at_ms is None or not is_on_node(task):
        return tuple(moment.text for moment in task.timeline), ()
    began_ms = last.running_at_ms
    before = tuple(moment.text for moment in task.timeline if moment.at_ms <= began_ms)
    after = tuple(moment.text for moment in task.timeline if moment.at_ms > began_ms)
    return before, after if task.state.ended else ()


def node_line(task: Task, from_line: int) -> int:
    """Say from which of its lines on the node has to be asked; negative: for its last lines."""
    before, after = own_lines(task)
    return max(0, from_line - len(before)) if from_line >= 0 else min(-1, from_line + len(after))


def assembled(task: Task, from_line: int, node_lines: tuple[str, ...], node_count: int) -> tuple[str, ...]:
    """Put the console together. `node_lines`: those from `node_line(...)` on; `node_count`: how many the node has."""
    before, after = own_lines(task)
    if from_line < 0:
        return (before + node_lines + after)[from_line:]
    return before[from_line:] + node_lines + after[max(0, from_line - len(before) - node_count) :]


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


def packed(lines: tuple[str, ...]) -> bytes:
    """Make a whole console small."""
    return zlib.compress(msgspec.json.encode(lines))


def unpacked(content: bytes) -> tuple[str, ...]:
    """Read a packed console."""
    return msgspec.json.decode(zlib.decompress(content), type=tuple[str, ...])
