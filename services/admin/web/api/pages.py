"""The pages: HTML of the same views that `/api/v1` answers with; every button calls `/api/v1`. How one is made is in renderer.py."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated, Final, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from clusterodm.libs.common.messages.usage import GetUsage, UsageBy
from clusterodm.services.admin.web.api.answers import Page, Text
from clusterodm.services.admin.web.api.renderer import HERE, Pages, Renderer, failing_softly
from clusterodm.services.admin.web.core.node_views import NodeRow
from clusterodm.services.admin.web.core.views import Wanted
from clusterodm.services.admin.web.handlers.overview import RANGES

TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".LICENSE": "text/plain"}
NOT_MODIFIED: Final = 304
PER_PAGE: Final = 50
RECENT_COUNT: Final = 20
TASK_STATES: Final = ("uploading", "waiting", "forwarding", "running", "completed", "failed", "canceled")
NODE_STATES: Final = ("online", "offline", "locked", "draining")

States = Annotated[list[str] | None, Query(max_length=10)]


def page_routes(pages: Pages, renderer: Renderer) -> APIRouter:
    """Make all of them."""
    router = APIRouter(include_in_schema=False)

    def page(path: str) -> Callable[[Callable[..., Awaitable[Response]]], Callable[..., Awaitable[Response]]]:
        return lambda handler: router.get(path)(failing_softly(handler, renderer))

    static_routes(router)
    overview_pages(page, pages, renderer)
    task_pages(page, pages, renderer)
    node_pages(page, pages, renderer)
    tenant_pages(page, pages, renderer)
    cluster_pages(page, pages, renderer)
    return router


PageRoute = Callable[[str], Callable[[Callable[..., Awaitable[Response]]], Callable[..., Awaitable[Response]]]]


class Asset:
    """A file that pages load: a browser keeps it, and asks each time whether it is still the same, which a later version changes."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self._content = content
        self._media_type = media_type
        self._tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        self._headers = {"ETag": self._tag, "Cache-Control": "private, no-cache"}

    def answer(self, known: str) -> Response:
        """Give it, or say that what a client has of it is the same. `known`: its line If-None-Match."""
        if known.strip() == "*" or self._tag in (each.strip().removeprefix("W/") for each in known.split(",")):
            return Response(status_code=NOT_MODIFIED, headers=self._headers)
        return Response(self._content, media_type=self._media_type, headers=self._headers)


