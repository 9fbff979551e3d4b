"""What is copied into a cluster is handed over again while its servers do not know yet which of them takes it."""

from types import SimpleNamespace
from typing import Any, cast

import nats.errors
import pytest
from nats.aio.client import Client

from clusterodm.libs.common.bus import copying, retrying
from clusterodm.libs.common.errors import BusFailed


class Target:
    """A server that has taken nothing for its first requests."""

    def __init__(self, deaf_count: int) -> None:
        self.deaf_count = deaf_count
        self.taken: list[bytes] = []

    async def request(self, _subject: str, payload: bytes, **_options: float) -> Any:
        if self.deaf_count:
            self.deaf_count -= 1
            raise nats.errors.NoRespondersError
        self.taken.append(payload)
        return SimpleNamespace(data=b"+OK")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "AGAIN_S", 0.0)


async def test_a_chunk_that_nobody_takes_yet_is_handed_over_again_and_once():
    target = Target(deaf_count=3)
    assert await copying.deliver(cast("Client", target), "sink", b"chunk") == b"+OK"
    assert target.taken == [b"chunk"]


async def test_a_chunk_that_nobody_ever_takes_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(copying, "TAKEN_WITHIN_S", 0.0)
    with pytest.raises(BusFailed, match="takes what is copied"):
        await copying.deliver(cast("Client", Target(deaf_count=1_000)), "sink", b"chunk")
