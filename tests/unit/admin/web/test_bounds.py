"""How much a request may bring, and how long an answer may go on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.signin.api import SignInPages
from clusterodm.services.admin.signin.handlers import SignIns
from clusterodm.services.admin.watching.handlers import Watched
from clusterodm.services.admin.web.api.app import WebDependencies, web_application
from clusterodm.services.admin.web.api.bounds import (
    BODY_BYTES,
    BODY_S,
    COMING_COUNT,
    STREAMS_COUNT,
    STREAMS_PER_USER_COUNT,
    TAKE_S,
    OpenStreams,
    limited,
)
from clusterodm.services.admin.web.api.guard import Guard
from tests.waiting import TurnedLoop, passed

PIECE = b" " * 60_000
DISCONNECTED: Message = {"type": "http.disconnect"}


def guarding(app: ASGIApp) -> Guard:
    signins = SignIns(MemoryBus(), Passwords(), LoginThrottle())
    return Guard(app, signins, SignInPages(signins, secure=False))


def scope_of(method: str = "GET", path: str = "/api/v1/events/stream", **more: Any) -> Scope:
    headers = [(b"host", b"localhost"), (b"x-requested-with", b"tests"), (b"content-type", b"application/json")]
    asgi = {"version": "3.0", "spec_version": "2.3"}
    return {
        "type": "http",
        "asgi": asgi,
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": headers,
        "client": ("10.0.0.9", 1),
        **more,
    }


def receiving(*pieces: bytes) -> Receive:
    """Give a body in pieces, and then that the client has gone, whenever somebody asks: as a server does."""
    left = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]

    async def receive() -> Message:
        await asyncio.sleep(0)
        return left.pop(0) if left else DISCONNECTED

    return receive


async def endless() -> AsyncIterator[str]:
    while True:
        yield "more"
        await asyncio.sleep(0.01)


@pytest.mark.timeout(30)
async def test_a_listener_that_has_sent_a_long_body_and_goes_ends_its_stream_and_nobody_elses_turn():
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    guard = guarding(StreamingResponse(endless()))
    async with asyncio.timeout(10):
        await guard(scope_of(), receiving(*[PIECE] * 4), send)
    assert sent[0]["type"] == "http.response.start"


async def test_of_a_long_body_that_nobody_needs_nothing_is_kept():
    receive = limited(scope_of(), receiving(*[PIECE] * 4))
    bodies = [(await receive())["body"] for _ in range(4)]
    assert [len(body) for body in bodies] == [60_000, 0, 0, 0]
    assert await receive() == DISCONNECTED


async def test_a_body_that_says_no_length_and_is_too_long_is_too_large():
    bus = MemoryBus()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(BODY_BYTES // len(PIECE) + 2):
            yield PIECE

    guard = guarding(web_application(WebDependencies(bus, Watched(bus))))
    transport = httpx.ASGITransport(guard)
    headers = {"X-Requested-With": "tests", "Content-Type": "application/json"}
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        for path in ("/r/node/add", "/api/v1/nodes"):
            answer = await client.post(path, content=pieces())
            assert (answer.status_code, answer.json()) == (413, {"error": "The request is too large."})


def test_a_listener_that_takes_nothing_is_gone_after_a_minute():
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(takes_nothing())


async def takes_nothing() -> None:
    cycle = Cycle()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> Message:
        await asyncio.Event().wait()
        return DISCONNECTED

    guard = guarding(StreamingResponse(endless()))
    async with asyncio.TaskGroup() as group:
        listening = group.create_task(guard(cycle.scope(), receive, send))
        await passed(TAKE_S - 2)
        assert (listening.done(), cycle.dropped.is_set()) == (False, False)
        await passed(4)
        assert (listening.done(), cycle.dropped.is_set()) == (True, True)


async def answered_to(method: str, app: ASGIApp) -> tuple[Message, list[Message]]:
    """The head of an answer, and what comes behind it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        await asyncio.Event().wait()
        return DISCONNECTED

    async with asyncio.timeout(10):
        await guarding(app)(scope_of(method, "/tasks"), receive, send)
    return sent[0], sent[1:]


async def by_method(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer GET alone, as FastAPI's routes do."""
    request = Request(scope, receive)
    answer: Response = PlainTextResponse("a page") if request.method == "GET" else JSONResponse({}, status_code=405)
    await answer(scope, receive, send)


async def test_head_is_answered_as_get():
    head, _ = await answered_to("HEAD", by_method)
    assert head == (await answered_to("GET", by_method))[0]
    assert head["status"] == 200


async def test_head_of_a_stream_has_an_end():
    head, behind = await answered_to("HEAD", StreamingResponse(endless()))
    assert head["status"] == 200
    assert behind == [{"type": "http.response.body", "body": b"", "more_body": False}]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"hostname": "a", "port": "x"}, "port: Expected `int`, got `str`"),
        ({"port": 3000}, "Object missing required field `hostname`"),
    ],
)
async def test_what_is_wrong_with_a_field_begins_with_its_name(body: dict[str, Any], said: str):
    bus = MemoryBus()
    transport = httpx.ASGITransport(guarding(web_application(WebDependencies(bus, Watched(bus)))))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.post("/api/v1/nodes", json=body, headers={"X-Requested-With": "tests"})
    assert (answer.status_code, answer.json()) == (422, {"error": said})


