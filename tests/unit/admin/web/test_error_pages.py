"""What goes wrong is a page for a browser, and JSON for a program."""

import httpx
import pytest

from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.web.api.guard import web_app
from tests.fake_scheduler import FakeScheduler, admin_health

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def asked(path: str, headers: dict[str, str]) -> httpx.Response:
    bus = MemoryBus()
    app = web_app(bus, "", LoginThrottle(), admin_health(bus))
    async with (
        bus.serve("scheduler", FakeScheduler().handlers()),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        return await client.get(path, headers=headers)


@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        pytest.param("/nosuch", 404, "There is no such page.", id="no such page"),
        pytest.param("/tasks?page=abc", 422, "page: ", id="a page that is no number"),
        pytest.param("/tasks/nosuch", 404, "", id="no such task"),
    ],
)
async def test_a_browser_is_shown_a_page(path: str, code: int, said: str):
    answer = await asked(path, BROWSER)
    assert (answer.status_code, answer.headers["content-type"]) == (code, "text/html; charset=utf-8")
    assert said in answer.text
    assert "To the overview" in answer.text


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        pytest.param("/nosuch", {}, 404, id="a program"),
        pytest.param("/api/v1/nosuch", BROWSER, 404, id="the API in a browser"),
        pytest.param("/api/v1/tasks?page=abc", BROWSER, 422, id="a wrong parameter of the API"),
        pytest.param("/static/nosuch.js", BROWSER, 404, id="what pages load"),
    ],
)
async def test_a_program_gets_json(path: str, headers: dict[str, str], code: int):
    answer = await asked(path, headers)
    assert answer.status_code == code
    assert set(answer.json()) == {"error"}
