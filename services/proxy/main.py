"""Wires the proxy, and does nothing else."""

import asyncio
import shutil
import socket
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from clusterodm.libs.common.bus.bus import connected
from clusterodm.libs.common.health.health import CHECK_EVERY_S
from clusterodm.libs.common.health.settings_in_force import settings_in_force
from clusterodm.libs.common.health.vitals import measured, metrics_listener
from clusterodm.libs.common.messages.buckets import UPLOADS
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock, now_ms, run
from clusterodm.libs.common.process.loop import FATAL
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.process.memory import Trimmer
from clusterodm.libs.common.process.watchdog import notify_ready, with_watchdog
from clusterodm.libs.common.settings.settings import parse
from clusterodm.libs.common.telemetry.log import begin
from clusterodm.libs.common.telemetry.metrics import read_by
from clusterodm.libs.common.telemetry.tracing import Spans
from clusterodm.services.proxy.cluster.adapters import mirrored
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.exchange.destinations import networks
from clusterodm.services.proxy.finishing.adapters import HttpWebhook
from clusterodm.services.proxy.finishing.handlers import open_finishing
from clusterodm.services.proxy.forwarding.adapters.sender import open_sender
from clusterodm.services.proxy.forwarding.handlers.attempt import ForwardingLimits
from clusterodm.services.proxy.forwarding.handlers.forwarder import Forwarder
from clusterodm.services.proxy.forwarding.handlers.opening import open_forwarding
from clusterodm.services.proxy.forwarding.handlers.stage_in import AHEAD_COUNT
from clusterodm.services.proxy.nodes.adapters import NodeConnections
from clusterodm.services.proxy.peers.adapters import PeerClient, SharedSecret, known_locations, shared_secret
from clusterodm.services.proxy.peers.api import PeerRoutes, open_peers
from clusterodm.services.proxy.peers.handlers import PeerHolders
from clusterodm.services.proxy.peers.ports import UploadLocations
from clusterodm.services.proxy.polling.core.task_info import known_info
from clusterodm.services.proxy.recovery.handlers.recovery import Recovery, open_recovery
from clusterodm.services.proxy.server.access_log import AccessLog, written
from clusterodm.services.proxy.server.health import ProxyHealth
from clusterodm.services.proxy.server.listen import ListeningPort, listening, own_url, served
from clusterodm.services.proxy.server.opening import open_router
from clusterodm.services.proxy.server.readings import of_spool, of_uploads
from clusterodm.services.proxy.server.router import Router
from clusterodm.services.proxy.server.spans import traces_of
from clusterodm.services.proxy.settings import SHORTCUTS, ProxySettings, minimum_bytes
from clusterodm.services.proxy.spool.adapters.contents import require_own
from clusterodm.services.proxy.spool.adapters.spool import DiskSpool, open_spool
from clusterodm.services.proxy.spool.ports import Spool, WholeSpool
from clusterodm.services.proxy.tenants.adapters.choice import token_checker
from clusterodm.services.proxy.tenants.handlers import announced_shares
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.api import Uploading, open_uploads
from clusterodm.services.proxy.uploads.handlers.create import UploadPolicy, settling
from clusterodm.services.proxy.uploads.handlers.expire import expiring
from clusterodm.services.proxy.uploads.handlers.from_url import taking_up
from clusterodm.services.proxy.uploads.handlers.progress import publishing_progress
from clusterodm.services.proxy.uploads.ports import Forwarding

SERVICE: Final = "proxy"
PROG: Final = f"clusterodm {SERVICE}"
POLLS_PER_NODE_COUNT: Final = 64
STREAMS_PER_NODE_COUNT: Final = 128
WATCH_EVERY_S: Final = 1.0
TRIM_EVERY_S: Final = 2.0
HOUR_S: Final = 3600.0
MEGABYTE: Final = 1_000_000

log = structlog.get_logger()


def main(argv: Sequence[str]) -> int:
    """Run the proxy until it is told to stop; the exit code."""
    settings = parse(ProxySettings, argv, PROG, SHORTCUTS)
    begin(SERVICE, settings)
    return run(with_watchdog(serve(settings)), PROG)