def static_routes(router: APIRouter) -> None:
    """Serve what pages load."""
    files = {
        path.relative_to(HERE / "static").as_posix(): Asset(path.read_bytes(), TYPES[path.suffix])
        for path in (HERE / "static").rglob("*")
        if path.suffix in TYPES
    }

    @router.get("/static/{name:path}")
    async def asset(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        return files[name].answer(request.headers.get("if-none-match", ""))

    @router.get("/signout")
    async def signout() -> Response:
        return HTMLResponse('Signed out. <a href="/">Sign in again</a>', status_code=401)


def overview_pages(page: PageRoute, pages: Pages, renderer: Renderer) -> None:
    """Serve the overview and what is about the API."""

    @page("/")
    async def overview(request: Request) -> Response:
        return renderer.page(request, "overview.html", overview=await pages.overviews.overview(), ranges=tuple(RANGES))

    @page("/api/v1/docs")
    async def documentation(request: Request) -> Response:
        return renderer.page(request, "docs.html", document=pages.document)


def task_pages(page: PageRoute, pages: Pages, renderer: Renderer) -> None:
    """Serve tasks and the queue."""
    reader = pages.reader

    @page("/tasks")
    async def tasks(  # noqa: PLR0913, PLR0917 what a list may be asked for
        request: Request,
        search: Text = "",
        state: States = None,
        node: Text = "",
        sort: Text = "committed",
        order: Text = "desc",
        page: Page = 1,
    ) -> Response:
        wanted = Wanted(search, known(state, TASK_STATES), sort, order != "asc", page, PER_PAGE)
        found = await reader.tasks(wanted, node)
        return renderer.page(request, "tasks.html", tasks=found, wanted=wanted, states=TASK_STATES, node=node)

    @page("/queue")
    async def queue(request: Request, search: Text = "", page: Page = 1) -> Response:
        wanted = Wanted(search=search, page=page, per_page=PER_PAGE)
        found, overview = await asyncio.gather(reader.queue(wanted), pages.overviews.overview())
        return renderer.page(request, "queue.html", tasks=found, wanted=wanted, overview=overview)

    @page("/tasks/{task}")
    async def task(request: Request, task: str) -> Response:
        found = await reader.task(task, request.url.hostname or "")
        events = await reader.events(Wanted(per_page=RECENT_COUNT), task=task)
        return renderer.page(request, "task.html", found=found, events=events)


def node_pages(page: PageRoute, pages: Pages, renderer: Renderer) -> None:
    """Serve nodes and machines."""
    reader = pages.reader

    @page("/nodes")
    async def nodes(  # noqa: PLR0913, PLR0917 what a list may be asked for
        request: Request,
        search: Text = "",
        state: States = None,
        sort: Text = "number",
        order: Text = "asc",
        page: Page = 1,
    ) -> Response:
        wanted = Wanted(search, known(state, NODE_STATES), sort, order == "desc", page, PER_PAGE)
        found = await reader.nodes(wanted)
        return renderer.page(request, "nodes.html", nodes=found, wanted=wanted, states=NODE_STATES)

    @page("/nodes/{node}")
    async def node(request: Request, node: str) -> Response:
        found: NodeRow = await reader.node(node)
        lately = Wanted(sort="committed", descending=True, per_page=RECENT_COUNT)
        tasks = await reader.tasks(lately, node=node)
        failed = await reader.tasks(Wanted(states=("failed",), descending=True, per_page=1), node=node)
        events = await reader.events(Wanted(per_page=RECENT_COUNT), node=node)
        return renderer.page(request, "node.html", node=found, tasks=tasks, failed=failed, events=events)

    @page("/machines")
    async def machines(request: Request, search: Text = "", ended: bool = False, page: Page = 1) -> Response:
        wanted = Wanted(search=search, page=page, per_page=PER_PAGE)
        overview = await pages.overviews.overview()
        found = await reader.machines(wanted, ended=ended) if overview.autoscaler.answers else None
        return renderer.page(
            request, "machines.html", machines=found, wanted=wanted, ended=ended, autoscaler=overview.autoscaler
        )

    @page("/machines/{machine}")
    async def machine(request: Request, machine: str) -> Response:
        found = await reader.machine(machine)
        events = await reader.events(Wanted(per_page=RECENT_COUNT), machine=machine)
        return renderer.page(request, "machine.html", found=found, events=events)


def tenant_pages(page: PageRoute, pages: Pages, renderer: Renderer) -> None:
    """Serve tenants, and what they have used."""

    @page("/tenants")
    async def tenants(
        request: Request, search: Text = "", sort: Text = "name", order: Text = "asc", page: Page = 1
    ) -> Response:
        wanted = Wanted(search, (), sort, order == "desc", page, PER_PAGE)
        found = await pages.tenants.tenants(wanted)
        return renderer.page(request, "tenants.html", tenants=found, wanted=wanted)

    @page("/tenants/{tenant}")
    async def tenant(request: Request, tenant: str) -> Response:
        found = await pages.tenants.tenant(tenant)
        lately = Wanted(sort="committed", descending=True, per_page=RECENT_COUNT)
        tasks = await pages.tenants.tasks(found.tenant, lately)
        return renderer.page(request, "tenant.html", found=found, tasks=tasks)

    @page("/usage")
    async def usage(  # noqa: PLR0913, PLR0917 what a list may be asked for
        request: Request,
        search: Text = "",
        since: Text = "",
        until: Text = "",
        by: Literal["month", "day", "total"] = "month",
        page: Page = 1,
    ) -> Response:
        wanted = Wanted(search=search, page=page, per_page=PER_PAGE)
        asked = GetUsage(text=search, since=since, until=until, by=UsageBy(by))
        found = await pages.reader.usage(wanted, asked)
        query = urlencode({"search": search, "since": since, "until": until, "by": by, "format": "csv"})
        csv = f"/api/v1/usage?{query}"
        return renderer.page(request, "usage.html", usage=found, wanted=wanted, asked=asked, csv=csv)


def cluster_pages(page: PageRoute, pages: Pages, renderer: Renderer) -> None:
    """Serve events, services and settings."""

    @page("/events")
    async def events(request: Request, search: Text = "", kind: States = None, page: Page = 1) -> Response:
        kinds = ("task", "node", "machine", "operator")
        wanted = Wanted(search=search, states=known(kind, kinds), page=page, per_page=PER_PAGE)
        found = await pages.reader.events(wanted)
        return renderer.page(request, "events.html", events=found, wanted=wanted, kinds=kinds)

    @page("/services")
    async def services(request: Request) -> Response:
        overview, found = await asyncio.gather(pages.overviews.overview(), pages.overviews.services())
        return renderer.page(request, "services.html", services=found, spools=overview.spools)

    @page("/settings")
    async def settings(request: Request, search: Text = "", source: States = None, page: Page = 1) -> Response:
        sources = ("flag", "environment", "file", "default")
        wanted = Wanted(search=search, states=known(source, sources), page=page, per_page=PER_PAGE * 2)
        found = await pages.overviews.settings(wanted)
        return renderer.page(request, "settings.html", settings=found, wanted=wanted, sources=sources)


def known(given: list[str] | None, words: tuple[str, ...]) -> tuple[str, ...]:
    """Keep what is known of what was asked for."""
    return tuple(word for word in words if word in (given or ()))
