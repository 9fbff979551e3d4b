"""Tenants and their tokens, and what tenants have used: `/api/v1/tenants`, `/api/v1/tokens`, `/api/v1/usage`.

    GET  tenants, tenants/{name}, usage (JSON and CSV)
    POST tenants                       {name, limits, expires?, note?}    token create NAME: the tenant begins with a token
    POST tenants/{name}/tokens         {expires?, note?}                  token create NAME
    POST tenants/{name}                {limits}                           tenant set NAME
    POST tokens/{id}/rotate            {overlap?}                         token rotate ID
    DELETE tokens/{id}                 DELETE tenants/{name}              token revoke ID, tenant remove NAME

What changes something needs the role admin. A secret is in the answer that makes it, and in no other.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from clusterodm.libs.common.messages.usage import GetUsage, UsageBy
from clusterodm.libs.common.ports import Bus
from clusterodm.services.admin.commands.core import commands
from clusterodm.services.admin.commands.core.answers import UsageReport
from clusterodm.services.admin.commands.handlers.execute import execute
from clusterodm.services.admin.rendering.usage import usage_csv
from clusterodm.services.admin.tenants.core.commands import (
    CreateToken,
    RemoveTenant,
    RevokeToken,
    RotateToken,
    SetTenant,
)
from clusterodm.services.admin.web.api.answers import (
    Labels,
    ListQuery,
    Order,
    Page,
    PerPage,
    Text,
    Views,
    body_of,
    changed,
    done,
    router_of,
    said,
)
from clusterodm.services.admin.web.core.task_views import TasksPage
from clusterodm.services.admin.web.core.tenant_views import TenantDetail, TenantsPage, TokenMade, UsageListing
from clusterodm.services.admin.web.core.views import ActDone, Wanted
from clusterodm.services.admin.web.handlers.reading import ClusterReader
from clusterodm.services.admin.web.handlers.tenants import TenantHandler

Day = Annotated[str, Query(max_length=10, pattern=r"^(\d{4}-\d{2}(-\d{2})?)?$")]
CSV: Final = "text/csv; charset=utf-8"
Size = Annotated[str, msgspec.Meta(max_length=20)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
Span = Annotated[str, msgspec.Meta(max_length=20)]


class LimitsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant may do; what is not given stays. 0: no limit. Sizes are written as 50GB."""

    weight: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    priority: Annotated[int, msgspec.Meta(ge=-10, le=10)] | None = None
    max_images_count: Count | None = None
    max_task_bytes: Size | None = None
    tasks_at_once_count: Count | None = None
    storage_bytes: Size | None = None
    labels: Labels | None = None
    """Its tasks go only to nodes with all of these; none: to any that is not reserved for others."""

    @property
    def changes(self) -> dict[str, Any]:
        """Name what is given."""
        values = {name: getattr(self, name) for name in LimitsBody.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None}


class TokenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A token that is to be made."""

    expires: Span = ""
    """After so long it counts no more, as 90d; empty: never."""
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""


class TenantBody(LimitsBody, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant that is to begin, with its first token."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    expires: Span = ""
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""


class RotateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a token is to be replaced."""

    overlap: Span = "24h"
    """How long the old one still counts; 0s: not at all."""


def tenant_routes(bus: Bus, reader: ClusterReader, tenants: TenantHandler, views: Views) -> list[APIRouter]:
    """Make all routes."""
    return [usage_routes(bus, reader, views), tenant_reading(tenants, views), tenant_acts(tenants, views)]


