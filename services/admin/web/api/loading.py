"""The whole web page: guarded, and loaded when somebody asks for it.

FastAPI with all that it brings takes twenty megabytes and, on a small machine, most of a second. A cluster that nobody visits does
without: only the guard is there from the start, and health, which is asked for every few seconds and needs neither.
"""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.health import PAGES, Health
from libs.common.health_port import health_app
from libs.common.lifecycle import threaded
from libs.common.ports import Bus
from services.admin.login import LoginThrottle
from services.admin.web.api.guard import Guard

NAME: Final = "load the web page"


def web_app(
    bus: Bus, password: str, logins: LoginThrottle, health: Health, names: frozenset[str] = frozenset()
) -> ASGIApp:
    """Make the page, guarded; `names`: under which it is known, beside addresses and localhost."""

    def load() -> ASGIApp:
        from services.admin.web.api.routes import page

        return page(bus, has_password=bool(password))

    return Guard(LoadedWhenAsked(load, health), password, logins, names)


class LoadedWhenAsked:
    """An ASGI application that is made for its first request, in a thread, so that nothing else waits for it."""

    def __init__(self, load: Callable[[], ASGIApp], health: Health) -> None:
        self._load = load
        self._health = health_app(health, errors=False)
        self._app: ASGIApp | None = None

    def __repr__(self) -> str:
        """Show whether anybody has asked."""
        return f"LoadedWhenAsked({'loaded' if self._app else 'not loaded'})"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let it be answered."""
        if scope["type"] == "http" and scope["path"] in PAGES and scope["method"] in {"GET", "HEAD"}:
            return await self._health(scope, receive, send)
        app = self._app
        if app is None:  # two that come at once both load it, which does no harm
            app = self._app = await threaded(self._load, NAME)
        return await app(scope, receive, send)
