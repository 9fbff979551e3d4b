"""Keeps what the others read of the whole cluster up to date: summary, demand, the list of options."""

import asyncio
import contextlib
from typing import Final

import structlog

from libs.common.clocks import Instant
from libs.common.errors import BusFailed, ClusterError
from libs.common.loops import beat
from libs.common.messages import DEMAND_CHANGED, OPTIONS, SUMMARY, SUMMARY_KEY, DemandChanged
from libs.common.model import ClusterSummary, NodeId, ReferenceOptions
from libs.common.ports import Bucket, Bus
from services.scheduler.demand.core import demand_changed, demand_of, summary_changed, summary_of
from services.scheduler.leadership import calm
from services.scheduler.node_client.ports import NodeApi
from services.scheduler.records.handlers.task_store import Ledger
from services.scheduler.registry.node_state import NodeState
from services.scheduler.settings import SchedulerSettings

log = structlog.get_logger()

OPTIONS_CHECK_S: Final = 1.0
LOOK_S: Final = 5.0
"""Memory that is used or given back is no news by itself; it is looked at so often."""
TELL_AGAIN_COUNT: Final = 6
"""What was told last is told again after so many looks without news."""
Reference = tuple[str, str, str]
"""Engine, its version, NodeODM's version: as long as these stay, so do the options."""


class Totals:
    """Writes totals when they have changed, and not more often than people can read."""

    def __init__(
        self,
        ledger: Ledger,
        bus: Bus,
        api: NodeApi,
        buckets: tuple[Bucket[ClusterSummary], Bucket[ReferenceOptions]],
        settings: SchedulerSettings,
    ) -> None:
        self._ledger = ledger
        self._bus = bus
        self._api = api
        self._summary, self._options = buckets
        self._settings = settings
        self._told_summary: ClusterSummary | None = None
        self._told_demand: DemandChanged | None = None
        self._reference: Reference | None = None
        self._fetched: Instant | None = None
        self._complaints: dict[NodeId, str] = {}
        """What was last said of nodes that do not give their list: they are asked whenever another node comes online."""

    @classmethod
    async def open(cls, ledger: Ledger, bus: Bus, api: NodeApi, settings: SchedulerSettings) -> "Totals":
        """Open the buckets."""
        return cls(ledger, bus, api, (await bus.bucket(SUMMARY), await bus.bucket(OPTIONS)), settings)

    async def run(self) -> None:
        """Tell whenever there is news, and now and then when there is none: a predecessor may have had the last word."""
        looks_count = 0
        while True:
            beat()
            looks_count = 0 if await self._has_news() else looks_count + 1
            if looks_count == TELL_AGAIN_COUNT:
                looks_count = 0
                self._told_summary = self._told_demand = None
            self._ledger.news.clear()
            try:
                await self.tell()
            except BusFailed as error:
                log.warning("totals not told", error=error.message)
                self._ledger.news.set()
            await asyncio.sleep(self._settings.tell_every_s)

    async def _has_news(self) -> bool:
        try:
            async with asyncio.timeout(LOOK_S):
                return await self._ledger.news.wait()
        except TimeoutError:
            return False

    async def tell(self) -> None:
        """Write what has changed."""
        self._ledger.office.require()
        summary = summary_of(self._ledger.board)
        if summary_changed(self._told_summary, summary):
            await self._summary.put(SUMMARY_KEY, summary)
            self._told_summary = summary
        demand = demand_of(self._ledger.board, self._ledger.now(), self._ledger.office.epoch)
        if demand_changed(self._told_demand, demand):
            await self._bus.set_snapshot(DEMAND_CHANGED, demand)
            self._told_demand = demand

    async def follow_options(self) -> None:
        """Fetch the list of options whenever that is due, and at once when a node comes online: uploads need it."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(OPTIONS_CHECK_S):
                    await self._ledger.online.wait()
            self._ledger.online.clear()
            await calm(self.refresh_options, "fetch options")()

    async def refresh_options(self) -> None:
        """Fetch the list of options from the first node online, when that is due. Without any node the last list stays."""
        for node in self._ledger.board.nodes.listed():
            if node.online and node.info and (not self._is_due(node) or await self._fetch(node)):
                return

    def _is_due(self, node: NodeState) -> bool:
        now, fetched = self._ledger.instant(), self._fetched
        old = fetched is None or now - fetched >= self._settings.options_every_s
        return old or reference_of(node) != self._reference

    async def _fetch(self, node: NodeState) -> bool:
        try:
            options = await self._api.options(node.record, self._settings.probe_timeout_s)
        except ClusterError as error:
            if self._complaints.get(node.id) != error.message:
                self._complaints[node.id] = error.message
                log.warning("options not fetched", node=node.id, error=error.message)
            return False
        self._complaints.clear()
        now_ms = self._ledger.now_ms()
        self._ledger.office.require()
        await self._options.put(SUMMARY_KEY, ReferenceOptions(options=options, seen_at_ms=now_ms))
        self._reference, self._fetched = reference_of(node), self._ledger.instant()
        log.info("options fetched", node=node.id, options=len(options))
        return True


def reference_of(node: NodeState) -> Reference | None:
    """Say what a node's options depend on."""
    return (node.info.engine, node.info.engine_version, node.info.version) if node.info else None
