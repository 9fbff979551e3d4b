"""Puts together whatever answers requests: the stories' routes, the fast path and the limits before them."""

from typing import Any, Final

from clusterodm.libs.common.http_io.sharing import EarlyAnswers
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.services.proxy.actions import open_actions
from clusterodm.services.proxy.callbacks.api import open_callbacks
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.cluster.ports import Cluster, IsSure, StoreComparison, always
from clusterodm.services.proxy.exchange.limits import BodyLimits, UploadLimiter
from clusterodm.services.proxy.nodes.ports import Upstream
from clusterodm.services.proxy.peers.api import PeerRoutes
from clusterodm.services.proxy.polling.api import open_polling
from clusterodm.services.proxy.results.api import PaceLimits, open_results
from clusterodm.services.proxy.server.access_log import AccessLog
from clusterodm.services.proxy.server.fast_path import PollFastPath
from clusterodm.services.proxy.server.fast_uploads import UploadFastPath
from clusterodm.services.proxy.server.health import ProxyHealth
from clusterodm.services.proxy.server.meter import RequestMeter
from clusterodm.services.proxy.server.router import Router, Stories
from clusterodm.services.proxy.server.spans import TraceOf
from clusterodm.services.proxy.settings import ProxySettings
from clusterodm.services.proxy.tenants.ports import TokenChecker
from clusterodm.services.proxy.uploads.api import UploadRoutes

MEGABYTE: Final = 1_000_000


def open_router(  # noqa: PLR0913, PLR0917 everything that answers
    settings: ProxySettings,
    bus: Bus,
    cluster: Cluster,
    polls: Upstream,
    streams: Upstream,
    uploads: UploadRoutes,
    peers: PeerRoutes,
    health: ProxyHealth,
    checker: TokenChecker,
    is_sure: IsSure = always,
    comparison: StoreComparison | None = None,
    access: AccessLog | None = None,
    trace_of: TraceOf | None = None,
) -> Router:
    """Put the HTTP side together. Nodes are polled by one way, and stream by another."""
    clock, stall_s = SystemClock(), settings.upload_stall_timeout_s
    finder = TaskFinder(bus, cluster, clock, is_sure=is_sure, comparison=comparison)
    polling = open_polling(bus, cluster, polls, finder, clock, fresh_s=settings.poll_fresh_ms / 1000)
    stories = Stories(
        uploads=uploads,
        polls=polling.routes,
        results=open_results(
            bus,
            cluster,
            finder,
            streams,
            prefix=settings.downloads_from_s3,
            answer_s=settings.node_answer_timeout_s,
            stall_s=settings.download_stall_timeout_s,
            pace=PaceLimits(settings.download_pause_timeout_s, settings.download_min_rate_bytes_per_s),
        ),
        actions=open_actions(
            bus,
            cluster,
            is_sure,
            splitmerge=settings.splitmerge,
            public_address=settings.public_address,
            stall_s=stall_s,
        ),
        callbacks=open_callbacks(bus, cluster, stall_s),
        peers=peers,
        health=health,
    )
    meter = RequestMeter()
    limiter = UploadLimiter(settings.uploads_at_once_count, settings.uploads_wait_s)
    bounds = BodyLimits(settings.upload_min_rate_bytes_per_s, settings.upload_limit_mb * MEGABYTE)
    answered = access.answered if access and access.form != "plain" else None
    fast: list[EarlyAnswers[Any]] = [PollFastPath(polling.polls, checker, meter)]
    if trace_of is None:  # with traces an upload has a span, which is the router's
        fast.append(UploadFastPath(uploads.whole, limiter, bounds, checker, meter))
    return Router(stories, fast, limiter, bounds, checker, meter, answered, trace_of)
