"""How slowly a client may take a download: it may pause, and be slow, but not drip for ever."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE
from clusterodm.services.proxy.exchange.limits import BodyLimits
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.results.api import ClientPace, PaceLimits, copy
from clusterodm.services.proxy.results.handlers.relay import Relayed
from tests.proxy_ports import FakeReply
from tests.waiting import passed

PAUSE_S: Final = 100.0
PIECE: Final = b"z" * 50_000


class Client:
    """What a connection says of a client that reads when the test says so."""

    gone = False

    def __init__(self) -> None:
        self.untaken_bytes = self.taken_bytes = 0
        self._has_read = asyncio.Event()
        self.exchange = RequestContext(
            {"method": "GET", "path": "/", "headers": [], "extensions": {REQUEST_CYCLE: self}},
            self._nothing,
            self._send,
            BodyLimits(),
        )

    async def _nothing(self) -> Any:
        await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        await self.flushed()
        self.untaken_bytes += len(message["body"])

    async def flushed(self) -> None:
        while self.untaken_bytes:
            self._has_read.clear()
            await self._has_read.wait()

    def takes(self, count_bytes: int) -> None:
        count_bytes = min(count_bytes, self.untaken_bytes)
        self.untaken_bytes -= count_bytes
        self.taken_bytes += count_bytes
        self._has_read.set()

    def downloads(self, reply: FakeReply, min_bytes_per_s: float = 100.0) -> "asyncio.Task[bool]":
        relayed = Relayed(200, (), reply.chunks(), reply)
        pace = ClientPace(self.exchange, PaceLimits(PAUSE_S, min_bytes_per_s))
        return asyncio.get_running_loop().create_task(copy(self.exchange, relayed, pace))


async def rounds(client: Client, copying: "asyncio.Task[bool]", every_s: float, count_bytes: int) -> None:
    """Read so much every so often, until it is over."""
    while not copying.done():
        await passed(every_s, step_s=5.0)
        client.takes(count_bytes)


@pytest.mark.parametrize(
    ("every_s", "count_bytes", "min_bytes_per_s", "is_complete"),
    [
        pytest.param(10.0, 2_000, 100.0, True, id="slow"),
        pytest.param(10.0, 900, 100.0, False, id="slower than the minimum rate"),
        pytest.param(95.0, 100_000, 100.0, True, id="with pauses"),
        pytest.param(205.0, 100_000, 100.0, False, id="with pauses of twice the limit"),
        pytest.param(50.0, 1_000, 0.0, True, id="as slow as it likes, where there is no minimum rate"),
        pytest.param(205.0, 100_000, 0.0, False, id="not at all for too long, where there is no minimum rate"),
    ],
)
async def test_a_client_may_be_slow_or_pause_but_not_for_longer_than_the_limit(
    every_s: float, count_bytes: int, min_bytes_per_s: float, is_complete: bool
) -> None:
    client = Client()
    copying = client.downloads(FakeReply(pieces=[PIECE] * 3), min_bytes_per_s)
    await rounds(client, copying, every_s, count_bytes)
    assert copying.result() is is_complete
    assert (client.taken_bytes + client.untaken_bytes == 3 * len(PIECE)) is is_complete


async def test_a_client_that_stops_at_the_last_piece_is_given_up_like_any_other() -> None:
    client = Client()
    copying = client.downloads(FakeReply(pieces=[PIECE]))
    await passed(PAUSE_S / 2, step_s=1)
    assert not copying.done()
    await passed(PAUSE_S, step_s=1)
    assert copying.result() is False


class SlowReply(FakeReply):
    """A node that takes its time."""

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await asyncio.sleep(10 * PAUSE_S)
            yield piece


async def test_what_the_node_takes_is_not_held_against_its_client() -> None:
    client = Client()
    copying = client.downloads(SlowReply(pieces=[b"one", b"two", b"three"]))
    await rounds(client, copying, 10.0, 100)
    assert copying.result() is True
