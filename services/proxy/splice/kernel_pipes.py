"""What bytes go through inside the kernel (splice(2)): a pipe, the socket they come from, whose turn it is, what is too slow; and the threads."""

import asyncio
import fcntl
import os
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Final, Protocol, Self

from clusterodm.libs.common.process.sockets import duplicated

SILENCE_S: Final = 1.0
PACE_S: Final = 3.0
PACE_BYTES: Final = 1 << 20
"""Less than this in PACE_S is slow."""
PIPE_BYTES: Final = 1 << 20

AVAILABLE: Final = hasattr(os, "splice")
NICENESS: Final = 5


class SpliceSlots:
    """So many threads move at the same moment; the others sleep. A context manager for one turn.

    A thread that is ready to run keeps the event loop from running, and on few processors dozens of them keep it for a long time:
    /info took 90 ms (p99) beside 32 transfers, with slots 10 ms, at the same throughput.
    """

    def __init__(self, count: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(count):
            self._free.put(None)

    def __enter__(self) -> None:
        """Wait for one."""
        self._free.get()

    def __exit__(self, *_: object) -> None:
        """Give it to the next."""
        self._free.put(None)


class Pipe:
    """What both moves go through. A context manager."""

    def __init__(self, slots: SpliceSlots) -> None:
        self._slots = slots
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(OSError):  # there is a limit for all pipes of a user together; a small one works too
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.held_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read_end)
        os.close(self._write_end)

    def draw(self, source: int, most_bytes: int) -> int:
        """Take what a socket has; 0: it has ended. Raises BlockingIOError when there is nothing yet."""
        with self._slots:
            drawn = os.splice(source, self._write_end, most_bytes, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        self.held_bytes += drawn
        return drawn

    def give(self, target: int, offset: int | None = None) -> int:
        """Pass on what a socket will take, or a file at an offset. Raises BlockingIOError."""
        with self._slots:
            given = os.splice(
                self._read_end,
                target,
                self.held_bytes,
                offset_dst=offset,
                flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK,
            )
        self.held_bytes -= given
        return given

    def rest(self) -> bytes:
        """Hand out what has been drawn and not given."""
        parts = []
        while self.held_bytes:
            parts.append(os.read(self._read_end, self.held_bytes))
            self.held_bytes -= len(parts[-1])
        return b"".join(parts)


class Source:
    """A duplicate of the socket that a move reads from."""

    def __init__(self, descriptor: int) -> None:
        self._socket = duplicated(descriptor)

    def draw(self, pipe: Pipe, left_bytes: int) -> int:
        """Take what there is; 0: it has ended. Raises BlockingIOError, OSError."""
        return pipe.draw(self._socket.fileno(), min(left_bytes, PIPE_BYTES))

    def ready(self) -> bool:
        """Wait for more, or the end; False: not within the time."""
        return ready(self._socket.fileno(), select.POLLIN)

    def stop(self) -> None:
        """Shut it, so that who waits for it is woken."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()


def ready(descriptor: int, wanted: int) -> bool:
    """Wait until a socket can be read or written; False: not within the time."""
    poll = select.poll()
    poll.register(descriptor, wanted)
    return bool(poll.poll(SILENCE_S * 1000))


class RateMeter:
    """Says when a move is so slow that it is not worth a thread."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()
        self._from_bytes = 0

    def is_slow(self, moved_bytes: int) -> bool:
        """Look back when PACE_S have gone by."""
        now_s = time.monotonic()
        if now_s - self._since_s < PACE_S:
            return False
        slow = moved_bytes - self._from_bytes < PACE_BYTES
        self._since_s, self._from_bytes = now_s, moved_bytes
        return slow


class Splice(Protocol):
    """What a thread does."""

    def run(self, slots: SpliceSlots) -> None:
        """Move until everything is moved, or one side makes it wait."""

    def stop(self) -> None:
        """End it at once, from any thread."""

    def close(self) -> None:
        """Give the descriptors back."""


def step_back() -> None:
    """Let the event loop go first: a thread that moves gigabytes has time, a poll has not."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class SpliceThreads:
    """The threads. Nothing ever waits for one: who finds none free copies."""

    def __init__(self, threads_count: int) -> None:
        self._threads = ThreadPoolExecutor(threads_count, thread_name_prefix="move", initializer=step_back)
        self._slots = SpliceSlots(max(1, (os.cpu_count() or 1) // 2))
        """There are two kinds, one for each direction: together they may take all processors, but not more."""
        self._free_count = threads_count if AVAILABLE else 0

    @property
    def free(self) -> bool:
        """Whether a move can begin at once."""
        return self._free_count > 0

    async def run(self, move: Splice) -> None:
        """Move in a thread; cancelled, the move is ended first. Only when there is a free one.

        The descriptors are given back when the thread has ended, and not before, however often this is cancelled: another file may
        get their numbers, and the thread would write into that.
        """
        self._free_count -= 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, move.run, self._slots)
        running.add_done_callback(lambda ended: self._over(move, ended))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            move.stop()
            await asyncio.wait([running])
            raise

    def _over(self, move: Splice, ended: "asyncio.Future[None]") -> None:
        move.close()
        self._free_count += 1
        if not ended.cancelled():
            ended.exception()  # whoever waited has it; nobody may have

    def close(self) -> None:
        """End the threads; nothing is moving any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
