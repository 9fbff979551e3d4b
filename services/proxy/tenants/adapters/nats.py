"""An authority on the bus: `clusterodm.auth.check_token` is asked of whoever answers it, an integration."""

from collections.abc import Mapping
from typing import Any, Final

from clusterodm.libs.common.errors import ClusterError, Refused
from clusterodm.libs.common.messages.auth import CHECK_TOKEN, CheckToken
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.tenancy import Tenant, mistake_in_tenant
from clusterodm.services.proxy.exchange.nodeodm_api import AUTH_INFO
from clusterodm.services.proxy.tenants.adapters.remote import Unanswered

ASK_S: Final = 3.0


class BusAuthority:
    """Implements remote.Authority."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def validate(self, token: str) -> Tenant | None:
        """Ask for whom a token speaks."""
        try:
            answer = await self._bus.request(CHECK_TOKEN, CheckToken(token=token), timeout_s=ASK_S)
        except Refused:
            return None
        except ClusterError as error:
            raise Unanswered(error.message) from None
        if not answer.tenant:
            return None
        tenant = Tenant(
            name=answer.tenant,
            weight=answer.weight,
            priority=answer.priority,
            max_images_count=answer.max_images_count,
            max_task_bytes=answer.max_task_bytes,
            tasks_at_once_count=answer.tasks_at_once_count,
            storage_bytes=answer.storage_bytes,
            labels=answer.labels,
        )
        if mistake := mistake_in_tenant(tenant):
            raise Unanswered(f"an integration answered {CHECK_TOKEN.name} with nonsense: {mistake}")
        return tenant

    async def approve(self, token: str, images_count: int) -> None:
        """Approve: who wants to refuse a task gives its tenant limits."""

    async def finished(self, token: str, info: Mapping[str, Any]) -> None:
        """Tell nobody: the event `task.finished` says it to everybody."""

    def auth_info(self) -> Mapping[str, Any]:
        """Say that there is nothing to log in to."""
        return AUTH_INFO
