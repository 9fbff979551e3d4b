"""Uploads over raw sockets: every broken one gets its answer, or a closed connection, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clusterodm.services.proxy.exchange.request import RequestContext
from clusterodm.services.proxy.uploads.api import FILE_BYTES
from tests.proxies import BOUNDARY, MULTIPART, ProxyUnderTest, multipart, parse, running_proxy
from tests.waiting import until

STALL_S = 0.3


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    """A proxy that waits for no more of a body than STALL_S; the others here have the time that they need."""
    async with running_proxy(tmp_path / "hasty", upload_stall_timeout_s=STALL_S) as proxy:
        yield proxy


def image(name: str = "a.jpg", content: bytes = b"pixels") -> tuple[str, bytes]:
    """One part of an upload."""
    return f'name="images"; filename="{name}"', content


GOOD = multipart([image()])
OTHER_TYPE = {"content-type": "text/plain"}
NO_BOUNDARY = {"content-type": "multipart/form-data"}

BROKEN = [
    pytest.param({}, GOOD, "Missing Content-Type", id="no content type"),
    pytest.param(OTHER_TYPE, GOOD, "Unsupported content type: text/plain", id="another content type"),
    pytest.param({"content-type": "application/json"}, b"{}", "Unsupported content type: application/json", id="json"),
    pytest.param(NO_BOUNDARY, GOOD, "Multipart: Boundary not found", id="no boundary"),
    pytest.param({"content-type": "multipart/form-data; boundary=" + "b" * 300}, GOOD, "Malformed", id="long boundary"),
    pytest.param(MULTIPART, b"", "Unexpected end of multipart data", id="empty body"),
    pytest.param(MULTIPART, GOOD[:-40], "Unexpected end of multipart data", id="cut off in the file"),
    pytest.param(MULTIPART, GOOD[:-6], "Unexpected end of multipart data", id="cut off in the last boundary"),
    pytest.param(MULTIPART, b"no multipart at all", "Malformed multipart data", id="garbage"),
    pytest.param(
        MULTIPART, multipart([('name="photos"; filename="a.jpg"', b"x")]), "Unexpected field: photos", id="wrong field"
    ),
    pytest.param(MULTIPART, multipart([image("a\0b.jpg")]), "", id="NUL in the name"),
    pytest.param(MULTIPART, multipart([image("n" * 300 + ".jpg")]), "", id="300-byte name"),
    pytest.param(
        MULTIPART,
        multipart([image(), ('name="name"', b"x" * (1024 * 1024 + 1))]),
        "Field value too long",
        id="long field",
    ),
    pytest.param(MULTIPART, multipart([image("good.jpg"), image("bad\0.jpg")]), "", id="a good file before a bad one"),
    pytest.param(
        MULTIPART,
        f"--{BOUNDARY}\r\n{'x' * 20_000}: y\r\n\r\n\r\n--{BOUNDARY}--\r\n".encode(),
        "Malformed multipart data",
        id="oversized part header",
    ),
]


@pytest.mark.parametrize(("headers", "body", "words"), BROKEN)
async def test_a_broken_upload_is_refused_and_leaves_no_file(
    proxy: ProxyUnderTest, headers: dict[str, str], body: bytes, words: str
) -> None:
    task = await proxy.init()
    before = proxy.leftovers()

    status, answer = await proxy.json("POST", f"/task/new/upload/{task}", body, headers)

    assert 400 <= status < 500
    assert answer["error"].startswith(words)
    assert answer["error"]
    assert proxy.leftovers() == before


@pytest.mark.parametrize(("headers", "body", "words"), BROKEN)
async def test_a_broken_task_in_one_request_is_refused_and_leaves_nothing(
    proxy: ProxyUnderTest, headers: dict[str, str], body: bytes, words: str
) -> None:
    before = proxy.leftovers()

    status, answer = await proxy.json("POST", "/task/new", body, headers)

    assert status in {200, 400}
    assert answer["error"].startswith(words)
    assert proxy.leftovers() == before
    assert not proxy.scheduler.submitted


async def test_a_request_of_too_many_files_is_refused_and_leaves_nothing(
    proxy: ProxyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterodm.services.proxy.uploads.api.FILES_LIMIT_COUNT", 500)
    task, before = await proxy.init(), proxy.leftovers()
    body = multipart([image(content=b"")] * 501, end=False)

    status, answer = await proxy.json("POST", f"/task/new/upload/{task}", body, MULTIPART)

    assert (status, answer["error"][:20]) == (413, "More than 500 files ")
    assert proxy.leftovers() == before


async def test_files_that_are_empty_take_room_of_what_requests_keep_together(
    proxy: ProxyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    monkeypatch.setattr(RequestContext, "keep", lambda _, kept_bytes: kept.append(kept_bytes))
    task = await proxy.init()

    await proxy.json("POST", f"/task/new/upload/{task}", multipart([image(content=b"")] * 300), MULTIPART)

    assert kept[-1] // FILE_BYTES == 300


async def test_many_uploads_of_many_tiny_files_at_the_same_moment_all_come_through(
    proxy: ProxyUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clusterodm.services.proxy.uploads.api.FILE_BYTES", 40_000)
    task = await proxy.init()
    bodies = [multipart([image(f"{upload}-{number}.jpg", b"") for number in range(200)]) for upload in range(6)]

    answers = await asyncio.gather(
        *(proxy.json("POST", f"/task/new/upload/{task}", body, MULTIPART) for body in bodies)
    )

    assert answers == [(200, {"success": True})] * len(bodies)


@pytest.mark.parametrize(
    ("headers", "body", "name"),
    [
        pytest.param({}, b"", "", id="no body"),
        pytest.param({}, b"name=a", "", id="no content type"),
        pytest.param(OTHER_TYPE, b"name=a", "", id="a text"),
        pytest.param({"content-type": "application/json"}, b"true", "", id="JSON without fields"),
        pytest.param({"content-type": "application/json"}, b'{"name":"a"}', "a", id="JSON"),
        pytest.param({"content-type": "application/x-www-form-urlencoded"}, b"name=a", "a", id="urlencoded"),
    ],
)
async def test_an_init_of_any_kind_gets_a_uuid(
    proxy: ProxyUnderTest, headers: dict[str, str], body: bytes, name: str
) -> None:
    status, answer = await proxy.json("POST", "/task/new/init", body, headers)

    assert (status, list(answer)) == (200, ["uuid"])
    assert await proxy.json("POST", f"/task/new/upload/{answer['uuid']}", GOOD, MULTIPART) == (200, {"success": True})
    await proxy.json("POST", f"/task/new/commit/{answer['uuid']}")
    named = proxy.scheduler.submitted[0].name
    assert named == name or (not name and named.startswith("Task of "))


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        pytest.param({"content-type": "application/json"}, b"{bad", "Malformed JSON", id="malformed JSON"),
        pytest.param({"content-type": "application/json"}, b'{"webhook":"ftp://x"}', "webhook must be", id="webhook"),
        pytest.param(NO_BOUNDARY, GOOD, "Multipart: Boundary not found", id="no boundary"),
        pytest.param(MULTIPART, multipart([('name="a"', b"")])[:-6], "Unexpected end of multipart data", id="cut off"),
        pytest.param(MULTIPART, GOOD, "Unexpected file in the field images", id="a file that nothing would keep"),
        pytest.param(
            MULTIPART, multipart([('name="name"', b"x" * 1_100_000)]), "Field value too long", id="long field"
        ),
        pytest.param(MULTIPART, multipart([('name="options"', b"{bad")]), "Unexpected token b", id="bad options"),
        pytest.param(
            {**MULTIPART, "set-uuid": "nope"}, multipart([('name="a"', b"")]), "Invalid set-uuid: nope", id="id"
        ),
    ],
)
async def test_a_broken_init_is_refused_and_leaves_nothing(
    proxy: ProxyUnderTest, headers: dict[str, str], body: bytes, words: str
) -> None:
    before = proxy.leftovers()

    status, answer = await proxy.json("POST", "/task/new/init", body, headers)

    assert (status, answer["error"].startswith(words)) == (200, True), answer
    assert proxy.leftovers() == before


@pytest.mark.parametrize("path", ["/task/new/upload/{task}", "/task/new", "/task/new/init"])
async def test_a_stalled_body_is_cut_off_and_leaves_no_file(hasty: ProxyUnderTest, path: str) -> None:
    task = await hasty.init()
    before = hasty.leftovers()
    head = f"POST {path.format(task=task)} HTTP/1.1\r\nhost: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"

    answer = await hasty.raw(f"{head}content-length: 5000\r\n\r\n".encode() + GOOD[:-40], timeout_s=STALL_S + 20)

    assert answer == b""
    await until(lambda: hasty.leftovers() == before)


@pytest.mark.parametrize("path", ["/task/new/upload/{task}", "/task/new", "/task/new/init"])
async def test_a_client_that_leaves_half_way_leaves_no_file(proxy: ProxyUnderTest, path: str) -> None:
    task = await proxy.init()
    before = proxy.leftovers()
    head = f"POST {path.format(task=task)} HTTP/1.1\r\nhost: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"
    request = f"{head}content-length: 5000\r\n\r\n".encode() + multipart([image()], end=False)

    answer = await proxy.raw(request, half_close=True)

    assert answer == b""
    await until(lambda: proxy.leftovers() == before)


async def test_a_body_whose_chunks_are_broken_leaves_no_file(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    before = proxy.leftovers()
    head = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"

    answer = await proxy.raw(f"{head}transfer-encoding: chunked\r\n\r\n3\r\n---\r\nnot a size\r\n".encode())

    assert parse(answer)[0] == 400
    await until(lambda: proxy.leftovers() == before)


async def test_an_upload_without_a_file_is_refused(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()

    for body in (multipart([('name="name"', b"x")]), multipart([image("", b"")])):
        answer = await proxy.json("POST", f"/task/new/upload/{task}", body, MULTIPART)
        assert answer == (400, {"error": "No files uploaded."})


async def test_an_upload_to_an_unknown_task_is_refused_after_its_body(proxy: ProxyUnderTest) -> None:
    task = "11111111-1111-4111-8111-111111111111"
    big = multipart([image(content=b"x" * 3_000_000)])

    answer = await proxy.json("POST", f"/task/new/upload/{task}", big, MULTIPART)

    assert answer == (404, {"error": "Invalid taskId: the task no longer exists."})
    assert await proxy.json("POST", "/task/new/upload/xyz", GOOD, MULTIPART) == (
        400,
        {"error": "No uuid found in /task/new/upload/xyz"},
    )


async def test_somebody_elses_upload_is_unknown(proxy: ProxyUnderTest) -> None:
    _, said = await proxy.form("/task/new/init?token=mine")
    task = said["uuid"]

    status, _ = await proxy.json("POST", f"/task/new/upload/{task}?token=other", GOOD, MULTIPART)
    committed = await proxy.json("POST", f"/task/new/commit/{task}?token=other")

    assert status == 404
    assert committed == (200, {"error": "Invalid taskId: the task no longer exists."})


# --- files ---------------------------------------------------------------------------------------------------------


def stored(proxy: ProxyUnderTest, task: str) -> dict[str, bytes]:
    """What a task's upload holds."""
    return {path.name: path.read_bytes() for path in (proxy.root / task / "files").iterdir()}


