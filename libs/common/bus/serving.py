"""Requests are answered on two connections: what programs of others may ask, too (`Request.for_programs`), comes over one of its own.

Whoever has the user `integration` asks as often as it likes. NATS hands everything that is for one connection on in one row: behind a
flood of requests stand the answers that this service waits for itself, to the renewal of its lease for one, and a connection that falls
64 MB behind is closed. So the requests of programs come over a connection that may fall behind, or be closed, without anything else than
they; the service goes on to be asked by the others, and to lead.

On that connection no more requests wait than PROGRAMS says for each subject, and no more are worked on at once. What comes beyond that is
dropped: whoever sent it hears nothing. It is counted, and a line of the log says so now and then.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import nats.errors
import structlog
from nats.aio.client import Client
from nats.micro.service import Service, ServiceConfig

from clusterodm.libs.common.bus.connection import close, open_client
from clusterodm.libs.common.bus.endpoints import AnsweringClient, endpoint
from clusterodm.libs.common.bus.retrying import NATS_ERRORS
from clusterodm.libs.common.bus.rights import NatsDenials
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.kinds import PREFIX, LongPoll, Request
from clusterodm.libs.common.ports import Handler, Term
from clusterodm.libs.common.process.lifecycle import TaskLimiter, cancellable
from clusterodm.libs.common.process.loops import background
from clusterodm.libs.common.process.moments import wait_for_event
from clusterodm.libs.common.telemetry.log import Seldom
from clusterodm.libs.common.telemetry.metrics import counter

POLLS_AT_ONCE: Final = 4096
"""Questions that are held open at the same time (messages.LongPoll). They cost memory and no work, and have room of their own."""
STOP_GRACE_S: Final = 5.0
DROPPED: Final = counter(
    "clusterodm_bus_requests_dropped_total",
    "Requests of programs that were dropped: too many of them waited already",
    "request",
)

log = structlog.get_logger()


@dataclass(frozen=True)
class Room:
    """How many requests of a service are taken."""

    at_once_count: int
    """So many are worked on at the same time; the rest waits."""
    waiting: tuple[int, int] | None = None
    """So many of one subject wait, and so many bytes of them; None: as many as nats-py takes."""
    stop_s: float = STOP_GRACE_S
    """So long NATS may take to hear that no more are taken: a term that ends because NATS is silent waits for that."""
    start_s: float = 2.0
    """So long is waited for NATS to hear that they are taken, where that goes on behind it."""


SERVICES: Final = Room(at_once_count=256)
PROGRAMS: Final = Room(at_once_count=32, waiting=(1024, 4 << 20), stop_s=1.0)
Handlers = Mapping[Request[Any, Any], Handler]


def parted(handlers: Handlers) -> tuple[Handlers, Handlers]:
    """Tell apart what services alone may ask, and what programs may, too."""
    programs = {request: handler for request, handler in handlers.items() if request.for_programs}
    return {request: handler for request, handler in handlers.items() if request not in programs}, programs


class ProgramsConnection:
    """The connection over which requests of programs come: one for the life of a process, opened when it first serves any."""

    def __init__(self, url: str, name: str, wait_s: float, room: Room = PROGRAMS) -> None:
        self._url = url
        self._name = f"{name} for programs"
        self._wait_s = wait_s
        self._room = room
        self.denials = NatsDenials()
        """What NATS has refused to it."""
        self._opening = asyncio.Lock()
        self._client: Client | None = None
        self._drops = defaultdict[str, Seldom](Seldom)
        self._losses = Seldom()

    def __repr__(self) -> str:
        """Show whether there is one."""
        return f"ProgramsConnection({self._name} {'closed' if self._client is None else 'open'})"

    async def opened(self) -> Client:
        """Open it, or take what is open; it reconnects for ever. Raises BusFailed."""
        async with self._opening:
            if self._client is None:
                self._client = await open_client(
                    self._url, self._name, self._wait_s, self.denials, told=self._failed, lost=self._lost
                )
        return self._client

    @asynccontextmanager
    async def served(self, service: str, handlers: Handlers, term: Term | None) -> AsyncIterator[None]:
        """Answer requests of programs while the context is open, again and again where that fails: nobody else waits for this connection long."""
        tried = asyncio.Event()

        async def answer() -> None:
            try:
                async with served(await self.opened(), service, handlers, term, self._room):
                    tried.set()
                    await asyncio.Event().wait()
            finally:
                tried.set()

        async with background(answer, name=f"answer programs ({service})"):
            await wait_for_event(tried, self._room.start_s)
            yield

    async def close(self) -> None:
        """Close it, whatever state it is in."""
        if self._client is not None:
            await close(self._client, self._room.stop_s)

    async def _failed(self, error: Exception) -> None:
        if not isinstance(error, nats.errors.SlowConsumerError):
            return
        request = error.sub.subject.removeprefix(f"{PREFIX}.")
        DROPPED.inc(request)
        if count := self._drops[request].passes(asyncio.get_running_loop().time()):
            log.warning("requests.dropped", request=request, reason="too many of them wait already", count=count)

    async def _lost(self) -> None:
        if count := self._losses.passes(asyncio.get_running_loop().time()):
            log.info("requests.interrupted", reason="the connection for requests of programs is lost", count=count)


@asynccontextmanager
async def served(
    client: Client, service: str, handlers: Handlers, term: Term | None, room: Room
) -> AsyncIterator[None]:
    """Answer requests that come over one connection while the context is open; see ports.Bus.serve. Raises BusFailed where NATS does not answer."""
    from clusterodm.libs.common.version import VERSION

    if not handlers:
        yield
        return
    group = service if term is None else f"{service}-{term.epoch}"
    config = ServiceConfig(name=f"clusterodm-{service}", version=VERSION, queue_group=group)
    async with (
        TaskLimiter(room.at_once_count, grace_s=STOP_GRACE_S) as limiter,
        TaskLimiter(POLLS_AT_ONCE, grace_s=1.0) as polls,
    ):
        micro = Service(cast("Client", AnsweringClient(client, room.waiting)), config)
        try:
            try:
                # shielded: a flush that is cancelled breaks nats-py's reading at the next pong
                await asyncio.shield(micro.start())
                for request, handler in handlers.items():
                    offered = micro.add_endpoint(
                        name=request.name.replace(".", "-"),
                        subject=request.subject,
                        handler=endpoint(polls if isinstance(request, LongPoll) else limiter, request, handler, term),
                    )
                    await cancellable(offered)
            except NATS_ERRORS as error:
                raise BusFailed(f"requests to {service} cannot be taken: {error!r}") from None
            yield
        finally:
            with contextlib.suppress(*NATS_ERRORS):
                async with asyncio.timeout(room.stop_s):
                    await cancellable(micro.stop())
