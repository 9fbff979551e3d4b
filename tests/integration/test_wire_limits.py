"""Limits on what clients may take up: connections, uploads at once, sizes, slowness. Nobody else is harmed by a refusal."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.libs.common.process.lifecycle import SystemClock
from clusterodm.services.proxy.spool.adapters.claims import Claims
from clusterodm.services.proxy.spool.adapters.free_space import FreeSpace
from tests.proxies import MULTIPART, ProxyUnderTest, ScriptedNode, multipart, parse, response, running_proxy
from tests.waiting import until

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
BUSY = {"error": "The server is busy with other uploads, please try again."}
TOO_LONG = {"error": "The request is longer than this server takes."}
PART = multipart([('name="images"; filename="a.jpg"', b"x" * 1000)])
USUAL = PART.replace(b"content-disposition", b"Content-Disposition")
"""As most clients write it."""


@asynccontextmanager
async def upload_under_way(proxy: ProxyUnderTest, task: str) -> AsyncIterator[asyncio.StreamWriter]:
    """Hold an upload request open."""
    head = f"POST /task/new/upload/{task} HTTP/1.1\r\nhost: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(f"{head}content-length: {len(PART)}\r\n\r\n".encode() + PART[:500])
    await until(lambda: (found := proxy.spool.find(TaskId(task))) is not None and found.receiving)
    try:
        yield writer
    finally:
        writer.transport.abort()


# --- uploads at once -----------------------------------------------------------------------------------------------


async def test_one_upload_too_many_waits_and_is_then_told_to_come_back(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", uploads_at_once_count=1, uploads_wait_s=0.3) as proxy:
        task = await proxy.init()
        async with upload_under_way(proxy, task):
            began_s = time.monotonic()
            for path in (f"/task/new/upload/{task}", "/task/new"):
                status, headers, body = await proxy.ask("POST", path, PART, MULTIPART)
                assert (status, headers["retry-after"]) == (503, "5")
                assert body == b'{"error":"%s"}' % BUSY["error"].encode()
            assert time.monotonic() - began_s > 0.5
            assert (await proxy.json("GET", "/info"))[0] == 200
            assert (await proxy.json("GET", "/task/list"))[0] == 200
        await until(lambda: accepted(proxy, task), what="there is room again")


async def accepted(proxy: ProxyUnderTest, task: str) -> bool:
    """Whether an upload succeeds."""
    return await proxy.json("POST", f"/task/new/upload/{task}", PART, MULTIPART) == (200, {"success": True})


async def test_one_upload_too_many_gets_its_turn(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", uploads_at_once_count=1, uploads_wait_s=5) as proxy:
        task = await proxy.init()
        async with upload_under_way(proxy, task) as writer:
            parts = proxy.leftovers()
            second = asyncio.ensure_future(accepted(proxy, task))  # noqa: TID251 it is to wait
            for _ in range(3):
                assert (await proxy.json("GET", "/info"))[0] == 200, "who comes later and uploads nothing is answered"
            assert not second.done()
            assert proxy.leftovers() == parts
            writer.write(PART[500:])
            assert await second


# --- connections ---------------------------------------------------------------------------------------------------


async def test_one_connection_too_many_is_closed_and_the_others_go_on(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", connections_count=3) as proxy:
        held = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(3)]
        for reader, writer in held:
            writer.write(b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")

        assert await proxy.raw(b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n") == b""

        held[0][1].close()
        await until(lambda: answers(proxy))
        for _, writer in held:
            writer.transport.abort()


async def answers(proxy: ProxyUnderTest) -> bool:
    """Whether a new connection is served."""
    with contextlib.suppress(OSError):
        return bool(await proxy.raw(b"GET /info HTTP/1.0\r\n\r\n"))
    return False


# --- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/task/new/upload/{task}", "/task/new"])
@pytest.mark.parametrize("chunked", [False, True], ids=["of known length", "chunked"])
async def test_a_body_that_is_too_long_is_refused_and_leaves_nothing(tmp_path: Path, path: str, chunked: bool) -> None:
    async with running_proxy(tmp_path / "spool", upload_limit_mb=1) as proxy:
        task = await proxy.init()
        before = proxy.leftovers()
        body = multipart([('name="images"; filename="a.jpg"', b"x" * 1_200_000)])
        length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        head = f"POST {path.format(task=task)} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{length}\r\n"

        answer = await proxy.raw(f"{head}content-type: {MULTIPART['content-type']}\r\n\r\n".encode() + sent)

        assert (parse(answer)[0], parse(answer)[2]) == (413, b'{"error":"%s"}' % TOO_LONG["error"].encode())
        await until(lambda: proxy.leftovers() == before)
        assert await accepted(proxy, task)


async def test_the_longest_head_can_be_set(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", head_limit_bytes=2000) as proxy:
        assert (await proxy.ask("GET", "/info", headers={"x": "y" * 1000}))[0] == 200
        assert (await proxy.ask("GET", "/info", headers={"x": "y" * 3000}))[0] == 431


@pytest.mark.parametrize(("method", "path"), [("GET", "/info"), ("POST", "/task/new/upload/{task}")])
async def test_the_longest_head_may_be_shorter_than_what_is_read_without_a_parser(
    tmp_path: Path, method: str, path: str
) -> None:
    async with running_proxy(tmp_path / "spool", head_limit_bytes=1024) as proxy:
        target, body = path.format(task=await proxy.init()), USUAL if method == "POST" else b""
        kind = MULTIPART if body else {}
        assert (await proxy.ask(method, target, body, {**kind, "x": "y" * 500}))[0] == 200
        assert (await proxy.ask(method, target, body, {**kind, "x": "y" * 1100}))[0] == 431


async def test_no_more_of_a_head_is_kept_than_nodes_take(proxy: ProxyUnderTest) -> None:
    assert (await proxy.ask("GET", "/info", headers={"x": "y" * 16_000}))[0] == 200
    for half in (b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"a" * 17_000, b"GET /?" + b"a" * 17_000):
        assert parse(await proxy.raw(half))[0] == 431


# --- slowness ------------------------------------------------------------------------------------------------------


async def test_a_body_that_trickles_is_cut_off_and_leaves_nothing(tmp_path: Path) -> None:
    limits = {"upload_stall_timeout_s": 0.3, "upload_min_rate_bytes_per_s": 1000}
    async with running_proxy(tmp_path / "spool", **limits) as proxy:
        task = await proxy.init()
        before = proxy.leftovers()
        async with upload_under_way(proxy, task) as writer:
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    while proxy.leftovers() != before:
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(0.05)
        assert await accepted(proxy, task)


async def test_a_client_that_stops_reading_a_download_lets_the_node_go(tmp_path: Path) -> None:
    async with (
        running_proxy(tmp_path / "spool", download_pause_timeout_s=0.5) as proxy,
        ScriptedNode().at_work() as node,
    ):
        await proxy.ran(node.port, TASK, NodeTaskId(TASK))
        node.say(
            "/task/", response(b"", "200 OK", "content-type: application/zip", length=1 << 40), *[b"z" * 500_000] * 200
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1 << 16)
        writer.write(f"GET /task/{TASK}/download/all.zip HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")

        await until(lambda: node.open_count == 0, timeout_s=15, what="the node's connection to be closed")

        writer.transport.abort()


async def test_a_download_from_a_hung_node_closes_the_connection_within_its_limit(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", node_answer_timeout_s=0.4) as proxy, ScriptedNode().at_work() as node:
        await proxy.ran(node.port, TASK, NodeTaskId(TASK))
        began_s = time.monotonic()

        assert await proxy.raw(f"GET /task/{TASK}/download/all.zip HTTP/1.1\r\nhost: x\r\n\r\n".encode()) == b""

        assert 0.3 < time.monotonic() - began_s < 8
        assert node.open_count == 0


# --- the flood limit -----------------------------------------------------------------------------------------------


async def test_the_flood_limit_never_harms_an_upload_that_is_there(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool", flood_limit=2) as proxy:
        tasks = [await proxy.init(), await proxy.init()]
        for task in tasks:
            assert await accepted(proxy, task)
        for _ in range(5):
            assert "slow down" in (await proxy.form("/task/new/init"))[1]["error"]

        for task in tasks:
            assert await proxy.json("POST", f"/task/new/commit/{task}") == (200, {"uuid": task})
        assert [submitted.images_count for submitted in proxy.scheduler.submitted] == [1, 1]


# --- the disk ------------------------------------------------------------------------------------------------------


async def test_a_disk_with_too_little_room_is_a_clear_answer_early(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool") as proxy:
        task = await proxy.init()
        proxy.spool._free_space.reserve_bytes = 1 << 60
        words = {"error": "There is no room for uploads on this server at present. Please try again later."}

        assert await proxy.form("/task/new/init") == (507, words)
        assert await proxy.json("POST", "/task/new", PART, MULTIPART) == (507, words)
        assert await proxy.json("POST", f"/task/new/upload/{task}", PART, MULTIPART) == (507, words)
        assert (await proxy.json("GET", "/healthz"))[1]["disk"] is False

        proxy.spool._free_space.reserve_bytes = 0
        assert await accepted(proxy, task)
        assert (await proxy.json("GET", "/healthz"))[1]["ok"] is True


async def test_who_announces_most_of_the_disk_and_drips_keeps_no_other_upload_out(tmp_path: Path) -> None:
    async with running_proxy(tmp_path / "spool") as proxy:
        dripping, honest = [await proxy.init() for _ in range(2)]
        usage = shutil.disk_usage(tmp_path)
        head = f"POST /task/new/upload/{dripping} HTTP/1.1\r\nhost: x\r\ncontent-type: {MULTIPART['content-type']}\r\n"
        writers = [(await asyncio.open_connection("127.0.0.1", proxy.port))[1] for _ in range(3)]
        for writer in writers:
            writer.write(f"{head}content-length: {usage.free * 2 // 3}\r\n\r\n".encode() + PART[:500])
        await until(lambda: "Claims(3 " in repr(proxy.spool._claims), what="all of them to be under way")
        for part in (PART, USUAL):
            assert await proxy.json("POST", f"/task/new/upload/{honest}", part, MULTIPART) == (200, {"success": True})
        too_long = f"{head}expect: 100-continue\r\ncontent-length: {usage.total + 1}\r\n\r\n"
        assert parse(await proxy.raw(too_long.encode()))[0] == 507, "what the disk can never hold is refused at once"
        for writer in writers:
            writer.transport.abort()
        await until(lambda: repr(proxy.spool._claims) == "Claims(0 claimed=0)", what="their room to be free again")


class SmallDisk(FreeSpace):
    """A disk that the spool has for itself."""

    def __init__(self, root: Path, size_bytes: int) -> None:
        super().__init__(root, SystemClock(), reserve_bytes=0)
        self._files = root
        self._size_bytes = size_bytes

    def left_bytes(self) -> int:
        return self.present_bytes()

    def present_bytes(self) -> int:
        return self._size_bytes - sum(path.stat().st_size for path in self._files.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("size_mb", "statuses"),
    [pytest.param(45, [200, 200], id="both fit"), pytest.param(60, [200, 507], id="only one fits")],
)
async def test_of_two_large_uploads_at_once_all_that_fit_are_taken(
    tmp_path: Path, size_mb: int, statuses: list[int]
) -> None:
    async with running_proxy(tmp_path / "spool") as proxy:
        proxy.spool._claims = Claims(SmallDisk(proxy.root, 100 << 20), SystemClock())
        tasks = [await proxy.init() for _ in range(2)]
        photo = bytes(size_mb << 20)
        answers = await asyncio.gather(*(proxy.upload(task, ("a.jpg", photo)) for task in tasks))
        assert sorted(status for status, _ in answers) == statuses
        for task, (status, _) in zip(tasks, answers, strict=True):
            manifest = await proxy.spool.manifest(TaskId(task))
            assert [file.size_bytes for file in manifest.files] == ([len(photo)] if status == 200 else [])
        assert not [name for name in proxy.leftovers() if "/parts/" in name]
        assert repr(proxy.spool._claims) == "Claims(0 claimed=0)"
