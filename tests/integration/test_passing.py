"""Two proxies of one cluster: any of them takes any request, whoever holds the upload."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from clusterodm.libs.common.errors import Conflict
from clusterodm.libs.common.messages.buckets import SECRETS, SUMMARY_KEY, UPLOADS
from clusterodm.libs.common.model.cluster import ClusterSecret
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.peers.adapters import shared_secret
from clusterodm.services.proxy.peers.handlers import HOLDING
from clusterodm.services.proxy.peers.ports import AskHolding
from clusterodm.services.proxy.spool.core.history import History
from tests.ports import free_port
from tests.proxies import MULTIPART, ProxyUnderTest, multipart, running_proxy
from tests.waiting import until

FIXED = "5b3a1c6e-8f0d-4e7a-9a51-0c2f6d1b7e44"
AWAY = {"error": "The server that holds this upload cannot be reached at the moment, please try again."}


@pytest.fixture
async def upload_owner(tmp_path: Path) -> AsyncIterator[ProxyUnderTest]:
    async with running_proxy(tmp_path / "one") as proxy:
        yield proxy


@pytest.fixture
async def other(tmp_path: Path, upload_owner: ProxyUnderTest) -> AsyncIterator[ProxyUnderTest]:
    async with running_proxy(tmp_path / "two", beside=upload_owner) as proxy:
        yield proxy


async def test_a_task_may_come_through_both(upload_owner: ProxyUnderTest, other: ProxyUnderTest) -> None:
    task = await upload_owner.init(name="mine")
    assert await upload_owner.upload(task, ("a.jpg", b"one")) == (200, {"success": True})
    assert await other.upload(task, ("b.jpg", b"two"), ("c.jpg", b"three")) == (200, {"success": True})

    assert await other.json("POST", f"/task/new/commit/{task}") == (200, {"uuid": task})

    [submitted] = upload_owner.scheduler.submitted
    assert (submitted.upload_owner, submitted.images_count, submitted.name) == (upload_owner.spool.instance, 3, "mine")
    assert not list(other.root.glob("*-*"))


async def test_a_large_body_is_passed_on_byte_by_byte(upload_owner: ProxyUnderTest, other: ProxyUnderTest) -> None:
    content = bytes(range(256)) * 40_000
    task = await upload_owner.init()

    assert await other.upload(task, ("big.tif", content)) == (200, {"success": True})

    assert upload_owner.spool.path(TaskId(task), "big.tif").read_bytes() == content


async def test_a_chunked_body_is_passed_on(upload_owner: ProxyUnderTest, other: ProxyUnderTest) -> None:
    task = await upload_owner.init()
    body = multipart([('name="images"; filename="a.jpg"', b"x" * 100_000)])
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:50_000], body[50_000:]))
    head = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
    kind = f"content-type: {MULTIPART['content-type']}\r\n\r\n"

    answer = await other.raw((head + kind).encode() + chunks + b"0\r\n\r\n")

    assert b'{"success":true}' in answer
    assert upload_owner.spool.path(TaskId(task), "a.jpg").stat().st_size == 100_000


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        pytest.param("photos", 400, "Unexpected field: photos", id="a wrong field"),
        pytest.param('images"; filename="bad\0.jpg', 400, "", id="a bad name"),
    ],
)
async def test_a_refusal_comes_back_as_it_is(
    upload_owner: ProxyUnderTest, other: ProxyUnderTest, name: str, status: int, words: str
) -> None:
    task = await upload_owner.init()
    part = f'name="{name}"' if "filename" in name else f'name="{name}"; filename="a.jpg"'
    body = multipart([(part, b"x")])

    there = await upload_owner.json("POST", f"/task/new/upload/{task}", body, MULTIPART)
    here = await other.json("POST", f"/task/new/upload/{task}", body, MULTIPART)

    assert here == there
    assert (here[0], here[1]["error"].startswith(words)) == (status, True)


async def test_init_again_with_the_same_id_reaches_the_proxy_that_has_it(
    upload_owner: ProxyUnderTest, other: ProxyUnderTest
) -> None:
    headers = {**MULTIPART, "set-uuid": FIXED}
    assert await upload_owner.json("POST", "/task/new/init", multipart([('name="name"', b"first")]), headers) == (
        200,
        {"uuid": FIXED},
    )
    await upload_owner.upload(FIXED, ("a.jpg", b"one"))

    again = await other.json("POST", "/task/new/init", multipart([('name="name"', b"second")]), headers)

    assert again == (200, {"uuid": FIXED})
    assert upload_owner.spool.draft(TaskId(FIXED)).name == "second"
    assert other.spool.find(TaskId(FIXED)) is None


async def test_two_proxies_never_hold_the_same_id(upload_owner: ProxyUnderTest, other: ProxyUnderTest) -> None:
    ids = [str(uuid.uuid4()) for _ in range(20)]
    both = (upload_owner, other)

    await asyncio.gather(
        *(
            proxy.json("POST", "/task/new/init", multipart([]), {**MULTIPART, "set-uuid": each})
            for each in ids
            for proxy in both
        )
    )

    assert [sum(proxy.spool.find(TaskId(each)) is not None for proxy in both) for each in ids] == [1] * 20


async def test_the_upload_of_another_client_is_not_found_there_either(tmp_path: Path) -> None:
    async with (
        running_proxy(tmp_path / "1") as upload_owner,
        running_proxy(tmp_path / "2", beside=upload_owner) as other,
    ):
        status, said = await upload_owner.json("POST", "/task/new/init?token=mine", multipart([]), MULTIPART)
        body = multipart([('name="images"; filename="a.jpg"', b"x")])

        stolen = await other.json("POST", f"/task/new/upload/{said['uuid']}?token=theirs", body, MULTIPART)
        own = await other.json("POST", f"/task/new/upload/{said['uuid']}?token=mine", body, MULTIPART)

        assert (status, stolen[0], own) == (200, 404, (200, {"success": True}))


async def test_an_upload_owner_that_is_gone_is_a_clear_and_retryable_answer(other: ProxyUnderTest) -> None:
    gone = Upload(
        task=TaskId(FIXED), instance=InstanceId("gone"), url=f"http://127.0.0.1:{free_port()}", created_at_ms=1
    )
    await (await other.bus.bucket(UPLOADS)).put(FIXED, gone)

    assert await other.upload(FIXED, ("a.jpg", b"one")) == (503, AWAY)
    assert await other.json("POST", f"/task/new/commit/{FIXED}") == (503, AWAY)


async def test_an_upload_owner_that_closes_half_way_is_a_clear_and_retryable_answer(other: ProxyUnderTest) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.transport.abort()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        notice = Upload(task=TaskId(FIXED), instance=InstanceId("ill"), url=url, created_at_ms=1)
        await (await other.bus.bucket(UPLOADS)).put(FIXED, notice)

        assert await other.upload(FIXED, ("a.jpg", b"x" * 1_000_000)) == (503, AWAY)


async def test_a_commit_is_answered_again_when_its_upload_owner_is_gone(other: ProxyUnderTest) -> None:
    task = await other.init()
    await other.upload(task, ("a.jpg", b"one"))
    await other.json("POST", f"/task/new/commit/{task}")
    await other.spool.discard(TaskId(task))
    url = f"http://127.0.0.1:{free_port()}"
    notice = Upload(task=TaskId(task), instance=InstanceId("gone"), url=url, created_at_ms=1)
    await (await other.bus.bucket(UPLOADS)).put(task, notice)

    assert await other.json("POST", f"/task/new/commit/{task}") == (200, {"uuid": task})


async def test_a_marked_request_is_never_passed_on(upload_owner: ProxyUnderTest, other: ProxyUnderTest) -> None:
    task = await upload_owner.init()
    body = multipart([('name="images"; filename="a.jpg"', b"x")])
    for mark in ("spoofed", await shared_secret(other.bus)):
        headers = {**MULTIPART, "clusterodm-passed-on": mark}

        assert (await other.json("POST", f"/task/new/upload/{task}", body, headers))[0] == 404


async def test_only_a_proxy_is_told_what_is_here_of_a_task(upload_owner: ProxyUnderTest) -> None:
    task = TaskId(await upload_owner.init())
    assert await upload_owner.upload(task, ("a.jpg", b"one")) == (200, {"success": True})
    await upload_owner.json("POST", f"/task/new/commit/{task}")
    await upload_owner.spool.remember(task, History(committed_at_ms=1))
    question = msgspec.json.encode(AskHolding(task=task))

    assert (await upload_owner.json("POST", HOLDING, question, {"clusterodm-passed-on": "spoofed"}))[0] == 403
    assert (await upload_owner.json("POST", HOLDING, question))[0] == 403

    marked = {"clusterodm-passed-on": await shared_secret(upload_owner.bus)}
    status, said = await upload_owner.json("POST", HOLDING, question, marked)
    assert (status, said["holding"]["is_held"], said["holding"]["is_submitted"]) == (200, True, True)
    other = msgspec.json.encode(AskHolding(task=TaskId("another")))
    assert (await upload_owner.json("POST", HOLDING, other, marked)) == (
        200,
        {"instance": upload_owner.spool.instance, "holding": {}},
    )


@pytest.mark.parametrize(("honest", "address"), [(True, "http://elsewhere"), (False, "http://cluster")])
async def test_only_a_proxy_may_say_how_the_client_reached_the_cluster(
    upload_owner: ProxyUnderTest, honest: bool, address: str
) -> None:
    mark = await shared_secret(upload_owner.bus) if honest else "spoofed"
    headers = {**MULTIPART, "clusterodm-passed-on": mark, "clusterodm-address": "http://elsewhere"}
    fields = multipart([('name="options"', b'[{"name":"split","value":100}]')])

    _, said = await upload_owner.json("POST", "/task/new/init", fields, headers)

    options = {option.name: option.value for option in upload_owner.spool.draft(TaskId(said["uuid"])).options}
    assert str(options["sm-cluster"]).startswith(address)


async def test_a_client_that_leaves_half_way_leaves_no_file_at_the_upload_owner(
    upload_owner: ProxyUnderTest, other: ProxyUnderTest
) -> None:
    task = await upload_owner.init()
    before = upload_owner.leftovers()
    head = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n"
    part = multipart([('name="images"; filename="a.jpg"', b"x" * 1_000_000)], end=False)
    reader, writer = await asyncio.open_connection("127.0.0.1", other.port)
    writer.write(f"{head}content-type: {MULTIPART['content-type']}\r\n\r\n".encode() + part)
    await until(lambda: upload_owner.leftovers() != before)

    writer.transport.abort()

    await until(lambda: upload_owner.leftovers() == before)
    assert await upload_owner.upload(task, ("a.jpg", b"whole")) == (200, {"success": True})
    assert not await reader.read()


async def test_the_secret_is_made_once() -> None:
    bus = MemoryBus()

    made = await asyncio.gather(*(shared_secret(bus) for _ in range(5)))

    assert len(set(made)) == 1
    assert len(made[0]) == 64
    assert made[0] not in repr(ClusterSecret(value=made[0]))
    with pytest.raises(Conflict):
        await (await bus.bucket(SECRETS)).create(SUMMARY_KEY, ClusterSecret(value="another"))


async def test_an_upload_of_another_client_whose_proxy_is_gone_is_answered_like_one_that_nobody_has(
    other: ProxyUnderTest,
) -> None:
    theirs, unknown = str(uuid.uuid4()), str(uuid.uuid4())
    notice = Upload(
        task=TaskId(theirs),
        instance=InstanceId("gone"),
        url="http://127.0.0.1:1",
        created_at_ms=1,
        owner=Owner("anne"),
    )
    await (await other.bus.bucket(UPLOADS)).put(theirs, notice)
    body = multipart([('name="images"; filename="a.jpg"', b"x")])
    for path in ("upload", "commit"):
        answers = [
            await other.json("POST", f"/task/new/{path}/{task}?token=mine", body, MULTIPART)
            for task in (theirs, unknown)
        ]
        assert answers[0] == answers[1]
