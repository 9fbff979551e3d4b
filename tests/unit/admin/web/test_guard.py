"""What the guard of the web does about those who have said who they are."""

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.api import SignInPages
from clusterodm.services.admin.signin.handlers import SignIns
from clusterodm.services.admin.web.api.guard import Guard

LOUD = {"X-Requested-With": "tests"}


def guard_of(bus: MemoryBus, app: ASGIApp) -> Guard:
    passwords = Passwords({Role.ADMIN: "a-pass", Role.VIEWER: "v-pass"})
    signins = SignIns(bus, passwords, LoginThrottle())
    return Guard(app, signins, SignInPages(signins, secure=False))


def client_of(guard: Guard) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(guard, client=("10.0.0.9", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=LOUD)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/v1/nodes/n/lock"), ("DELETE", "/r/node"), ("PUT", "/tasks/x%0Ay")]
)
async def test_what_a_viewer_is_refused_is_told_once_with_who_and_what(method: str, path: str) -> None:
    bus = MemoryBus()
    async with client_of(guard_of(bus, PlainTextResponse("the page"))) as client:
        for _ in range(5):
            answer = await client.request(method, path, auth=("viewer", "v-pass"))
            assert answer.status_code == 403
        assert (await client.request(method, path, auth=("admin", "a-pass"))).text == "the page"
    [(name, told)] = bus.published
    assert name == "operator.acted"
    assert (told.user, told.role, told.door, told.address) == ("viewer", "viewer", "web", "10.0.0.9")
    assert (told.act, told.target, told.outcome) == (method, path, "refused")
    assert "needs the role operator" in told.reason


async def test_what_another_sites_page_sent_is_no_act() -> None:
    bus = MemoryBus()
    async with client_of(guard_of(bus, PlainTextResponse("the page"))) as client:
        answer = await client.post("/r/node/lock", auth=("viewer", "v-pass"), headers={"Origin": "http://evil.example"})
    assert (answer.status_code, bus.published) == (403, [])
