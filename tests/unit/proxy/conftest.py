"""The proxy's handlers run in an event loop whose clock a test may turn (tests/waiting.py)."""

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from tests.forwarding import World
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster
from tests.waiting import TurnedLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """Give every test here such a loop."""
    return {"turned": TurnedLoop}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A proxy's spool, with a scheduler and nodes played by the test."""
    made = World()
    async with made.bus.serve("scheduler", made.scheduler.handlers):
        yield made


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
async def spool(bus: MemoryBus) -> MemorySpool:
    return MemorySpool(await bus.bucket(UPLOADS), FakeClock())
