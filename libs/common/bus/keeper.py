"""Makes all streams, and makes again what NATS has lost of them: in the one service that does (layout.py, decision 123)."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext

from clusterodm.libs.common.bus.layout import BUCKETS, SNAPSHOTS
from clusterodm.libs.common.bus.leases import STREAM as LEASES
from clusterodm.libs.common.bus.leases import open_store
from clusterodm.libs.common.bus.replicas import Replicas
from clusterodm.libs.common.bus.retrying import NATS_ERRORS, retry, try_timeout
from clusterodm.libs.common.bus.rights import failure_of
from clusterodm.libs.common.bus.store import NatsBucket
from clusterodm.libs.common.bus.streams import names_of, open_events, open_snapshot, why
from clusterodm.libs.common.messages.kinds import EVENTS_STREAM, BucketName
from clusterodm.libs.common.process.lifecycle import cancellable

log = structlog.get_logger()


class StreamKeeper:
    """All streams of the cluster."""

    def __init__(
        self,
        client: Client,
        js: JetStreamContext,
        replicas: Replicas,
        open_bucket: Callable[[BucketName[Any]], Awaitable[NatsBucket[Any]]],
        wait_s: float,
    ) -> None:
        self._client = client
        self._js = js
        self._replicas = replicas
        self._open_bucket = open_bucket
        self._wait_s = wait_s
        self._buckets: dict[str, NatsBucket[Any]] = {}
        self._one_at_a_time = asyncio.Lock()

    def __repr__(self) -> str:
        """Show how many buckets it keeps."""
        return f"StreamKeeper({len(self._buckets)})"

    async def lay_out(self) -> None:
        """Make every stream that is not there; compare those that are with the settings. Raises BusFailed."""
        async with asyncio.TaskGroup() as group:
            group.create_task(open_store(self._js, self._replicas))
            for name in BUCKETS:
                group.create_task(self._open(name))
            for snapshot in SNAPSHOTS:
                opening = partial(open_snapshot, self._js, snapshot, self._replicas)
                group.create_task(retry(opening, f"{snapshot.name} opens", self._wait_s))

    async def _open(self, name: BucketName[Any]) -> None:
        self._buckets[name.name] = await self._open_bucket(name)

    async def keep(self) -> None:
        """Make again what NATS has lost; whoever comes meanwhile waits, and finds it made. Raises BusFailed."""
        async with self._one_at_a_time:
            await self._make_again()

    async def _make_again(self) -> None:
        try:
            async with try_timeout():
                there = await cancellable(names_of(self._client))
        except NATS_ERRORS as error:
            raise failure_of(f"streams not seen: {why(error)}", error) from None
        for stream, make in self._makers():
            if stream not in there:
                log.warning("stream.recreated", stream=stream, reason="nats has lost it")
                await make()
        for name in BUCKETS:
            if not name.durable:
                await self._buckets[name.name].keep()

    def _makers(self) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
        """Pair each stream with what makes it."""
        yield EVENTS_STREAM, partial(open_events, self._js, self._replicas)
        yield LEASES, partial(open_store, self._js, self._replicas)
        yield from ((f"KV_{name.name}", self._buckets[name.name].open_soon) for name in BUCKETS)
        yield from ((each.stream, partial(open_snapshot, self._js, each, self._replicas)) for each in SNAPSHOTS)
