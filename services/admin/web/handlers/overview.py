"""The cluster at a glance, how its services are, and the settings that count."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, ClusterError
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.health import (
    AUTOSCALER_HEALTH,
    AUTOSCALER_SETTINGS,
    SCHEDULER_HEALTH,
    SCHEDULER_SETTINGS,
    HealthReport,
    ReportHealth,
    ReportSettings,
    SettingInForce,
    SettingsReport,
)
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.overview import ClusterOverview
from clusterodm.libs.common.ports import Bus
from clusterodm.services.admin.watching.core import last_values
from clusterodm.services.admin.web.core.attention import attention_of
from clusterodm.services.admin.web.core.cluster_views import OverviewView, SeriesView, SettingRow, SpoolView
from clusterodm.services.admin.web.core.machine_views import autoscaler_view
from clusterodm.services.admin.web.core.services import (
    ServiceListing,
    ServiceView,
    proxy_view,
    service_view,
    silent_view,
    standby_view,
)
from clusterodm.services.admin.web.core.views import ListPage, Wanted, listed, view_of
from clusterodm.services.admin.web.handlers.reading import ClusterReader

RANGES: Final = {"1h": 3600.0, "24h": 24 * 3600.0, "7d": 7 * 24 * 3600.0}
LATELY_S: Final = 900.0
FAILED_COUNT: Final = 5
NODES_COUNT: Final = 200


class OverviewHandler:
    """Puts together what several services say. What does not answer is said to, and holds up nothing else for long."""

    def __init__(
        self, bus: Bus, reader: ClusterReader, clock: Clock, health: Health | None, settings: Sequence[SettingInForce]
    ) -> None:
        self._bus = bus
        self._reader = reader
        self._watched = reader.watched
        self._clock = clock
        self._health = health
        self._settings = settings

    async def overview(self) -> OverviewView:
        """Show the cluster at a glance."""
        overview, status, lately = await asyncio.gather(
            self._watched.overview(), self._watched.autoscaler(), self._lately()
        )
        now_ms, spools, uploads = self._clock.wall_ms(), self._watched.known_spools(), self._watched.known_uploads()
        failed = offline = None
        if overview is not None:
            failed = await self._reader.tasks(
                Wanted(states=("failed",), sort="ended", descending=True, per_page=FAILED_COUNT)
            )
            offline = await self._reader.nodes(Wanted(states=("offline",), per_page=NODES_COUNT))
        known = overview or ClusterOverview(at_ms=now_ms)
        return view_of(
            OverviewView,
            known,
            at_ms=now_ms,
            answers=overview is not None,
            states={**({"uploading": len(uploads)} if uploads else {}), **known.states},
            uploads_count=len(uploads),
            upload_bytes_per_s=sum(each.rate_bytes_per_s for each in uploads if each.receiving),
            forwarding_left_bytes=max(0, known.forwarding_bytes - known.forwarding_sent_bytes),
            completed_per_h=lately.get("completed_per_h"),
            images_per_h=lately.get("images_per_h"),
            autoscaler=autoscaler_view(status),
            spools=tuple(view_of(SpoolView, each) for each in spools),
            attention=attention_of(now_ms, overview, status, spools, failed, offline),
        )

    async def _lately(self) -> dict[str, float]:
        """Average the last quarter of an hour."""
        try:
            series = (await self._watched.history()).series(self._clock.wall_ms() / 1000, LATELY_S)
        except BusFailed:
            return {}
        return last_values({name: [mean_of(values)] for name, values in series.values.items()})

    async def series(self, range_name: str) -> SeriesView:
        """Give what plots draw."""
        history = await self._watched.history()
        series = history.series(self._clock.wall_ms() / 1000, RANGES[range_name])
        return SeriesView(
            range=range_name,
            times_s=tuple(series.times_s),
            values={name: tuple(values) for name, values in series.values.items()},
        )

    # --- services ---------------------------------------------------------------------------------------------------

    async def services(self) -> ServiceListing:
        """Ask all services how they are."""
        *asked, overview = await asyncio.gather(
            self._health_of("scheduler", SCHEDULER_HEALTH),
            self._health_of("autoscaler", AUTOSCALER_HEALTH),
            self._watched.overview(),
        )
        now_ms = self._clock.wall_ms()
        since_ms = overview.since_ms if overview else None
        services: list[ServiceView] = []
        for name, view in asked:
            standbys = self._watched.standbys.known(name)
            services.append(view(since_ms if name == "scheduler" else None))
            services += [standby_view(each.reported, each.age_s) for each in standbys]
        if self._health is not None:
            services.append(service_view("admin", await self._health.measured(), 0.0, None))
        reports = {each.instance: each for each in self._watched.known_spools()}
        proxies = [value for value, _ in self._watched.proxies.values.values()]
        services += [
            proxy_view(each, reports.get(each.instance), now_ms) for each in sorted(proxies, key=lambda p: p.instance)
        ]
        return ServiceListing(items=tuple(services))

    async def _health_of(
        self, name: str, request: Request[ReportHealth, HealthReport]
    ) -> tuple[str, Callable[[int | None], ServiceView]]:
        began = self._clock.instant()
        try:
            report = await self._bus.request(request, ReportHealth())
        except ClusterError as error:
            message = error.message
            return name, lambda _since_ms: silent_view(name, message)
        lag_ms = round((self._clock.instant() - began) * 1000, 2)
        return name, lambda since_ms: service_view(name, report, lag_ms, since_ms)

    # --- settings ---------------------------------------------------------------------------------------------------

    async def settings(self, wanted: Wanted) -> ListPage[SettingRow]:
        """List the settings of all services; `states` are where values come from. A service that does not answer is left out."""
        reports = await asyncio.gather(self._settings_of(SCHEDULER_SETTINGS), self._settings_of(AUTOSCALER_SETTINGS))
        known = [(report.service, each) for report in reports if report for each in report.settings]
        known += [("admin", each) for each in self._settings]
        known += [
            (f"proxy {spool.instance}", each) for spool in self._watched.known_spools() for each in spool.settings
        ]
        rows = (view_of(SettingRow, each, service=service) for service, each in known)
        texts = lambda row: (row.service, row.name, row.value, row.description)  # noqa: E731 what is searched
        return listed(rows, wanted, texts, {}, lambda row: row.source)

    async def _settings_of(self, request: Request[ReportSettings, SettingsReport]) -> SettingsReport | None:
        try:
            return await self._bus.request(request, ReportSettings(), timeout_s=2.0)
        except ClusterError:
            return None


def mean_of(values: Sequence[float | None]) -> float | None:
    """Average what is known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
