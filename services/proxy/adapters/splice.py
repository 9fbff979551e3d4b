"""Bytes that go from one place to another inside the kernel (splice(2)): a node's answer to a client, a client's file to disk.

A thread moves them, by way of a pipe, and nothing of them passes through Python. Why threads: a call to `splice` may wait for
the disk, and while it works it needs no interpreter. Why few, and never for long: a client that stops reading must not keep
one. So a move *yields* as soon as either side is silent for PATIENCE_S or both together are slow (`Pace`), and does not even
begin without a free thread; what is left is then copied on the event loop, which has room for any number of slow ones and knows the time limits.

    Pour   socket → pipe → socket     a download; what is in the pipe when it yields is handed out, so nothing is lost
    Fill   socket → pipe → file       an upload; what is written is read again, while it is in the processor's cache, in
                                      search of the multipart delimiter; from there on it is taken out of the file again

Both sides must be plain sockets (no TLS) and the length must be known (no chunked coding). Both work on duplicates of the
descriptors, so that a connection that the loop closes meanwhile cannot become somebody else's. `stop()` ends a move at once.
"""

import asyncio
import errno
import fcntl
import os
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self

from services.proxy.core.multipart import held_back

PATIENCE_S: Final = 1.0
PACE_S: Final = 3.0
PACE_BYTES: Final = 1 << 20
"""Less than this in PACE_S is slow."""
PIPE_BYTES: Final = 1 << 20
SCAN_BYTES: Final = 256 * 1024
AVAILABLE: Final = hasattr(os, "splice")
GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, errno.ENOTCONN, errno.ETIMEDOUT})