async def test_two_files_of_one_name_in_one_request_are_both_kept(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()

    assert await proxy.upload(task, ("a.jpg", b"one"), ("a.jpg", b"two")) == (200, {"success": True})

    assert sorted(stored(proxy, task).values()) == [b"one", b"two"]
    assert proxy.forwarding.files == [(task, "a.jpg"), (task, "a_.jpg")]


async def test_files_of_one_name_in_parallel_requests_are_all_kept(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()

    answers = await asyncio.gather(*(proxy.upload(task, ("a.jpg", b"%d" % n)) for n in range(8)))

    assert answers == [(200, {"success": True})] * 8
    assert sorted(stored(proxy, task).values()) == [b"%d" % n for n in range(8)]


async def test_the_same_file_sent_again_is_kept_once(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()

    for _ in range(3):
        assert await proxy.upload(task, ("a.jpg", b"same")) == (200, {"success": True})

    assert stored(proxy, task) == {"a.jpg": b"same"}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param('filename="../../evil.jpg"', "evil.jpg", id="path"),
        pytest.param('filename="ä ö;=.jpg"', "ä ö;=.jpg", id="utf-8 and semicolon"),
        pytest.param("filename*=UTF-8''%C3%A4.jpg", "ä.jpg", id="RFC 5987 alone"),
        pytest.param("filename=\"a%20b.jpg\"; filename*=utf-8''a%20b.jpg", "a b.jpg", id="both"),
        pytest.param('\r\n filename="folded.jpg"', "folded.jpg", id="folded"),
        pytest.param('filename="C:\\\\dir\\\\win.jpg"', "win.jpg", id="Windows path"),
    ],
)
async def test_names_are_understood(proxy: ProxyUnderTest, sent: str, kept: str) -> None:
    task = await proxy.init()
    body = multipart([(f'name="images"; {sent}', b"x")])

    assert await proxy.json("POST", f"/task/new/upload/{task}", body, MULTIPART) == (200, {"success": True})

    assert list(stored(proxy, task)) == [kept]


# --- how a body may come -------------------------------------------------------------------------------------------


async def test_a_chunked_body_sent_byte_by_byte_arrives_whole(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    content = b"\r\n--" + BOUNDARY.encode()[:5] + b"\r\r\n" + bytes(range(256))
    body = multipart([image(content=content)])
    head = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {MULTIPART['content-type']}\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)

    answer = await proxy.raw(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n")

    assert parse(answer)[::2] == (200, b'{"success":true}')
    assert stored(proxy, task) == {"a.jpg": content}


async def test_a_client_may_wait_for_100_continue(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    head = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"
    writer.write(f"{head}content-length: {len(GOOD)}\r\nexpect: 100-continue\r\n\r\n".encode())

    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(GOOD)

    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def test_a_refused_client_that_waits_is_not_asked_for_its_body(proxy: ProxyUnderTest) -> None:
    head = f"POST /task/new/upload/11111111-1111-4111-8111-111111111111 HTTP/1.1\r\nhost: x\r\n{''.join(f'{k}: {v}' for k, v in MULTIPART.items())}\r\n"

    answer = await proxy.raw(f"{head}content-length: 1000000000\r\nexpect: 100-continue\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.1 404")


async def test_uploads_and_polls_may_be_pipelined(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    head = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"
    upload = f"{head}content-length: {len(GOOD)}\r\n\r\n".encode() + GOOD
    last = b"GET /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"

    answer = await proxy.raw(upload + upload.replace(b"a.jpg", b"b.jpg") + last)

    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert set(stored(proxy, task)) == {"a.jpg", "b.jpg"}


# --- one request ---------------------------------------------------------------------------------------------------


async def test_a_task_in_one_request_may_have_its_fields_last(proxy: ProxyUnderTest) -> None:
    body = multipart([image(), ('name="options"', b'[{"name":"dsm","value":"true"}]'), ('name="name"', b"late")])

    status, answer = await proxy.json("POST", "/task/new", body, MULTIPART)

    assert status == 200
    submitted = proxy.scheduler.submitted[0]
    assert (submitted.task, submitted.name, submitted.images_count) == (answer["uuid"], "late", 1)
    assert [(option.name, option.value) for option in submitted.options] == [("dsm", True)]
    assert proxy.forwarding.adopted == [answer["uuid"]]
    assert proxy.forwarding.files == []


async def test_a_task_in_one_request_with_a_bad_option_leaves_nothing(proxy: ProxyUnderTest) -> None:
    before = proxy.leftovers()

    body = multipart([image(), ('name="options"', b'[{"name":"dsm","value":"maybe"}]')])
    status, answer = await proxy.json("POST", "/task/new", body, MULTIPART)

    assert (status, "Cannot convert maybe to boolean" in answer["error"]) == (200, True)
    assert proxy.leftovers() == before


async def test_a_task_may_come_as_the_address_of_an_archive(proxy: ProxyUnderTest) -> None:
    status, answer = await proxy.form("/task/new", zipurl="http://example.org/images.zip")

    assert status == 200
    assert proxy.scheduler.submitted[0].task == answer["uuid"]
    assert proxy.scheduler.submitted[0].zip_url == "http://example.org/images.zip"


async def test_a_task_without_images_is_refused_and_leaves_nothing(proxy: ProxyUnderTest) -> None:
    before = proxy.leftovers()

    in_one = await proxy.form("/task/new", name="x")
    task = await proxy.init(name="x")
    committed = await proxy.json("POST", f"/task/new/commit/{task}")

    assert in_one == committed == (200, {"error": "Not enough images (0 files uploaded)"})
    assert proxy.leftovers() == before


async def test_a_seed_with_outputs_is_a_sub_model(proxy: ProxyUnderTest) -> None:
    task = await proxy.init(outputs='["a"]')
    await proxy.upload(task, ("a.jpg", b"x"), ("seed.zip", b"PK"))

    await proxy.json("POST", f"/task/new/commit/{task}")

    assert proxy.scheduler.submitted[0].submodel
    assert proxy.scheduler.submitted[0].outputs == '["a"]'


# --- commit --------------------------------------------------------------------------------------------------------


async def test_a_commit_sent_twice_gets_the_same_answer_and_happens_once(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    await proxy.upload(task, ("a.jpg", b"x"))

    answers = await asyncio.gather(*(proxy.json("POST", f"/task/new/commit/{task}") for _ in range(4)))

    assert answers == [(200, {"uuid": task})] * 4
    assert len(proxy.scheduler.submitted) == 1


async def test_a_commit_whose_inputs_are_gone_already_gets_the_same_answer(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    await proxy.upload(task, ("a.jpg", b"x"))
    await proxy.json("POST", f"/task/new/commit/{task}")
    await proxy.spool.discard(proxy.forwarding.adopted[0])

    assert await proxy.json("POST", f"/task/new/commit/{task}") == (200, {"uuid": task})


async def test_a_commit_without_the_bus_is_refused_for_now_and_keeps_the_upload(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    await proxy.upload(task, ("a.jpg", b"x"))
    proxy.bus.connected = False

    refused = await proxy.json("POST", f"/task/new/commit/{task}")
    proxy.bus.connected = True

    assert refused[0] == 503
    assert refused[1]["error"]
    assert await proxy.json("POST", f"/task/new/commit/{task}") == (200, {"uuid": task})


async def test_a_commit_whose_answer_was_lost_is_taken_over_in_the_end(proxy: ProxyUnderTest) -> None:
    task = await proxy.init()
    await proxy.upload(task, ("a.jpg", b"x"))
    proxy.scheduler.lose_answers = True
    assert (await proxy.json("POST", f"/task/new/commit/{task}"))[0] == 503

    proxy.scheduler.lose_answers = False
    await proxy.commits.settle()

    assert proxy.forwarding.adopted == [task]


async def test_one_request_whose_commit_never_arrived_leaves_nothing_in_the_end(proxy: ProxyUnderTest) -> None:
    before = proxy.leftovers()
    proxy.scheduler.deaf = True

    status, _ = await proxy.json("POST", "/task/new", GOOD, MULTIPART)
    proxy.scheduler.deaf = False
    await proxy.commits.settle()

    assert status == 503
    assert proxy.leftovers() == before
    assert proxy.forwarding.adopted == []


async def test_a_task_from_a_url_may_come_as_a_urlencoded_form(proxy: ProxyUnderTest) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}

    status, answer = await proxy.json("POST", "/task/new", b"zipurl=http%3A%2F%2Fx%2Fa.zip&name=zip", kind)

    assert status == 200
    [submitted] = proxy.scheduler.submitted
    assert (answer, submitted.zip_url, submitted.name) == ({"uuid": submitted.task}, "http://x/a.zip", "zip")


async def test_a_urlencoded_form_is_no_upload(proxy: ProxyUnderTest) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}

    assert await proxy.json("POST", f"/task/new/upload/{await proxy.init()}", b"name=x", kind) == (
        400,
        {"error": "No files uploaded."},
    )
    assert await proxy.json("POST", "/task/new", b"name=x", kind) == (
        200,
        {"error": "Not enough images (0 files uploaded)"},
    )
