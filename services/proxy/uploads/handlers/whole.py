"""Upload requests all of whose files have come: what create.py's `Uploads.upload` does, in one step that waits for nothing.

Whether a request is taken is decided at once, as there; whoever sent it hears of the end by a call and not by waiting: a task of asyncio costs a small
photo as much as half of its way through Python.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.tenancy import Tenant
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.spool.core.upload import NO_SUCH_UPLOAD, StoredFile
from clusterodm.services.proxy.spool.ports import Spool
from clusterodm.services.proxy.tenants.handlers import TenantLimits
from clusterodm.services.proxy.uploads.ports import Forwarding


class WholeUploadEnded(Protocol):
    """Hears what became of a request."""

    def __call__(self, behind: Coroutine[Any, Any, None] | None, *, well: bool) -> None:
        """Hear whether its files are durable. `behind` is to be awaited by somebody, and no client waits for it."""


class WholeUploads:
    """Takes them in."""

    def __init__(self, spool: Spool, cluster: Cluster, forwarding: Forwarding) -> None:
        self._spool = spool
        self._forwarding = forwarding
        self._limits = TenantLimits(spool, cluster)

    def upload(
        self,
        tenant: Tenant,
        task: TaskId,
        files: Sequence[tuple[str, bytes]],
        expected_bytes: int,
        ended: WholeUploadEnded,
    ) -> None:
        """Take one, names and contents. Raises NotFound, Refused, SpoolFull, OSError; then `ended` is not called."""
        if not may_touch(tenant.account, self._spool.draft(task).owner):
            raise NotFound(NO_SUCH_UPLOAD)
        self._limits.check_upload(tenant, task, expected_bytes)
        self._limits.check_arrived(tenant, task, len(files), expected_bytes)

        def stored(published: Sequence[StoredFile] | None) -> None:
            well = published is not None
            ended(self._forwarding.arrived(task, published) if published is not None else None, well=well)

        self._spool.store(task, files, expected_bytes, stored)