async def serve(settings: ProxySettings) -> None:
    """Wire the proxy to the real world and serve until cancelled."""
    require_own(settings.spool_root)
    with (
        listening(settings) as ports,
        metrics_listener(settings) as metrics_port,
        written(settings.access_log, now_ms, settings.access_log_format) as access,
    ):
        url = settings.proxy_url or own_url(settings, ports)
        async with (
            connected(settings, SERVICE) as bus,
            running(settings, bus, ports, url, access, metrics_port),
        ):
            log.info("proxy.started", ports=[port.port for port in ports])
            notify_ready()
            await asyncio.Event().wait()


@asynccontextmanager
async def running(  # noqa: PLR0913, PLR0917 what was opened first
    settings: ProxySettings,
    bus: Bus,
    ports: Sequence[ListeningPort],
    url: str,
    access: AccessLog | None = None,
    metrics_port: socket.socket | None = None,
) -> AsyncIterator[None]:
    """Run everything behind the ports, then open them."""
    async with (
        token_checker(settings, bus) as checker,
        mirrored(bus) as cluster,
        open_spool(settings.spool_root, await bus.bucket(UPLOADS), url, reserve_bytes=reserve_bytes(settings)) as spool,
        forwarding(settings, bus, spool, cluster, checker) as forwarder,
        recovering(settings, bus, cluster, spool, url, forwarder) as (recovery, secret),
        known_locations(bus, spool.instance) as locations,
        NodeConnections(POLLS_PER_NODE_COUNT, settings.node_keep_alive_timeout_s) as polls,
        NodeConnections(STREAMS_PER_NODE_COUNT, settings.node_keep_alive_timeout_s) as streams,
    ):
        uploading = intake(settings, bus, cluster, spool, forwarder, checker)
        peers = peering(settings, bus, cluster, spool, locations, secret)
        health = ProxyHealth(bus, cluster, spool)
        app = open_router(
            settings,
            bus,
            cluster,
            polls,
            streams,
            uploading.routes,
            peers,
            health,
            checker,
            recovery.is_sure,
            recovery.comparison,
            access,
            traces_of(spool, cluster) if Spans.export is not None else None,
        )
        async with (
            kept_up(settings, bus, cluster, spool, forwarder, checker, uploading, health),
            background(lambda: every(CHECK_EVERY_S, health.needed.check, "ask services"), "ask services"),
            measured(bus, health, settings, metrics_port),
            figures_read(spool, forwarder, app),
            served(app, ports, settings, access),
        ):
            try:
                yield
            finally:
                health.stopping = True
                await asyncio.sleep(settings.drain_s)


@asynccontextmanager
async def recovering(  # noqa: PLR0913, PLR0917 what it compares
    settings: ProxySettings, bus: Bus, cluster: Cluster, spool: WholeSpool, url: str, forwarder: Forwarder
) -> AsyncIterator[tuple[Recovery, SharedSecret]]:
    """Compare the spool with the records, and share the proxies' secret, which is another one when records were lost."""
    secret = SharedSecret(bus, await shared_secret(bus, settings.nats_wait_s))
    holders = PeerHolders(bus, PeerClient(), spool.instance, SystemClock(), lambda: secret.value)
    async with open_recovery(
        *(bus, cluster, spool, announcement(settings, spool, url)),
        on_records_lost=forwarder.request_all,
        renew_secret=secret.renew,
        holders=holders,
        wait_s=settings.nats_wait_s,
    ) as recovery:
        yield recovery, secret


def peering(  # noqa: PLR0913, PLR0917 what it is made of
    settings: ProxySettings, bus: Bus, cluster: Cluster, spool: Spool, locations: UploadLocations, secret: SharedSecret
) -> PeerRoutes:
    """Put together how requests are passed on to other proxies."""
    return open_peers(
        bus,
        cluster,
        spool,
        locations,
        PeerClient(),
        secret=lambda: secret.value,
        stall_s=settings.upload_stall_timeout_s,
        public_address=settings.public_address,
    )


