"""The threads in which bytes are moved inside the kernel."""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Protocol

from services.proxy.adapters.pipes import Turns

AVAILABLE: Final = hasattr(os, "splice")
NICENESS: Final = 5


class Move(Protocol):
    """What a thread does."""

    def run(self, turns: Turns) -> None:
        """Move until everything is moved, or one side makes it wait."""
        ...

    def stop(self) -> None:
        """End it at once, from any thread."""
        ...

    def close(self) -> None:
        """Give the descriptors back."""
        ...


def step_back() -> None:
    """Let the event loop go first: a thread that moves gigabytes has time, a poll has not."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Movers:
    """The threads. Nothing ever waits for one: who finds none free copies."""

    def __init__(self, threads_count: int) -> None:
        self._threads = ThreadPoolExecutor(threads_count, thread_name_prefix="move", initializer=step_back)
        self._turns = Turns(max(1, (os.cpu_count() or 1) // 2))
        """There are two kinds, one for each direction: together they may take all processors, but not more."""
        self._free_count = threads_count if AVAILABLE else 0

    def __repr__(self) -> str:
        """Show how many are free."""
        return f"Movers(free={self._free_count})"

    @property
    def free(self) -> bool:
        """Whether a move can begin at once."""
        return self._free_count > 0

    async def run(self, move: Move) -> None:
        """Move in a thread; cancelled, the move is ended first. Only when there is a free one.

        The descriptors are given back when the thread has ended, and not before, however often this is cancelled: another file may
        get their numbers, and the thread would write into that.
        """
        self._free_count -= 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, move.run, self._turns)
        running.add_done_callback(lambda ended: self._over(move, ended))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            move.stop()
            await asyncio.wait([running])
            raise

    def _over(self, move: Move, ended: "asyncio.Future[None]") -> None:
        move.close()
        self._free_count += 1
        if not ended.cancelled():
            ended.exception()  # whoever waited has it; nobody may have

    def close(self) -> None:
        """End the threads; nothing is moving any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
