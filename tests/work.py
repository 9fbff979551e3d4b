"""How much is done, counted: the same on every machine, however busy it is and whoever else runs in this process."""

import contextlib
import gc
import sys
from collections.abc import Callable
from itertools import count
from types import FrameType

from clusterodm.libs.common.errors import Refused


def calls_of(act: Callable[[], object]) -> int:
    """Let something be done or refused in this thread; how many functions were called meanwhile, those written in C too."""
    calls = count()

    def called(frame: FrameType, event: str, argument: object) -> None:
        del frame, argument
        if event in {"call", "c_call"}:
            next(calls)

    collecting, before = gc.isenabled(), sys.getprofile()
    gc.disable()  # what is called for the garbage of others is none of it
    sys.setprofile(called)
    try:
        with contextlib.suppress(Refused):
            act()
    finally:
        sys.setprofile(before)
        if collecting:
            gc.enable()
    return next(calls)
