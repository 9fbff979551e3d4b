"""Fixtures that tests of every folder use."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from libs.common.bus import NatsBus, connect
from tests.nats import NatsServer


@pytest.fixture(autouse=True)
def no_token_of_another_test() -> None:
    """Empty the default argument in which PyODM keeps the last token of the process."""
    if "pyodm" in sys.modules:
        sys.modules["pyodm"].Node.url.__defaults__[0].clear()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A fresh nats-server; the test may stop and start it."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def nats_url(nats_server: NatsServer) -> str:
    """Where a fresh nats-server listens."""
    return nats_server.url


@pytest.fixture
async def nats_bus(nats_url: str) -> AsyncIterator[NatsBus]:
    """A bus on a fresh nats-server."""
    async with connect(nats_url, "test") as bus:
        yield bus
