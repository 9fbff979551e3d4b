"""How services are shown."""

from msgspec.structs import replace

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.health import HealthReport, StandbyReported
from clusterodm.libs.common.messages.overview import SpoolReport
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.services.admin.web.core.views import LoopView, ServiceView, view_of


def service_view(name: str, report: HealthReport, lag_ms: float, since_ms: int | None) -> ServiceView:
    """Show a service that has answered: of several the one that leads."""
    return view_of(
        ServiceView,
        report,
        name=name,
        instance="",
        answers=True,
        since_ms=since_ms,
        lag_ms=lag_ms,
        facts=dict(report.facts),
        loops=loop_views(report),
        needs={needed: seen.ok for needed, seen in report.services.items()},
        error="",
    )


def loop_views(report: HealthReport) -> tuple[LoopView, ...]:
    """Show the loops of a service."""
    return tuple(view_of(LoopView, each) for each in report.loops)


def silent_view(name: str, error: str) -> ServiceView:
    """Show a service that has not answered."""
    return ServiceView(
        name=name,
        instance="",
        answers=False,
        ok=False,
        version="",
        host="",
        epoch=None,
        since_ms=None,
        lag_ms=None,
        facts={},
        loops=(),
        needs={},
        error=error,
    )


def standby_view(reported: StandbyReported, age_s: float) -> ServiceView:
    """Show a process that waits to lead: it answers no requests, but tells of itself every few seconds."""
    leading = service_view(reported.health.service, reported.health, age_s * 1000, reported.since_ms)
    return replace(leading, instance=reported.instance, standby=True, epoch=None)


def proxy_view(proxy: Proxy, report: SpoolReport | None, now_ms: WallMs) -> ServiceView:
    """Show a proxy: it answers no requests, but tells of itself every few seconds."""
    health = report.health if report else None
    return ServiceView(
        name="proxy",
        instance=proxy.instance,
        answers=report is not None,
        ok=health.ok if health else report is not None,
        version=report.version if report else "",
        host=proxy.host,
        epoch=None,
        since_ms=proxy.started_at_ms,
        lag_ms=float(max(0, now_ms - report.at_ms)) if report else None,
        turn_ms=health.turn_ms if health else None,
        facts=dict(health.facts) if health else {},
        loops=loop_views(health) if health else (),
        needs={needed: seen.ok for needed, seen in health.services.items()} if health else {},
        error="" if report else "It has not been heard of for a minute.",
    )
