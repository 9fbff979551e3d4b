"""Server-sent events: what happens, as it happens, and when pages should look again.

    event: event      one event of the cluster as JSON, its id the sequence in the stream
    event: tasks      something about tasks has changed: pages that show them ask again; so nodes, machines
    event: tick       nothing has for a while, but what grows by itself (bytes, progress, ages) has

The stream of events is looked at once a second for all who listen together; a listener that does not read is ended by its connection.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.core.cluster_views import event_row

POLL_EVERY_S: Final = 1.0
TICK_EVERY_COUNT: Final = 3
"""Looks without news after which pages look again all the same."""
MOST_COUNT: Final = 200
"""Events in one look: who has missed more reads the list."""


async def event_stream(watched: Watched) -> AsyncIterator[str]:
    """Tell a listener of everything, until it goes."""
    reached = await reached_of(watched)
    uploads: object = None
    quiet_count = 0
    yield "retry: 2000\n\n"
    while True:
        await asyncio.sleep(POLL_EVERY_S)
        try:
            await watched.events.read()
        except BusFailed:
            yield "event: away\ndata: {}\n\n"
            continue
        rows = [event_row(each) for each in watched.events.since(reached)]
        reached = max([reached, *(row.sequence for row in rows)])
        for row in rows[-MOST_COUNT:]:
            yield f"id: {row.sequence}\nevent: event\ndata: {msgspec.json.encode(row).decode()}\n\n"
        kinds = {row.kind for row in rows}
        growing = {key: revision for key, (_, revision) in watched.uploads.values.items()}
        if growing != uploads:
            uploads = growing
            kinds.add("task")
        quiet_count = 0 if kinds else quiet_count + 1
        for kind in sorted(kinds):
            yield f"event: {kind}s\ndata: {{}}\n\n"
        if quiet_count >= TICK_EVERY_COUNT:
            quiet_count = 0
            yield "event: tick\ndata: {}\n\n"


async def reached_of(watched: Watched) -> int:
    """Find the last event there is."""
    try:
        await watched.events.read()
    except BusFailed:
        return 0
    return watched.events.events[-1].sequence if watched.events.events else 0
