"""What a connection may do besides asking properly: heads that stall or swell, nonsense, pipelining, CORS, tokens."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from clusterodm.libs.common.process.loop import LoopFailed
from clusterodm.services.proxy.settings import ProxySettings
from tests.proxies import ProxyUnderTest, parse, running_proxy

HEAD_S = 0.4


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    async with running_proxy(tmp_path / "spool", head_timeout_s=HEAD_S) as proxy:
        yield proxy


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    async with running_proxy(tmp_path / "spool", token="sesame") as proxy:
        yield proxy


# --- heads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing at all"),
        pytest.param(b"GET /in", id="half a line"),
        pytest.param(b"GET /info HTTP/1.1\r\nhost: x\r\n", id="half a head"),
    ],
)
async def test_a_head_that_stalls_is_cut_off(proxy: ProxyUnderTest, sent: bytes) -> None:
    began_s = time.monotonic()

    assert await proxy.raw(sent) == b""

    assert time.monotonic() - began_s > HEAD_S / 2


async def test_a_head_that_stalls_after_an_answer_is_cut_off(proxy: ProxyUnderTest) -> None:
    answer = await proxy.raw(b"GET /info HTTP/1.1\r\nhost: x\r\n\r\nGET /info HTTP/1.1\r\nhost")

    assert answer.count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize("end", [b"\r\n\r\n", b""], ids=["complete", "without end"])
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(b"GET /info HTTP/1.1\r\nhost: x\r\nbig: %s" % (b"y" * 100_000), id="header"),
        pytest.param(b"GET /info?q=%s HTTP/1.1\r\nhost: x" % (b"y" * 100_000), id="url"),
        pytest.param(b"GET /info HTTP/1.1" + b"\r\nname: value" * 10_000, id="many headers"),
    ],
)
async def test_an_oversized_head_is_refused(proxy: ProxyUnderTest, head: bytes, end: bytes) -> None:
    answer = await proxy.raw(head + end)

    assert answer == b"" or parse(answer)[0] in {400, 431}


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS on the plain port"),
        pytest.param(b"nonsense\r\n\r\n", id="nonsense"),
        pytest.param(b"GET /info HTTP/9.9\r\n\r\n", id="no such version"),
        pytest.param(b"GET /in fo HTTP/1.1\r\n\r\n", id="space in the path"),
        pytest.param(
            b"POST /task/new/init HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(b"POST /commit HTTP/1.1\r\ncontent-length: nope\r\n\r\n", id="no number"),
        pytest.param(b"POST /commit HTTP/1.1\r\ncontent-length: -1\r\n\r\n", id="negative length"),
        pytest.param(b"CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n", id="CONNECT"),
    ],
)
async def test_nonsense_gets_an_error_or_a_closed_connection(proxy: ProxyUnderTest, sent: bytes) -> None:
    answer = await proxy.raw(sent)

    assert answer == b"" or b" 400 " in answer.splitlines()[0] or b"Cannot handle" in answer


async def test_an_upgrade_is_ignored(proxy: ProxyUnderTest) -> None:
    answer = await proxy.raw(
        b"GET /info HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n"
    )

    assert parse(answer)[0] == 200


@pytest.mark.parametrize("apart", [False, True], ids=["one packet", "two packets"])
async def test_the_body_of_a_request_that_offers_an_upgrade_is_its_body(proxy: ProxyUnderTest, apart: bool) -> None:
    inner = b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n"
    form = b"name=outer&x=" + inner
    head = b"POST /task/new/init HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: h2c\r\n"
    head += b"content-type: application/x-www-form-urlencoded\r\ncontent-length: %d\r\n\r\n" % len(form)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(head if apart else head + form)
    await writer.drain()
    if apart:
        assert await proxy.json("GET", "/info"), "by then the head has been read"
        writer.write(form)
    answer = await reader.read()
    writer.close()

    assert (answer.count(b"HTTP/1.1"), parse(answer)[0], b'"uuid"' in answer) == (1, 200, True)
    assert proxy.spool.draft(msgspec.json.decode(parse(answer)[2])["uuid"]).name == "outer"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET /info HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(b"GET /info HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", id="two Hosts"),
        pytest.param(b"GET /info HTTP/2.0\r\nhost: x\r\n\r\n", id="HTTP/2.0"),
    ],
)
async def test_what_says_nothing_clear_is_refused(proxy: ProxyUnderTest, sent: bytes) -> None:
    assert parse(await proxy.raw(sent))[0] == 400


async def test_nonsense_behind_a_request_swallows_no_answer(proxy: ProxyUnderTest) -> None:
    answer = await proxy.raw(b"GET /options HTTP/1.1\r\nhost: x\r\n\r\n" + b"nonsense\r\n\r\n" * 5_000)

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"HTTP/1.1 400") == 1


async def test_a_body_that_drips_behind_its_answer_is_cut(proxy: ProxyUnderTest) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(b"GET /options HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(15):
            while not reader.at_eof():
                writer.write(b"x")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await reader.read(1 << 16)
    writer.close()


def test_connections_are_kept_longer_than_any_neighbour_keeps_them() -> None:
    assert ProxySettings().keep_alive_timeout_s >= 75


async def test_http_1_0_without_host_is_served(proxy: ProxyUnderTest) -> None:
    status, _, body = parse(await proxy.raw(b"GET /info HTTP/1.0\r\n\r\n"))

    assert (status, b'"version"' in body) == (200, True)


async def test_head_gives_the_head_of_the_get(proxy: ProxyUnderTest) -> None:
    got = await proxy.ask("GET", "/info")
    status, headers, body = await proxy.ask("HEAD", "/info")

    assert (status, headers["content-length"], body) == (200, str(len(got[2])), b"")


async def test_requests_may_be_pipelined(proxy: ProxyUnderTest) -> None:
    one = b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /auth/info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    answer = await proxy.raw(one * 20 + last)

    assert answer.count(b"HTTP/1.1 200 OK") == 21
    assert answer.endswith(b"}")


async def test_a_connection_is_kept_for_the_next_request(proxy: ProxyUnderTest) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    for _ in range(3):
        writer.write(b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        assert b"version" in await reader.readexactly(length)
    writer.close()


async def test_an_address_that_does_not_exist_is_named(proxy: ProxyUnderTest) -> None:
    for method, path in [("GET", "/unknown"), ("GET", "/info/"), ("POST", "/task/list"), ("GET", "/task/new/init")]:
        assert await proxy.json(method, path) == (200, {"error": f"Cannot handle {path}"})


# --- what the cluster says -----------------------------------------------------------------------------------------


async def test_the_small_answers_are_nodeodms(proxy: ProxyUnderTest) -> None:
    assert await proxy.json("GET", "/auth/info") == (
        200,
        {"message": "Authentication not available on this node", "loginUrl": None, "registerUrl": None},
    )
    assert await proxy.json("POST", "/auth/login") == (200, {"error": "Not available"})
    assert await proxy.json("POST", "/auth/register") == (200, {"error": "Not available"})
    assert await proxy.json("GET", "/cache/clear") == (200, {"ok": True})
    assert await proxy.json("GET", "/task/list") == (200, [])
    status, said = await proxy.json("GET", "/healthz")
    facts = {name: said[name] for name in ("bus", "mirrors", "disk", "stopping", "alive")}
    assert (status, facts) == (200, {"bus": True, "mirrors": True, "disk": True, "stopping": False, "alive": True})
    assert await proxy.json("GET", "/") == (200, {"error": "No nodes available"})


async def test_health_says_that_the_bus_is_away_and_polls_go_on(proxy: ProxyUnderTest) -> None:
    proxy.bus.connected = False

    status, said = await proxy.json("GET", "/healthz")

    assert (status, said["ok"], said["bus"], said["mirrors"]) == (200, False, False, True)


async def test_options_have_exactly_five_keys(proxy: ProxyUnderTest) -> None:
    _, options = await proxy.json("GET", "/options")

    assert {frozenset(option) for option in options} == {frozenset(("name", "type", "value", "domain", "help"))}


async def test_options_that_were_never_seen_are_an_error_and_tasks_are_taken_all_the_same(
    proxy: ProxyUnderTest,
) -> None:
    await proxy.scheduler.publish(options=())

    assert await proxy.json("GET", "/options") == (
        200,
        {"error": "Cannot compute /options, no nodes are online."},
    )
    assert await proxy.init(options='[{"name":"future","value":1}]')


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        pytest.param(b'{"uuid":"x","images":[1,2]}', {"ok": True}, id="object"),
        pytest.param(b"{}", {"ok": True}, id="empty object"),
        pytest.param(b"null", {"error": "Malformed /commit request"}, id="null"),
        pytest.param(b"", {"error": "Malformed /commit request"}, id="nothing"),
        pytest.param(b"{", {"error": "Malformed /commit request"}, id="bad JSON"),
        pytest.param(b'{"uuid":' + b"[" * 100_000, {"error": "Malformed /commit request"}, id="bottomless"),
        pytest.param(b'{"uuid":"\xff"}', {"error": "Malformed /commit request"}, id="no UTF-8"),
    ],
)
async def test_a_nodes_commit_is_taken_as_a_hint(proxy: ProxyUnderTest, body: bytes, answer: dict[str, object]) -> None:
    assert await proxy.json("POST", "/commit", body) == (200, answer)

    hinted = [message.node_task_id for name, message in proxy.bus.published if name == "hint.finish_reported"]
    assert hinted == (["x"] if b"x" in body else [])


# --- tokens --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/info", "/info?token=", "/info?token=wrong", "/info?token=sesame&token=sesame"])
async def test_a_wrong_token_is_401_with_the_words_of_nodeodm(guarded: ProxyUnderTest, target: str) -> None:
    assert await guarded.json("GET", target) == (401, {"error": "Invalid authentication token: token does not match."})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/options"),
        ("GET", "/task/list"),
        ("POST", "/task/new/init"),
        ("POST", "/task/new"),
        ("POST", "/task/new/upload/11111111-1111-4111-8111-111111111111"),
        ("POST", "/task/new/commit/11111111-1111-4111-8111-111111111111"),
        ("POST", "/task/cancel"),
        ("GET", "/task/11111111-1111-4111-8111-111111111111/info"),
        ("GET", "/task/11111111-1111-4111-8111-111111111111/download/x.png"),
        ("GET", "/unknown"),
        ("GET", "/commit"),
    ],
)
async def test_everything_of_value_needs_the_token(guarded: ProxyUnderTest, method: str, path: str) -> None:
    assert (await guarded.ask(method, path))[0] == 401
    assert (await guarded.ask(method, f"{path}?token=sesame"))[0] != 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/auth/info"),
        ("POST", "/commit"),
        ("GET", "/healthz"),
        ("GET", "/"),
        ("GET", "/index.html"),
        ("GET", "/css/main.css"),
        ("GET", "/fonts/glyphicons-halflings-regular.eot"),
        ("GET", "/swagger.json"),
    ],
)
async def test_some_things_need_no_token(guarded: ProxyUnderTest, method: str, path: str) -> None:
    assert (await guarded.ask(method, path))[0] == 200


async def test_a_client_can_ask_to_be_unauthorized(proxy: ProxyUnderTest) -> None:
    assert (await proxy.ask("GET", "/info?_debugUnauthorized=1"))[0] == 401


# --- CORS ----------------------------------------------------------------------------------------------------------

ORIGIN = {"origin": "https://web.example"}


@pytest.mark.parametrize("target", ["/info", "/options", "/unknown", "/info?token=wrong"])
async def test_the_origin_is_echoed(guarded: ProxyUnderTest, target: str) -> None:
    _, headers, _ = await guarded.ask("GET", f"{target}{'&' if '?' in target else '?token=sesame'}", headers=ORIGIN)

    assert headers["access-control-allow-origin"] == "https://web.example"
    assert headers["access-control-allow-credentials"] == "true"
    assert headers["vary"] == "Origin"


async def test_without_origin_there_is_no_cors(proxy: ProxyUnderTest) -> None:
    _, headers, _ = await proxy.ask("GET", "/info")

    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/info", "/task/new/init", "/task/new/upload/x", "/anything", "*"])
async def test_preflight_is_answered_without_token(guarded: ProxyUnderTest, path: str) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "set-uuid"}

    status, headers, body = await guarded.ask("OPTIONS", path, headers={**ORIGIN, **asked})

    assert (status, body) == (204, b"")
    assert headers["access-control-allow-origin"] == "https://web.example"
    assert headers["access-control-allow-methods"] == "POST"
    assert headers["access-control-allow-headers"] == "set-uuid"


# --- init ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(1, 8))
async def test_a_client_may_choose_the_id_once(proxy: ProxyUnderTest, version: int) -> None:
    wanted = f"11111111-1111-{version}111-8111-111111111111"
    headers = {"content-type": "application/x-www-form-urlencoded", "set-uuid": wanted}

    assert await proxy.json("POST", "/task/new/init", b"name=x", headers) == (200, {"uuid": wanted})
    await proxy.upload(wanted, ("a.jpg", b"x"))
    await proxy.json("POST", f"/task/new/commit/{wanted}")

    assert await proxy.json("POST", "/task/new/init", b"name=x", headers) == (
        200,
        {"error": f"Invalid set-uuid: {wanted}"},
    )


async def test_split_points_to_where_the_client_found_us(proxy: ProxyUnderTest) -> None:
    task = await proxy.init(options='[{"name":"split","value":"10"}]')

    options = {option.name: option.value for option in proxy.spool.draft(task).options}

    assert options == {"split": 10, "sm-cluster": "http://cluster/"}


async def test_the_flood_limit_counts_open_uploads(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", flood_limit=2) as proxy:
        await proxy.init()
        await proxy.init()
        before = proxy.leftovers()

        status, answer = await proxy.form("/task/new/init", name="third")

        assert (status, "slow down" in answer["error"]) == (200, True)
        assert proxy.leftovers() == before


# --- actions -------------------------------------------------------------------------------------------------------

FORMS = [
    pytest.param("application/x-www-form-urlencoded", "uuid={task}", id="urlencoded"),
    pytest.param("application/json", '{{"uuid":"{task}"}}', id="JSON"),
    pytest.param(
        "multipart/form-data; boundary=b",
        '--b\r\ncontent-disposition: form-data; name="uuid"\r\n\r\n{task}\r\n--b--\r\n',
        id="multipart",
    ),
]


async def committed(proxy: ProxyUnderTest, token: str = "") -> str:
    """A task of the cluster."""
    _, said = await proxy.form(f"/task/new/init?token={token}")
    task: str = said["uuid"]
    await proxy.upload(task, ("a.jpg", b"x"))
    await proxy.json("POST", f"/task/new/commit/{task}?token={token}")
    return task


@pytest.mark.parametrize(("kind", "form"), FORMS)
@pytest.mark.parametrize("verb", ["cancel", "restart", "remove"])
async def test_actions_take_three_notations_and_show_at_once(
    proxy: ProxyUnderTest, verb: str, kind: str, form: str
) -> None:
    task = await committed(proxy)

    answer = await proxy.json("POST", f"/task/{verb}", form.format(task=task).encode(), {"content-type": kind})

    assert answer == (200, {"success": True})
    _, info = await proxy.json("GET", f"/task/{task}/info")
    code = info["status"]["code"] if "status" in info else info["error"].rpartition(", ")[2]
    assert code == {"cancel": 50, "restart": 20, "remove": "no task table entry."}[verb]


@pytest.mark.parametrize("verb", ["cancel", "restart", "remove"])
async def test_actions_without_or_with_an_unknown_id_get_the_originals_words(proxy: ProxyUnderTest, verb: str) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}

    nameless = (200, {"success": False, "error": f"No uuid found in /task/{verb}"})
    assert await proxy.json("POST", f"/task/{verb}", b"", kind) == nameless
    assert await proxy.json("POST", f"/task/{verb}", b"") == nameless
    assert await proxy.json("POST", f"/task/{verb}", b"[]", {"content-type": "application/json"}) == nameless
    assert await proxy.json("POST", f"/task/{verb}", b"uuid=nope", kind) == (
        200,
        {"success": False, "error": "Invalid route for taskId nope, no nodes in routing table."},
    )
    assert (await proxy.json("POST", f"/task/{verb}", b"x"))[1] == {"success": False, "error": "Missing Content-Type"}
    assert (await proxy.json("GET", f"/task/{verb}"))[1] == {"error": f"Cannot handle /task/{verb}"}


DEEP = "[" * 400 + "]" * 400


@pytest.mark.parametrize("verb", ["cancel", "restart", "remove"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"uuid":' + b"[" * 100_000, id="bottomless"),
        pytest.param(b'{"uuid":%s}' % DEEP.encode(), id="deep"),
        pytest.param(b'{"uuid":"\xff"}', id="no UTF-8"),
        pytest.param(b'{"uuid":%s}' % (b"9" * 5_000), id="a number without end"),
    ],
)
async def test_an_action_that_cannot_be_read_is_refused(proxy: ProxyUnderTest, verb: str, body: bytes) -> None:
    status, answer = await proxy.json("POST", f"/task/{verb}", body, {"content-type": "application/json"})

    assert (status, answer) == (200, {"success": False, "error": "Malformed JSON in the body"})


@pytest.mark.parametrize("options", [DEEP, f'[{{"name":"dsm","value":{DEEP}}}]', "[" * 100_000])
async def test_options_that_are_nested_deeply_are_refused(proxy: ProxyUnderTest, options: str) -> None:
    status, answer = await proxy.form("/task/new/init", options=options)

    assert (status, "nested too deeply" in answer["error"]) == (200, True)


async def test_restart_takes_new_options_and_checks_them(proxy: ProxyUnderTest) -> None:
    task = await committed(proxy)

    bad = await proxy.form("/task/restart", uuid=task, options='[{"name":"dsm","value":"maybe"}]')
    good = await proxy.form("/task/restart", uuid=task, options='[{"name":"dsm","value":"true"}]')

    assert "Cannot convert maybe to boolean" in bad[1]["error"]
    assert good == (200, {"success": True})
    assert [(o.name, o.value) for o in proxy.scheduler.restarted[0].options or ()] == [("dsm", True)]


async def test_an_action_without_the_bus_is_refused_for_now(proxy: ProxyUnderTest) -> None:
    task = await committed(proxy)
    proxy.bus.connected = False

    status, answer = await proxy.form("/task/cancel", uuid=task)

    assert (status, "error" in answer) == (503, True)


async def test_somebody_elses_task_can_be_neither_seen_nor_touched(proxy: ProxyUnderTest) -> None:
    task = await committed(proxy, "mine")

    assert await proxy.json("GET", "/task/list?token=other") == (200, [])
    assert await proxy.json("GET", "/task/list?token=") == (200, [])
    assert await proxy.json("GET", "/task/list?token=mine") == (200, [{"uuid": task}])
    assert "no task table entry" in (await proxy.json("GET", f"/task/{task}/info?token=other"))[1]["error"]
    kind = {"content-type": "application/x-www-form-urlencoded"}
    _, answer = await proxy.json("POST", "/task/remove?token=other", f"uuid={task}".encode(), kind)
    assert answer == {"success": False, "error": f"Invalid route for taskId {task}, no nodes in routing table."}


async def test_a_proxy_whose_port_is_answered_no_longer_ends(tmp_path: Path) -> None:
    async def run() -> None:
        async with running_proxy(tmp_path / "spool") as proxy:
            [answering] = [each for each in asyncio.all_tasks() if each.get_name() == f"http {proxy.port}"]
            answering.cancel()
            await asyncio.sleep(30)

    with pytest.raises(LoopFailed, match="http servers"):
        await run()
