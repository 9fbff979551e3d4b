"""Python imports this at its start in processes whose PYTHONPATH is this folder: signals make them do what nobody does to them from outside.

With CHAOS_INSIDE: on SIGUSR1 they tell what they hold. asyncio tasks and memory blocks are counted after a collection, and free memory
is given back first, so that what the kernel calls resident is in use. The figures go into the file CHAOS_INSIDE, in one step.
With CHAOS_LOOPS: on SIGUSR2 one of their loops is cancelled, which one the draw in the file CHAOS_LOOPS says; on SIGUSR1 the next that goes round raises an exception.
"""

import asyncio
import ctypes
import gc
import os
import random
import signal
import sys
from pathlib import Path


def tell(_number: int, _frame: object) -> None:
    """Count, and write it down."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    target = Path(os.environ["CHAOS_INSIDE"])
    fresh = target.with_suffix(".fresh")
    fresh.write_text(f"{len(asyncio.all_tasks())} {sys.getallocatedblocks()}")
    fresh.replace(target)


def cancel_a_loop(_number: int, _frame: object) -> None:
    """Cancel one of the named loops, as a library does by mistake; names of loops have spaces."""
    try:
        running = asyncio.all_tasks()
    except RuntimeError:  # it is being started, and has none yet
        return
    loops = [each for each in running if " " in each.get_name() and not each.done()]
    loops.sort(key=asyncio.Task.get_name)
    if loops:
        random.Random(Path(os.environ["CHAOS_LOOPS"]).read_text()).choice(loops).cancel()


def break_a_loop(_number: int, _frame: object) -> None:
    """Let the next loop that has gone round raise what nobody expects there."""
    loops = sys.modules.get("clusterodm.libs.common.process.loops")
    if not hasattr(loops, "Loop"):  # it is being started
        return
    succeeded = loops.Loop.succeeded

    def breaks(_loop: object) -> None:
        loops.Loop.succeeded = succeeded
        raise ArithmeticError("made to fail")

    if succeeded.__name__ != breaks.__name__:
        loops.Loop.succeeded = breaks


if "CHAOS_LOOPS" in os.environ:
    signal.signal(signal.SIGUSR2, cancel_a_loop)
    signal.signal(signal.SIGUSR1, break_a_loop)
if "CHAOS_INSIDE" in os.environ:
    signal.signal(signal.SIGUSR1, tell)