class Cycle:
    """What a server knows of a request: its connection may be closed, and then its client has gone."""

    def __init__(self, *pieces: Message) -> None:
        self.dropped = asyncio.Event()
        self._left = list(pieces)

    def drop(self) -> None:
        self.dropped.set()

    async def receive(self) -> Message:
        if self._left:
            return self._left.pop(0)
        await self.dropped.wait()
        return DISCONNECTED

    def scope(self, **more: Any) -> Scope:
        return scope_of(extensions={REQUEST_CYCLE: self}, **more)


BEGUN: Message = {"type": "http.request", "body": b"user=", "more_body": True}


async def nowhere(message: Message) -> None:
    del message


def test_a_body_that_does_not_come_is_waited_for_no_longer_than_bodies_take():
    with asyncio.Runner(loop_factory=TurnedLoop) as runner:
        runner.run(comes_in_part())


async def comes_in_part() -> None:
    async with asyncio.TaskGroup() as group:
        for path in ("/signin", "/r/node/add"):
            guard, cycle = guarding(web_application(WebDependencies(bus := MemoryBus(), Watched(bus)))), Cycle(BEGUN)
            waiting = group.create_task(guard(cycle.scope(method="POST", path=path), cycle.receive, nowhere))
            await passed(BODY_S / 2, step_s=0.5)
            assert (waiting.done(), cycle.dropped.is_set()) == (False, False)
            await passed(BODY_S, step_s=0.5)
            assert (waiting.done(), cycle.dropped.is_set()) == (True, True)


async def test_of_bodies_that_do_not_come_the_oldest_gives_way():
    guard = guarding(PlainTextResponse("unused"))
    cycles = [Cycle(BEGUN) for _ in range(COMING_COUNT + 3)]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for each in cycles:
            group.create_task(guard(each.scope(method="POST", path="/signin"), each.receive, nowhere))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [each.dropped.is_set() for each in cycles] == [True] * 3 + [False] * COMING_COUNT
        for each in cycles:
            each.drop()


async def test_a_body_that_has_come_gives_way_to_none():
    guard = guarding(PlainTextResponse("unused"))
    whole = Cycle({**BEGUN, "more_body": False})
    await guard(whole.scope(method="POST", path="/signin"), whole.receive, nowhere)
    cycles = [Cycle(BEGUN) for _ in range(COMING_COUNT)]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for each in cycles:
            group.create_task(guard(each.scope(method="POST", path="/signin"), each.receive, nowhere))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not any(each.dropped.is_set() for each in (whole, *cycles))
        for each in cycles:
            each.drop()


async def test_a_client_that_goes_in_the_midst_of_its_body_is_no_fault_of_ours():
    guard = guarding(web_application(WebDependencies(bus := MemoryBus(), Watched(bus))))
    cycle = Cycle(BEGUN)
    cycle.drop()
    async with asyncio.timeout(10):
        await guard(cycle.scope(method="POST", path="/r/node/add"), cycle.receive, nowhere)


def begun(streams: OpenStreams, user: str) -> Cycle:
    streams.begin((cycle := Cycle()).scope(), user)
    return cycle


def test_of_a_users_streams_the_oldest_gives_way_to_one_more():
    streams = OpenStreams()
    other = begun(streams, "operator")
    cycles = [begun(streams, "viewer") for _ in range(STREAMS_PER_USER_COUNT + 2)]
    assert [each.dropped.is_set() for each in cycles] == [True] * 2 + [False] * STREAMS_PER_USER_COUNT
    assert not other.dropped.is_set()


def test_when_there_are_as_many_streams_as_may_be_whoever_has_the_most_gives_way():
    streams = OpenStreams()
    many = [begun(streams, "viewer") for _ in range(STREAMS_PER_USER_COUNT)]
    others = [begun(streams, f"user {number}") for number in range(STREAMS_COUNT - STREAMS_PER_USER_COUNT)]
    newest = begun(streams, "admin")
    assert [each.dropped.is_set() for each in (*many, *others, newest)] == [True] + [False] * STREAMS_COUNT


async def test_a_stream_that_is_over_has_no_place_any_more():
    guard = guarding(StreamingResponse(few()))
    for _ in range(STREAMS_PER_USER_COUNT + 1):
        cycle = Cycle({**BEGUN, "more_body": False})
        await guard(cycle.scope(), cycle.receive, nowhere)
        assert not cycle.dropped.is_set()


async def few() -> AsyncIterator[str]:
    yield "one"
    yield "two"
