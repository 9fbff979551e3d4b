"""Holds what a tenant uploads against its limits. Tenants without any cost nothing here: nothing is listed or counted for them."""

from typing import Final

from clusterodm.libs.common.model import Owner, TaskId
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.spool.core.upload import Mark
from clusterodm.services.proxy.spool.ports import Spool
from clusterodm.services.proxy.tenants.core import check_storage, check_task_size

FRAME_BYTES: Final = 1 << 20
"""So much of a body may be around its files: heads of parts. What an upload holds in the end is counted to the byte, at the commit."""


class TenantLimits:
    """Counts."""

    def __init__(self, spool: Spool, cluster: Cluster) -> None:
        self._spool = spool
        self._cluster = cluster

    def check_new(self, tenant: Tenant) -> None:
        """Raise Refused when a tenant may begin no upload, because its files take all the room that they may."""
        if tenant.storage_bytes:
            check_storage(tenant, self._stored_bytes(tenant.account), 1)

    async def check_upload(self, tenant: Tenant, task: TaskId, expected_bytes: int) -> None:
        """Raise Refused when an upload request is certain to be too much, before any of it is read."""
        if not tenant.is_limited:
            return
        manifest = await self._spool.manifest(task)
        more_bytes = max(0, expected_bytes - FRAME_BYTES)
        check_task_size(tenant, manifest.images_count, manifest.size_bytes + more_bytes)
        if tenant.storage_bytes:
            check_storage(tenant, self._stored_bytes(tenant.account), more_bytes)

    async def check_files(self, tenant: Tenant, task: TaskId, files_count: int) -> None:
        """Raise Refused when files that have come are too many; they are then not kept."""
        if tenant.max_images_count:
            manifest = await self._spool.manifest(task)
            check_task_size(tenant, manifest.images_count + files_count, manifest.size_bytes)

    def _stored_bytes(self, owner: Owner) -> int:
        """Add up what is kept of an owner: here, and by the other proxies as far as it belongs to active tasks."""
        ours, us = 0, self._spool.instance
        for held in self._spool.held():
            if held.draft.owner == owner and Mark.INPUTS_GONE not in held.marks:
                ours += held.size_bytes or held.arrived_bytes
        tasks = self._cluster.tasks()
        return ours + sum(
            task.size_bytes for task in tasks if task.owner == owner and task.inputs_kept and task.holder != us
        )
