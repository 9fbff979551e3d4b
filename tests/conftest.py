"""Fixtures that tests of every folder use."""

import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from clusterodm.libs.common.bus.bus import NatsBus, connect
from tests import order
from tests.hanging import HangWatch
from tests.nats import LEAVES_UNCLOSED, Interruptions, NatsServer

if TYPE_CHECKING:
    from tests.seaweed import Seaweed

hypothesis.settings.register_profile(  # a slow computer is no counter-example, and no fault of a test
    "clusterodm", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("clusterodm")

STARTS_PROCESSES = ("chaos", "e2e", "integration", "contract")
"""Folders of tests that may meet a computer too busy for their processes; only these are tried again, and only in CI."""
TRIES_AGAIN_COUNT = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let durations.txt be written anew."""
    parser.addoption(
        "--write-durations", action="store_true", help="write down how long tests take: their order next time"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Watch for what hangs, and measure where reports are gathered."""
    config.pluginmanager.register(HangWatch(config))
    if config.getoption("--write-durations") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(order.Stopwatch())


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> order.LongestFirst | None:
    """Spread tests over processes as order.py says."""
    return order.LongestFirst(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, and let CI try again what starts processes."""
    took_s = order.read_durations(order.DURATIONS.read_text())
    items[:] = [items[place] for place in order.longest_first([item.nodeid for item in items], took_s)]
    if not os.environ.get("CI"):
        return
    for item in items:
        if order.folder_of(item.nodeid) in STARTS_PROCESSES:
            item.add_marker(pytest.mark.flaky(reruns=TRIES_AGAIN_COUNT))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """While coverage is measured: tell unit tests from others."""
    if measuring := sys.modules.get("sitecustomize"):
        column = "unit" if order.folder_of(item.nodeid) == "unit" else "other"
        if os.environ.get("RAN_COLUMN", column) != column:
            measuring.mark_in(column)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Clear away what nats-py has left behind, where a server was cut off."""
    Interruptions.happened |= any(mark.args == LEAVES_UNCLOSED.args for mark in item.iter_markers("filterwarnings"))
    with Interruptions.cleared_away():
        return (yield)


@pytest.fixture(autouse=True)
def no_token_of_another_test() -> None:
    """Empty the default argument in which PyODM keeps the last token of the process."""
    if "pyodm" in sys.modules:
        sys.modules["pyodm"].Node.url.__defaults__[0].clear()


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A directory that other users may enter, unlike those of pytest."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


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


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Seaweed]":
    """An S3 server for the tests of a module."""
    from tests.seaweed import Seaweed

    with Seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server
