"""Where connections read to: one space that all share, the whole of it while they are few. Pure.

What is read at once is held until it is passed on, once for each connection: with few of them large pieces cost the least, with
hundreds small ones keep the memory bounded.
"""

from typing import Final

LARGE_BYTES: Final = 128 * 1024
SMALL_BYTES: Final = 32 * 1024
FEW_COUNT: Final = 32


class Space:
    """A buffer; whoever has read takes it out before the next one reads."""

    def __init__(self) -> None:
        self._whole = memoryview(bytearray(LARGE_BYTES))
        self._part = self._whole[:SMALL_BYTES]
        self.readers_count = 0

    def __repr__(self) -> str:
        """Show how many share it."""
        return f"Space(readers={self.readers_count})"

    def view(self) -> memoryview:
        """Say where to read to."""
        return self._whole if self.readers_count <= FEW_COUNT else self._part

    def taken(self, count_bytes: int) -> bytes:
        """Take out what has been read."""
        return bytes(self._whole[:count_bytes])
