"""Where connections read to: one space that all share, the whole of it while they are few. Pure.

What is read at once is held until it is passed on, once for each connection: with few of them large pieces cost the least, with
hundreds small ones keep the memory bounded, and in a crowd of thousands very small ones.
"""

import sys
from typing import Final

LARGE_BYTES: Final = 128 * 1024
SMALL_BYTES: Final = 32 * 1024
TINY_BYTES: Final = 4 * 1024
FEW_COUNT: Final = 32
MANY_COUNT: Final = 512


class Space:
    """A buffer; whoever has read takes it out before the next one reads."""

    def __init__(self, many_count: int = sys.maxsize) -> None:
        self._whole = memoryview(bytearray(LARGE_BYTES))
        self._part, self._bit = self._whole[:SMALL_BYTES], self._whole[:TINY_BYTES]
        self._many_count = many_count
        """More are a crowd; without a number there is none."""
        self.readers_count = 0

    def __repr__(self) -> str:
        """Show how many share it."""
        return f"Space(readers={self.readers_count})"

    def view(self) -> memoryview:
        """Say where to read to."""
        if self.readers_count <= FEW_COUNT:
            return self._whole
        return self._part if self.readers_count <= self._many_count else self._bit

    def taken(self, count_bytes: int) -> bytes:
        """Take out what has been read."""
        return bytes(self._whole[:count_bytes])