def tenant_reading(tenants: TenantHandler, views: Views) -> APIRouter:
    """Serve tenants."""
    router = router_of("tenants")

    @router.get("/tenants", summary="Tenants of the file of tokens", **views.described(TenantsPage, 409))
    async def listing(
        wanted: ListQuery,
        sort: Literal["name", "weight", "priority", "tokens", "tasks", "images", "nodes", "cost"] = "name",
        order: Order = "asc",
    ) -> Response:
        return said(await tenants.tenants(changed(wanted, sort=sort, order=order)))

    @router.get("/tenants/{name}", summary="All that is known of a tenant", **views.described(TenantDetail, 404, 409))
    async def one(name: str) -> Response:
        return said(await tenants.tenant(name))

    @router.get("/tenants/{name}/tasks", summary="The tasks of a tenant", **views.described(TasksPage, 404, 409))
    async def tasks(name: str, wanted: ListQuery) -> Response:
        found = await tenants.tenant(name)
        return said(await tenants.tasks(found.tenant, changed(wanted, sort="committed", order="desc")))

    return router


def tenant_acts(tenants: TenantHandler, views: Views) -> APIRouter:
    """Serve what changes tenants and tokens."""
    router = router_of("tenants")

    @router.post("/tenants", summary="TOKEN CREATE, of a tenant that is new", **views.described(TokenMade, 409, body=TenantBody))  # fmt: skip
    async def begin(request: Request) -> Response:
        body = await body_of(request, TenantBody)
        return said(await tenants.do(CreateToken(body.name, body.changes, body.expires, body.note, begins=True)))

    @router.post("/tenants/{name}/tokens", summary="TOKEN CREATE", **views.described(TokenMade, 404, 409, body=TokenBody))  # fmt: skip
    async def create(name: str, request: Request) -> Response:
        body = await body_of(request, TokenBody)
        await tenants.tenant(name)
        return said(await tenants.do(CreateToken(name, {}, body.expires, body.note)))

    @router.post("/tenants/{name}", summary="TENANT SET", **views.described(ActDone, 404, 409, body=LimitsBody))
    async def change(name: str, request: Request) -> Response:
        return said(await tenants.do(SetTenant(name, (await body_of(request, LimitsBody)).changes)))

    @router.delete("/tenants/{name}", summary="TENANT REMOVE", **views.described(ActDone, 403, 404, 409))
    async def remove(name: str) -> Response:
        return said(await tenants.do(RemoveTenant(name), "Its tasks stay, and no token reaches them."))

    @router.post("/tokens/{token}/rotate", summary="TOKEN ROTATE", **views.described(TokenMade, 404, 409, body=RotateBody))  # fmt: skip
    async def rotate(token: str, request: Request) -> Response:
        return said(await tenants.do(RotateToken(token, (await body_of(request, RotateBody)).overlap)))

    @router.delete("/tokens/{token}", summary="TOKEN REVOKE", **views.described(ActDone, 403, 404, 409))
    async def revoke(token: str) -> Response:
        return said(await tenants.do(RevokeToken(token), "It counts no more, within two seconds."))

    return router


def usage_routes(bus: Bus, reader: ClusterReader, views: Views) -> APIRouter:
    """Serve what tenants have used."""
    router = router_of("tenants")

    @router.get(
        "/usage",
        summary="TENANT USAGE: what tenants have used; `format=csv`: all pages at once",
        **with_csv(views.described(UsageListing, 409)),
    )
    async def usage(  # noqa: PLR0913, PLR0917 what may be asked for
        tenant: Text = "",
        search: Text = "",
        since: Day = "",
        until: Day = "",
        by: UsageBy = UsageBy.MONTH,
        page: Page = 1,
        per_page: PerPage = 50,
        format: Literal["json", "csv"] = "json",  # noqa: A002 the parameter's name
    ) -> Response:
        asked = GetUsage(tenant=tenant, text=search, since=since, until=until, by=by)
        if format == "json":
            return said(await reader.usage(Wanted(page=page, per_page=per_page), asked))
        answer = await execute(bus, commands.ShowUsageCommand(asked))
        if not isinstance(answer, UsageReport):
            return done(answer)
        headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
        return Response(usage_csv(answer.rows), media_type=CSV, headers=headers)

    return router


def with_csv(described: dict[str, Any]) -> dict[str, Any]:
    """Say that the answer may be CSV."""
    described["responses"][200]["content"]["text/csv"] = {"schema": {"type": "string"}}
    return described
