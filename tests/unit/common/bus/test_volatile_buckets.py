"""A bucket that may be lost, and whose only server is gone: whoever makes the streams makes it anew after a while."""

from typing import Any, cast

import nats.errors
import pytest
from nats.js import api

from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.store import LEADERLESS_S, NatsBucket
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.buckets import PROGRESS
from clusterodm.libs.common.testing.clock import FakeClock


class OneStream:
    """What NATS says of one stream."""

    def __init__(self, *, answers: bool, cluster: str | None = "C") -> None:
        self.answers = answers
        self.asked_count = 0
        self.cluster = api.ClusterInfo(name=cluster)
        self.did: list[str] = []

    async def stream_info(self, name: str) -> "OneStream":
        """Answer, or not."""
        del name
        self.asked_count += 1
        if not self.answers:
            raise nats.errors.TimeoutError
        return self

    async def delete_stream(self, name: str) -> None:
        """Remove it."""
        self.did.append(f"removed {name}")

    async def add_stream(self, config: api.StreamConfig) -> None:
        """Make it."""
        self.did.append(f"made {config.name}")
        self.answers = True


def opened(stream: OneStream, clock: FakeClock) -> NatsBucket[Any]:
    """Open the bucket of uploads' progress over it."""
    return NatsBucket(cast("Any", None), cast("Any", stream), PROGRESS, Replicas(1), clock=clock)


async def test_a_bucket_that_answers_is_left_alone():
    stream = OneStream(answers=True)
    await opened(stream, FakeClock()).keep()
    assert stream.did == []


async def test_a_bucket_that_does_not_answer_is_made_anew_once_no_election_is_to_be_waited_for():
    stream, clock = OneStream(answers=False), FakeClock()
    bucket = opened(stream, clock)
    for pause_s in (0.0, LEADERLESS_S):
        clock.pass_s(pause_s)
        with pytest.raises(BusFailed, match="bucket progress does not answer"):
            await bucket.keep()
        assert stream.did == []
    clock.pass_s(0.1)
    await bucket.keep()
    assert stream.did == ["removed KV_progress", "made KV_progress"]


async def test_a_bucket_that_was_silent_for_a_moment_now_and_then_is_not_made_anew():
    stream, clock = OneStream(answers=False), FakeClock()
    bucket = opened(stream, clock)
    for _ in range(5):
        stream.answers = False
        with pytest.raises(BusFailed):
            await bucket.keep()
        clock.pass_s(LEADERLESS_S - 1)
        stream.answers = True
        await bucket.keep()
        clock.pass_s(LEADERLESS_S)
    assert stream.did == []


async def test_one_server_that_is_alone_is_asked_once_for_each_connection():
    stream = OneStream(answers=True, cluster=None)
    bucket = opened(stream, FakeClock())
    for count in (1, 2):
        for _ in range(3):
            await bucket.keep()
        assert stream.asked_count == count
        bucket.reconnected()
    stream.answers = False
    with pytest.raises(BusFailed):
        await bucket.keep()
