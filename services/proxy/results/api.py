"""Downloads and pages, streamed at the client's pace.

No result: 404 `{"error"}`; the node or the storage says no: 502 `{"error"}`, and for a page also what is no HTTP; away, gone half-way, or no HTTP
for a result: the connection is closed; in a bucket: 302 to where it has just been seen.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import quote

import structlog

from clusterodm.libs.common.errors import BusFailed, NodeFailed, NoNode, NotFound
from clusterodm.libs.common.http_io.link import NotAnAnswer
from clusterodm.libs.common.http_io.origins import NOT_HTTP, Timeouts
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.exchange.nodeodm_api import BAD_GATEWAY, NO_NODES, NOT_FOUND, cannot_handle
from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.nodes.ports import Upstream
from clusterodm.services.proxy.results.handlers.download import DOWNLOAD, ResultLocation, Results
from clusterodm.services.proxy.results.handlers.relay import Relay, Relayed, RelayRequest, ResultHosts

AGAIN_BYTES: Final = 16 * 1024 * 1024
"""What is copied of a body that had to be waited for, before it is tried without copying again."""
SAFE_IN_PATH: Final = "/!$&'()*+,;=:@~-._"
DOWNLOADING: Final = frozenset(("GET", "HEAD"))
FOUND: Final = 302
NOT_KEPT: Final = (b"cache-control", b"no-store")
"""The address of a result is good for a short while, and for who asked."""
NO_HTTP: Final = f"The node {NOT_HTTP}"
"""Of a page; without the node's address, which is none of its clients' business."""
CONNECT_S: Final = 5.0

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """What a client must keep to that takes an answer of any length."""

    pause_s: float
    """So long it may take nothing, or less than is asked for: a browser lets its user pause a download. At twice as long it has been noticed."""
    min_bytes_per_s: float
    """Over so long; 0: who takes anything goes on."""


class ResultRoutes:
    """Answers downloads and requests for pages."""

    def __init__(self, results: Results, relay: Relay, pace: PaceLimits) -> None:
        self._results = results
        self._relay = relay
        self._pace = pace

    async def download(self, exchange: RequestContext, task: TaskId, action: str) -> None:
        """`/task/<id>/download/<asset>`."""
        asset = action.removeprefix(DOWNLOAD)
        if ".." in asset.split("/"):
            await exchange.refuse("Invalid asset", NOT_FOUND)
            return
        wanted = RelayRequest(exchange.method.encode(), quote(action, safe=SAFE_IN_PATH).encode(), exchange.headers)
        try:
            async with self._results.download(task, exchange.owner, wanted) as found:
                if isinstance(found, ResultLocation):
                    await exchange.empty(FOUND, [(b"location", found.url.encode()), NOT_KEPT])
                else:
                    await stream(exchange, found, self._pace)
        except (NotFound, NodeRefused) as error:
            await exchange.refuse(error.message, NOT_FOUND if isinstance(error, NotFound) else BAD_GATEWAY)
        except (NodeFailed, BusFailed) as error:
            # also what is no HTTP: PyODM tries again after a closed connection, and gives up after a 502
            at_will.info("download.dropped", task=task, asset=asset, reason=error.message)
            exchange.drop()

    async def page(self, exchange: RequestContext) -> None:
        """`/`, `*.css`, ...: from a node."""
        if exchange.method not in DOWNLOADING:
            await exchange.refuse(cannot_handle(exchange.path))
            return
        wanted = RelayRequest(
            exchange.method.encode(), quote(exchange.path, safe=SAFE_IN_PATH).encode(), exchange.headers
        )
        try:
            async with self._relay.page(wanted) as relayed:
                await stream(exchange, relayed, self._pace)
        except NoNode:
            await exchange.refuse(NO_NODES)
        except (NodeRefused, NotAnAnswer) as error:
            await exchange.refuse(NO_HTTP if isinstance(error, NotAnAnswer) else error.message, BAD_GATEWAY)
        except (NodeFailed, BusFailed) as error:
            at_will.info("page.dropped", path=exchange.path, reason=error.message)
            exchange.drop()


def is_download(method: str, action: str) -> bool:
    """Whether a request about a task is for a result of it."""
    return action.startswith(DOWNLOAD) and method in DOWNLOADING


def open_results(  # noqa: PLR0913 everything that may have a result, and how long it may take
    bus: Bus,
    cluster: Cluster,
    finder: TaskFinder,
    nodes: Upstream,
    *,
    prefix: str,
    answer_s: float,
    stall_s: float,
    pace: PaceLimits,
) -> ResultRoutes:
    """Put together where results come from: nodes, and what lies under `prefix`."""
    timeouts = Timeouts(connect_s=CONNECT_S, head_s=answer_s, silence_s=stall_s)
    hosts = ResultHosts(bus, cluster)
    relay = Relay(bus, cluster, nodes, hosts, timeouts)
    return ResultRoutes(Results(bus, hosts, finder, relay, nodes, prefix), relay, pace)


async def stream(exchange: RequestContext, relayed: Relayed, limits: PaceLimits) -> None:
    """Pass an answer on at the client's pace; whichever side breaks off, the other is closed."""
    await exchange.head(relayed.status, list(relayed.headers))
    async with asyncio.TaskGroup() as group:
        watcher = group.create_task(watch(exchange, relayed), name="watch client")
        try:
            complete = await copy(exchange, relayed, ClientPace(exchange, limits))
        finally:
            watcher.cancel()
    if not complete:
        exchange.drop()


