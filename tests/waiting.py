"""Waiting in tests: for a fact, with a deadline; never for luck."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")


async def until(
    fact: Callable[[], Value | Awaitable[Value]], timeout_s: float = 10.0, step_s: float = 0.02, what: str = ""
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


def until_sync(fact: Callable[[], Value], timeout_s: float = 10.0, step_s: float = 0.02, what: str = "") -> Value:
    """`until` for tests without an event loop."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := fact()):
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {timeout_s} s: {what or inspect.getsource(fact).strip()}")
        time.sleep(step_s)
    return value
