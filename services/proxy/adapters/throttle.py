"""How fast files may leave (`--upload-max-speed`): one limit for all transfers of this proxy together, whatever thread."""

import threading
import time
from collections.abc import Callable
from typing import Final

CHUNKS_PER_S: Final = 10
SMALLEST_CHUNK_BYTES: Final = 4096
UNLIMITED_CHUNK_BYTES: Final = 1 << 30


class Throttle:
    """Gives out the right to send so many bytes, in the order of asking."""

    def __init__(self, bytes_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._free_at_s = 0.0
        self._lock = threading.Lock()

    @property
    def chunk_bytes(self) -> int:
        """How much to send in one go."""
        if not self._bytes_per_s:
            return UNLIMITED_CHUNK_BYTES
        return max(self._bytes_per_s // CHUNKS_PER_S, SMALLEST_CHUNK_BYTES)

    def reserve(self, count_bytes: int) -> float:
        """Reserve the next free stretch for so many bytes; return how many seconds to wait before it begins."""
        if not self._bytes_per_s:
            return 0.0
        with self._lock:
            now_s = self._clock()
            begins_s = max(now_s, self._free_at_s)
            self._free_at_s = begins_s + count_bytes / self._bytes_per_s
        return begins_s - now_s
