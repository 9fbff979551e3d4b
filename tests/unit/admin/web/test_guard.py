"""What the guard of the web does about those who have said who they are."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.api import SignInPages
from clusterodm.services.admin.signin.core import IDLE_S, WebSessions
from clusterodm.services.admin.signin.handlers import SignIns
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.app import WebDependencies, web_application
from clusterodm.services.admin.web.api.guard import Guard
from tests.waiting import TurnedLoop, passed, until

LOUD = {"X-Requested-With": "tests"}


def guard_of(bus: MemoryBus, app: ASGIApp) -> Guard:
    passwords = Passwords({Role.ADMIN: "a-pass", Role.VIEWER: "v-pass"})
    signins = SignIns(bus, passwords, LoginThrottle())
    return Guard(app, signins, SignInPages(signins, secure=False))


def client_of(guard: Guard) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(guard, client=("10.0.0.9", 1))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=LOUD)


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("POST", "/api/v1/nodes/n/lock", "operator"),
        ("DELETE", "/r/node", "admin"),
        ("POST", "/api/v1/tenants", "admin"),
        ("PUT", "/tasks/x%0Ay", "operator"),
    ],
)
async def test_what_a_viewer_is_refused_is_told_once_with_who_and_what(method: str, path: str, role: str) -> None:
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
    assert f"needs the role {role}" in told.reason


async def test_what_another_sites_page_sent_is_no_act() -> None:
    bus = MemoryBus()
    async with client_of(guard_of(bus, PlainTextResponse("the page"))) as client:
        answer = await client.post("/r/node/lock", auth=("viewer", "v-pass"), headers={"Origin": "http://evil.example"})
    assert (answer.status_code, bus.published) == (403, [])


ENDS: dict[str, Callable[[WebSessions], object]] = {
    "signed out": lambda sessions: sessions.end("one"),
    "ended everywhere": lambda sessions: sessions.end_all("ann"),
    "signed in anew": lambda sessions: sessions.begin("one", "f", "ann", Role.VIEWER, monotonic_s()),
    "expired": lambda sessions: setattr(
        sessions.stands("one", monotonic_s()), "seen", Instant(monotonic_s() - IDLE_S - 1)
    ),
    "another role": lambda sessions: setattr(sessions.stands("one", monotonic_s()), "role", Role.VIEWER),
}


@pytest.mark.parametrize("version", ["2.0", "2.4"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
async def test_a_stream_ends_with_its_session(end: Callable[[WebSessions], object], version: str) -> None:
    bus = MemoryBus()
    sent = asyncio.Queue[str]()

    async def pieces() -> AsyncIterator[str]:
        for _ in range(100):
            yield await sent.get()

    guard = guard_of(bus, StreamingResponse(pieces(), media_type="text/event-stream"))
    sessions = guard.signins.sessions
    sessions.begin("one", "f", "ann", Role.ADMIN, monotonic_s())
    got: list[str] = []
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(listen(guard, version, got))
        sent.put_nowait("before")
        await until(lambda: got == ["before"])
        end(sessions)
        sent.put_nowait("after")
    assert got == ["before", ""]


async def listen(guard: Guard, version: str, got: list[str]) -> None:
    """Ask for a stream as a server does, and note what comes of it."""
    begun = asyncio.Event()

    async def receive() -> Message:
        if begun.is_set():
            await asyncio.Event().wait()
        begun.set()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            got.append(message["body"].decode())

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": version},
        "method": "GET",
        "path": "/api/v1/events/stream",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"cookie", b"clusterodm_session=one")],
        "client": ("10.0.0.9", 1),
    }
    await guard(scope, receive, send)


def test_the_stream_of_events_ends_though_nothing_happens() -> None:
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(listens_in_silence())


async def listens_in_silence() -> None:
    signins = SignIns(bus := MemoryBus(), Passwords({Role.ADMIN: "a-pass"}), LoginThrottle())
    app = web_application(WebDependencies(bus, Watched(bus)))
    guard = Guard(app, signins, SignInPages(signins, secure=False))
    signins.sessions.begin("one", "f", "ann", Role.ADMIN, monotonic_s())
    got: list[str] = []
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        listening = group.create_task(listen(guard, "2.4", got))
        await passed(6.0)
        assert any("tick" in piece for piece in got)
        assert not listening.done()
        signins.sessions.end("one")
        await passed(6.0)
        assert listening.done()
    assert got[-1] == ""
