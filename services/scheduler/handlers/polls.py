"""Open questions of holders: one each, with what there is to be said to it.

A question is open from the moment when it is read until it is answered. Slots are reserved only for those that are open, in the same
step in which they are chosen; once a question is being answered, nothing more is put to it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from libs.common.clocks import Clock
from libs.common.messages import PlaceTasks, SentAhead
from libs.common.model import InstanceId, TaskId
from services.scheduler.core.holders import Holders
from services.scheduler.core.queue import Reservation


class Poll:
    """A question and what it will be answered with."""

    def __init__(self, asked: PlaceTasks) -> None:
        self.holder = asked.holder
        self.run = asked.run
        self.places_count = asked.places_count
        self.renews_first = asked.renews_first
        self.held = asked.hold_s > 0 and asked.places_count > 0 and not asked.tasks
        """Whether it waits until there is something to say."""
        self.reserved: list[Reservation] = []
        self.ahead = {each.task: each.ahead for each in asked.tasks if each.ahead}
        self.news: dict[TaskId, None] = {each.task: None for each in asked.tasks}
        """Tasks of which something is to be said."""
        self._woken = asyncio.Event()

    def __repr__(self) -> str:
        """Show whose it is and how much there is to say."""
        return f"Poll({self.holder} reserved={len(self.reserved)} news={len(self.news)})"

    def take(self, made: Reservation, ahead: SentAhead | None = None) -> None:
        """Answer with a placement."""
        self.reserved.append(made)
        if ahead:
            self.ahead.setdefault(made.task, ahead)
        self._woken.set()

    def tell(self, task: TaskId) -> None:
        """Answer with what has become of a task."""
        self.news[task] = None
        self._woken.set()

    def end(self) -> None:
        """Answer now."""
        self._woken.set()

    async def wait(self, longest_s: float) -> bool:
        """Wait until there is something to say; False when there is not, so long after."""
        if self.reserved or self.news or not self.held:
            return True
        try:
            async with asyncio.timeout(longest_s):
                await self._woken.wait()
        except TimeoutError:
            return bool(self.reserved or self.news)
        return True


class Polls:
    """The questions that are held open, one for each holder."""

    def __init__(self, holders: Holders, clock: Clock) -> None:
        self._holders = holders
        self._clock = clock
        self._open: dict[InstanceId, Poll] = {}
        self._closed = False

    def __repr__(self) -> str:
        """Show how many are open."""
        return f"Polls(open={len(self._open)}{' closed' if self._closed else ''})"

    @property
    def closed(self) -> bool:
        """Whether nothing is held open any more."""
        return self._closed

    def of(self, holder: InstanceId) -> Poll | None:
        """Find the open question of a holder."""
        return self._open.get(holder)

    @contextmanager
    def opened(self, poll: Poll) -> Iterator[None]:
        """Let slots be reserved for a question while the context is open. It ends the one before, where that counts no more."""
        before = self._open.get(poll.holder)
        if before and (poll.held or poll.run != before.run or not poll.places_count):
            del self._open[poll.holder]
            before.end()
        if poll.held:
            self._open[poll.holder] = poll
        self._holders.ask(poll.holder, poll.places_count)
        try:
            yield
        finally:
            if self._open.get(poll.holder) is poll:
                del self._open[poll.holder]
            self._rest(poll.holder)

    def _rest(self, holder: InstanceId) -> None:
        self._holders.heard(holder, self._clock.instant())
        if still := self._open.get(holder):
            self._holders.ask(holder, still.places_count)
        else:
            self._holders.rest(holder)

    def close(self) -> None:
        """Have all of them answered, and hold none open from now on."""
        self._closed = True
        for poll in self._open.values():
            poll.held = False
            poll.end()
