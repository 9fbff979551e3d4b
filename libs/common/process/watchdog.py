"""Tells whoever keeps this process that it is ready and alive: systemd's notify protocol (sd_notify(3), systemd.service(5)).

systemd, and `clusterodm up` in the same way, give a process NOTIFY_SOCKET and WATCHDOG_USEC. It says READY=1 once, and WATCHDOG=1
again and again from its event loop as long as none of its loops hangs. Who says nothing for longer than the limit is aborted and
started again. Without NOTIFY_SOCKET nothing is said.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from clusterodm.libs.common.process.loops import running_loops
from clusterodm.libs.common.process.moments import sleep_together

READY: Final = "READY=1"
ALIVE: Final = "WATCHDOG=1"
PER_LIMIT_COUNT: Final = 4
"""So often within the limit: one that is late, or lost in a full queue, does no harm."""
MICROSECONDS: Final = 1_000_000


def notify(said: str, environment: Mapping[str, str] = os.environ) -> None:
    """Say something to whoever keeps this process. That nobody takes it is no trouble, and nothing to wait for."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    name = f"\0{address[1:]}" if address.startswith("@") else address
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(said.encode(), name)


def notify_ready() -> None:
    """Say that this process does now what it is for."""
    notify(READY)


def limit_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Say how long this process may be silent; None: nobody asks for signs of life, or asks another process."""
    limit_us, asked = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not limit_us.isdigit() or int(limit_us) <= 0 or (asked and asked != str(os.getpid())):
        return None
    return int(limit_us) / MICROSECONDS


async def notify_watchdog(alive: Callable[[], bool]) -> None:
    """Give signs of life for ever, as long as `alive()`; return at once when nobody asks for them."""
    seconds = limit_s()
    while seconds is not None:
        if alive():
            notify(ALIVE)
        await sleep_together(seconds / PER_LIMIT_COUNT)


async def with_watchdog(serve: Coroutine[Any, Any, None]) -> None:
    """Await `serve`, and give signs of life meanwhile."""
    loops = running_loops()
    telling = asyncio.get_running_loop().create_task(notify_watchdog(lambda: loops.alive), name="watchdog")
    try:
        await serve
    finally:
        telling.cancel()
