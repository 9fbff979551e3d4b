"""All that a stream holds at present, a page at a time: for stores that are too large to come at once.

A watch is sent what there is as fast as it is read, tens of megabytes ahead; on the same connection the answer to anything else, to the
renewal of a lease say, waits behind that. Here no more than a page is ever on its way, while another is read.

The consumer may be fed by a server that lags behind the stream's leader. So the leader is asked at the end whether anything follows
that was there at the beginning; if so, `Incomplete` is raised, and whoever reads begins again.

A page is collected by a plain subscription: the `fetch` of nats-py makes two tasks and a time limit for each message, which costs more than reading it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext, api

from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.bus.retrying import NATS_ERRORS
from clusterodm.libs.common.process.lifecycle import cancellable

PAGE_COUNT: Final = 200
FORGOTTEN_AFTER_S: Final = 30.0
"""NATS removes a consumer that nobody asks any more."""
FETCH_S: Final = 5.0
STATUS: Final = "Status"
"""A header of what NATS itself has to say."""


class Incomplete(nats.js.errors.Error):
    """Some of what there is has not come: the server that tells it lags behind."""


class Pull:
    """Asks one consumer for messages, a page at a time."""

    def __init__(self, client: Client, stream: str, consumer: str) -> None:
        self._client = client
        self._asks = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._page: list[Msg] = []
        self._wanted_count = 0
        self._done = asyncio.Event()

    def __repr__(self) -> str:
        """Show what has come of the page."""
        return f"Pull({len(self._page)} of {self._wanted_count})"

    async def begin(self) -> None:
        """Listen. Raises what nats-py raises."""
        self._subscription = await cancellable(self._client.subscribe(self._inbox, cb=self._take))

    async def ask(self, most_count: int) -> None:
        """Ask for the next so many. Raises what nats-py raises."""
        self._page, self._wanted_count = [], most_count
        self._done.clear()
        asked = msgspec.json.encode({"batch": most_count, "no_wait": True})
        await cancellable(self._client.publish(self._asks, asked, reply=self._inbox))

    async def page(self) -> list[Msg]:
        """Wait for what was asked for; fewer where there are no more. Raises TimeoutError."""
        async with asyncio.timeout(FETCH_S):
            await self._done.wait()
        return self._page

    async def end(self) -> None:
        """Listen no more. Raises what nats-py raises."""
        if self._subscription is not None:
            await cancellable(self._subscription.unsubscribe())

    async def _take(self, message: Msg) -> None:
        ends = message.headers is not None and STATUS in message.headers  # nothing is left, or the consumer is gone
        if not ends:
            self._page.append(message)
        if ends or len(self._page) >= self._wanted_count:
            self._done.set()


async def pages_of(client: Client, js: JetStreamContext, stream: str, subject: str) -> AsyncGenerator[list[Msg]]:
    """Read the last message of each subject, markers too. Raises Incomplete, and what nats-py raises."""
    info = await cancellable(js.stream_info(stream))
    reached = 0
    async with consuming(client, js, stream, config_of(subject)) as (pull, there_count):
        async for page in pages_from(pull, there_count):
            reached = page[-1].metadata.sequence.stream
            yield page
    if reached < info.state.last_seq and 0 < await following(js, stream, subject, reached) <= info.state.last_seq:
        raise Incomplete


async def pages_from(pull: Pull, there_count: int) -> AsyncGenerator[list[Msg]]:
    """Take all that there is; the next page comes while one is read. Raises what `Pull` raises."""
    if there_count:
        await pull.ask(PAGE_COUNT)
    while there_count and (page := await pull.page()):
        there_count = page[-1].metadata.num_pending
        if there_count:
            await pull.ask(PAGE_COUNT)
        yield page


@asynccontextmanager
async def consuming(
    client: Client, js: JetStreamContext, stream: str, config: api.ConsumerConfig
) -> AsyncGenerator[tuple[Pull, int]]:
    """Begin to read; how many messages there are."""
    made = await cancellable(js.add_consumer(stream, config))
    pull = Pull(client, stream, made.name)
    await pull.begin()
    try:
        yield pull, made.num_pending or 0
    finally:
        with contextlib.suppress(*NATS_ERRORS):
            await pull.end()
            await cancellable(js.delete_consumer(stream, made.name))


def config_of(subject: str) -> api.ConsumerConfig:
    """Say what is read, and how."""
    return passing(
        name=new_id(),  # its subject names the stream and what is read of it, so that rights can
        deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
        filter_subject=subject,
    )


def passing(**what: Any) -> api.ConsumerConfig:
    """Make a consumer of a moment: it lies in memory, nothing is acknowledged, and NATS forgets it by itself."""
    return api.ConsumerConfig(
        ack_policy=api.AckPolicy.NONE,
        inactive_threshold=FORGOTTEN_AFTER_S,
        mem_storage=True,
        num_replicas=1,
        **what,
    )


async def following(js: JetStreamContext, stream: str, subject: str, sequence: int) -> int:
    """Ask the stream's leader for the sequence of what follows; 0: nothing does."""
    try:
        return (await cancellable(js.get_msg(stream, seq=sequence + 1, subject=subject, next=True))).seq or 0
    except nats.js.errors.NotFoundError:
        return 0