class Pipe:
    """What both moves go through. A context manager."""

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(OSError):  # there is a limit for all pipes of a user together; a small one works too
            fcntl.fcntl(self._write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self.held_bytes = 0

    def __enter__(self) -> Self:
        """Nothing to open: it was made open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both ends."""
        os.close(self._read_end)
        os.close(self._write_end)

    def draw(self, source: int, most_bytes: int) -> int:
        """Take what a socket has; 0: it has ended. Raises BlockingIOError when there is nothing yet."""
        drawn = os.splice(source, self._write_end, most_bytes, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        self.held_bytes += drawn
        return drawn

    def give(self, target: int, offset: int | None = None) -> int:
        """Pass on what a socket will take, or a file at an offset. Raises BlockingIOError."""
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


def ready(descriptor: int, wanted: int) -> bool:
    """Wait until a socket can be read or written; False: not within the time."""
    poll = select.poll()
    poll.register(descriptor, wanted)
    return bool(poll.poll(PATIENCE_S * 1000))


class Pace:
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


class Move(Protocol):
    """What a thread does."""

    def run(self) -> None:
        """Move until everything is moved, or one side makes it wait."""
        ...

    def stop(self) -> None:
        """End it at once, from any thread."""
        ...

    def close(self) -> None:
        """Give the descriptors back."""
        ...


class Pour:
    """From socket to socket; afterwards `drawn_bytes`, `rest`, and whether the client took everything."""

    def __init__(self, source: int, target: int, count_bytes: int) -> None:
        self._source = socket.socket(fileno=os.dup(source))
        self._target = os.dup(target)
        self._count_bytes = count_bytes
        self._pace = Pace()
        self._stopped = False
        self.drawn_bytes = 0
        """What has been taken from the node."""
        self.rest = b""
        """What of it the client has not got."""

    def __repr__(self) -> str:
        """Show how far it is."""
        return f"Pour({self.drawn_bytes} of {self._count_bytes})"

    @property
    def given_bytes(self) -> int:
        """What the client has got."""
        return self.drawn_bytes - len(self.rest)

    def run(self) -> None:
        """Move until the count is reached, a side breaks off, or one is silent."""
        with Pipe() as pipe:
            while not self._stopped and self._draw(pipe) and self._give(pipe):
                pass
            self.rest = pipe.rest()

    def stop(self) -> None:
        """Shut the way to the node: the thread notices at once."""
        self._stopped = True
        with suppress(OSError):
            self._source.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the descriptors back."""
        self._source.close()
        os.close(self._target)

    def _draw(self, pipe: Pipe) -> bool:
        left_bytes = self._count_bytes - self.drawn_bytes
        source = self._source.fileno()
        while left_bytes:
            try:
                drawn = pipe.draw(source, min(left_bytes, PIPE_BYTES))
            except BlockingIOError:
                if self._pace.is_slow(self.drawn_bytes) or not ready(source, select.POLLIN):
                    return False
            except OSError:
                return False
            else:
                self.drawn_bytes += drawn
                return drawn > 0
        return False

    def _give(self, pipe: Pipe) -> bool:
        while pipe.held_bytes and not self._stopped:
            try:
                pipe.give(self._target)
            except BlockingIOError:
                if self._pace.is_slow(self.drawn_bytes) or not ready(self._target, select.POLLOUT):
                    return False
            except OSError:
                return False
        return not pipe.held_bytes


class Fill:
    """From socket to file; afterwards `drawn_bytes`, `end`, and `rest`, which begins where a delimiter may begin."""

    def __init__(self, source: int, target: int, offset: int, count_bytes: int, delimiter: bytes) -> None:
        self._source = os.dup(source)
        self._target = target
        self._count_bytes = count_bytes
        self._delimiter = delimiter
        self._pace = Pace()
        self._stopped = False
        self._begin = offset
        self._scanned = offset
        """Before here no delimiter begins."""
        self._window = bytearray()
        self.drawn_bytes = 0
        """What has been taken from the client."""
        self.end = offset
        """Where the file ends for now."""
        self.rest = b""
        """What behind that has been taken: for the parser."""
        self.gave_up = False
        """The client was silent, or slow."""

    def __repr__(self) -> str:
        """Show how far it is."""
        return f"Fill({self.drawn_bytes} of {self._count_bytes})"

    def run(self) -> None:
        """Move until a delimiter has come, everything has, or nothing comes. Raises OSError when the disk fails."""
        self._window = bytearray(SCAN_BYTES)
        with Pipe() as pipe:
            found = -1
            while found < 0 and not self._stopped and self._draw(pipe):
                while pipe.held_bytes:
                    self.end += pipe.give(self._target, self.end)
                found = self._scan()
        self.gave_up = found < 0 and self.drawn_bytes < self._count_bytes
        self._take_back(found)

    def stop(self) -> None:
        """End soon: no move of its kind waits longer than PATIENCE_S."""
        self._stopped = True

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._source)

    def _draw(self, pipe: Pipe) -> bool:
        left_bytes = self._count_bytes - self.drawn_bytes
        while left_bytes:
            try:
                drawn = pipe.draw(self._source, min(left_bytes, PIPE_BYTES))
            except BlockingIOError:
                if self._pace.is_slow(self.drawn_bytes) or not ready(self._source, select.POLLIN):
                    return False
            except OSError as error:
                if error.errno in GONE:
                    return False
                raise
            else:
                self.drawn_bytes += drawn
                return drawn > 0
        return False

    def _scan(self) -> int:
        """Say where the first delimiter begins in what is new; -1: there is none."""
        while self.end - self._scanned >= len(self._delimiter):
            size = os.preadv(self._target, [memoryview(self._window)[: self.end - self._scanned]], self._scanned)
            at = self._window.find(self._delimiter, 0, size)
            if at >= 0:
                return self._scanned + at
            self._scanned += size - len(self._delimiter) + 1
        return -1

    def _take_back(self, found: int) -> None:
        """Take a delimiter, and what may be the beginning of one, out of the file again."""
        if found < 0:
            tail = os.pread(self._target, len(self._delimiter), max(self._begin, self.end - len(self._delimiter)))
            found = self.end - held_back(tail, self._delimiter)
        self.rest = os.pread(self._target, self.end - found, found)
        os.ftruncate(self._target, found)
        self.end = found


class Movers:
    """The threads. Nothing ever waits for one: who finds none free copies."""

    def __init__(self, threads_count: int) -> None:
        self._threads = ThreadPoolExecutor(threads_count, thread_name_prefix="move")
        self._free_count = threads_count if AVAILABLE else 0

    def __repr__(self) -> str:
        """Show how many are free."""
        return f"Movers(free={self._free_count})"

    @property
    def free(self) -> bool:
        """Whether a move can begin at once."""
        return self._free_count > 0

    async def run(self, move: Move) -> None:
        """Move in a thread; cancelled, the move is ended first. Only when there is a free one."""
        self._free_count -= 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, move.run)
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            move.stop()
            await asyncio.wait([running])
            raise
        finally:
            move.close()
            self._free_count += 1

    def close(self) -> None:
        """End the threads; nothing is moving any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
