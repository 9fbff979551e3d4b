"""When a consumer has told all that there was, and when it says that something was lost."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from nats.js.errors import NotFoundError

from clusterodm.libs.common.bus.consumers import (
    ASK_LEADER_EVERY,
    HEARTBEAT_ALONE_S,
    HEARTBEAT_S,
    LATE_S,
    SILENCE_ALONE_S,
    SILENCE_S,
    Consumer,
    Interrupted,
)
from clusterodm.libs.common.process.moments import TOGETHER_S
from tests.waiting import TurnedLoop, passed

WRITTEN_AT = datetime(2026, 1, 1, tzinfo=UTC)


class Server:
    """A stream with messages at these sequences, of which this many were there when the consumer began."""

    def __init__(
        self, *sequences: int, reaches: int | None = None, there_count: int | None = None, cluster: str | None = "C"
    ) -> None:
        self.cluster = cluster
        self.heartbeat_s = 0.0
        self.sequences = list(sequences)
        self.reaches = max(self.sequences, default=0) if reaches is None else reaches
        self.there_count = len(self.sequences) if there_count is None else there_count
        self.published: list[str] = []
        self._sent_count = 0
        self._deliver: Callable[[Any], Awaitable[None]]

    async def begin(self) -> Consumer:
        everything: Any = self
        consumer = Consumer(everything, everything, "S", "s.>", headers_only=False)
        await consumer.begin()
        return consumer

    async def deliver(self, sequence: int, *, number: int | None = None) -> None:
        self._sent_count += 1
        counts = SimpleNamespace(stream=sequence, consumer=number or self._sent_count)
        metadata = SimpleNamespace(sequence=counts, timestamp=WRITTEN_AT)
        await self._deliver(SimpleNamespace(subject="s.k", data=b"{}", headers=None, reply="$JS", metadata=metadata))

    async def beat(self, sent_count: int | None = None) -> None:
        headers = {"Status": "100", "Nats-Last-Consumer": str(self._sent_count if sent_count is None else sent_count)}
        await self._deliver(SimpleNamespace(headers=headers, reply="", data=b""))

    async def control_flow(self) -> None:
        await self._deliver(SimpleNamespace(headers={"Status": "100"}, reply="flow", data=b""))

    # --- what a consumer asks of nats-py

    def new_inbox(self) -> str:
        return "inbox"

    async def subscribe(self, inbox: str, *, cb: Callable[[Any], Awaitable[None]]) -> Any:
        del inbox
        self._deliver = cb
        return self

    async def unsubscribe(self) -> None:
        pass

    async def publish(self, subject: str) -> None:
        self.published.append(subject)

    async def stream_info(self, stream: str) -> Any:
        del stream
        cluster = SimpleNamespace(name=self.cluster)  # a server that is alone tells of a cluster without a name
        return SimpleNamespace(created=WRITTEN_AT, state=SimpleNamespace(last_seq=self.reaches), cluster=cluster)

    async def add_consumer(self, stream: str, config: Any) -> Any:
        del stream
        self.heartbeat_s = config.idle_heartbeat
        return SimpleNamespace(num_pending=self.there_count, delivered=SimpleNamespace(consumer_seq=0))

    async def get_msg(self, stream: str, *, seq: int, subject: str, next: bool) -> Any:  # noqa: A002 as nats-py calls it
        del stream, subject, next
        found = [each for each in self.sequences if each >= seq]
        if not found:
            raise NotFoundError
        return SimpleNamespace(seq=found[0])


async def test_nothing_is_all_there_is_in_an_empty_stream():
    assert await (await Server().begin()).next() is None


async def test_all_has_been_told_when_the_last_sequence_was():
    server = Server(3, 9)
    consumer = await server.begin()
    await server.deliver(3)
    await server.deliver(9)
    told = [await consumer.next() for _ in range(3)]
    assert [each and each.sequence for each in told] == [3, 9, None]


async def test_all_has_been_told_when_what_came_last_has_expired():
    consumer = await Server(reaches=7, there_count=0).begin()
    assert await consumer.next() is None


async def test_all_has_been_told_when_what_was_there_has_been_written_again():
    server = Server(3, 9)
    consumer = await server.begin()
    server.sequences = [3, 10]
    await server.deliver(3)
    await server.deliver(10)
    told = [await consumer.next() for _ in range(3)]
    assert [each and each.sequence for each in told] == [3, 10, None]


async def test_all_has_been_told_at_a_heartbeat_when_what_was_there_is_gone():
    server = Server(3, 9)
    consumer = await server.begin()
    server.sequences = [3]
    await server.deliver(3)
    await server.beat()
    told = [await consumer.next() for _ in range(2)]
    assert [each and each.sequence for each in told] == [3, None]


async def test_a_replica_that_lags_behind_has_not_told_all():
    server = Server(3, 9, there_count=1)
    consumer = await server.begin()
    await server.deliver(3)
    first = await consumer.next()
    await server.beat()
    await server.deliver(9)
    told = [first, await consumer.next(), await consumer.next()]
    assert [each and each.sequence for each in told] == [3, 9, None]


async def test_a_gap_interrupts():
    server = Server(3, 9)
    consumer = await server.begin()
    await server.deliver(9, number=2)
    with pytest.raises(Interrupted, match="value 2 came after 0"):
        await consumer.next()


async def test_a_heartbeat_tells_of_what_was_lost():
    server = Server(3)
    consumer = await server.begin()
    await server.beat(sent_count=1)
    with pytest.raises(Interrupted, match="1 values were sent, 0 have come"):
        await consumer.next()


async def test_a_consumer_that_stays_behind_the_leader_is_given_up():
    server = Server()
    consumer = await server.begin()
    assert await consumer.next() is None
    server.sequences = [4]
    for _ in range(6):
        await server.beat()
    with pytest.raises(Interrupted, match="4 was written and has not come"):
        await consumer.next()


async def test_what_comes_late_is_no_lag():
    server = Server()
    consumer = await server.begin()
    assert await consumer.next() is None
    server.sequences = [4]
    for _ in range(5):
        await server.beat()
    await server.deliver(4)
    told = await consumer.next()
    assert told is not None
    assert told.sequence == 4


async def test_flow_control_is_answered_in_turn():
    server = Server(3, 9)
    consumer = await server.begin()
    await server.deliver(3)
    await server.control_flow()
    await server.deliver(9)
    await consumer.next()
    assert server.published == []
    await consumer.next()
    assert server.published == ["flow"]


async def test_a_connection_that_came_back_interrupts():
    consumer = await Server().begin()
    assert await consumer.next() is None
    consumer.interrupt()
    with pytest.raises(Interrupted):
        await consumer.next()


async def test_a_server_that_is_alone_tells_less_often_and_is_not_asked_for_a_leader():
    server = Server(cluster=None)
    consumer = await server.begin()
    assert await consumer.next() is None
    assert server.heartbeat_s == HEARTBEAT_ALONE_S
    server.sequences = [4]
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(consumer.next())
        for _ in range(ASK_LEADER_EVERY + 1):
            await server.beat()
        await server.deliver(4)
    told = reading.result()
    assert told is not None
    assert told.sequence == 4


async def test_a_server_that_is_alone_tells_of_what_was_lost_too():
    server = Server(cluster=None)
    consumer = await server.begin()
    assert await consumer.next() is None
    await server.beat()
    await server.beat(sent_count=1)
    with pytest.raises(Interrupted, match="1 values were sent, 0 have come"):
        await consumer.next()


KINDS = pytest.mark.parametrize(
    ("cluster", "beat_s", "silence_s"),
    [
        pytest.param("C", HEARTBEAT_S, SILENCE_S, id="cluster"),
        pytest.param(None, HEARTBEAT_ALONE_S, SILENCE_ALONE_S, id="alone"),
    ],
)


@KINDS
@pytest.mark.parametrize("later_s", [0.0, 0.2, 0.45])
def test_silence_interrupts_in_time_and_one_late_heartbeat_does_not(
    cluster: str | None, beat_s: float, silence_s: float, later_s: float
):
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(silent(Server(cluster=cluster), beat_s, silence_s, later_s))


async def silent(server: Server, beat_s: float, silence_s: float, later_s: float) -> None:
    await passed(later_s)  # the moments that loops share lie elsewhere between heartbeats
    consumer = await server.begin()
    assert await consumer.next() is None
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(interrupted(consumer))
        for late_s in (0.0, 0.0, silence_s - beat_s - TOGETHER_S - 0.25, 0.0):
            await passed(beat_s + late_s, step_s=0.05)
            await server.beat()
        await passed(silence_s - TOGETHER_S - 0.25, step_s=0.05)
        assert not reading.done()
        await passed(TOGETHER_S + 0.3, step_s=0.05)
        assert reading.done()
    assert "no sign of life" in reading.result()


@KINDS
def test_what_comes_while_a_silence_is_looked_into_ends_it(cluster: str | None, beat_s: float, silence_s: float):
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(held_up(Server(cluster=cluster), beat_s, silence_s))


async def held_up(server: Server, beat_s: float, silence_s: float) -> None:
    consumer = await server.begin()
    assert await consumer.next() is None
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(interrupted(consumer))
        await passed(10 * silence_s, step_s=10 * silence_s)  # nothing had its turn meanwhile
        await passed(LATE_S / 2)
        await server.beat()
        await passed(beat_s)
        assert not reading.done()
        await server.deliver(1)
    assert reading.result().startswith("told StreamMessage")


async def interrupted(consumer: Consumer) -> str:
    """What it says when it is."""
    try:
        return f"told {await consumer.next()}"
    except Interrupted as interruption:
        return str(interruption)
