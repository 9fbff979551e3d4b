# ruff: noqa: ARG002 the fakes keep the signatures of what they stand for
"""A snapshot that is followed: one subscription at a time, however often the connection is another."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.bus.connection import Absence
from clusterodm.libs.common.bus.serving import ProgramsConnection
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, DemandChanged
from clusterodm.libs.common.testing.clock import FakeClock
from tests.waiting import until


class Pulling:
    """A subscription to which nothing comes."""

    def __init__(self, nats: "FlakyNats") -> None:
        self._nats = nats

    async def fetch(self, count: int, timeout: float) -> list[Any]:  # noqa: ASYNC109 nats-py's own
        """Find nothing; the connection is another each time."""
        await asyncio.sleep(0)
        self._nats.stats["reconnects"] += 1
        raise nats.errors.TimeoutError

    async def unsubscribe(self) -> None:
        """Be one less."""
        self._nats.open_count -= 1


class FlakyNats:
    """A connection, and its JetStream, that breaks again and again."""

    def __init__(self) -> None:
        self.stats = {"reconnects": 0}
        self.made_count = self.open_count = 0

    def jetstream(self, timeout: float) -> "FlakyNats":
        return self

    async def stream_info(self, name: str) -> Any:
        return SimpleNamespace()

    async def get_last_msg(self, stream: str, subject: str) -> Any:
        raise nats.js.errors.NotFoundError

    async def pull_subscribe(self, subject: str, durable: str, **named: Any) -> Pulling:
        """Be one more."""
        self.made_count += 1
        self.open_count += 1
        return Pulling(self)


async def test_who_follows_a_snapshot_leaves_no_subscription_behind() -> None:
    nats_server = FlakyNats()
    programs = ProgramsConnection("nats://127.0.0.1:1", "test", 0.1)
    bus = NatsBus(cast("Client", nats_server), programs, 1, 0.1, Absence(FakeClock()), "admin")

    async def hear(_told: DemandChanged) -> None:
        """Do nothing."""

    async with bus.watch_snapshot(DEMAND_CHANGED, "test", hear):
        await until(lambda: nats_server.made_count >= 5)
        assert nats_server.open_count <= 1
    assert nats_server.open_count == 0
