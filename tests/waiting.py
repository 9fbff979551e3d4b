"""Waiting in tests: for a fact, with a deadline; never for luck.

That something does *not* happen no pause can show. `passed` turns the clock of the event loop instead: whatever a timer would
have begun has begun when it returns. Where processes take part, wait for a later event that could not have come before.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")
PATIENT_S = 30.0
"""Until a fact that comes in milliseconds is missed: a busy computer may take a hundred times as long, and nobody waits when it comes."""


async def until(
    fact: Callable[[], Value | Awaitable[Value]], timeout_s: float = PATIENT_S, step_s: float = 0.02, what: str = ""
) -> Value:
    """Call `fact` until what it returns (or awaits) is true, and return that. AssertionError after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = fact()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {timeout_s} s: {what or inspect.getsource(fact).strip()}")
        await asyncio.sleep(step_s)


def until_sync(fact: Callable[[], Value], timeout_s: float = PATIENT_S, step_s: float = 0.02, what: str = "") -> Value:
    """`until` for tests without an event loop."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := fact()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {timeout_s} s: {what or inspect.getsource(fact).strip()}")
        time.sleep(step_s)
    return value


class TurnedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock `passed` turns forward. Until then it is like any other."""

    turned_s = 0.0

    def time(self) -> float:
        """Say where its clock is."""
        return super().time() + self.turned_s


async def passed(for_s: float = 1.0, step_s: float = 0.01, turns_count: int = 20) -> None:
    """Let so much time of the event loop pass at once: every timer that is due acts, and what it begins goes on.

    Only for what lives in the loop alone: threads, sockets and files take the time they take.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TurnedLoop)
    for _ in range(round(for_s / step_s)):
        loop.turned_s += step_s
        for _ in range(turns_count):
            await asyncio.sleep(0)
