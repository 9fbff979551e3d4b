"""Tenants for operators: those of the file of tokens, with what they have used; and what is done to them, told as an act of whoever does it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import ClusterError, NotFound, Refused
from clusterodm.libs.common.messages.usage import GET_USAGE, GetUsage, UsageBy, UsageRow
from clusterodm.libs.common.ports import Bus
from clusterodm.services.admin.access.roles import Role, acting, refusal
from clusterodm.services.admin.commands.handlers.execute import publish_act
from clusterodm.services.admin.web.core.lists import (
    TENANT_SORTS,
    Wanted,
    listed,
    tenant_row,
    tenant_texts,
    token_row,
    usage_entry,
)
from clusterodm.services.admin.web.core.shown import month_text
from clusterodm.services.admin.web.core.views import (
    ActDone,
    TasksPage,
    TenantDetail,
    TenantRow,
    TenantsPage,
    TokenMade,
    UsageEntry,
)
from clusterodm.services.admin.web.handlers.reading import ClusterReader
from clusterodm.services.admin.web.ports import FreshToken, TokenKeeper

Came = TypeVar("Came")
NO_FILE: Final = "there is no file of tokens here: start the admin with --tokens"
LONGEST: Final = 200
MONTHS_COUNT: Final = 12


class TenantHandler:
    """Reads and changes tenants. Raises Refused, NotFound, BusFailed."""

    def __init__(self, bus: Bus, reader: ClusterReader, keeper: TokenKeeper | None, clock: Clock) -> None:
        self._bus = bus
        self._reader = reader
        self._keeper = keeper
        self._clock = clock

    def __repr__(self) -> str:
        """Show where tokens are kept."""
        return f"TenantHandler({self._keeper!r})"

    async def tenants(self, wanted: Wanted) -> TenantsPage:
        """List tenants."""
        rows = await self._rows() if self._keeper else []
        page = listed(rows, wanted, tenant_texts, TENANT_SORTS)
        return TenantsPage(
            items=page.items,
            total_count=page.total_count,
            page=page.page,
            per_page=page.per_page,
            kept=self._keeper is not None,
        )

    async def _rows(self) -> list[TenantRow]:
        file, now_ms = await self._file.read(), self._clock.wall_ms()
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
        tokens = [token for token in (await self._file.read()).tokens if token.tenant == name]
        months = (await self._bus.request(GET_USAGE, GetUsage(tenant=found.owner))).rows
        return TenantDetail(
            tenant=found,
            tokens=tuple(token_row(token, now_ms) for token in sorted(tokens, key=lambda each: -each.created_at_ms)),
            months=tuple(map(usage_entry, months[::-1][:MONTHS_COUNT])),
        )

    async def tasks(self, tenant: TenantRow, wanted: Wanted) -> TasksPage:
        """List the tasks of one."""
        return await self._reader.tasks(wanted, owner=tenant.owner)

    async def create(self, tenant: str, changes: Mapping[str, Any], expires: str, note: str) -> TokenMade:
        """Make a token, and its tenant where it is new."""
        return await self._made("TOKEN CREATE", tenant, lambda: self._file.create(tenant, changes, expires, note))

    async def rotate(self, token: str, overlap: str) -> TokenMade:
        """Make another token for the tenant of one."""
        return await self._made("TOKEN ROTATE", token, lambda: self._file.rotate(token, overlap))

    async def _made(self, act: str, target: str, make: Callable[[], Awaitable[FreshToken]]) -> TokenMade:
        fresh = await self._acted(act, target, make)
        return TokenMade(
            id=fresh.issued.id,
            tenant=fresh.issued.tenant,
            secret=fresh.secret,
            expires_at_ms=fresh.issued.expires_at_ms,
            message="This is the only time that the token is shown.",
        )

    async def revoke(self, token: str) -> ActDone:
        """Let a token count no more."""
        await self._acted("TOKEN REVOKE", token, lambda: self._file.revoke(token))
        return ActDone(message="It counts no more, within two seconds.")

    async def change(self, tenant: str, changes: Mapping[str, Any]) -> ActDone:
        """Change what a tenant may do."""
        await self._acted("TENANT SET", tenant, lambda: self._file.change(tenant, changes))
        return ActDone()

    async def remove(self, tenant: str) -> ActDone:
        """Take a tenant out."""
        await self._acted("TENANT REMOVE", tenant, lambda: self._file.remove(tenant))
        return ActDone(message="Its tasks stay, and no token reaches them.")

    @property
    def _file(self) -> TokenKeeper:
        if self._keeper is None:
            raise Refused(NO_FILE)
        return self._keeper

    async def _acted(self, act: str, target: str, do: Callable[[], Awaitable[Came]]) -> Came:
        """Do what needs the role admin, and put it on record however it goes."""
        principal = acting.get()
        try:
            if denied := refusal(principal, Role.ADMIN):
                raise Refused(denied)
            came = await do()
        except ClusterError as error:
            await publish_act(self._bus, principal, act, target[:LONGEST], "refused", error.message)
            raise
        await publish_act(self._bus, principal, act, target[:LONGEST], "done", "")
        return came


def unused(name: str) -> UsageEntry:
    """Say that a tenant has used nothing."""
    return usage_entry(UsageRow(tenant=name))
