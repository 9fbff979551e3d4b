"""NATS with little room for its store: events take what there is, and too little is one clear line."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from clusterodm.libs.common.bus.bus import connect
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import NODES
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId
from tests.nats import NatsServer

NODE = Node(id=NodeId("a-3000"), hostname="a", port=3000)


@contextmanager
def nats_with(max_file_store: str, folder: Path) -> Iterator[NatsServer]:
    """Run a nats-server that may use so much."""
    server = NatsServer(folder, max_file_store=max_file_store)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("room", "reserved_mb"),
    [
        pytest.param("1GB", 256, id="plenty"),
        pytest.param("100MB", 64, id="little"),
        pytest.param("10MB", 8, id="very little"),
    ],
)
async def test_events_reserve_what_there_is(room: str, reserved_mb: int, tmp_path: Path):
    with nats_with(room, tmp_path) as server:
        async with connect(server.url, "test") as bus:
            config = (await bus._js.stream_info(EVENTS_STREAM)).config
            assert config.max_bytes == reserved_mb << 20
            await (await bus.bucket(NODES)).put(NODE.id, NODE)


async def test_too_little_room_is_said_clearly_and_at_once(tmp_path: Path):
    with nats_with("1MB", tmp_path) as server, pytest.raises(BusFailed) as failed:
        async with connect(server.url, "test", wait_s=20):
            pass
    assert failed.value.message.startswith("NATS has no 4 MB left for its records")
    assert "max_file_store" in failed.value.message
