"""What nodes have just said of tasks that run: each is asked once in a while, however many ask about its task (core/freshness.py).

    an answer that holds                  is told again
    the same is just being asked          is waited for, no longer than a node has for an answer
    else                                  the node is asked, from the earliest line on that somebody has wanted lately

What comes from here, and was not asked for the caller alone, is to be confirmed before it is told.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from libs.common.clocks import Clock
from libs.common.messages import TaskRecord
from libs.common.model import TaskId
from services.proxy.core.freshness import NodeAnswer, lines_from, may_be_told_again, widest

KEPT_COUNT: Final = 1024
REMEMBERED: Final = 4.0
"""An answer is forgotten when it is so many times as old as one that holds: until then it says from where its console was wanted."""
JOIN_S: Final = 1.0
"""As long as a node has for the head of its answer (handlers/inquiry.py)."""

Key = tuple[TaskId, bool]
"""A task, and whether its console alone is asked for."""
Ask = Callable[[int | None], Awaitable[NodeAnswer | None]]
"""Asks a node, from a line on."""


class Asking:
    """A question under way."""

    __slots__ = ("answer", "line", "revision")

    def __init__(self, revision: int, line: int | None) -> None:
        self.revision = revision
        self.line = line
        self.answer: asyncio.Future[NodeAnswer | None] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        """Show what is asked for."""
        return f"Asking(revision={self.revision} line={self.line})"


class FreshAnswers:
    """Keeps what nodes have just said."""

    def __init__(self, clock: Clock, fresh_s: float) -> None:
        self._clock = clock
        self._fresh_s = fresh_s
        self._kept: dict[Key, NodeAnswer] = {}
        """In the order of the answers."""
        self._asking: dict[Key, Asking] = {}

    def __repr__(self) -> str:
        """Show how many."""
        return f"FreshAnswers(kept={len(self._kept)} asking={len(self._asking)})"

    def holds(self, answer: NodeAnswer) -> bool:
        """Whether an answer may be told now."""
        return answer.holds(self._clock.instant(), self._fresh_s)

    def find(self, record: TaskRecord, *, output: bool) -> NodeAnswer | None:
        """Look for an answer that holds and was put together with this revision of a record."""
        answer = self._kept.get((record.task.id, output))
        if answer is None or answer.record.revision != record.revision or not self.holds(answer):
            return None
        return answer

    def find_with(self, record: TaskRecord, line: int | None, *, output: bool) -> NodeAnswer | None:
        """Look for an answer that has the lines from one on."""
        answer = self.find(record, output=output)
        if answer is None or answer.lines_from(line) is None:
            return None
        answer.wanted_line = line if line is None else widest(line, answer.wanted_line)
        return answer

    async def join(self, record: TaskRecord, line: int | None, *, output: bool) -> tuple[bool, NodeAnswer | None]:
        """Wait for the answer to a question under way: whether there is one, and what came of it."""
        asking = self._asking.get((record.task.id, output))
        if asking is None or asking.revision != record.revision:
            return False, None
        if line is not None and lines_from(asking.line, (), line) is None:
            return False, None
        await asyncio.wait([asking.answer], timeout=JOIN_S)
        return True, asking.answer.result() if asking.answer.done() else None

    async def ask(self, record: TaskRecord, line: int | None, ask: Ask, *, output: bool) -> NodeAnswer | None:
        """Ask the node; keep what it says."""
        key = record.task.id, output
        if self._fresh_s <= 0:
            return await ask(line)
        before = self._kept.get(key)
        from_line = widest(line, before.wanted_line if before else None)
        asking = self._asking[key] = Asking(record.revision, from_line)
        answer = None
        try:
            answer = await ask(from_line)
        finally:
            if self._asking.get(key) is asking:
                del self._asking[key]
            asking.answer.set_result(answer)
        if answer is not None:
            answer.wanted_line = line
            self._keep(key, answer)
        return answer

    def _keep(self, key: Key, answer: NodeAnswer) -> None:
        self._forget_old()
        self._kept.pop(key, None)
        if may_be_told_again(answer) and len(self._kept) < KEPT_COUNT:
            self._kept[key] = answer

    def _forget_old(self) -> None:
        now = self._clock.instant()
        while self._kept:
            key = next(iter(self._kept))
            if self._kept[key].holds(now, REMEMBERED * self._fresh_s):
                break
            del self._kept[key]
