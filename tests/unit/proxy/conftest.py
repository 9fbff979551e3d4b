"""The proxy's handlers run in an event loop whose clock a test may turn (tests/waiting.py)."""

from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

from tests.waiting import TurnedLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Give every test here such a loop."""
    return {"turned": TurnedLoop}
