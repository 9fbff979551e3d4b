"""What `/api/v1` answers and pages show of tenants, their tokens and what they have used."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from clusterodm.libs.common.clocks import WallMs
from clusterodm.libs.common.messages.usage import UsageRow
from clusterodm.libs.common.tenancy import IssuedToken, Tenant
from clusterodm.services.admin.rendering.usage import usage_data
from clusterodm.services.admin.web.core.views import ListPage, View, view_of


class UsageEntry(View, frozen=True, kw_only=True):
    """What a tenant has used in a day, a month, or in all of the time."""

    tenant: str
    """Its name; that of its owner where it has none; empty: tasks without a token."""
    owner: str = ""
    period: str = ""
    """`2026-11-27`, `2026-11`, or empty."""
    tasks: int = 0
    completed: int = 0
    failed: int = 0
    canceled: int = 0
    images: int = 0
    bytes: int = 0
    node_seconds: float = 0.0
    machine_cost: float = 0.0


class UsageListing(ListPage[UsageEntry], frozen=True, kw_only=True):
    """One page of what tenants have used, and the sum of all pages."""

    total: UsageEntry


class TenantRow(View, frozen=True, kw_only=True):
    """A tenant of the file of tokens, and what it has used this month. 0: no limit."""

    name: str
    owner: str
    """What its tasks are marked with."""
    weight: int = 1
    priority: int = 0
    max_images_count: int = 0
    max_task_bytes: int = 0
    tasks_at_once_count: int = 0
    storage_bytes: int = 0
    options: tuple[str, ...] = ()
    """Those that it may not choose freely."""
    labels: tuple[str, ...] = ()
    """Its tasks go only to nodes with all of these."""
    tokens_count: int = 0
    """That count now."""
    used: UsageEntry
    """This month."""


class TokenView(View, frozen=True, kw_only=True):
    """A token, without its secret and without its digest."""

    id: str
    created_at_ms: int
    expires_at_ms: int | None = None
    """None: never."""
    expired: bool = False
    note: str = ""


class TenantsPage(ListPage[TenantRow], frozen=True, kw_only=True):
    """One page of tenants."""

    kept: bool
    """Whether there is a file of tokens here; without it there are no tenants to be seen."""


class TenantDetail(View, frozen=True, kw_only=True):
    """All that is known of a tenant."""

    tenant: TenantRow
    tokens: tuple[TokenView, ...] = ()
    months: tuple[UsageEntry, ...] = ()
    """What it has used, the last month first; a year."""


class TokenMade(View, frozen=True, kw_only=True):
    """A token that was made. This is the only time that it is shown."""

    id: str
    tenant: str
    secret: str
    expires_at_ms: int | None = None
    message: str = ""

    def __repr__(self) -> str:
        """Show no secret."""
        return f"TokenMade({self.id})"


def usage_entry(row: UsageRow) -> UsageEntry:
    """Show what a tenant has used."""
    return UsageEntry(**usage_data(row))


def tenant_row(tenant: Tenant, tokens: Iterable[IssuedToken], used: UsageEntry, now_ms: WallMs) -> TenantRow:
    """Show a tenant."""
    return view_of(
        TenantRow,
        tenant,
        owner=tenant.account,
        options=tuple(sorted(tenant.options)),
        tokens_count=sum(not token_row(token, now_ms).expired for token in tokens),
        used=used,
    )


def token_row(token: IssuedToken, now_ms: WallMs) -> TokenView:
    """Show a token: neither it nor its digest."""
    expired = token.expires_at_ms is not None and token.expires_at_ms <= now_ms
    return view_of(TokenView, token, expired=expired)


TENANT_SORTS: Final[Mapping[str, Callable[[TenantRow], Any]]] = {
    "name": lambda row: row.name,
    "weight": lambda row: row.weight,
    "priority": lambda row: row.priority,
    "tokens": lambda row: row.tokens_count,
    "tasks": lambda row: row.used.tasks,
    "images": lambda row: row.used.images,
    "nodes": lambda row: row.used.node_seconds,
    "cost": lambda row: row.used.machine_cost,
}


def tenant_texts(row: TenantRow) -> tuple[str, ...]:
    """Say what of a tenant is searched."""
    return row.name, row.owner, *row.labels
