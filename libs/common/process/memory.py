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
from typing import Any, Final, NamedTuple

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


class HeapFigures(NamedTuple):
    """What of a process is in memory, and what malloc knows of it."""

    resident_bytes: int
    used_bytes: int
    free_bytes: int
    """What malloc keeps for later, also where it has given the pages back."""

    @property
    def beside_bytes(self) -> int:
        """What is resident and not in use as far as malloc knows: what it could give back, and what Python's own allocator has."""
        return self.resident_bytes - self.used_bytes


def figures(library: Any) -> HeapFigures:
    """Ask for them; where malloc does not say (glibc before 2.33), all might be free."""
    resident = resident_bytes()
    if not hasattr(library, "mallinfo2"):
        return HeapFigures(resident, 0, resident)
    library.mallinfo2.restype = MallocFigures
    said = library.mallinfo2()
    return HeapFigures(resident, int(said.uordblks + said.hblkhd), int(said.fordblks))


def is_worth_it(now: HeapFigures, free_bytes: int, beside_bytes: int) -> bool:
    """Whether a trim would give back much. Beside it: what was free, and what was resident beside what is used, after the last one, or less since.

    What malloc has freed since then is resident for certain; so is, where the sum of what is free stays, what has become resident beside what is used. Python's
    own allocator is in that, too: it may grow without anything to give back, and hides by shrinking what malloc has freed.
    """
    if now.free_bytes <= MUCH_BYTES:
        return False
    return now.free_bytes > free_bytes + MUCH_BYTES or now.beside_bytes > beside_bytes + MUCH_BYTES


class Trimmer:
    """Gives memory back after bursts, which may go on for minutes, and be freed when they have long been the usual size of the process."""

    def __init__(self) -> None:
        self._library = glibc()
        self._smallest_bytes = 0
        """What was resident when that was the least, since the first trim, which gives back what starting up has freed."""
        self._free_bytes = self._beside_bytes = 0
        """See `is_worth_it`."""

    async def trim(self) -> None:
        """Trim when much would be given back. In a thread: it may take milliseconds, and so does asking malloc."""
        now_bytes = resident_bytes()
        if self._library is None or now_bytes <= self._smallest_bytes + MUCH_BYTES:
            self._smallest_bytes = min(self._smallest_bytes, now_bytes)
            self._beside_bytes = min(self._beside_bytes, now_bytes)
        else:
            await asyncio.to_thread(self._trim, self._library)

    def _trim(self, library: Any) -> None:
        now = figures(library)
        if not is_worth_it(now, self._free_bytes, self._beside_bytes):
            self._free_bytes = min(self._free_bytes, now.free_bytes)
            self._beside_bytes = min(self._beside_bytes, now.beside_bytes)
            return
        library.malloc_trim(0)
        left = figures(library)
        self._smallest_bytes = min(self._smallest_bytes or left.resident_bytes, left.resident_bytes)
        self._free_bytes, self._beside_bytes = left.free_bytes, left.beside_bytes
