"""Fixtures that tests of every folder use."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from libs.common.bus import NatsBus, connect
from tests.nats import NatsServer

hypothesis.settings.register_profile("clusterodm", deadline=None)  # a slow computer is no counter-example
hypothesis.settings.load_profile("clusterodm")

STARTS_PROCESSES = ("chaos", "e2e", "integration", "contract")
"""Folders of tests that may meet a computer too busy for their processes; only these are tried again, and only in CI. They come
first, in the order of how long one of their files takes: what takes minutes is not what all wait for in the end."""
TRIES_AGAIN_COUNT = 2


def folder(item: pytest.Item) -> str:
    """Name the folder of a test."""
    return item.path.relative_to(Path(__file__).parent).parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, and let CI try again what starts processes."""
    places = {name: place for place, name in enumerate(STARTS_PROCESSES)}
    items.sort(key=lambda item: places.get(folder(item), len(places)))
    if not os.environ.get("CI"):
        return
    for item in items:
        if folder(item) in STARTS_PROCESSES:
            item.add_marker(pytest.mark.flaky(reruns=TRIES_AGAIN_COUNT))


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
