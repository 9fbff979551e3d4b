"""The stream of events, read backwards in time: for people who look at what has happened."""

from typing import Any, Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.bus.pages import consuming, passing
from clusterodm.libs.common.bus.replies import CAUSE
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM, PREFIX
from clusterodm.libs.common.ports import StoredEvent, StoredEvents
from clusterodm.libs.common.process.lifecycle import cancellable

PAGE_COUNT: Final = 500
FIRST: Final = f"{PREFIX}.event."


async def events_after(client: Client, js: JetStreamContext, after: int, most_count: int) -> StoredEvents:
    """Read what follows a sequence, the last so many of it. Raises what nats-py raises."""
    state = (await cancellable(js.stream_info(EVENTS_STREAM))).state
    reached = state.last_seq
    after = 0 if after > reached else after  # the stream began anew
    start = max(after, reached - most_count, state.first_seq - 1) + 1
    found: list[StoredEvent] = []
    if start <= reached:
        async with consuming(client, js, EVENTS_STREAM, config_from(start)) as (pull, there_count):
            while (left_count := there_count - len(found)) > 0:
                await pull.ask(min(PAGE_COUNT, left_count))
                if not (page := await pull.page()):
                    break  # the rest has been deleted meanwhile
                found.extend(event_of(message) for message in page)
    return StoredEvents(tuple(found), max(reached, found[-1].sequence if found else 0))


def event_of(message: Msg) -> StoredEvent:
    """Read one; what is no JSON object says nothing."""
    try:
        told: Any = msgspec.json.decode(message.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        told = None
    return StoredEvent(
        sequence=message.metadata.sequence.stream,
        name=message.subject.removeprefix(FIRST),
        at_ms=round(message.metadata.timestamp.timestamp() * 1000),
        payload=told if isinstance(told, dict) else {},
        cause=(message.headers or {}).get(CAUSE, ""),
    )


def config_from(start: int) -> api.ConsumerConfig:
    """Say what is read, and how."""
    return passing(
        name=new_id(),  # so that rights can name what is read (pages.py)
        deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start,
    )
