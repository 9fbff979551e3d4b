"""Timeouts with NATS: what fails while a server starts, or while several elect one of them, works a moment later.

    retry()        does again what does no harm when it is done again, until it works or time is up
    try_timeout()  gives one try a short time of its own: what was sent to a server that is gone is never answered, and the next
                   try may be answered at once
    Slices         long work in short pieces, so that nobody else has to wait for the end of it
    NATS_ERRORS    what is raised when an answer did not come

That somebody waits is one line in the log, not one for each try.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import nats.errors
import nats.js.errors
import structlog

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.process.lifecycle import monotonic_s

log = structlog.get_logger()

Result = TypeVar("Result")

FIRST_AGAIN_S: Final = 0.02
AGAIN_S: Final = 0.25
"""Soon at first: at a start what is waited for is there a moment later."""
TRY_S: Final = 2.0
LONGEST_TRY_S: Final = 8.0
NATS_ERRORS: Final = (nats.errors.Error, nats.js.errors.Error, OSError, asyncio.TimeoutError)
"""What is raised when an answer of NATS did not come, of whichever kind."""


async def retry(act: Callable[[], Awaitable[Result]], what: str, wait_s: float) -> Result:
    """Act until that raises no BusFailed. Raises the last one when `wait_s` is over. `what`: "buckets are opened"."""
    deadline_s = monotonic_s() + wait_s
    pause_s, waiting = FIRST_AGAIN_S, False
    while True:
        try:
            return await act()
        except BusFailed as error:
            if monotonic_s() >= deadline_s:
                raise
            if not waiting and pause_s == AGAIN_S:
                log.warning("nats.awaited", until=what, at_most_s=wait_s, reason=error.message)
                waiting = True
            await asyncio.sleep(pause_s)
            pause_s = min(1.5 * pause_s, AGAIN_S)


@asynccontextmanager
async def try_timeout(tries_count: int = 0) -> AsyncIterator[None]:
    """Give a try two seconds, after failures more: a slow server must not be asked too early for ever. Raises TimeoutError."""
    async with asyncio.timeout(min(TRY_S * 2**tries_count, LONGEST_TRY_S)):
        yield


SLICE_S: Final = 0.004


class Slices:
    """Long work in slices of a few milliseconds: `turn` between two steps lets others go first when one is over."""

    def __init__(self) -> None:
        self._until_s = monotonic_s() + SLICE_S

    def __repr__(self) -> str:
        """Show how long a slice is."""
        return f"Slices({SLICE_S:g} s)"

    async def turn(self) -> None:
        """Let others have their turn when the slice is over."""
        if monotonic_s() >= self._until_s:
            await asyncio.sleep(0)
            self._until_s = monotonic_s() + SLICE_S
