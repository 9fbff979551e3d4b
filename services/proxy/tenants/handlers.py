"""Holds what a tenant uploads against its limits, and tells the scheduler what share each has.

Tenants without limits cost nothing here. Those with limits cost a look at sums that the spool and the mirror keep as they change: no request
lists files, entries or tasks.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.messages.tenants import SET_TENANTS, SetTenants, TenantShare
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.libs.common.process.loops import background, every, missed
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.spool.ports import Spool
from clusterodm.services.proxy.tenants.core import check_storage, check_task_size, share_of
from clusterodm.services.proxy.tenants.ports import TokenChecker

log = structlog.get_logger()

ANNOUNCE_EVERY_S: Final = 1.0
AGAIN_S: Final = 3600.0
"""After so long all are told once more: what the scheduler keeps of those of whom nobody speaks expires."""
FRAME_BYTES: Final = 1 << 20
PART_FRAME_BYTES: Final = 1024
"""So much of a body, and as much for each file, may be around its files: heads of parts. What an upload holds in the end is counted to the byte, at the commit."""


class TenantLimits:
    """Counts."""

    def __init__(self, spool: Spool, cluster: Cluster) -> None:
        self._spool = spool
        self._cluster = cluster

    def check_new(self, tenant: Tenant) -> None:
        """Raise Refused when a tenant may begin no upload, because its files take all the room that they may."""
        if tenant.storage_bytes:
            check_storage(tenant, self._stored_bytes(tenant.account), 1)

    def check_upload(self, tenant: Tenant, task: TaskId, expected_bytes: int) -> None:
        """Raise Refused when an upload request is certain to be too much, before any of it is read."""
        self.check_arrived(tenant, task, 0, expected_bytes)

    def check_arrived(self, tenant: Tenant, task: TaskId, files_count: int, body_bytes: int) -> None:
        """Raise Refused when what has come by an upload request is too much; its files are then not kept."""
        if not tenant.is_limited or (held := self._spool.find(task)) is None:
            return
        more_bytes = max(0, body_bytes - FRAME_BYTES - files_count * PART_FRAME_BYTES)
        check_task_size(tenant, held.images_count + files_count, held.stored_bytes + more_bytes)
        if tenant.storage_bytes:
            check_storage(tenant, self._stored_bytes(tenant.account), more_bytes)

    def _stored_bytes(self, owner: Owner) -> int:
        """Say what is kept of an owner: here, and by the other proxies as far as it belongs to active tasks."""
        return self._spool.stored_bytes(owner) + self._cluster.stored_bytes(owner, but=self._spool.instance)


class ShareAnnouncer:
    """Tells the scheduler of shares that it does not know."""

    def __init__(self, bus: Bus, checker: TokenChecker, clock: Clock) -> None:
        self._bus = bus
        self._checker = checker
        self._clock = clock
        self._announced: dict[Owner, TenantShare] = {}
        self._announced_all_at = clock.instant()

    async def announce(self) -> None:
        """Tell what has changed; what is not heard is told again the next time."""
        if self._clock.instant() - self._announced_all_at > AGAIN_S:
            self._announced, self._announced_all_at = {}, self._clock.instant()
        shares = {share.owner: share for tenant in self._checker.tenants() if (share := share_of(tenant))}
        self._announced = {owner: share for owner, share in self._announced.items() if owner in shares}
        changed = tuple(
            islice((share for owner, share in shares.items() if self._announced.get(owner) != share), SetTenants.MOST)
        )
        if not changed:
            return
        try:
            await self._bus.request(SET_TENANTS, SetTenants(tenants=changed))
        except BusFailed as error:
            log.debug("tenants.not_told", reason=error.message)
            missed(error)
            return
        self._announced |= {share.owner: share for share in changed}


@asynccontextmanager
async def announced_shares(bus: Bus, checker: TokenChecker) -> AsyncIterator[None]:
    """Tell of shares while the context is open."""
    announcer = ShareAnnouncer(bus, checker, SystemClock())
    async with background(lambda: every(ANNOUNCE_EVERY_S, announcer.announce, "tell shares"), "tell shares"):
        yield