async def copy(exchange: RequestContext, relayed: Relayed, client: "ClientPace") -> bool:
    """Pass the body on, inside the kernel as far as possible; whether all of it came, and went."""
    again_bytes = 0
    try:
        async for chunk in relayed.body:
            again_bytes -= len(chunk)
            may_splice = again_bytes <= 0 and relayed.to_end and relayed.reply.may_splice
            await client.caught_up()
            await exchange.part(chunk, more=True)
            if may_splice:
                await client.flushed()
            if may_splice and await splice(exchange, relayed):
                again_bytes = AGAIN_BYTES
            if exchange.cycle.gone:
                return False
        await client.caught_up()
    except TimeoutError:
        at_will.info("relay.broken_off", path=exchange.path, reason="the client does not take it")
        return False
    except NodeFailed as error:
        if exchange.cycle.gone:
            log.debug("client.disconnected", path=exchange.path)
        else:
            at_will.info("relay.broken_off", path=exchange.path, reason=error.message)
        return False
    await exchange.part(b"", more=False)
    return True


async def splice(exchange: RequestContext, relayed: Relayed) -> bool:
    """Move the body from socket to socket as long as both keep up; False when that is not possible at all."""
    with exchange.cycle.answer_socket() as target:
        spliced = None if target is None else await relayed.reply.splice(target)
    if spliced is None:
        return False
    exchange.cycle.sent(spliced.given_bytes)
    exchange.sent_bytes += spliced.given_bytes
    if spliced.rest:
        await exchange.part(spliced.rest, more=True)
    return True


class ClientPace:
    """Waits for a client as long as it takes enough. Only that time counts: what its node takes has a limit of its own."""

    def __init__(self, exchange: RequestContext, limits: PaceLimits) -> None:
        self._exchange = exchange
        self._limits = limits
        self._waited_s, self._from_bytes = 0.0, 0
        """For the client, since it was looked at how much it takes; and how much it had then."""

    async def caught_up(self) -> None:
        """Wait until more may be written. Raises TimeoutError."""
        await self._wait_for(partial(self._exchange.part, b"", more=True))

    async def flushed(self) -> None:
        """Wait until all is with the kernel. Raises TimeoutError."""
        await self._wait_for(self._exchange.cycle.flushed)

    async def _wait_for(self, event: Callable[[], Awaitable[None]]) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            begun_s = clock()
            try:
                async with asyncio.timeout(self._limits.pause_s - self._waited_s):
                    await event()
            except TimeoutError:
                self._judge()
            else:
                self._waited_s += clock() - begun_s
                return

    def _judge(self) -> None:
        """Look how much it has taken. Raises TimeoutError for less than enough."""
        had_bytes, self._from_bytes = self._from_bytes, self._exchange.sent_bytes - self._exchange.cycle.untaken_bytes
        if self._from_bytes - had_bytes < max(1, self._limits.pause_s * self._limits.min_bytes_per_s):
            raise TimeoutError
        self._waited_s = 0.0


async def watch(exchange: RequestContext, relayed: Relayed) -> None:
    """Stop the node when the client leaves: while the node is silent nothing else would notice."""
    while (await exchange.receive())["type"] != "http.disconnect":
        pass
    relayed.reply.abort()
