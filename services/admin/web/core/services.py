"""What `/api/v1` answers and pages show of services."""

from msgspec.structs import replace

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.health import HealthReport, StandbyReported
from clusterodm.libs.common.messages.overview import SpoolReport
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.services.admin.web.core.views import View, view_of


class LoopView(View, frozen=True, kw_only=True):
    """A loop of a service."""

    name: str
    ok: bool
    late: bool
    failures_count: int
    success_age_s: float | None
    error: str


class ServiceView(View, frozen=True, kw_only=True):
    """A service, as it says itself."""

    name: str
    instance: str
    answers: bool
    ok: bool
    version: str
    host: str
    epoch: int | None
    """The term of the leader; None where nobody leads."""
    standby: bool = False
    """It waits to lead, and answers no requests meanwhile."""
    since_ms: int | None
    """Since when it leads, waits to lead, or runs."""
    lag_ms: float | None
    """How long its answer took, or how old its last word is."""
    turn_ms: float | None = None
    """How long its event loop takes for a turn; null: it does not say it."""
    facts: dict[str, bool]
    loops: tuple[LoopView, ...]
    needs: dict[str, bool]
    error: str


class ServiceListing(View, frozen=True, kw_only=True):
    """All services."""

    items: tuple[ServiceView, ...]


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
    nothing = HealthReport(ok=False, service=name)
    return replace(service_view(name, nothing, 0.0, None), answers=False, lag_ms=None, error=error)


def standby_view(reported: StandbyReported, age_s: float) -> ServiceView:
    """Show a process that waits to lead: it answers no requests, but tells of itself every few seconds."""
    leading = service_view(reported.health.service, reported.health, age_s * 1000, reported.since_ms)
    return replace(leading, instance=reported.instance, standby=True, epoch=None)


def proxy_view(proxy: Proxy, report: SpoolReport | None, now_ms: WallMs) -> ServiceView:
    """Show a proxy: it answers no requests, but tells of itself every few seconds."""
    if report is None:
        silent = silent_view("proxy", "It has not been heard of for a minute.")
        return replace(silent, instance=proxy.instance, host=proxy.host, since_ms=proxy.started_at_ms)
    health = report.health or HealthReport(ok=True, service="proxy")
    lag_ms = float(max(0, now_ms - report.at_ms))
    shown = service_view("proxy", health, lag_ms, proxy.started_at_ms)
    return replace(shown, instance=proxy.instance, version=report.version, host=proxy.host, epoch=None)
