"""The moments at which loops go round: shared by all of them, in all processes of a computer, so that a process wakes once for many.

They are counted by the monotonic clock (that of an event loop), which all processes see alike.
"""

import asyncio
from typing import Final

TOGETHER_S: Final = 0.5
SHORT_S: Final = 0.375
"""Loops whose pause is at least so long go round at moments that all of them share, in all processes of a computer: one that wakes costs more than
most rounds. A shorter pause is left as it is."""


async def wait_for_event(event: asyncio.Event, timeout_s: float) -> bool:
    """Wait until an event is set; False: it was not within that time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False


async def wait_for_turn(event: asyncio.Event, pause_s: float) -> bool:
    """Wait until an event is set, or for about so long, until a moment that loops share; False: it was not set."""
    return await wait_for_event(event, shared_s(pause_s, asyncio.get_running_loop().time()))


async def wait_until_woken(event: asyncio.Event, pause_s: float) -> None:
    """Wait until an event is set, and unset it; or for about so long, until a moment that loops share."""
    if await wait_for_turn(event, pause_s):
        event.clear()


async def sleep_together(pause_s: float) -> None:
    """Sleep about so long, until a moment that loops share."""
    await asyncio.sleep(shared_s(pause_s, asyncio.get_running_loop().time()))


def shared_s(pause_s: float, now_s: float) -> float:
    """Stretch or shorten a pause, by half of TOGETHER_S at most, so that it ends at a moment that other loops share."""
    until_s = round((now_s + pause_s) / TOGETHER_S) * TOGETHER_S
    return pause_s if pause_s < SHORT_S else until_s - now_s


def shared_before_s(at_s: float) -> float:
    """Find the last moment that loops share until a time of the loop's clock."""
    return at_s // TOGETHER_S * TOGETHER_S