@asynccontextmanager
async def figures_read(spool: DiskSpool, forwarder: Forwarder, app: Router) -> AsyncIterator[None]:
    """Let whoever scrapes read the figures of the spool and of what uploads wait for, while the context is open."""
    with read_by(lambda: of_spool(spool.figures(), forwarder.sending_count)), read_by(lambda: of_uploads(app.limiter)):
        yield


@asynccontextmanager
async def kept_up(  # noqa: PLR0913, PLR0917 what the loops are about
    settings: ProxySettings,
    bus: Bus,
    cluster: Cluster,
    spool: DiskSpool,
    forwarder: Forwarder,
    checker: TokenChecker,
    uploading: Uploading,
    health: ProxyHealth,
) -> AsyncIterator[None]:
    """Run what goes on by itself, asked by nobody."""
    async with (
        expiring(bus, spool, settings.stale_uploads_timeout),
        settling(uploading.commits),
        taking_up(bus, cluster, spool, forwarder),
        announced_shares(bus, checker),
        publishing_progress(bus, spool, settings.spool_root, settings_in_force(settings), health.measured),
        background(lambda: every(WATCH_EVERY_S, spool.require_there, "watch the spool"), "watch the spool", FATAL),
        background(lambda: every(TRIM_EVERY_S, Trimmer().trim, "trim"), "trim"),
    ):
        yield


@asynccontextmanager
async def forwarding(
    settings: ProxySettings, bus: Bus, spool: Spool, cluster: Cluster, checker: TokenChecker
) -> AsyncIterator[Forwarder]:
    """Run the loops behind the spool."""

    async def notify_end(token: str, info: Mapping[str, Any]) -> None:
        results = {"s3Path": settings.downloads_from_s3} if settings.downloads_from_s3 else {}
        await checker.finished(token, {**info, **results})

    files_count = settings.forward_parallel_count
    bounds = ForwardingLimits(
        tasks_count=settings.forward_tasks_count,
        files_count=files_count,
        ahead_from_bytes=settings.send_ahead_from_mb * MEGABYTE if settings.send_ahead_of_commit else None,
        one_link=settings.upload_max_speed > 0,
    )
    async with (
        open_sender(settings.forward_threads_count, max_bytes_per_s=settings.upload_max_speed) as sender,
        open_sender(AHEAD_COUNT * files_count, beside=sender) as ahead_sender,
        open_finishing(
            bus,
            spool,
            cluster,
            HttpWebhook(networks(settings.webhook_allow)),
            lambda task: known_info(task, now_ms()),
            keep_failed_s=settings.keep_failed_inputs_h * HOUR_S,
            notify_end=notify_end if checker.is_told else None,
        ) as (finisher, inputs),
        open_forwarding(
            bus,
            spool,
            cluster,
            (sender, ahead_sender),
            finisher,
            inputs=inputs if settings.keep_inputs == "until-forwarded" else None,
            limits=bounds,
            fresh_id=new_uuid,
        ) as forwarder,
    ):
        yield forwarder


def announcement(settings: ProxySettings, spool: Spool, url: str) -> Proxy:
    """Say which proxy this is, and where its spool lies."""
    return Proxy(
        instance=spool.instance,
        url=url,
        host=socket.gethostname(),
        spool=str(settings.spool_root.resolve()),
        started_at_ms=now_ms(),
    )


def new_uuid() -> str:
    """Make an id for a task, here or on a node."""
    return str(uuid.uuid4())


def intake(  # noqa: PLR0913, PLR0917 what it is made of
    settings: ProxySettings, bus: Bus, cluster: Cluster, spool: Spool, forwarding: Forwarding, checker: TokenChecker
) -> Uploading:
    """Put together how tasks come in."""
    return open_uploads(
        bus,
        cluster,
        spool,
        forwarding,
        UploadPolicy(settings.splitmerge, settings.flood_limit, settings.commit_wait_s, checker.is_told),
        checker,
        public_address=settings.public_address,
        stall_s=settings.upload_stall_timeout_s,
        fresh_id=new_uuid,
    )


def reserve_bytes(settings: ProxySettings) -> int:
    """Work out how much of the disk stays free."""
    settings.spool_root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return minimum_bytes(settings.min_free_disk, shutil.disk_usage(settings.spool_root).total)
