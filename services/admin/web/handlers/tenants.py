"""Tenants on pages: those of the file of tokens, with what they have used; what is done to them is tenants/handlers.py's."""

from typing import Any, Final

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.messages.usage import GET_USAGE, GetUsage, UsageBy, UsageRow
from clusterodm.libs.common.ports import Bus
from clusterodm.services.admin.tenants.core.commands import TenantChange
from clusterodm.services.admin.tenants.core.file import NewToken
from clusterodm.services.admin.tenants.handlers import TenantActs
from clusterodm.services.admin.web.core.shown import month_text
from clusterodm.services.admin.web.core.task_views import TasksPage
from clusterodm.services.admin.web.core.tenant_views import (
    TENANT_SORTS,
    TenantDetail,
    TenantRow,
    TenantsPage,
    TokenMade,
    UsageEntry,
    tenant_row,
    tenant_texts,
    token_row,
    usage_entry,
)
from clusterodm.services.admin.web.core.views import ActDone, Wanted, listed
from clusterodm.services.admin.web.handlers.reading import ClusterReader

MONTHS_COUNT: Final = 12


class TenantHandler:
    """Reads and changes tenants. Raises Refused, NotFound, BusFailed."""

    def __init__(self, bus: Bus, reader: ClusterReader, acts: TenantActs, clock: Clock) -> None:
        self._bus = bus
        self._reader = reader
        self._acts = acts
        self._clock = clock

    async def tenants(self, wanted: Wanted) -> TenantsPage:
        """List tenants."""
        rows = await self._rows() if self._acts.has_file else []
        page = listed(rows, wanted, tenant_texts, TENANT_SORTS)
        return TenantsPage(
            items=page.items,
            total_count=page.total_count,
            page=page.page,
            per_page=page.per_page,
            kept=self._acts.has_file,
        )

    async def _rows(self) -> list[TenantRow]:
        file, now_ms = await self._acts.read(), self._clock.wall_ms()
        month = month_text(now_ms)
        asked = GetUsage(since=month, until=month, by=UsageBy.TOTAL, limit_count=GetUsage.MOST)
        used = {row.owner: usage_entry(row) for row in (await self._bus.request(GET_USAGE, asked)).rows}
        tokens: dict[str, list[Any]] = {}
        for token in file.tokens:
            tokens.setdefault(token.tenant, []).append(token)
        return [
            tenant_row(each, tokens.get(each.name, ()), used.get(each.account) or unused(each.name), now_ms)
            for each in sorted(file.tenants, key=lambda each: each.name)
        ]

    async def tenant(self, name: str) -> TenantDetail:
        """Show one."""
        found = next((row for row in await self._rows() if row.name == name), None)
        if found is None:
            raise NotFound("there is no such tenant")
        now_ms = self._clock.wall_ms()
        tokens = [token for token in (await self._acts.read()).tokens if token.tenant == name]
        months = (await self._bus.request(GET_USAGE, GetUsage(tenant=found.owner))).rows
        return TenantDetail(
            tenant=found,
            tokens=tuple(token_row(token, now_ms) for token in sorted(tokens, key=lambda each: -each.created_at_ms)),
            months=tuple(map(usage_entry, months[::-1][:MONTHS_COUNT])),
        )

    async def tasks(self, tenant: TenantRow, wanted: Wanted) -> TasksPage:
        """List the tasks of one."""
        return await self._reader.tasks(wanted, owner=tenant.owner)

    async def do(self, command: TenantChange, message: str = "") -> TokenMade | ActDone:
        """Change tenants or tokens; a token that is made is shown, else the message."""
        made = await self._acts.do(command)
        return ActDone(message=message) if made is None else token_made(made)


def token_made(new: NewToken) -> TokenMade:
    """Show a token, this once."""
    return TokenMade(
        id=new.issued.id,
        tenant=new.issued.tenant,
        secret=new.token,
        expires_at_ms=new.issued.expires_at_ms,
        message="This is the only time that the token is shown.",
    )


def unused(name: str) -> UsageEntry:
    """Say that a tenant has used nothing."""
    return usage_entry(UsageRow(tenant=name))
