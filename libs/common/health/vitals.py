"""What every service says of itself to who scrapes it: event loop, NATS, loops, needed services, leadership, versions; and the ports for that.

    GET /metrics                 Prometheus' text format
    GET /healthz, /readyz        how it is; on --metrics-port without the texts of errors

Nothing here runs, and nothing is imported for it, in a process without `--metrics-port` or `--health-port`.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.http_io.listening import optional_listener
from clusterodm.libs.common.http_io.scope import App, Message, Receive, Send
from clusterodm.libs.common.messages.health import LoopReport
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.process.loops import background, beat, every
from clusterodm.libs.common.settings.settings import HealthSettings, MetricsSettings
from clusterodm.libs.common.telemetry.metrics import Reading, counter, exposition, gauge, histogram, read_by
from clusterodm.libs.common.telemetry.tracing import Spans
from clusterodm.libs.common.version import VERSION

LAG_EVERY_S: Final = 0.25
PING_EVERY_S: Final = 5.0

BUILD: Final = gauge("clusterodm_build_info", "1, by the service of this process and its version", "service", "version")
READY: Final = gauge("clusterodm_ready", "Whether this process has all that it needs, as /readyz says")
ALIVE: Final = gauge("clusterodm_alive", "Whether none of its loops hangs, as /healthz says")
FACT: Final = gauge("clusterodm_ready_fact", "Whether something that it needs itself is there, by what it is", "fact")
LOOP_OK: Final = gauge("clusterodm_loop_ok", "Whether a named loop goes round without failing", "loop")
LOOP_FAILURES: Final = gauge("clusterodm_loop_failures", "Failures of a named loop since it last succeeded", "loop")
NEEDED_OK: Final = gauge(
    "clusterodm_needed_service_ok", "Whether a service that it needs has answered lately", "needed"
)
LEADER: Final = gauge("clusterodm_leader", "Whether this process leads, of those that may")
EPOCH: Final = gauge("clusterodm_leader_epoch", "The term of this process as leader; 0: it stands by")
LAG: Final = histogram(
    "clusterodm_event_loop_lag_seconds",
    f"How late the event loop wakes who sleeps, looked at every {LAG_EVERY_S:g} seconds",
)
CONNECTED: Final = gauge("clusterodm_nats_connected", "Whether NATS is there at this moment")
PING_SECONDS: Final = histogram(
    "clusterodm_nats_ping_seconds",
    f"How long NATS takes to answer a ping, asked every {PING_EVERY_S:g} seconds",
)
PINGS_LOST: Final = counter("clusterodm_nats_pings_lost_total", "Pings that NATS did not answer in time")
OK: Final = 200
NOT_FOUND: Final = 404
UNAVAILABLE: Final = 503
OPENMETRICS: Final = b"application/openmetrics-text"
"""The only format that has exemplars; without traces there are none, and everybody gets the plain one."""


def metrics_listener(settings: MetricsSettings) -> AbstractContextManager[socket.socket | None]:
    """Open the port, before anything else is done; None: there is none. Raises Refused with one clear line."""
    return optional_listener(settings.metrics_bind, settings.metrics_port, "--metrics-port")


@asynccontextmanager
async def measured(
    bus: Bus,
    health: Health,
    settings: MetricsSettings,
    metrics_port: socket.socket | None,
    health_port: socket.socket | None = None,
) -> AsyncIterator[None]:
    """Answer on the ports that there are, and measure what is said there, while the context is open."""
    if metrics_port is None and health_port is None:
        yield
        return
    async with AsyncExitStack() as stack:
        stack.enter_context(read_by(lambda: readings(bus, health)))
        await stack.enter_async_context(background(measure_lag, "measure event loop"))
        await stack.enter_async_context(
            background(lambda: every(PING_EVERY_S, lambda: ping(bus), "ping nats"), "ping nats")
        )
        keep_alive_s = settings.metrics_keep_alive_timeout_s
        await stack.enter_async_context(health_served(health, health_port, keep_alive_s=keep_alive_s))
        await stack.enter_async_context(
            health_served(health, metrics_port, "metrics port", errors=False, keep_alive_s=keep_alive_s)
        )
        yield


def readings(bus: Bus, health: Health) -> Iterator[Reading]:
    """Say how this process is."""
    report = health.report()
    yield Reading(BUILD, 1, (report.service, VERSION))
    yield Reading(READY, report.ok)
    yield Reading(ALIVE, report.alive)
    yield Reading(CONNECTED, bus.connected)
    yield from (Reading(FACT, there, (name,)) for name, there in report.facts.items())
    yield from of_loops(report.loops)
    yield from (Reading(NEEDED_OK, seen.ok, (name,)) for name, seen in report.services.items())
    if health.may_lead:
        term = health.term
        leads = term is not None and term.valid
        yield Reading(LEADER, leads)
        yield Reading(EPOCH, term.epoch if term is not None and leads else 0)


def of_loops(loops: Iterable[LoopReport]) -> Iterator[Reading]:
    """Say how they are; of those with one name, how the worst is."""
    failures: dict[str, int] = {}
    bad: set[str] = set()
    for loop in loops:
        failures[loop.name] = max(loop.failures_count, failures.get(loop.name, 0))
        bad |= set() if loop.ok else {loop.name}
    yield from (Reading(LOOP_OK, name not in bad, (name,)) for name in failures)
    yield from (Reading(LOOP_FAILURES, count, (name,)) for name, count in failures.items())


async def measure_lag() -> None:
    """Sleep, and see how late it wakes up, for ever."""
    while True:
        due = monotonic_s() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        LAG.observe(max(0.0, monotonic_s() - due))
        beat()


async def ping(bus: Bus) -> None:
    """Ask NATS for a sign of life."""
    if not bus.connected:
        return
    try:
        PING_SECONDS.observe(await bus.ping_s())
    except BusFailed:
        PINGS_LOST.inc()


def health_listener(settings: HealthSettings) -> AbstractContextManager[socket.socket | None]:
    """Open the port, before anything else is done; None: there is none. Raises Refused with one clear line."""
    return optional_listener(settings.health_bind, settings.health_port, "--health-port")


@asynccontextmanager
async def health_served(
    health: Health,
    listener: socket.socket | None,
    name: str = "health port",
    *,
    errors: bool = True,
    keep_alive_s: float,
) -> AsyncIterator[None]:
    """Answer on the port while the context is open. `errors`: see Health.page."""
    if listener is None:
        yield
        return
    from clusterodm.libs.common.http_io.serving import web_server

    async with web_server(health_app(health, errors=errors), listener, name, keep_alive_s):
        yield


def health_app(health: Health, *, errors: bool = True) -> App:
    """Make the ASGI application. `errors`: see Health.page."""

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        del receive
        traced = Spans.export is not None and OPENMETRICS in dict(scope["headers"]).get(b"accept", b"")
        status, kind, body = await answered(health, scope["path"], errors=errors, traced=traced)
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    return app


async def answered(health: Health, path: str, *, errors: bool = True, traced: bool = False) -> tuple[int, bytes, bytes]:
    """Answer for an address: status, type, body. `errors`: see Health.page; `traced`: figures have exemplars."""
    if path == "/metrics":
        kind, body = await exposition(traced=traced)
        return OK, kind, body
    if (page := health.page(path, errors=errors)) is None:
        return NOT_FOUND, b"application/json", b'{"error":"Not found"}'
    well, said = page
    return OK if well else UNAVAILABLE, b"application/json", msgspec.json.encode(said)
