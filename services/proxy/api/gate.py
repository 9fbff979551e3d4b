"""How many uploads are taken at once: the next one waits a little for its turn, then it is told to come back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from libs.common.errors import ClusterError

BUSY: Final = "The server is busy with other uploads, please try again."


class Busy(ClusterError):
    """Nothing is wrong but the moment; to be answered as 503 with Retry-After."""


class Gate:
    """Lets so many through at once."""

    def __init__(self, limit_count: int, wait_s: float) -> None:
        self._room = asyncio.Semaphore(limit_count)
        self._wait_s = wait_s

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Be one of them while the context is open. Raises Busy."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._room.acquire()
        except TimeoutError:
            raise Busy(BUSY) from None
        try:
            yield
        finally:
            self._room.release()
