"""Fixtures that unit tests of more than one service use."""

import pytest

from clusterodm.libs.common.testing.memory_bus import MemoryBus


@pytest.fixture
def bus() -> MemoryBus:
    """A bus in memory."""
    return MemoryBus()
