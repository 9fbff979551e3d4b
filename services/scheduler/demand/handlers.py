"""Keeps what the others read of the whole cluster up to date: summary, demand, the list of options."""

import asyncio
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Instant, read
from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound
from clusterodm.libs.common.messages.buckets import OPTIONS, SUMMARY, SUMMARY_KEY
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, DemandChanged
from clusterodm.libs.common.model.cluster import ClusterSummary
from clusterodm.libs.common.model.nodes import ReferenceOptions
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.ports import Bucket, Bus
from clusterodm.libs.common.process.loops import Start, beat, missed
from clusterodm.libs.common.process.moments import wait_for_turn, wait_until_woken
from clusterodm.services.scheduler.demand.core import demand_changed, demand_of, summary_changed, summary_of
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

OPTIONS_CHECK_S: Final = 1.0
MEMORY_CHECK_S: Final = 5.0
"""Memory that is used or given back is no news by itself; it is looked at so often."""
PUBLISH_AGAIN_COUNT: Final = 6
"""What was told last is told again after so many looks without news."""
Reference = tuple[str, str, str]
"""Engine, its version, NodeODM's version: as long as these stay, so do the options."""


class ClusterTotals:
    """Writes totals when they have changed, and not more often than people can read."""

    def __init__(  # noqa: PLR0913, PLR0917 its collaborators
        self,
        state: ClusterState,
        records: Records,
        bus: Bus,
        api: NodeApi,
        buckets: tuple[Bucket[ClusterSummary], Bucket[ReferenceOptions]],
        settings: SchedulerSettings,
    ) -> None:
        self._nodes = records.registry
        self._clock = records.clock
        self._leadership = records.leadership
        self._signals = records.signals
        self._state = state
        self._bus = bus
        self._api = api
        self._summary, self._options = buckets
        self._settings = settings
        self._published_summary: ClusterSummary | None = None
        self._published_demand: DemandChanged | None = None
        self.demand: DemandChanged | None = None
        """As it was seen last."""
        self._reference: Reference | None = None
        self._fetched: Instant | None = None
        self._complaints: dict[NodeId, str] = {}
        """What was last said of nodes that do not give their list: they are asked whenever another node comes online."""

    @classmethod
    async def open(
        cls, state: ClusterState, records: Records, bus: Bus, api: NodeApi, settings: SchedulerSettings
    ) -> "ClusterTotals":
        """Open the buckets."""
        return cls(state, records, bus, api, (await bus.bucket(SUMMARY), await bus.bucket(OPTIONS)), settings)

    def loops(self) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return {"tell totals": self.run, "fetch options": self.watch_options}

    async def run(self) -> None:
        """Tell whenever there is news, and now and then when there is none: a predecessor may have had the last word."""
        unchanged_count = 0
        while True:
            unchanged_count = 0 if await self._has_changed() else unchanged_count + 1
            if unchanged_count == PUBLISH_AGAIN_COUNT:
                unchanged_count = 0
                self._published_summary = self._published_demand = None
            self._signals.changed.clear()
            try:
                await self.publish()
                beat()
            except BusFailed as error:
                log.warning("totals.publish_failed", error=error.message)
                self._signals.changed.set()
                missed(error)
            await asyncio.sleep(self._settings.tell_every_s)

    async def _has_changed(self) -> bool:
        return await wait_for_turn(self._signals.changed, MEMORY_CHECK_S)

    async def publish(self) -> None:
        """Write what has changed."""
        self._leadership.require()
        summary = summary_of(self._state)
        if summary_changed(self._published_summary, summary):
            await self._summary.put(SUMMARY_KEY, summary)
            self._published_summary = summary
        demand = demand_of(self._state, read(self._clock), self._leadership.epoch)
        self.demand = demand
        if demand_changed(self._published_demand, demand):
            await self._bus.publish_snapshot(DEMAND_CHANGED, demand)
            self._published_demand = demand

    async def watch_options(self) -> None:
        """Fetch the list of options whenever that is due, and at once when a node comes online: uploads need it."""
        while True:
            await wait_until_woken(self._signals.node_online, OPTIONS_CHECK_S)
            try:
                await self.refresh_options()
                beat()
            except (BusFailed, NotFound) as error:
                missed(error)

    async def refresh_options(self) -> None:
        """Fetch the list of options from the first node online, when that is due. Without any node the last list stays."""
        for node in self._nodes.listed():
            if node.online and node.info and (not self._is_due(node) or await self._fetch(node)):
                return

    def _is_due(self, node: NodeState) -> bool:
        now, fetched = self._clock.instant(), self._fetched
        old = fetched is None or now - fetched >= self._settings.options_every_s
        return old or reference_of(node) != self._reference

    async def _fetch(self, node: NodeState) -> bool:
        try:
            options = await self._api.options(node.record, self._settings.probe_timeout_s)
        except ClusterError as error:
            if self._complaints.get(node.id) != error.message:
                self._complaints[node.id] = error.message
                log.warning("options.fetch_failed", node=node.id, error=error.message)
            return False
        self._complaints.clear()
        now_ms = self._clock.wall_ms()
        self._leadership.require()
        await self._options.put(SUMMARY_KEY, ReferenceOptions(options=options, seen_at_ms=now_ms))
        self._reference, self._fetched = reference_of(node), self._clock.instant()
        log.info("options.fetched", node=node.id, options=len(options))
        return True


def reference_of(node: NodeState) -> Reference | None:
    """Say what a node's options depend on."""
    return (node.info.engine, node.info.engine_version, node.info.version) if node.info else None
