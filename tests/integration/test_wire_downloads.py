"""Downloads and pages: streamed as the node sends them, never a short or false success."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.tasks import Attempt, TaskState
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from tests.proxies import MULTIPART, ProxyUnderTest, ScriptedNode, multipart, parse, response
from tests.waiting import until

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
ASSET = f"/task/{ON_NODE}/download/"
ZIP = f"/task/{TASK}/download/all.zip"
ZIP_LINES = ("content-type: application/zip", "content-disposition: attachment; filename=all.zip")
BODY = bytes(range(256)) * 4096
"""1 MiB"""


@pytest.fixture
async def node(proxy: ProxyUnderTest, script: ScriptedNode) -> Node:
    return await proxy.ran(script.port, TASK, ON_NODE, token="secret")


async def test_a_result_is_streamed_with_the_nodes_own_head(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say(ASSET, response(BODY, "200 OK", *ZIP_LINES, "etag: x", "x-powered-by: Express", "keep-alive: timeout=5"))

    status, headers, body = await proxy.ask("GET", f"{ZIP}?token=", headers={"origin": "https://web"})

    assert (status, body == BODY) == (200, True)
    assert headers["content-length"] == str(len(BODY))
    assert (headers["etag"], headers["content-type"]) == ("x", "application/zip")
    assert headers["content-disposition"] == "attachment; filename=all.zip"
    assert headers["access-control-allow-origin"] == "https://web"
    assert "x-powered-by" not in headers
    assert "keep-alive" not in headers
    assert script.requests[0].startswith(f"GET {ASSET}all.zip?token=secret HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("asked", "status", "part", "place"),
    [
        pytest.param("bytes=0-9", 206, slice(0, 10), "0-9", id="the beginning"),
        pytest.param("bytes=500000-900000", 206, slice(500000, 900001), "500000-900000", id="the middle"),
        pytest.param("bytes=1000000-", 206, slice(1000000, None), "1000000-1048575", id="to the end"),
        pytest.param("bytes=-500", 206, slice(-500, None), "1048076-1048575", id="the last ones"),
        pytest.param("bytes=1048570-9999999", 206, slice(1048570, None), "1048570-1048575", id="across the end"),
        pytest.param("bytes=1048576-", 416, slice(0, 0), "*", id="behind the end"),
        pytest.param("bytes=-0", 416, slice(0, 0), "*", id="none at all"),
        pytest.param("bytes=5-2", 200, slice(None), "", id="backwards"),
        pytest.param("bytes=0-0,5-9", 200, slice(None), "", id="several"),
        pytest.param("items=0-5", 200, slice(None), "", id="another unit"),
    ],
)
async def test_ranges_of_a_node_that_has_none_are_made_here(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, asked: str, status: int, part: slice, place: str
) -> None:
    script.say(ASSET, response(BODY, "200 OK", *ZIP_LINES))

    answered, headers, body = await proxy.ask("GET", ZIP, headers={"range": asked})

    assert (answered, body == BODY[part]) == (status, True)
    assert headers["content-length"] == str(len(BODY[part]))
    assert headers.get("content-range", "") == (place and f"bytes {place}/{len(BODY)}")
    assert "accept-ranges" not in headers
    whole = await proxy.ask("GET", ZIP, headers={"range": asked, "if-range": '"x"'})
    assert (whole[0], whole[2] == BODY) == (200, True)
    assert (await proxy.ask("HEAD", ZIP, headers={"range": asked}))[0] == 200


async def test_ranges_are_passed_on_both_ways(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    script.say(ASSET, response(b"part", "206 Partial Content", "content-range: bytes 4-7/100", *ZIP_LINES))

    asked = {"range": "bytes=4-7", "if-range": "x", "cookie": "private", "authorization": "private"}
    status, headers, body = await proxy.ask("GET", ZIP, headers=asked)

    assert (status, headers["content-range"], body) == (206, "bytes 4-7/100", b"part")
    head = script.requests[0].lower()
    assert "range: bytes=4-7\r\n" in head
    assert "if-range: x\r\n" in head
    assert "private" not in head


@pytest.mark.parametrize("status", ["416 Range Not Satisfiable", "304 Not Modified"])
async def test_other_answers_about_ranges_are_passed_on(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, status: str
) -> None:
    script.say(ASSET, f"HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n".encode())

    asked = {"range": "bytes=9-", "if-none-match": '"x"'}
    assert (await proxy.ask("GET", ZIP, headers=asked))[0] == int(status[:3])


@pytest.mark.parametrize("status", ["206 Partial Content", "416 Range Not Satisfiable", "304 Not Modified"])
async def test_a_part_or_nothing_that_nobody_asked_for_is_a_refusal(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, status: str
) -> None:
    said = f"HTTP/1.1 {status}\r\ncontent-range: bytes 0-4/99999999999999999999999\r\ncontent-length: 0\r\n\r\n"
    script.say(ASSET, said.encode())
    script.say("/index.html", said.encode())

    refusal = (502, {"error": f"The node answered with status {status[:3]}"})
    assert await proxy.json("GET", ZIP) == refusal
    assert await proxy.json("GET", "/index.html") == refusal


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        pytest.param("bytes=-3", "0-4/99999999999999999999999", id="other bytes"),
        pytest.param("bytes=99-", "0-4/25", id="from elsewhere"),
        pytest.param("bytes=0-1,3-4", "0-4/25", id="several were asked for"),
        pytest.param("bytes=0-2", "0-4/25", id="more than was asked for"),
    ],
)
async def test_another_part_than_was_asked_for_is_a_refusal(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, asked: str, place: str
) -> None:
    for path in (ASSET, "/index.html"):
        script.say(path, response(b"12345", "206 Partial Content", f"content-range: bytes {place}", *ZIP_LINES))

    refusal = (502, {"error": "The node answered with status 206"})
    assert await proxy.json("GET", ZIP, headers={"range": asked}) == refusal
    assert await proxy.json("GET", "/index.html", headers={"range": asked}) == refusal


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\n12345", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n12345", id="a negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 1" + b"0" * 24 + b"\r\n\r\n", id="a length without end"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length and chunks",
        ),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\nraw", id="another protocol"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50 + response(b"zip"), id="hints without end"),
        pytest.param(b"220 mail.example ESMTP\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\na: " + b"a" * 100_000, id="a head without end"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_is_no_answer_is_a_refusal_for_a_page_and_tried_again_for_a_result(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, answer: bytes, method: str
) -> None:
    for path in (ASSET, "/index.html"):
        script.say(path, answer)
    status, headers, body = await proxy.ask(method, "/index.html")
    assert (status, headers["content-type"]) == (502, "application/json")
    assert body == (b'{"error":"The node answered with something that is not HTTP"}' if method == "GET" else b"")
    assert await proxy.raw(f"{method} {ZIP} HTTP/1.1\r\nhost: x\r\n\r\n".encode()) == b""


async def test_a_few_hints_before_a_result_are_skipped(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nset-cookie: a=b\r\n\r\n"
    script.say(ASSET, hint * 8 + response(b"zip", "200 OK", *ZIP_LINES))

    status, headers, body = await proxy.ask("GET", ZIP)

    assert (status, body) == (200, b"zip")
    assert "set-cookie" not in headers


async def test_what_does_not_exist_is_answered_as_the_table_for_clients_says(proxy: ProxyUnderTest, node: Node) -> None:
    paths = (f"/task/{TASK}", f"/task/{TASK}/", f"/task/{TASK}/xyz")
    assert [(await proxy.ask("GET", path))[0] for path in paths] == [200, 200, 404]
    assert b" 400 " in (await proxy.raw(b"FOO /info HTTP/1.1\r\nhost: x\r\n\r\n")).splitlines()[0]


async def test_head_announces_the_length_and_sends_nothing(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    script.say(ASSET, response(b"", "200 OK", *ZIP_LINES, length=123_456_789))

    for _ in range(2):
        status, headers, body = await proxy.ask("HEAD", ZIP)
        assert (status, headers["content-length"], body) == (200, "123456789", b"")

    assert script.connections_count == 1


@pytest.mark.parametrize(
    ("head", "body"),
    [
        pytest.param("transfer-encoding: chunked", b"5\r\nhello\r\n6;ext\r\n world\r\n0\r\n\r\n", id="chunked"),
        pytest.param("connection: close", b"hello world", id="until the end of the connection"),
    ],
)
async def test_bodies_without_length_arrive_whole(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, head: str, body: bytes
) -> None:
    script.say(ASSET, f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
    script.keep_open = False

    assert (await proxy.ask("GET", ZIP))[::2] == (200, b"hello world")


async def test_a_hundred_continue_of_a_node_is_skipped(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    script.say(ASSET, b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"zip", "200 OK", *ZIP_LINES))

    assert (await proxy.ask("GET", ZIP))[::2] == (200, b"zip")


# --- what is not a result ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        pytest.param(
            response(b'{"error":"Asset not ready"}', "200 OK", "content-type: application/json; charset=utf-8"),
            404,
            "Asset not ready",
            id="200 with an error",
        ),
        pytest.param(response(b"<pre>Cannot GET</pre>", "404 Not Found"), 404, "Invalid asset", id="404"),
        pytest.param(response(b"no", "403 Forbidden"), 502, "The node answered with status 403", id="403"),
        pytest.param(response(b"", "401 unauthorized"), 502, "The node answered with status 401", id="401"),
        pytest.param(response(b"", "500 Oops"), 502, "The node answered with status 500", id="500"),
        pytest.param(
            b"HTTP/1.1 302 Found\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n",
            502,
            "The node answered with status 302",
            id="302",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_a_node_says_instead_of_a_result_does_not_look_like_one(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, answer: bytes, status: int, words: str, method: str
) -> None:
    script.say(ASSET, answer)
    if method == "HEAD":
        script.keep_open = False

    got, headers, body = await proxy.ask(method, ZIP)

    assert (got, headers["content-type"]) == (status, "application/json")
    if method == "GET":
        assert msgspec.json.decode(body) == {"error": words}


async def test_json_results_are_results(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    for content in (b'{"cameras":1}', b'[{"error":"inside"}]', b'{"error":"' + b"x" * 100_000 + b'"}'):
        script.say(ASSET, response(content, "200 OK", "content-type: application/json"))
        assert (await proxy.ask("GET", f"/task/{TASK}/download/cameras.json"))[::2] == (200, content)

    as_file = ("content-type: application/json", "content-disposition: attachment; filename=x.json")
    script.say(ASSET, response(b'{"error":"a file"}', "200 OK", *as_file))
    assert (await proxy.ask("GET", f"/task/{TASK}/download/x.json"))[0] == 200


async def test_tasks_without_result_are_404(proxy: ProxyUnderTest, node: Node) -> None:
    unknown = "11111111-1111-4111-8111-111111111111"
    await proxy.scheduler.change(TASK, state=TaskState.WAITING)
    await until(lambda: (found := proxy.cluster.task(TASK)) and found.task.state is TaskState.WAITING)

    assert await proxy.json("GET", f"/task/{unknown}/download/all.zip") == (
        404,
        {"error": f"Invalid route for taskId {unknown}:download/all.zip, no task table entry."},
    )
    assert await proxy.json("GET", ZIP) == (
        404,
        {"error": f"Invalid route for taskId {TASK}:download/all.zip, no valid route possible."},
    )


@pytest.mark.parametrize("asset", ["../info", "x/../../info", "%2e%2e/info"])
async def test_an_asset_stays_an_asset(proxy: ProxyUnderTest, script: ScriptedNode, node: Node, asset: str) -> None:
    status, _ = await proxy.json("GET", f"/task/{TASK}/download/{asset}")

    assert status == 404
    assert script.requests == []


# --- breaking off --------------------------------------------------------------------------------------------------


async def test_a_node_that_is_away_closes_the_connection(proxy: ProxyUnderTest, node: Node) -> None:
    gone = await proxy.scheduler.add_node("127.0.0.1", 1)
    attempt = Attempt(number=1, node=gone.id, node_task_id=ON_NODE, running_at_ms=5)
    await proxy.scheduler.change(TASK, attempts=(attempt,))
    await until(lambda: (found := proxy.cluster.task(TASK)) and found.task.attempts == (attempt,))

    assert await proxy.raw(f"GET {ZIP} HTTP/1.1\r\nhost: x\r\n\r\n".encode()) == b""


@pytest.mark.parametrize(
    "head", ["content-length: 1000000", "transfer-encoding: chunked"], ids=["with length", "chunked"]
)
async def test_a_node_that_dies_half_way_never_makes_a_short_success(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node, head: str
) -> None:
    start = b"400\r\n" if "chunked" in head else b""
    script.say(
        ASSET, f"HTTP/1.1 200 OK\r\n{head}\r\ncontent-type: application/zip\r\n\r\n".encode() + start + b"x" * 500
    )
    script.keep_open = False

    answer = await proxy.raw(f"GET {ZIP} HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 200")
    assert not answer.endswith(b"0\r\n\r\n")
    assert len(answer) < 2000


async def test_a_client_that_leaves_stops_the_node(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    script.say(ASSET, response(b"x" * 1000, "200 OK", *ZIP_LINES, length=1_000_000), 60.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"GET {ZIP} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    await reader.readuntil(b"xxx")
    assert script.open_count == 1

    writer.close()

    await until(lambda: script.closed_count == 1)


async def test_a_client_that_does_not_read_holds_the_node_back(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    megabyte = b"x" * (1 << 20)
    script.say(ASSET, response(b"", "200 OK", *ZIP_LINES, length=64 << 20), *[megabyte] * 64)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1 << 16)
    writer.write(f"GET {ZIP} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    assert len((await proxy.ask("GET", ZIP))[2]) == 64 << 20  # who comes later and reads has everything by now

    assert script.sent_bytes - (64 << 20) < 40 << 20

    whole = 0
    while chunk := await reader.read(1 << 16):
        whole += len(chunk)
    assert whole == 64 << 20
    writer.close()


async def test_sixteen_ranges_at_once_are_each_right(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    for n in range(16):
        lines = ("content-range: bytes 0-299999/300000", *ZIP_LINES)
        script.say(f"{ASSET}{n}.bin", response(bytes([n]) * 300_000, "206 Partial Content", *lines))

    asked = {"range": "bytes=0-299999"}
    answers = await asyncio.gather(
        *(proxy.ask("GET", f"/task/{TASK}/download/{n}.bin", headers=asked) for n in range(16))
    )

    assert [(status, body == bytes([n]) * 300_000) for n, (status, _, body) in enumerate(answers)] == [(206, True)] * 16


async def test_aborted_transfers_leave_nothing_open(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    script.say(f"{ASSET}done.zip", response(b"zip", "200 OK", *ZIP_LINES))
    script.say(ASSET, response(b"x" * 1000, "200 OK", *ZIP_LINES, length=1_000_000), 60.0)
    upload = await proxy.init()
    files_before, uploads_before = open_files(), proxy.leftovers()

    for _ in range(10):
        await asyncio.gather(*(aborted(proxy, f"GET {ZIP} HTTP/1.1\r\nhost: x\r\n\r\n", b"xxx") for _ in range(20)))
        posts = (
            f"POST /task/new/upload/{upload} HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\nexpect: 100-continue\r\n"
        )
        posts += f"content-type: {MULTIPART['content-type']}\r\n\r\n"
        await asyncio.gather(*(aborted(proxy, posts, b"100 Continue") for _ in range(20)))

    await until(lambda: open_files() <= files_before and proxy.leftovers() == uploads_before)
    assert (await proxy.ask("GET", f"/task/{TASK}/download/done.zip"))[::2] == (200, b"zip")


def open_files() -> int:
    """How many descriptors this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def aborted(proxy: ProxyUnderTest, request: str, sign: bytes) -> None:
    """Send a request, wait for a sign of life, send half a file and leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(request.encode())
    await reader.readuntil(sign)
    if request.startswith("POST"):
        writer.write(multipart([('name="images"; filename="a.jpg"', b"x" * 100)])[:-60])
    writer.transport.abort()


# --- pages ---------------------------------------------------------------------------------------------------------


async def test_the_web_interface_comes_from_a_node_without_its_token(
    proxy: ProxyUnderTest, script: ScriptedNode, node: Node
) -> None:
    for path in ("/", "/js/main.js", "/img/loading.gif", "/swagger.json"):
        script.answers = {path: [response(path.encode(), "200 OK", "content-type: text/html")]}
        assert (await proxy.ask("GET", f"{path}?token=mine"))[::2] == (200, path.encode())

    assert not [head for head in script.requests if "token" in head]


async def test_a_missing_page_is_the_nodes_404(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    script.say("/nope.js", response(b"Cannot GET /nope.js", "404 Not Found"))

    assert (await proxy.ask("GET", "/nope.js"))[::2] == (404, b"Cannot GET /nope.js")


async def test_a_pages_name_leads_to_no_task(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    script.say("/", response(b"page"))

    for path in (f"/task/{ON_NODE}/download/x.png", f"/%74ask/{ON_NODE}/download/x.png"):
        status, _, body = await proxy.ask("GET", path)
        assert (status, b"no task table entry" in body) == (404, True)
    assert script.requests == []


async def test_the_door_closes_without_half_an_answer(proxy: ProxyUnderTest, script: ScriptedNode, node: Node) -> None:
    script.say(ASSET, 0.2, response(b"late", "200 OK", *ZIP_LINES))

    assert parse(await proxy.raw(f"GET {ZIP} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()))[2] == b"late"
