"""Bytes that go from one place to another inside the kernel (splice(2)): a node's answer to a client, a client's file to disk.

A thread moves them, by way of a pipe, and nothing of them passes through Python. Why threads: a call to `splice` may wait for
the disk, and while it works it needs no interpreter. Why few, and never for long: a client that stops reading must not keep
one. So a move *yields* as soon as either side is silent for SILENCE_S or both together are slow (`RateMeter`), and does not even
begin without a free thread; what is left is then copied on the event loop, which has room for any number of slow ones and knows the time limits.

    SocketToSocket   socket → pipe → socket   a download; what is in the pipe when it yields is handed out, so nothing is lost
    SocketToFile     socket → pipe → file     an upload; what is written is read again, while it is in the processor's cache, in
                                             search of the multipart delimiter; from there on it is taken out of the file again

Both sides must be plain sockets (no TLS) and the length must be known (no chunked coding). Both work on duplicates of the
descriptors, so that a connection that the loop closes meanwhile cannot become somebody else's. `stop()` ends a move at once.
"""

import errno
import os
import select
from typing import Final

from clusterodm.services.proxy.exchange.multipart import held_back
from clusterodm.services.proxy.splice.kernel_pipes import Pipe, RateMeter, Source, SpliceSlots, ready

SCAN_BYTES: Final = 64 * 1024
GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN, errno.ENOTCONN, errno.ETIMEDOUT})


class SocketMove:
    """What both kinds of moves do: so many bytes come out of a socket into a pipe."""

    def __init__(self, source: int, target: int, count_bytes: int) -> None:
        self._source = Source(source)
        self._target = os.dup(target)
        self._count_bytes = count_bytes
        self._rate = RateMeter()
        self._stopped = False
        self.drawn_bytes = 0
        """What has been taken from the socket."""

    def close(self) -> None:
        """Give the descriptors back."""
        self._source.close()
        os.close(self._target)

    def _draw(self, pipe: Pipe) -> bool:
        """Take some more; False: there is no more, or its sender is silent, slow or gone. Raises OSError (`_is_fault`)."""
        left_bytes = self._count_bytes - self.drawn_bytes
        while left_bytes:
            try:
                drawn = self._source.draw(pipe, left_bytes)
            except BlockingIOError:
                if self._rate.is_slow(self.drawn_bytes) or not self._source.ready():
                    return False
            except OSError as error:
                if self._is_fault(error):
                    raise
                return False
            else:
                self.drawn_bytes += drawn
                return drawn > 0
        return False

    def _is_fault(self, error: OSError) -> bool:
        """Whether an error of drawing is to be raised; it is the end of the bytes otherwise."""
        _ = error
        return False


class SocketToSocket(SocketMove):
    """From socket to socket; afterwards `drawn_bytes`, `rest`, and whether the client took everything."""

    def __init__(self, source: int, target: int, count_bytes: int) -> None:
        super().__init__(source, target, count_bytes)
        self.rest = b""
        """What of it the client has not got."""

    @property
    def given_bytes(self) -> int:
        """What the client has got."""
        return self.drawn_bytes - len(self.rest)

    def run(self, slots: SpliceSlots) -> None:
        """Move until the count is reached, a side breaks off, or one is silent."""
        with Pipe(slots) as pipe:
            while not self._stopped and self._draw(pipe) and self._give(pipe):
                pass
            self.rest = pipe.rest()

    def stop(self) -> None:
        """Shut the way to the node: the thread notices at once."""
        self._stopped = True
        self._source.stop()

    def _give(self, pipe: Pipe) -> bool:
        while pipe.held_bytes and not self._stopped:
            try:
                pipe.give(self._target)
            except BlockingIOError:
                if self._rate.is_slow(self.drawn_bytes) or not ready(self._target, select.POLLOUT):
                    return False
            except OSError:
                return False
        return not pipe.held_bytes


class SocketToFile(SocketMove):
    """From socket to file; afterwards `drawn_bytes`, `end`, and `rest`, which begins where a delimiter may begin."""

    def __init__(self, source: int, target: int, offset: int, count_bytes: int, delimiter: bytes) -> None:
        super().__init__(source, target, count_bytes)
        self._delimiter = delimiter
        self._begin = offset
        self._scanned = offset
        """Before here no delimiter begins."""
        self._window = bytearray()
        self.end = offset
        """Where the file ends for now."""
        self.rest = b""
        """What behind that has been taken: for the parser."""
        self.gave_up = False
        """The client was silent, or slow."""

    def run(self, slots: SpliceSlots) -> None:
        """Move until a delimiter has come, everything has, or nothing comes. Raises OSError when the disk fails."""
        self._window = bytearray(SCAN_BYTES)
        with Pipe(slots) as pipe:
            found = -1
            while found < 0 and not self._stopped and self._draw(pipe):
                while pipe.held_bytes:
                    self.end += pipe.give(self._target, self.end)
                found = self._scan()
        self.gave_up = found < 0 and self.drawn_bytes < self._count_bytes
        self._take_back(found)

    def stop(self) -> None:
        """End soon: no move of its kind waits longer than SILENCE_S."""
        self._stopped = True

    def _is_fault(self, error: OSError) -> bool:
        return error.errno not in GONE

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
