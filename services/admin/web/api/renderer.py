"""How a page is made: its template, what every template is given, and what is shown where something fails.

A page is rendered whole when it is opened. Its live part (`partial`) is asked for again by htmx when a server-sent event says that
something has changed, and the same address answers with that part alone.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import jinja2
from fastapi import Request
from starlette.responses import HTMLResponse, Response

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound
from clusterodm.libs.common.version import VERSION
from clusterodm.services.admin.web.core import shown
from clusterodm.services.admin.web.handlers.overview import OverviewHandler
from clusterodm.services.admin.web.handlers.reading import ClusterReader
from clusterodm.services.admin.web.handlers.tenants import TenantHandler

HERE: Final = Path(__file__).parent
NAME: Final = "ClusterODM"
SHORT_ID: Final = 8
NAVIGATION: Final = (
    ("/", "Overview"),
    ("/tasks", "Tasks"),
    ("/queue", "Queue"),
    ("/nodes", "Nodes"),
    ("/machines", "Machines"),
    ("/tenants", "Tenants"),
    ("/usage", "Usage"),
    ("/events", "Events"),
    ("/services", "Services"),
    ("/settings", "Settings"),
)


@dataclass(frozen=True)
class Pages:
    """What pages are made from."""

    reader: ClusterReader
    overviews: OverviewHandler
    tenants: TenantHandler
    clock: Clock
    has_password: bool
    document: dict[str, Any]


ErrorHandler = Callable[[Request, Exception], Awaitable[Response]]
ERRORS: Final = {404: ("Not found", "There is no such page.")}
"""What a page says of an error, where that is not what programs are told."""


class Renderer:
    """Templates, and what all of them are given."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._templates = templates()

    def page(self, request: Request, template: str, code: int = 200, **values: Any) -> Response:
        """Render a page, or its live part."""
        now_ms = self._pages.clock.wall_ms()
        text = self._templates.get_template(template).render(
            name=NAME,
            version=VERSION,
            has_password=self._pages.has_password,
            navigation=NAVIGATION,
            path=request.url.path,
            url=str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""),
            with_query=lambda **changes: with_query(request, changes),
            partial=is_live(request),
            now_ms=now_ms,
            ago=lambda at_ms: shown.ago_text(at_ms, now_ms),
            **values,
        )
        return HTMLResponse(text, status_code=code)


def templates() -> jinja2.Environment:
    """Make what knows all templates, and how they show values."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        finalize=shown.visible,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "bytes": shown.bytes_text,
        "rate": shown.rate_text,
        "duration": shown.duration_text,
        "ms": shown.ms_text,
        "utc": shown.utc_text,
        "clock": shown.clock_text,
        "start_between": shown.start_between,
        "end_between": shown.end_between,
        "count": shown.count_text,
        "amount": shown.amount_text,
        "money": shown.money_text,
        "progress": shown.progress_of,
        "doing": shown.doing_of,
        "pace": shown.pace_text,
        "short": lambda text: text[:SHORT_ID],
        "quoted": lambda text: quote(str(text), safe=""),
    }
    return made


def is_live(request: Request) -> bool:
    """Whether htmx asks for the live part of a page that is open."""
    return "hx-request" in request.headers


def with_query(request: Request, changes: dict[str, Any]) -> str:
    """Write the address of the same page with other parameters; None takes one away."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changes]
    added = [(key, str(value)) for key, value in changes.items() if value is not None]
    query = urlencode([*kept, *added])
    return f"{request.url.path}?{query}" if query else request.url.path


def wants_page(request: Request) -> bool:
    """Whether a browser is to show what comes: it asks for a page, and not for what programs read."""
    programs = request.url.path.startswith(("/api/", "/r/", "/static/"))
    return request.method == "GET" and not programs and "text/html" in request.headers.get("accept", "")


def on_a_page(handler: ErrorHandler, renderer: Renderer) -> ErrorHandler:
    """Let a browser show what a handler of errors says to programs as JSON."""

    async def shown(request: Request, error: Exception) -> Response:
        answer = await handler(request, error)
        if not wants_page(request):
            return answer
        title, message = ERRORS.get(answer.status_code) or (
            "That did not work",
            json.loads(bytes(answer.body))["error"],
        )
        return renderer.page(request, "error.html", answer.status_code, title=title, message=message)

    return shown


def failing_softly(
    handler: Callable[..., Awaitable[Response]], renderer: Renderer
) -> Callable[..., Awaitable[Response]]:
    """Show an error as a page."""

    @wraps(handler)
    async def softly(request: Request, **values: Any) -> Response:
        try:
            return await handler(request, **values)
        except NotFound as error:
            # what an open page shows has gone: that is news for its live part, and nothing has failed
            code = 200 if is_live(request) else 404
            return renderer.page(request, "error.html", code, title="Not found", message=error.message)
        except BusFailed:
            message = "The service that knows this does not answer. This page tries again by itself."
            return renderer.page(request, "error.html", 503, title="No answer", message=message)
        except ClusterError as error:
            return renderer.page(request, "error.html", 409, title="That did not work", message=error.message)

    return softly
