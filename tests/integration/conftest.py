"""Fixtures that more than one file here uses."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.nats_users import nats_of_up
from tests.proxies import ProxyUnderTest, ScriptedNode, running_proxy


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    """A proxy whose scheduler the test plays."""
    async with running_proxy(tmp_path / "spool") as proxy:
        yield proxy


@pytest.fixture
async def script() -> AsyncIterator[ScriptedNode]:
    """A node that says what the test tells it to."""
    async with ScriptedNode().at_work() as node:
        yield node


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where each user connects to."""
    with nats_of_up(tmp_path_factory.mktemp("data")) as urls:
        yield urls
