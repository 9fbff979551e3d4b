"""All that a stream holds at present, a page at a time: for stores that are too large to come at once.

A watch is sent what there is as fast as it is read, tens of megabytes ahead; on the same connection the answer to anything else, to the
renewal of a lease say, waits behind that. Here no more than a page is ever on its way.

The consumer may be fed by a server that lags behind the stream's leader. So the leader is asked at the end whether anything follows
that was there at the beginning; if so, `Incomplete` is raised, and whoever reads begins again.
"""

import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import nats.errors
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.bus.retrying import NATS_ERRORS
from clusterodm.libs.common.process.lifecycle import cancellable

PAGE_COUNT: Final = 200
FORGOTTEN_AFTER_S: Final = 30.0
"""NATS removes a consumer that nobody asks any more."""
FETCH_S: Final = 5.0


class Incomplete(nats.js.errors.Error):
    """Some of what there is has not come: the server that tells it lags behind."""


async def pages_of(js: JetStreamContext, stream: str, subject: str) -> AsyncGenerator[list[Msg]]:
    """Read the last message of each subject, markers too. Raises Incomplete, and what nats-py raises."""
    info = await cancellable(js.stream_info(stream))
    reached = 0
    async with consuming(js, stream, config_of(subject)) as (pull, there_count):
        left_count = there_count
        while left_count:
            page = await cancellable(pull.fetch(PAGE_COUNT, timeout=FETCH_S))
            left_count = page[-1].metadata.num_pending
            reached = page[-1].metadata.sequence.stream
            yield page
    if reached < info.state.last_seq and 0 < await following(js, stream, subject, reached) <= info.state.last_seq:
        raise Incomplete


@asynccontextmanager
async def consuming(
    js: JetStreamContext, stream: str, config: api.ConsumerConfig
) -> AsyncGenerator[tuple[JetStreamContext.PullSubscription, int]]:
    """Begin to read; how many messages there are."""
    made = await cancellable(js.add_consumer(stream, config))
    pull = await cancellable(js.pull_subscribe_bind(consumer=made.name, stream=stream))
    try:
        yield pull, made.num_pending or 0
    finally:
        with contextlib.suppress(*NATS_ERRORS):
            await cancellable(pull.unsubscribe())
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
