"""What is put together in memory before it can be used, consoles above all, has one room in each process: a hundred of the longest would else take gigabytes.

What is short (USUAL_BYTES) is everybody's right. What grows beyond that waits for room, and is not read on meanwhile, so that whoever sends it is held back. One at a time
may go beyond the room: several that grow at once would else each find it used up by the others, and none would come to its end.
"""

import asyncio
from typing import Final, Self

from clusterodm.libs.common.errors import NodeFailed

USUAL_BYTES: Final = 64 << 10
ROOM_BYTES: Final = 64 << 20
"""One more than the longest console that is taken (nodeodm/client.py) may be kept beside it."""
WAIT_S: Final = 3.0
LINE_BYTES: Final = 64
"""What a line takes beside its letters."""


class NoRoom(NodeFailed):
    """What is being read is long, and so is what others read: it may be asked for again."""


class MemoryRoom:
    """What they may keep together."""

    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        self._left_bytes = room_bytes
        self._beyond: MemoryShare | None = None
        """The one that may go beyond it."""
        self._waiting: set[asyncio.Future[None]] = set()

    def __repr__(self) -> str:
        """Show what is left."""
        return f"MemoryRoom(left={self._left_bytes} waiting={len(self._waiting)})"

    def share(self) -> "MemoryShare":
        """Begin to keep something."""
        return MemoryShare(self)

    async def take(self, share: "MemoryShare", more_bytes: int, wait_s: float) -> None:
        """Let one keep more, when there is room. Raises NoRoom when there is none for so long."""
        if more_bytes > self._left_bytes and self._beyond is not share:
            await self._wait(more_bytes, wait_s)
            if more_bytes > self._left_bytes:
                self._beyond = share
        self._left_bytes -= more_bytes

    def give_back(self, share: "MemoryShare", kept_bytes: int) -> None:
        """Hear that one keeps nothing any more."""
        self._left_bytes += kept_bytes
        if self._beyond is share:
            self._beyond = None
        for turn in self._waiting:
            if not turn.done():
                turn.set_result(None)

    async def _wait(self, more_bytes: int, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                while more_bytes > self._left_bytes and self._beyond is not None:
                    await self._freed()
        except TimeoutError:
            raise NoRoom("there is no room in memory for what is being read") from None

    async def _freed(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(turn)
        try:
            await turn
        finally:
            self._waiting.discard(turn)


class MemoryShare:
    """What one of them keeps; a context, at whose end that is nothing."""

    __slots__ = ("_counted_bytes", "_kept_bytes", "_room")

    def __init__(self, room: MemoryRoom) -> None:
        self._room = room
        self._kept_bytes = self._counted_bytes = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()

    async def add(self, more_bytes: int, wait_s: float = WAIT_S) -> None:
        """Keep so much more; returns when there is room for it. Raises NoRoom."""
        kept_bytes = self._kept_bytes + more_bytes
        counted_bytes = max(0, kept_bytes - USUAL_BYTES)
        if counted_bytes > self._counted_bytes:
            await self._room.take(self, counted_bytes - self._counted_bytes, wait_s)
        self._kept_bytes, self._counted_bytes = kept_bytes, counted_bytes

    def end(self) -> None:
        """Keep nothing any more; again: nothing happens."""
        if self._counted_bytes:
            self._room.give_back(self, self._counted_bytes)
        self._kept_bytes = self._counted_bytes = 0


ROOM: Final = MemoryRoom()
"""That of this process."""


def size_of(lines: "tuple[str, ...] | list[str]") -> int:
    """Say what lines of a console take."""
    return sum(map(len, lines)) + LINE_BYTES * len(lines)
