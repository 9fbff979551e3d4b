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


class MallocFigures(ctypes.Structure):
    """What mallinfo2(3) returns, of all arenas."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    )


def used_bytes(library: Any) -> int:
    """Say how much of what malloc holds is in use; 0 where it does not say (glibc before 2.33)."""
    if not hasattr(library, "mallinfo2"):
        return 0
    library.mallinfo2.restype = MallocFigures
    figures = library.mallinfo2()
    return int(figures.uordblks + figures.hblkhd)


class Trimmer:
    """Gives memory back after bursts.

    What has been freed is seen by what is resident and not in use: a burst may go on for minutes and be freed when it has long been
    the usual size of the process, and what is in use cannot be given back.
    """

    def __init__(self) -> None:
        self._library = glibc()
        self._smallest_bytes = 0
        """What was resident when that was the least, since the first trim, which gives back what starting up has freed."""
        self._unused_bytes = 0
        """What was not in use after the last trim, or less since."""

    async def trim(self) -> None:
        """Trim when much is resident that is not in use. In a thread: it may take milliseconds, and so does asking malloc."""
        now_bytes = resident_bytes()
        if self._library is None or now_bytes <= self._smallest_bytes + MUCH_BYTES:
            self._smallest_bytes = min(self._smallest_bytes, now_bytes)
            self._unused_bytes = min(self._unused_bytes, now_bytes)
        else:
            await asyncio.to_thread(self._trim, self._library)

    def _trim(self, library: Any) -> None:
        unused_bytes = resident_bytes() - used_bytes(library)
        if unused_bytes > self._unused_bytes + MUCH_BYTES:
            library.malloc_trim(0)
            now_bytes = resident_bytes()
            self._smallest_bytes = min(self._smallest_bytes or now_bytes, now_bytes)
            self._unused_bytes = now_bytes - used_bytes(library)
        else:
            self._unused_bytes = min(self._unused_bytes, unused_bytes)
