"""The lines that tell the user what the cluster did with a task. They are also the first lines of its console.

A line that was shown stays: clients count lines (`with_output=N`), so nothing is ever taken out. What repeats while a task
waits is kept sparse instead, and when there are very many lines only those that change the task's state are added.
"""

from typing import Final

from libs.common.clocks import WallMs
from libs.common.model import Moment, Task

SPARSE_MS: Final = 30_000
"""Between two lines that say only why a task still waits."""
NEWS_MS: Final = 2_000
"""The same, when the autoscaler has something new to say."""
FIRST_MS: Final = 1_000
"""From a line after which no reason has been told yet to the first one: until then most have begun."""
CHATTY_COUNT: Final = 200
"""From so many lines on, only what matters is added."""
LINE_LENGTH: Final = 1_000
"""Longest line; a node's words may be very many."""


def told(timeline: tuple[Moment, ...], text: str, now_ms: WallMs) -> tuple[Moment, ...]:
    """Add a line."""
    return (*timeline, Moment(at_ms=now_ms, text=text[:LINE_LENGTH]))


def told_in_passing(timeline: tuple[Moment, ...], text: str, now_ms: WallMs) -> tuple[Moment, ...]:
    """Add a line unless there are very many."""
    return told(timeline, text, now_ms) if len(timeline) < CHATTY_COUNT else timeline


def may_repeat(task: Task, now_ms: WallMs, *, first: bool = False, news: bool = False) -> bool:
    """Whether it is time for another line about waiting; when the clock went back, nobody knows, and there is one."""
    sparse_ms = FIRST_MS if first else NEWS_MS if news else SPARSE_MS
    return not task.timeline or not 0 <= now_ms - task.timeline[-1].at_ms < sparse_ms
