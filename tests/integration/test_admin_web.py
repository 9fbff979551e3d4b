"""The admin page's JSON over real HTTP, in front of a scheduler on a real bus."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.serving import CONNECTIONS_COUNT, web_server
from clusterodm.libs.common.messages.nodes import NODE_ADDED, NodeEvent
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.version import VERSION
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.web.api.guard import web_app
from tests.fake_autoscaler import FakeAutoscaler
from tests.fake_scheduler import FakeScheduler, admin_health, node, task
from tests.waiting import until

CHANGES = [("POST", "/r/node/lock"), ("POST", "/r/node/unlock"), ("DELETE", "/r/node")]
PAGES = (
    "/",
    "/tasks",
    "/tasks/t1",
    "/queue",
    "/nodes",
    "/nodes/127.0.0.1-4001",
    "/usage",
    "/events",
    "/services",
    "/settings",
)
Serving = Callable[[str], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
async def scheduler(nats_bus: NatsBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [node(1, has_token=True), node(2, port=4002, locked=True, online=False, info=None, trouble="refused")]
    fake.tasks = [task("t1", on=fake.nodes[0]), task("w1", TaskState.WAITING, waiting_because="busy")]
    async with nats_bus.serve("scheduler", fake.handlers()):
        yield fake


@pytest.fixture
def serving(nats_bus: NatsBus) -> Serving:
    """Serve the page with some password while a context is open; a client of it."""

    @asynccontextmanager
    async def open_server(password: str) -> AsyncIterator[httpx.AsyncClient]:
        listener = listen("127.0.0.1", 0, "--admin-web-port")
        url = f"http://127.0.0.1:{port_of(listener)}"
        async with (
            web_server(web_app(nats_bus, password, LoginThrottle(), admin_health(nats_bus)), listener),
            httpx.AsyncClient(base_url=url, timeout=20, headers={"X-Requested-With": "tests"}) as client,
        ):
            yield client

    return open_server


@pytest.fixture
async def web(serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
    async with serving("") as client:
        yield client


async def test_info_says_name_and_version(web: httpx.AsyncClient):
    response = await web.get("/r/info")
    assert response.json() == {"name": "ClusterODM", "version": VERSION}


async def test_the_list_of_nodes_has_the_originals_keys_and_no_token(web: httpx.AsyncClient, scheduler: FakeScheduler):
    scheduler.tokens["127.0.0.1-4001"] = "s3cret"
    response = await web.get("/r/node/list")
    online, offline = response.json()
    assert {key: online[key] for key in online if key not in {"nodeData", "number", "trouble"}} == {
        "name": "127.0.0.1:4001",
        "isLocked": False,
        "isAutoSpawned": False,
        "isOnline": True,
        "getTaskQueueCount": 1,
        "getMaxParallelTasks": 2,
        "getEngineInfo": "odm 3.5.5",
        "getVersion": "2.2.4",
    }
    assert online["nodeData"]["token"] == "***"
    assert (offline["getTaskQueueCount"], offline["getEngineInfo"], offline["trouble"]) == ("?", "?", "refused")
    assert "s3cret" not in response.text


async def test_the_list_of_tasks_holds_waiting_ones_and_can_be_cut(web: httpx.AsyncClient, scheduler: FakeScheduler):
    everything = (await web.get("/r/task/list")).json()
    assert [(each["uuid"], each["state"]) for each in everything] == [("t1", "running"), ("w1", "waiting")]
    scheduler.tasks = [task(f"t{number}", committed_at_ms=number) for number in range(9)]
    cut = await web.get("/r/task/list", params={"last": 2})
    assert [each["uuid"] for each in cut.json()] == ["t8", "t7"]
    assert json.loads(cut.headers["X-Task-Counts"]) == {"running": 9}


async def test_a_node_is_added_locked_unlocked_and_deleted(web: httpx.AsyncClient, scheduler: FakeScheduler):
    new = {"hostname": "localhost", "port": "4003", "token": "s3cret"}
    assert (await web.post("/r/node/add", json=new)).json() == {"success": True}
    again = (await web.post("/r/node/add", json={**new, "port": 4003})).json()
    assert (again["error"], again["reason"]) == ("Invalid", "localhost:4003 is registered already")
    assert (await web.post("/r/node/lock", json={"number": 3})).json() is True
    assert scheduler.nodes[2].locked
    assert (await web.post("/r/node/unlock", json={"number": "3"})).json() is True
    assert not scheduler.nodes[2].locked
    assert (await web.request("DELETE", "/r/node", json={"number": 3})).json() is True
    assert len(scheduler.nodes) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hostname": "a"},
        {"port": 1},
        {"hostname": "", "port": 1},
        {"hostname": "a", "port": 0},
        {"hostname": {"a": 1}, "port": 1},
        {"hostname": "a", "port": "1abc"},
        {"hostname": "a", "port": 1, "token": 5},
    ],
)
async def test_an_incomplete_node_is_invalid(web: httpx.AsyncClient, scheduler: FakeScheduler, fields: dict[str, Any]):
    response = await web.post("/r/node/add", json=fields)
    assert (response.status_code, response.json()["error"]) == (200, "Invalid")
    assert len(scheduler.nodes) == 2


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_an_unknown_number_is_false_and_none_is_403(
    web: httpx.AsyncClient, scheduler: FakeScheduler, method: str, path: str
):
    for number in (9, "x", "1abc", -1, True, [1]):
        assert (await web.request(method, path, json={"number": number})).json() is False
    for fields in ({}, {"number": 0}, {"number": None}):
        response = await web.request(method, path, json=fields)
        assert (response.status_code, response.content) == (403, b"")
    assert [each.locked for each in scheduler.nodes] == [False, True]


async def test_a_number_that_belongs_to_another_node_by_now_is_false(web: httpx.AsyncClient, scheduler: FakeScheduler):
    stale = {"number": 1, "name": "127.0.0.1:4002"}
    assert (await web.request("DELETE", "/r/node", json=stale)).json() is False
    assert len(scheduler.nodes) == 2


async def test_a_task_is_canceled(web: httpx.AsyncClient, scheduler: FakeScheduler):
    assert (await web.post("/r/task/cancel", json={"uuid": "t1"})).json() == {"success": True}
    assert scheduler.tasks[0].state is TaskState.CANCELED
    again = (await web.post("/r/task/cancel", json={"uuid": "t1"})).json()
    assert again == {"success": False, "error": "the task has ended"}
    assert (await web.post("/r/task/cancel", json={})).json() == {"error": "Invalid"}
    assert (await web.post("/r/task/remove", json={"uuid": "w1"})).json() == {"success": True}


@pytest.mark.parametrize("body", ["{bad", "[1]", "5", '"x"', "\x00"])
async def test_bad_json_is_a_400_in_json_without_our_insides(web: httpx.AsyncClient, body: str):
    response = await web.post("/r/node/lock", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert set(response.json()) == {"error"}
    assert "Traceback" not in response.text
    assert "/services/" not in response.text


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
async def test_a_body_that_a_foreign_page_could_send_changes_nothing(
    web: httpx.AsyncClient, scheduler: FakeScheduler, kind: str
):
    response = await web.post("/r/node/lock", content='{"number": 1}', headers={"Content-Type": kind})
    assert response.status_code == 403
    added = await web.post("/r/node/add", content='{"hostname":"a","port":1}', headers={"Content-Type": kind})
    assert added.json()["error"] == "Invalid"
    assert (len(scheduler.nodes), scheduler.nodes[0].locked) == (2, False)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
async def test_a_foreign_page_is_refused(web: httpx.AsyncClient, scheduler: FakeScheduler, headers: dict[str, str]):
    response = await web.post("/r/node/lock", json={"number": 1}, headers=headers)
    assert response.status_code == 403
    assert not scheduler.nodes[0].locked


async def test_this_page_is_not_a_foreign_one(web: httpx.AsyncClient, scheduler: FakeScheduler):
    here = {"Origin": str(web.base_url).rstrip("/")}
    assert (await web.post("/r/node/lock", json={"number": 1}, headers=here)).json() is True
    assert scheduler.nodes[0].locked


async def test_what_a_webhook_a_form_or_a_link_can_send_changes_nothing(
    web: httpx.AsyncClient, scheduler: FakeScheduler
):
    del web.headers["X-Requested-With"]
    for path in ("/r/node/lock", "/r/node/add", "/r/asr/pause", "/r/asr/resume", "/r/task/cancel"):
        response = await web.post(path, json={"number": 1, "uuid": "t1", "hostname": "a", "port": 1})
        assert (response.status_code, "X-Requested-With" in response.json()["error"]) == (403, True)
    assert (await web.request("DELETE", "/r/node", json={"number": 1})).status_code == 403
    assert (len(scheduler.nodes), scheduler.nodes[0].locked) == (2, False)
    assert (await web.get("/r/node/list")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/r/node/list", "/r/task/list", "/static/admin.js"])
async def test_a_page_whose_name_was_made_to_lead_here_learns_nothing(web: httpx.AsyncClient, path: str):
    response = await web.get(path, headers={"Host": "evil.example"})
    assert (response.status_code, "--admin-web-hosts" in response.json()["error"]) == (421, True)
    assert (await web.get("/healthz", headers={"Host": "evil.example"})).status_code == 200


async def test_no_other_origin_is_let_in(web: httpx.AsyncClient):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
    response = await web.options("/r/node", headers=asked)
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/r/info", "/healthz", "/static/admin.js", "/nope", "/signout"])
async def test_every_answer_has_the_security_headers(web: httpx.AsyncClient, path: str):
    headers = (await web.get(path)).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "server" not in headers


async def test_the_page_loads_nothing_from_elsewhere(web: httpx.AsyncClient, scheduler: FakeScheduler):
    assert scheduler.nodes
    for path in (*PAGES, "/static/app.js", "/static/console.js", "/static/plots.js", "/static/admin.css"):
        response = await web.get(path)
        assert response.status_code == 200, path
        assert "://" not in response.text.replace("http://www.w3.org", "")
        assert "style=" not in response.text
        assert "<script>" not in response.text


@pytest.mark.parametrize(
    "path", ["/static/nope.js", "/static/..%2f..%2fweb.py", "/static/../web.py", "/docs", "/openapi.json"]
)
async def test_nothing_else_is_served(web: httpx.AsyncClient, path: str):
    response = await web.get(path)
    assert (response.status_code, response.json()) == (404, {"error": "Not Found"})


@pytest.mark.parametrize("name", ["app.js", "admin.css", "icon.svg", "vendor/htmx.min.js"])
async def test_a_browser_that_has_a_file_already_does_not_get_it_again(web: httpx.AsyncClient, name: str):
    first = await web.get(f"/static/{name}")
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache", "it is asked for again each time"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = await web.get(f"/static/{name}", headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
        assert "default-src 'none'" in same.headers["Content-Security-Policy"]
    for known in ('"other"', tag.strip('"'), ""):
        changed = await web.get(f"/static/{name}", headers={"If-None-Match": known})
        assert (changed.status_code, changed.content) == (200, first.content)


@pytest.mark.parametrize("path", ["/", "/nodes", "/r/info", "/api/v1/nodes", "/static/nope.js", "/healthz"])
async def test_nothing_else_is_kept_by_browsers(web: httpx.AsyncClient, path: str):
    assert (await web.get(path)).headers["Cache-Control"] == "no-store"


async def test_a_large_body_is_refused(web: httpx.AsyncClient):
    assert (await web.post("/r/node/add", json={"hostname": "x" * 200_000, "port": 1})).status_code == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield b" " * 10_000

    chunked = await web.post("/r/node/add", content=endless(), headers={"Content-Type": "application/json"})
    assert (chunked.status_code, chunked.json()) == (413, {"error": "The request is too large."})
    assert (await web.get("/r/info")).status_code == 200


@pytest.mark.timeout(60)
async def test_a_listener_with_a_long_body_that_goes_holds_nobody_up(web: httpx.AsyncClient):
    reader, writer = await asyncio.open_connection("127.0.0.1", web.base_url.port)
    writer.write(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(30):
        writer.write(b"2710\r\n" + b" " * 10_000 + b"\r\n")
    await writer.drain()
    async with asyncio.timeout(20):
        await reader.readuntil(b"retry: 2000")
    writer.close()
    for _ in range(20):
        assert (await web.get("/r/info")).status_code == 200


HEADS = (
    "/",
    "/nodes",
    "/static/app.js",
    "/r/info",
    "/api/v1/nodes",
    "/api/v1/events/stream",
    "/api/v1/tasks/t1/console.txt",
    "/nope",
    "/healthz",
)


@pytest.mark.parametrize("path", HEADS)
async def test_head_has_what_get_has_but_for_the_body(web: httpx.AsyncClient, scheduler: FakeScheduler, path: str):
    scheduler.consoles = {"t1": ("one",)}
    async with web.stream("GET", path) as whole, asyncio.timeout(20):
        head = await web.head(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        for name in ("Content-Type", "Content-Security-Policy", "Content-Disposition"):
            assert head.headers.get(name) == whole.headers.get(name)
    assert (await web.head(path)).status_code == head.status_code


@pytest.mark.slow
async def test_when_the_scheduler_is_away_the_page_says_so(web: httpx.AsyncClient):
    responses = await asyncio.gather(web.get("/r/node/list"), web.post("/r/node/lock", json={"number": 1}))
    for response in responses:
        assert (response.status_code, response.json()) == (503, {"error": "The scheduler does not answer."})
    assert (await web.get("/healthz")).json()["nats"] is True


class TestPassword:
    RIGHT = ("admin", "pässe:word")

    @pytest.fixture
    async def web(self, serving: Serving) -> AsyncIterator[httpx.AsyncClient]:
        async with serving("pässe:word") as client:
            yield client

    async def test_without_it_there_is_a_challenge_for_everything(self, web: httpx.AsyncClient):
        for path in ("/", "/static/admin.js", "/r/info", "/nope"):
            response = await web.get(path)
            assert (response.status_code, response.content) == (401, b"")
            assert response.headers["WWW-Authenticate"] == 'Basic realm="ClusterODM"'

    @pytest.mark.parametrize("headers", [{"X-Requested-With": "ClusterODM"}, {"Accept": "text/event-stream"}])
    async def test_a_page_whose_session_has_ended_makes_no_browser_ask_for_a_password(
        self, web: httpx.AsyncClient, headers: dict[str, str]
    ):
        response = await web.get("/api/v1/nodes", headers=headers)
        assert response.status_code == 401
        assert not response.headers["WWW-Authenticate"].startswith("Basic")

    async def test_with_it_everything_works(self, web: httpx.AsyncClient, scheduler: FakeScheduler):
        for _ in range(3):
            assert (await web.get("/r/info", auth=self.RIGHT)).status_code == 200
        assert (await web.post("/r/node/lock", json={"number": 1}, auth=self.RIGHT)).json() is True
        assert scheduler.nodes[0].locked

    async def test_nothing_is_parsed_before_the_login(self, web: httpx.AsyncClient):
        response = await web.post("/r/node/lock", content="{bad", headers={"Content-Type": "application/json"})
        assert response.status_code == 401

    async def test_health_and_signout_need_none(self, web: httpx.AsyncClient):
        assert (await web.get("/healthz")).status_code == 200
        signed_out = await web.get("/signout")
        assert signed_out.status_code == 401
        assert "Sign" in signed_out.text

    async def test_wrong_ones_are_answered_later_each_time(self, web: httpx.AsyncClient):
        loop = asyncio.get_running_loop()
        times = []
        for _ in range(3):
            began_s = loop.time()
            assert (await web.get("/r/info", auth=("admin", "wrong"))).status_code == 401
            times.append(loop.time() - began_s)
        assert times[0] < times[1]
        assert times[1] > 0.4
        assert times[2] > 0.9

    async def test_the_page_is_fast_again_after_the_right_one(self, web: httpx.AsyncClient):
        for _ in range(3):
            await web.get("/r/info", auth=("admin", "wrong"))  # the next one would wait for two seconds
        await web.get("/r/info", auth=self.RIGHT)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        answers = await asyncio.gather(*(web.get("/r/info", auth=self.RIGHT) for _ in range(10)))
        assert {each.status_code for each in answers} == {200}
        assert loop.time() - began_s < 1.5

    @pytest.mark.slow
    async def test_the_guessing_of_many_at_once_is_refused(self, web: httpx.AsyncClient):
        async def guess() -> int:
            try:
                return (await web.get("/r/info", auth=("admin", "wrong"), timeout=5)).status_code
            except httpx.ReadTimeout:
                return 0

        assert 429 in await asyncio.gather(*(guess() for _ in range(80)))


async def test_machines_are_listed_destroyed_and_held_back(web: httpx.AsyncClient, nats_bus: NatsBus):
    autoscaler = FakeAutoscaler()
    async with nats_bus.serve("autoscaler", autoscaler.handlers()):
        first, second = (await web.get("/r/machine/list")).json()
        assert (first["number"], first["state"], second["state"]) == (1, "busy", "creating")
        status = (await web.get("/r/asr/status")).json()
        assert (status["enabled"], [each["owner"] for each in status["budgets"]]) == (True, ["survey", "guest"])
        stale = {"number": 2, "name": first["name"]}
        assert (await web.request("DELETE", "/r/machine", json=stale)).json()["success"] is False
        assert (await web.request("DELETE", "/r/machine", json={})).json()["success"] is False
        assert autoscaler.destroyed == []
        assert (await web.request("DELETE", "/r/machine", json={"number": 2})).json() == {"success": True}
        assert autoscaler.destroyed == [second["name"]]
        assert (await web.post("/r/asr/pause", json={"reason": "budget"})).json() == {"success": True}
        assert autoscaler.paused == "budget"
        assert (await web.post("/r/asr/resume", json={})).json() == {"success": True}
        assert autoscaler.paused is None


async def test_without_an_autoscaler_the_status_says_so_and_machines_are_a_503(web: httpx.AsyncClient):
    said = "The autoscaler does not answer."
    assert (await web.get("/r/asr/status")).json() == {"enabled": False, "reason": said}
    response = await web.get("/r/machine/list")
    assert (response.status_code, response.json()) == (503, {"error": said})


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="half"),
        pytest.param(b"[]", id="array"),
        pytest.param(b'{"uuid":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"uuid":' + b"[" * 50_000, id="bottomless"),
        pytest.param(b'{"uuid":' + b"[" * 500 + b"]" * 500 + b"}", id="deep"),
    ],
)
@pytest.mark.parametrize("path", ["/r/task/cancel", "/r/node/add", "/r/node/lock", "/r/asr/pause"])
async def test_a_body_that_cannot_be_read_is_a_bad_request(web: httpx.AsyncClient, path: str, content: bytes):
    response = await web.post(path, content=content, headers={"content-type": "application/json"})

    assert response.status_code == 400


@pytest.mark.parametrize("path", ["/nodes", "/nodes/127.0.0.1-4002"])
async def test_a_node_whose_machine_takes_no_more_tasks_offers_no_unlocking(
    path: str, web: httpx.AsyncClient, scheduler: FakeScheduler
):
    assert "4002/unlock" in (await web.get(path)).text
    scheduler.nodes[1] = node(2, port=4002, locked=True, lock_reason="it has its last task")
    page = (await web.get(path)).text
    assert "it has its last task" in page
    assert "4002/unlock" not in page


@pytest.mark.timeout(60)
@pytest.mark.parametrize("path", ["/signin", "/r/node/add"])
async def test_bodies_that_never_come_keep_nobody_out(web: httpx.AsyncClient, path: str):
    assert (await web.get("/r/info")).status_code == 200  # the page is loaded
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Requested-With: it\r\nContent-Length: 100\r\n"
    async with AsyncExitStack() as opened:
        for _ in range(CONNECTIONS_COUNT + 10):
            _, writer = await asyncio.open_connection("127.0.0.1", web.base_url.port)
            opened.callback(writer.close)
            writer.write(f"{head}Content-Type: application/json\r\n\r\n{{".encode())
            await asyncio.sleep(0.002)  # so that each is read before the next one comes
        await anybody_else_is_served(web)


@pytest.mark.timeout(60)
async def test_listeners_of_one_user_keep_nobody_out(web: httpx.AsyncClient):
    assert (await web.get("/r/info")).status_code == 200  # the page is loaded
    async with AsyncExitStack() as opened:
        for _ in range(CONNECTIONS_COUNT + 10):
            reader, writer = await asyncio.open_connection("127.0.0.1", web.base_url.port)
            opened.callback(writer.close)
            writer.write(b"GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            async with asyncio.timeout(20):
                await reader.readuntil(b"retry: 2000")
        await anybody_else_is_served(web)


async def anybody_else_is_served(web: httpx.AsyncClient) -> None:
    async with asyncio.timeout(20), httpx.AsyncClient(base_url=web.base_url) as other:
        assert (await other.get("/r/info")).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403, id="an image"),
        pytest.param({"Origin": "http://evil.example"}, 403, id="a listener of another origin"),
        pytest.param({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200, id="our own page"),
        pytest.param(
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
            200,
            id="a link that is followed",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/r/info", "/signin", "/api/v1/events"])
async def test_no_other_sites_page_loads_anything_into_itself(
    web: httpx.AsyncClient, path: str, headers: dict[str, str], status: int
):
    assert (await web.get(path, headers=headers)).status_code == status
    assert (await web.get("/healthz", headers=headers)).status_code == 200


async def test_a_listener_that_comes_back_is_told_what_it_has_missed(web: httpx.AsyncClient, nats_bus: NatsBus):
    for number in range(3):
        await nats_bus.publish(NODE_ADDED, NodeEvent(at_ms=1, node=NodeId(f"n{number}")))
    await until_stored(web, 3)
    last = min(each["sequence"] for each in (await web.get("/api/v1/events")).json()["items"])
    told = ""
    async with web.stream("GET", "/api/v1/events/stream", headers={"Last-Event-ID": str(last)}) as stream:
        async with asyncio.timeout(20):
            async for piece in stream.aiter_text():
                told += piece
                if "event: nodes" in told:
                    break
    assert [node for node in ("n0", "n1", "n2") if f'"{node}"' in told] == ["n1", "n2"]


async def until_stored(web: httpx.AsyncClient, count: int) -> None:
    async def are_there() -> bool:
        return (await web.get("/api/v1/events")).json()["total_count"] == count

    await until(are_there)
