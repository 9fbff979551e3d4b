"""Keeps what shares tenants have, so that a scheduler that takes over knows them before any proxy tells it."""

import structlog

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.messages.buckets import TENANTS
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.tenants import SetTenants, TenantShare
from clusterodm.libs.common.model.nodes import mistake_in_labels
from clusterodm.libs.common.ports import Bucket, Bus
from clusterodm.services.scheduler.events import Signals
from clusterodm.services.scheduler.leadership import Leadership
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState

log = structlog.get_logger()


class TenantStore:
    """Answers SET_TENANTS."""

    def __init__(
        self,
        state: ClusterState,
        bucket: Bucket[TenantShare],
        leadership: Leadership,
        known: dict[str, TenantShare],
        signals: Signals,
    ) -> None:
        self._signals = signals
        self._state = state
        self._bucket = bucket
        self._leadership = leadership
        self._known = known

    @classmethod
    async def open(cls, state: ClusterState, bus: Bus, leadership: Leadership, signals: Signals) -> "TenantStore":
        """Read what is kept. Raises BusFailed."""
        bucket = await bus.bucket(TENANTS)
        known = {key: entry.value for key, entry in (await bucket.load()).items()}
        state.set_shares(known.values())
        return cls(state, bucket, leadership, known, signals)

    async def set_tenants(self, request: SetTenants) -> Done:
        """Take in shares; each is written before it counts."""
        if len(request.tenants) > SetTenants.MOST or any(
            not share.owner or share.weight < 1 for share in request.tenants
        ):
            raise Refused("each tenant has an owner and a weight of at least 1")
        for share in request.tenants:
            if mistake := mistake_in_labels(share.labels):
                raise Refused(mistake)
        self._leadership.require()
        for share in request.tenants:
            await self._bucket.put(share.owner, share)
            if self._known.get(share.owner) != share:
                log.info(
                    "tenant.changed",
                    tenant=share.name,
                    weight=share.weight,
                    priority=share.priority,
                    labels=share.labels,
                )
            self._known[share.owner] = share
        self._state.set_shares(request.tenants)
        self._signals.capacity_freed.set()
        return Done()
