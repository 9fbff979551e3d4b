"""Server-sent events: what happens, as it happens, and when pages should look again.

    event: event      one event of the cluster as JSON, its id the sequence in the stream
    event: tasks      something about tasks has changed: pages that show them ask again; so nodes, machines
    event: tick       every three looks: what grows by itself (bytes, progress, ages) may have

The stream of events is looked at once a second for all who listen together; a listener that does not read is ended by its connection. One that was cut off says which event
it had last, as browsers do (`Last-Event-ID`), and is told what it has missed.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.core.cluster_views import event_row, kind_of

POLL_EVERY_S: Final = 1.0
TICK_EVERY_COUNT: Final = 3
"""Looks after which pages look again, however much else has happened: some show what no event tells of."""
MOST_COUNT: Final = 200
"""Events in one look: who has missed more reads the list."""
LONGEST_NUMBER: Final = 18


async def event_stream(watched: Watched, last: int | None) -> AsyncIterator[str]:
    """Tell a listener of everything behind the event that it had last, until it goes; None: behind the last that there is."""
    reached = await reached_of(watched) if last is None else last
    uploads: object = None
    looks_count = 0
    yield "retry: 2000\n\n"
    while True:
        await asyncio.sleep(POLL_EVERY_S)
        try:
            await watched.events.read()
        except BusFailed:
            yield "event: away\ndata: {}\n\n"
            continue
        found = [] if reached is None else watched.events.since(reached)
        reached = watched.events.reached
        for each in found[-MOST_COUNT:]:
            yield f"id: {each.sequence}\nevent: event\ndata: {msgspec.json.encode(event_row(each)).decode()}\n\n"
        kinds = set(map(kind_of, found))
        growing = {key: revision for key, (_, revision) in watched.uploads.values.items()}
        if growing != uploads:
            uploads = growing
            kinds.add("task")
        for kind in sorted(kinds):
            yield f"event: {kind}s\ndata: {{}}\n\n"
        looks_count += 1
        if looks_count % TICK_EVERY_COUNT == 0:
            yield "event: tick\ndata: {}\n\n"


async def reached_of(watched: Watched) -> int | None:
    """Find the last event there is; None: nobody has read any yet, and NATS does not answer."""
    try:
        await watched.events.read()
    except BusFailed:
        return watched.events.reached or None
    return watched.events.reached


def last_of(header: str) -> int | None:
    """Read which event a listener had last; None: it does not say."""
    return int(header) if header.isascii() and header.isdigit() and len(header) <= LONGEST_NUMBER else None
