"""One ordered consumer of a stream: its last values in order, then what is written, and certainty about what was missed.

It delivers to an inbox that is a plain subscription, so every message comes by here, those that only keep it going too:

    a value        its number among those delivered must follow the last one, else something was lost
    a heartbeat    comes when there is nothing to tell for a while, and says how many values were delivered
    flow control   is answered when all before it has been read: NATS sends no faster than we take

What is lost is not asked for again: `Interrupted` is raised, and whoever watches begins anew and compares. The same when
heartbeats do not come for a while: the server that feeds the consumer need not be the one that we are connected to, and nobody else
would tell that it is gone. A server that is alone is the one that we are connected to: whether it lives is told by the connection,
there is no leader to lag behind, and heartbeats only tell of a stream that somebody removes. There they come less often; they are most
of what NATS and an idle service do. One that tells nothing new wakes nobody.

When all that there was has been told is found out with care, because what follows from it is that the rest is absent. NATS says
with each value how many are left, and at the beginning how many there are; both are told by the server that feeds the consumer,
which may lag behind the stream's leader. Hence the last sequence is asked of the leader at the beginning, and when less than that
has come, the leader is asked whether there is more.
"""

import asyncio
import contextlib
from collections import deque
from datetime import datetime
from typing import Final, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api

from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.bus.pages import passing
from clusterodm.libs.common.bus.replicas import is_alone
from clusterodm.libs.common.bus.retrying import NATS_ERRORS
from clusterodm.libs.common.process.lifecycle import cancellable
from clusterodm.libs.common.process.moments import shared_before_s

HEARTBEAT_S: Final = 1.0
SILENCE_S: Final = 2.5
"""So long at most is nothing heard until that is noticed."""
HEARTBEAT_ALONE_S: Final = 2.5
SILENCE_ALONE_S: Final = 5.5
"""Of a server that is alone."""
LATE_S: Final = 0.25
"""The end of a silence: a process that was held up itself reads meanwhile what had come."""
ASK_LEADER_EVERY: Final = 5
"""Heartbeats in a row after which the stream's leader is asked whether this consumer lags behind."""
STATUS: Final = "Status"
STALLED: Final = "Nats-Consumer-Stalled"
LAST_CONSUMER: Final = "Nats-Last-Consumer"


class Interrupted(Exception):
    """Something was lost, or nothing comes any more: begin anew."""


class StreamMessage(NamedTuple):
    """One message of the stream."""

    subject: str
    data: bytes
    headers: dict[str, str]
    sequence: int
    written_at: datetime


class SignsOfLife:
    """When a watch has last heard anything of what it follows, through whichever consumer."""

    def __init__(self) -> None:
        self.last_s = asyncio.get_running_loop().time()
        """By the loop's clock; at first, when it began."""

    def note(self) -> float:
        """Hear one, now; when that is, by the loop's clock."""
        self.last_s = asyncio.get_running_loop().time()
        return self.last_s

    def silent_s(self) -> float:
        """Say how long ago that is, in seconds."""
        return asyncio.get_running_loop().time() - self.last_s


