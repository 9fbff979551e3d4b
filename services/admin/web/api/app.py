"""The web application behind the guard: pages, `/api/v1`, and the original's `/r/...`. Loaded when somebody asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import ClusterError
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.health import SettingInForce
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.services.admin.tenants.handlers import TenantActs, TokensStore
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.answers import Views, cluster_error, http_error, openapi_of, validation_error
from clusterodm.services.admin.web.api.pages import page_routes
from clusterodm.services.admin.web.api.renderer import Pages, Renderer, on_a_page
from clusterodm.services.admin.web.api.routes import original_routes
from clusterodm.services.admin.web.api.tenants import tenant_routes
from clusterodm.services.admin.web.api.v1 import api_routes
from clusterodm.services.admin.web.handlers.overview import OverviewHandler
from clusterodm.services.admin.web.handlers.reading import ClusterReader
from clusterodm.services.admin.web.handlers.tenants import TenantHandler

DOCUMENT: Final = "/api/v1/openapi.json"


@dataclass(frozen=True)
class WebDependencies:
    """What the application is made of."""

    bus: Bus
    watched: Watched
    health: Health | None = None
    settings: Sequence[SettingInForce] = ()
    has_password: bool = False
    tokens: TokensStore | None = None
    clock: Clock = field(default_factory=SystemClock)


def web_application(parts: WebDependencies) -> ASGIApp:
    """Make it. Who may come so far: guard.py."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(ClusterError, cluster_error)
    views = Views()
    reader = ClusterReader(parts.bus, parts.watched)
    tenants = TenantHandler(parts.bus, reader, TenantActs(parts.bus, parts.tokens), parts.clock)
    overviews = OverviewHandler(parts.bus, reader, parts.clock, parts.health, parts.settings)
    for router in (
        *api_routes(parts.bus, reader, overviews, views),
        *tenant_routes(parts.bus, reader, tenants, views),
        *original_routes(parts.bus),
    ):
        app.include_router(router)
    document = openapi_of(app, views)

    async def openapi() -> Response:
        return JSONResponse(document)

    app.add_api_route(DOCUMENT, openapi, include_in_schema=False)
    pages = Pages(reader, overviews, tenants, parts.clock, parts.has_password, document)
    renderer = Renderer(pages)
    app.include_router(page_routes(pages, renderer))
    app.add_exception_handler(HTTPException, on_a_page(http_error, renderer))
    app.add_exception_handler(RequestValidationError, on_a_page(validation_error, renderer))
    return app
