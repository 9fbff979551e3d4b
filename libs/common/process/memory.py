"""How a process keeps its memory: few collections of garbage, and what is freed goes back to the system.

    settle()    once, when everything is imported: what is there then stays, so it is looked at no more; garbage in cycles
                is looked for a hundredth as often (request paths leave none: a quarter of a relayed poll was spent searching)
    Trimmer     gives back what glibc's malloc holds after a burst, when that has become much

glibc only (mallopt(3), malloc_trim(3)); elsewhere only the collector is set. Two arenas: one per thread would cost megabytes for
each of dozens of threads. Fixed thresholds: left alone, malloc raises them with every large buffer that is freed, and then keeps
what would go back.
"""

import asyncio
import ctypes
import gc
import os
from pathlib import Path
from typing import Any, Final

YOUNG_COUNT: Final = 20_000
OLDER_COUNTS: Final = (20, 50)
M_TRIM_THRESHOLD: Final = -1
M_MMAP_THRESHOLD: Final = -3
M_ARENA_MAX: Final = -8
"""Numbers from malloc.h."""
OPTIONS: Final = {M_ARENA_MAX: 2, M_MMAP_THRESHOLD: 1 << 20, M_TRIM_THRESHOLD: 2 << 20}
MUCH_BYTES: Final = 4 << 20


def settle() -> None:
    """Set collector and malloc for a process that runs for long."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_COUNT, *OLDER_COUNTS)
    if (library := glibc()) is not None:
        for option, value in OPTIONS.items():
            library.mallopt(option, value)
        library.malloc_trim(0)


def glibc() -> Any:
    """Find the functions of glibc's malloc; None: this is another one."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def resident_bytes() -> int:
    """Say how much of this process is in memory; 0 where that cannot be seen."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


class Trimmer:
    """Gives memory back after bursts."""

    def __init__(self) -> None:
        self._library = glibc()
        self._least_bytes = 0
        """What it was after the last trim, or less since; the first trim gives back what starting up has freed."""

    def __repr__(self) -> str:
        """Show what it compares with."""
        return f"Trimmer(least={self._least_bytes >> 20} MiB)"

    async def trim(self) -> None:
        """Trim when the process has grown much. In a thread: it may take milliseconds."""
        now_bytes = resident_bytes()
        if self._library is not None and now_bytes > self._least_bytes + MUCH_BYTES:
            await asyncio.to_thread(self._library.malloc_trim, 0)
            self._least_bytes = resident_bytes()
        else:
            self._least_bytes = min(self._least_bytes, now_bytes)
