"""The page is loaded when somebody asks for it, and not for those who ask how the service is."""

import asyncio

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from clusterodm.libs.common.health.health import Health, NeededServices
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.web.api.guard import LazyApplication


class Page:
    """Counts how often it is loaded."""

    def __init__(self) -> None:
        self.loaded_count = 0

    def load(self) -> ASGIApp:
        """Load it."""
        self.loaded_count += 1
        return PlainTextResponse("the page")


async def test_only_a_visitor_has_the_page_loaded() -> None:
    page = Page()
    health = Health("admin", lambda: {"nats": True}, NeededServices(MemoryBus(), {}))
    app = LazyApplication(page.load, health)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/healthz")).json()["nats"] is True
        assert page.loaded_count == 0
        assert [(await client.get("/")).text for _ in range(2)] == ["the page"] * 2
    assert page.loaded_count == 1


async def test_visitors_that_come_at_once_have_it_loaded_once() -> None:
    page = Page()
    app = LazyApplication(page.load, Health("admin", dict, NeededServices(MemoryBus(), {})))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        answers = await asyncio.gather(*(client.get("/") for _ in range(5)))
    assert [answer.text for answer in answers] == ["the page"] * 5
    assert page.loaded_count == 1


async def test_a_page_that_cannot_be_loaded_is_tried_again() -> None:
    page = Page()

    def fails_once() -> ASGIApp:
        if not page.loaded_count:
            page.loaded_count += 1
            raise MemoryError
        return page.load()

    app = LazyApplication(fails_once, Health("admin", dict, NeededServices(MemoryBus(), {})))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert (await client.get("/")).status_code == 500
        assert (await client.get("/")).text == "the page"
