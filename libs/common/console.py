"""The console of a task, put together from what the cluster did and what its node says. Pure.

It is what the cluster did until the present attempt began to run, then the console of the node, then, once the task has ended, what the
cluster did since. Lines are counted over all of it, from 0; a negative number asks for the last lines. While an attempt runs nothing is
added before the node's lines, so a reader that asks from where it stopped gets each line once.

What programs and machines write on a terminal becomes lines that can be shown to people.
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from clusterodm.libs.common.model.tasks import Attempt, LastKnown, Task, TaskState, told_count

ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class OwnLines(NamedTuple):
    """What the cluster did: the lines before the node's, and those behind them."""

    before: tuple[str, ...]
    after: tuple[str, ...]

    def node_line(self, from_line: int) -> int:
        """Say from which of its lines on the node has to be asked; negative: for its last lines."""
        return max(0, from_line - len(self.before)) if from_line >= 0 else min(-1, from_line + len(self.after))

    def around(self, node_lines: Sequence[str], node_count: int, from_line: int) -> list[str]:
        """Put the console together. `node_lines`: those from `node_line(...)` on; `node_count`: how many the node has."""
        if from_line < 0:
            return [*self.before, *node_lines, *self.after][from_line:]
        if from_line < len(self.before) or node_lines:
            return [*self.before[from_line:], *node_lines, *self.after]
        return list(self.after[max(0, from_line - len(self.before) - node_count) :])


def attempt_on_node(task: Task) -> Attempt | None:
    """Find the attempt whose node has something to say: the last one, once it has run and unless another follows."""
    last = task.attempt
    if last is None or last.running_at_ms is None:
        return None
    return last if task.state is TaskState.RUNNING or task.state.ended else None


def own_lines(task: Task) -> OwnLines:
    """Split the timeline into the lines before the node's and those after."""
    lines, attempt = tuple(moment.text for moment in task.timeline), attempt_on_node(task)
    if attempt is None or attempt.running_at_ms is None:
        return OwnLines(lines, ())
    count = told_count(task.timeline, attempt.running_at_ms)
    return OwnLines(lines[:count], lines[count:] if task.state.ended else ())


def kept_lines(known: LastKnown | None, node_from: int) -> tuple[str, ...]:
    """Take from what was last seen what it has of the node's lines from one on (negative: the last ones)."""
    if known is None:
        return ()
    if node_from < 0:
        return known.console_tail[node_from:]
    first = known.console_count - len(known.console_tail)
    return known.console_tail[max(0, node_from - first) :]


def without_escapes(text: str) -> str:
    """Leave out what only steers a terminal: colours, places."""
    return ESCAPES.sub("", text)


def printable_line(line: str) -> str:
    """Make a line of output printable: of one that was written over again and again, as progress is, the last that was written."""
    shown = line.rstrip("\r").rpartition("\r")[2].replace("\t", "    ")
    return "".join(letter for letter in shown if letter.isprintable())
