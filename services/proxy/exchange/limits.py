"""What many requests at once may take up together; one too many is told to come back.

UploadLimiter  uploads at once: the next one waits a little for its turn
LongBodies     memory for bodies that are read as a whole, and the loop's time for reading and writing them
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from clusterodm.services.proxy.errors import ServerBusy
from clusterodm.services.proxy.metrics import UPLOADS_REFUSED

BUSY: Final = "The server is busy with other uploads, please try again."
CROWDED: Final = "The server is busy with other requests, please try again."
SHORT_BYTES: Final = 4 * 1024
"""A body that is no longer is everybody's right: forms of all clients but a few."""
TOGETHER_BYTES: Final = 16 * 1024 * 1024
WAIT_S: Final = 20.0
"""For room, where an upload under way needs more of it."""


class UploadLimiter:
    """Takes so many uploads at once: `async with limiter`, or `enter` and `leave`."""

    def __init__(self, limit_count: int, wait_s: float) -> None:
        self._limit_count = limit_count
        self._wait_s = wait_s
        self._turns: deque[asyncio.Future[None]] = deque()
        """Of those who wait, the first in front."""
        self.taken_count = 0

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"UploadLimiter({self.taken_count} of {self._limit_count}, {self.waiting_count} wait)"

    @property
    def waiting_count(self) -> int:
        """How many wait for their turn."""
        return len(self._turns)

    def enter(self) -> bool:
        """Be one of them from now on, where there is room at once."""
        if self.taken_count >= self._limit_count:
            return False
        self.taken_count += 1
        return True

    def leave(self) -> None:
        """Make room for the next one."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)  # it has the place: nobody comes between
                return
        self.taken_count -= 1

    async def __aenter__(self) -> None:
        """Be one of them while the context is open. Raises ServerBusy."""
        if not self.enter():
            await self._wait()

    async def __aexit__(self, *_: object) -> None:
        """Make room for the next one."""
        self.leave()

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # its turn came at the same moment
                self.leave()
            with suppress(ValueError):  # or `leave` has passed it over
                self._turns.remove(turn)
            if isinstance(error, TimeoutError):
                UPLOADS_REFUSED.inc()
                raise ServerBusy(BUSY) from None
            raise


class LongBodies:
    """What long bodies that are read as a whole may take together.

    One client may open thousands of connections, send a megabyte on each, and stop. And what takes a tenth of a second to read takes
    minutes a thousand times in one turn of the loop: so there is one in each turn, and others are answered in between.

    What is kept of an upload waits for room, and where there is none, one upload at a time goes beyond it: many that grow at once would
    otherwise each find the room used up by the others, and none would come to its end.
    """

    def __init__(self, room_bytes: int = TOGETHER_BYTES, wait_s: float = WAIT_S) -> None:
        self._room_bytes = room_bytes
        self._wait_s = wait_s
        self._one_at_a_time = asyncio.Lock()
        self._one_is_beyond = False
        self._freed = asyncio.Event()

    def __repr__(self) -> str:
        """Show what is left."""
        return f"LongBodies(left={self._room_bytes}{', one is beyond' if self._one_is_beyond else ''})"

    def _has_room(self, before_bytes: int, now_bytes: int) -> bool:
        """Whether a body may grow that is kept."""
        return beyond_short(now_bytes) - beyond_short(before_bytes) <= max(0, self._room_bytes)

    def grown(self, before_bytes: int, now_bytes: int, *, is_beyond: bool = False) -> None:
        """Hear that a body which is kept has grown. Raises ServerBusy, unless it is the one that may go beyond the room."""
        if not (is_beyond or self._has_room(before_bytes, now_bytes)):
            raise ServerBusy(CROWDED)
        self._take(beyond_short(now_bytes) - beyond_short(before_bytes))

    async def wait_for_room(self, before_bytes: int, now_bytes: int) -> bool:
        """Wait until a body may grow; whether it is now the one that may go beyond the room, until it is gone. Raises ServerBusy."""
        if self._has_room(before_bytes, now_bytes):
            return False
        try:
            async with asyncio.timeout(self._wait_s):
                while self._one_is_beyond and not self._has_room(before_bytes, now_bytes):
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise ServerBusy(CROWDED) from None
        is_beyond = not self._has_room(before_bytes, now_bytes)
        self._one_is_beyond = self._one_is_beyond or is_beyond
        return is_beyond

    def gone(self, kept_bytes: int, *, is_beyond: bool = False) -> None:
        """Hear that a body is no longer kept."""
        self._one_is_beyond = self._one_is_beyond and not is_beyond
        self._take(-beyond_short(kept_bytes))
        if is_beyond:
            self._freed.set()

    def _take(self, more_bytes: int) -> None:
        """Take some of the room, or give some back; who waits is woken by that alone, for nearly all requests end without having had any."""
        self._room_bytes -= more_bytes
        if more_bytes < 0:
            self._freed.set()

    async def turn(self, body_bytes: int) -> None:
        """Wait until it is the turn of a body to be read, or to be written; a short one does not wait."""
        if beyond_short(body_bytes):
            async with self._one_at_a_time:
                await asyncio.sleep(0)


def beyond_short(count_bytes: int) -> int:
    """Say how much of a body counts."""
    return max(0, count_bytes - SHORT_BYTES)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a client's body must keep to."""

    min_bytes_per_s: float = 0.0
    """More slowly counts as stalled: whoever sends a byte now and then must not hold a place for ever."""
    body_bytes: int = 0
    """Longest body; 0: no limit."""
    together: LongBodies = field(default_factory=LongBodies)
    """Of all requests."""