class Consumer:
    """An ordered consumer of everything under one subject."""

    def __init__(self, client: Client, js: JetStreamContext, stream: str, subject: str, *, headers_only: bool) -> None:
        self._client = client
        self._js = js
        self._stream = stream
        self._subject = subject
        self._headers_only = headers_only
        self._name = new_id()
        self._inbox: deque[Msg | None] = deque()
        """What has come and is to be read; None: the connection is another."""
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._heartbeat_s, self._silence_s = HEARTBEAT_S, SILENCE_S
        self._has_leader = True
        """Other servers may have the stream, too, and one of them leads."""
        self._signs = SignsOfLife()
        self._heard_at_s = 0.0
        """When a message came last, of whatever kind, by the loop's clock."""
        self._count = 0
        """Values that have come."""
        self._sequence = 0
        """That of the last one."""
        self._there_count = 0
        """Values that there were when it began."""
        self._until = 0
        """The sequence up to which the stream reached then."""
        self._told_all = False
        self._beats_count = 0
        """Heartbeats since the last value."""
        self.made_at: datetime | None = None
        """When the stream was made: it is another one when this differs."""
        self.reaches = 0
        """The last sequence of the stream when this began."""

    def __repr__(self) -> str:
        """Show how far it is."""
        return f"Consumer({self._stream} sequence={self._sequence}{' all told' if self._told_all else ''})"

    def began_anew(self, last: "Consumer | None", reached: int) -> bool:
        """Whether the stream is not the one that the consumer before this one read, up to a sequence."""
        return last is not None and (last.made_at != self.made_at or self.reaches < reached)

    def tell(self, signs: SignsOfLife) -> None:
        """Note there, from now on, whenever something is heard."""
        self._signs = signs
        signs.note()

    async def begin(self) -> None:
        """Start it. Raises NotFoundError when there is no such stream, else what nats-py raises."""
        info = await cancellable(self._js.stream_info(self._stream))
        self.made_at = info.created
        self.reaches = self._until = info.state.last_seq
        self._has_leader = not is_alone(info)
        if not self._has_leader:
            self._heartbeat_s, self._silence_s = HEARTBEAT_ALONE_S, SILENCE_ALONE_S
        inbox = self._client.new_inbox()
        self._subscription = await cancellable(self._client.subscribe(inbox, cb=self._take))
        made = await cancellable(self._js.add_consumer(self._stream, self._config(inbox)))
        self._there_count = (made.num_pending or 0) + (made.delivered.consumer_seq if made.delivered else 0)

    def interrupt(self) -> None:
        """Have `next` raise Interrupted: the connection was another for a while."""
        self._put(None)

    async def next(self) -> StreamMessage | None:
        """Wait for the next value; None, once: all that there was has been told. Raises Interrupted and what nats-py raises."""
        if not self._told_all and self._count >= self._there_count and await self._is_complete():
            return None
        while True:
            message = await self._message()
            if not message.headers or STATUS not in message.headers:
                return self._value(message)
            if not await self._keep_going(message):
                continue
            if not self._told_all and await self._is_complete():
                return None
            await self._require_no_lag()

    async def end(self) -> None:
        """End it, on the server too, where it would stay for a while: a stream has room for a thousand consumers.

        Nothing is waited for: NATS may be away.
        """
        with contextlib.suppress(*NATS_ERRORS):
            if self._subscription is not None:
                await cancellable(self._subscription.unsubscribe())
                await cancellable(self._client.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}"))

    async def _take(self, message: Msg) -> None:
        self._heard_at_s = self._signs.note()
        if not self._tells_nothing(message):
            self._put(message)

    def _put(self, message: Msg | None) -> None:
        self._inbox.append(message)
        self._arrived.set()

    def _tells_nothing(self, message: Msg) -> bool:
        """Whether it is a heartbeat after which there is nothing to do, of a consumer all of whose values have been read."""
        headers = message.headers
        if self._has_leader or not headers or STATUS not in headers or message.reply or STALLED in headers:
            return False
        return self._told_all and not self._inbox and headers.get(LAST_CONSUMER) == str(self._count)

    async def _message(self) -> Msg:
        loop = asyncio.get_running_loop()
        begun_s = loop.time()
        while not self._inbox:
            heard_s = max(self._heard_at_s, begun_s)
            at_s = heard_s + self._silence_s - LATE_S
            at_s = at_s if self._has_leader else shared_before_s(at_s)
            if await self._comes(at_s) or self._heard_at_s > heard_s or await self._comes(loop.time() + LATE_S):
                continue
            if self._heard_at_s <= heard_s:
                raise Interrupted(f"no sign of life for {self._silence_s:g} s")
        return self._listened(self._inbox.popleft())

    async def _comes(self, until_s: float) -> bool:
        """Wait until something is to be read; False: nothing is at that time of the loop's clock."""
        if self._inbox:
            return True
        self._arrived.clear()
        try:
            async with asyncio.timeout_at(until_s):
                return await self._arrived.wait()
        except TimeoutError:
            return False

    def _listened(self, message: Msg | None) -> Msg:
        if message is None:
            raise Interrupted("the connection is a new one")
        return message

    def _value(self, message: Msg) -> StreamMessage:
        told = message.metadata.sequence
        self._count += 1
        if told.consumer != self._count:
            raise Interrupted(f"value {told.consumer} came after {self._count - 1}")
        self._sequence = told.stream
        self._beats_count = 0
        return StreamMessage(
            message.subject, message.data, message.headers or {}, told.stream, message.metadata.timestamp
        )

    async def _keep_going(self, message: Msg) -> bool:
        """Answer what NATS asks; whether this was a heartbeat of an idle consumer, all of whose values have come."""
        headers = message.headers or {}
        asks = message.reply or headers.get(STALLED, "")
        if asks:
            await cancellable(self._client.publish(asks))
            return False
        sent_count = int(headers.get(LAST_CONSUMER, self._count))
        if sent_count != self._count:
            raise Interrupted(f"{sent_count} values were sent, {self._count} have come")
        self._beats_count += 1
        return True

    async def _is_complete(self) -> bool:
        """Whether all that there was has been told: the leader knows of nothing that is left of it."""
        if self._sequence < self._until:
            behind = await self._behind()
            if behind and behind <= self._until:
                return False
        self._until = self._sequence
        self._told_all = True
        return True

    async def _require_no_lag(self) -> None:
        """Ask the leader now and then whether there is more; what there is has to come before the next heartbeat."""
        if not self._has_leader:
            return
        if self._told_all and self._sequence < self._until:
            raise Interrupted(f"{self._until} was written and has not come")
        if self._beats_count >= ASK_LEADER_EVERY:
            self._beats_count = 0
            self._until = max(self._until, await self._behind())

    async def _behind(self) -> int:
        """Ask the stream's leader for the sequence of what follows; 0: nothing does."""
        try:
            asked = self._js.get_msg(self._stream, seq=self._sequence + 1, subject=self._subject, next=True)
            return (await cancellable(asked)).seq or 0
        except nats.js.errors.NotFoundError:
            return 0

    def _config(self, inbox: str) -> api.ConsumerConfig:
        return passing(
            name=self._name,
            deliver_subject=inbox,
            deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
            filter_subject=self._subject,
            max_deliver=1,
            idle_heartbeat=self._heartbeat_s,
            flow_control=True,
            headers_only=self._headers_only,
        )
