"""How many servers keep each stream, by the setting; and which streams have fewer, said once and in one line.

A stream that exists gets more replicas while it runs, but never fewer: not every client knows how it is kept, and of two services
with different settings the more careful one is right. Where NATS refuses, the stream stays as it is, and the service goes on: it works
as before. So that an operator sees what the setting has done, each process says which streams have fewer and why. It gathers them
for a moment, because a service opens a dozen at its start.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import nats.js.errors
import structlog
from nats.js import api

log = structlog.get_logger()

Result = TypeVar("Result")

NOT_CLUSTERED: Final = 10074
"""NATS' code for more than one replica where there is a single server."""
GATHER_S: Final = 3.0


def is_alone(stream: api.StreamInfo) -> bool:
    """Whether the server that keeps a stream is in no cluster: then it is the one that we are connected to, and no other can have it."""
    return not (stream.cluster and stream.cluster.name)


class Replicas:
    """The setting, and the streams of which NATS keeps fewer."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._fewer: dict[str, dict[str, int]] = {}
        """By the reason that NATS gives: streams, and how many replicas each has."""
        self._reported: set[str] = set()
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        """Show the setting, and what is not so."""
        return f"Replicas({self.count} fewer={self._fewer})"

    def has_fewer(self, stream: str, count: int, reason: str) -> None:
        """Take note of a stream that has fewer, and why NATS did not give it more."""
        if stream not in self._reported:
            self._reported.add(stream)
            self._fewer.setdefault(reason, {})[stream] = count
            self._changed.set()

    async def made(self, stream: str, make: Callable[[int], Awaitable[Result]]) -> Result:
        """Make a stream with so many replicas; with one where there is a single server. Raises what nats-py raises."""
        try:
            return await make(self.count)
        except nats.js.errors.APIError as error:
            if error.err_code != NOT_CLUSTERED or self.count == 1:
                raise
            self.has_fewer(stream, 1, error.description or "")
            return await make(1)

    async def explain(self) -> None:
        """Say now and then which streams have fewer, for ever."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(GATHER_S)
            self.report()

    def report(self) -> None:
        """Say which streams have fewer, unless that was said."""
        self._changed.clear()
        for reason, streams in self._fewer.items():
            log.warning(
                "streams.under_replicated",
                streams=" ".join(sorted(streams)),
                replicas=min(streams.values()),
                setting=self.count,
                reason=reason,
                do="let as many servers of NATS form one cluster (docs/deploy.md), then restart this service",
            )
        self._fewer.clear()
