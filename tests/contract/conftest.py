"""Each bus, and a node to hold to the contract: `--node-url` names a real one, else a simulated one is started.

A real NodeODM in test mode must be started so that tasks take a second or two,
one at a time, with a limit of images, for example
`node index.js --test --test_seconds 1 -q 1 --max_images 20 --port 4000`.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.contract.node_under_test import NodeUnderTest
from tests.contract.world import World
from tests.nats import NatsServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the suite run against any node."""
    parser.addoption("--node-url", help="run the node's contract suite against this NodeODM")
    parser.addoption("--node-token", default="", help="token of that NodeODM")


@pytest.fixture(params=["memory", "nats"])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bus]:
    """The bus in memory, and the one on a NATS server of its own."""
    if request.param == "memory":
        yield MemoryBus()
        return
    server = NatsServer(tmp_path / "nats")
    server.start()
    try:
        async with connect(server.url, "test") as bus:
            yield bus
    finally:
        server.stop()


@pytest.fixture(scope="session")
def node_address(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """URL and token of the node under test."""
    url = request.config.getoption("--node-url", default=None)
    if url:
        yield url.rstrip("/"), request.config.getoption("--node-token")
        return
    with NodeSimProcess(token="secret", task_time_s=0.8, max_images=20, console_lines_per_s=50) as simulated:
        yield simulated.url, "secret"


@pytest.fixture
def node(node_address: tuple[str, str]) -> Iterator[NodeUnderTest]:
    """The node under test; tasks that the test made are removed afterwards."""
    with NodeUnderTest(*node_address) as client:
        yield client


@pytest.fixture(scope="module")
def finished(node_address: tuple[str, str]) -> Iterator[str]:
    """A completed task of three images that nobody changes."""
    with NodeUnderTest(*node_address) as client:
        uuid = client.committed(["a.jpg", "b.jpg", "c.jpg"], name="finished", options='[{"name":"dsm","value":"true"}]')
        client.until_ended(uuid)
        yield uuid


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A web server that a node can download from and call back."""
    with World(tmp_path) as served:
        yield served
