"""The threads in which bytes are moved, and what happens when nobody waits for them any more."""

import asyncio
import threading

from clusterodm.services.proxy.splice.kernel_pipes import SpliceSlots, SpliceThreads
from tests.waiting import until


class Slow:
    """Moves until it is let go, however often it is told to stop."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.moving = threading.Event()
        self.ended = False
        self.closed_early: bool | None = None

    def run(self, slots: SpliceSlots) -> None:
        del slots
        self.moving.set()
        self.go.wait(20)
        self.ended = True

    def stop(self) -> None:
        """Take no notice yet."""

    def close(self) -> None:
        self.closed_early = not self.ended


async def test_a_move_that_is_cancelled_twice_keeps_its_descriptors_until_it_has_ended() -> None:
    splice_threads, move = SpliceThreads(1), Slow()
    running = asyncio.ensure_future(splice_threads.run(move))  # noqa: TID251 it is to be cancelled
    await until(move.moving.is_set)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])
    assert (move.closed_early, splice_threads.free) == (None, False)

    move.go.set()
    await until(lambda: splice_threads.free)

    assert move.closed_early is False
    splice_threads.close()
