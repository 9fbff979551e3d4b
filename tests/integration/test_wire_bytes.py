"""The data plane byte for byte: whatever comes in, in whatever pieces, is what arrives, by kernel or by copy."""

import asyncio
import itertools
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.http_io.link import HIGH_WATER_BYTES
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.services.proxy.splice.kernel_pipes import PIPE_BYTES
from clusterodm.services.proxy.splice.moves import SCAN_BYTES
from clusterodm.services.proxy.uploads.api import FILL_FROM_BYTES
from tests.proxies import BOUNDARY, MULTIPART, ProxyUnderTest, ScriptedNode, multipart, parse, running_proxy
from tests.waiting import until

Result = TypeVar("Result")

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
ASSET = f"/task/{ON_NODE}/download/all.zip"
PUBLIC_ASSET = f"/task/{TASK}/download/all.zip"

BORDERS = (0, 1, FILL_FROM_BYTES, 256_000, SCAN_BYTES, HIGH_WATER_BYTES + 256_000, PIPE_BYTES, 3 * PIPE_BYTES)
END = b"0\r\n\r\n"
"""The last chunk."""
DELIMITER = b"\r\n--" + BOUNDARY.encode()
NOISE = random.Random(0).randbytes(4 << 20).replace(DELIMITER, b"")

SIZES = st.builds(lambda border, by: max(0, border + by), st.sampled_from(BORDERS), st.integers(-80, 80))
PHASES = (Phase.explicit, Phase.generate)
"""Shrinking an example that waits for a network takes longer than reading it."""
PATIENT = settings(max_examples=40, phases=PHASES, suppress_health_check=list(HealthCheck))


@dataclass
class World:
    """An event loop that outlives the examples of a test, with a proxy and a node on it."""

    proxy: ProxyUnderTest
    node: ScriptedNode
    run: Callable[[Coroutine[Any, Any, Result]], Result]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[ProxyUnderTest, ScriptedNode]]:
    """Run a proxy, and a node that has a result."""
    async with running_proxy(folder / "spool") as proxy, ScriptedNode().at_work() as script:
        await proxy.ran(script.port, TASK, ON_NODE)
        yield proxy, script


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    stack = AsyncExitStack()
    with asyncio.Runner(loop_factory=request.param) as runner:
        proxy, node = runner.run(stack.enter_async_context(opened(tmp_path_factory.mktemp("bytes"))))
        yield World(proxy, node, runner.run)
        runner.run(stack.aclose())


def content(size: int, seed: int, traps: list[int]) -> bytes:
    """Make a file's content, with beginnings of delimiters in it."""
    start = seed % 4096
    made = bytearray((NOISE + NOISE)[start : start + size])
    for place in traps:
        trap = DELIMITER[: 1 + place % (len(DELIMITER) - 1)]
        at = place % (size + 1)
        made[at : at + len(trap)] = trap[: max(0, size - at)]
    return bytes(made).replace(DELIMITER, b"-" * len(DELIMITER))


FILES = st.lists(
    st.builds(content, SIZES, st.integers(0, 1 << 20), st.lists(st.integers(0, 4 << 20), max_size=6)),
    min_size=1,
    max_size=3,
)
CUTS = st.lists(st.integers(0, 8 << 20), max_size=4)


def pieces(body: bytes, cuts: list[int]) -> list[bytes]:
    """Cut a body."""
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return [body[a:b] for a, b in itertools.pairwise(places)]


async def post(proxy: ProxyUnderTest, head: bytes, chunks: list[bytes], pause_s: float = 0.0) -> bytes:
    """Send a request in pieces; what comes back until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(head)
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


def upload_head(task: str, *lines: str) -> bytes:
    """Write the head of an upload."""
    first = (f"POST /task/new/upload/{task} HTTP/1.1", "host: x", f"content-type: {MULTIPART['content-type']}")
    return "\r\n".join([*first, *lines, "", ""]).encode()


def images(files: list[bytes]) -> bytes:
    """Write a body with these files, a field between them."""
    parts = [(f'name="images"; filename="{n}.jpg"', file) for n, file in enumerate(files)]
    return multipart([parts[0], ('name="field"', b"between"), *parts[1:]])


def stored(proxy: ProxyUnderTest, task: str) -> list[bytes]:
    """What the spool holds of a task, in the order of names."""
    return [path.read_bytes() for path in sorted((proxy.root / task / "files").iterdir())]


@given(files=FILES, cuts=CUTS, chunked=st.booleans())
@PATIENT
def test_an_upload_is_stored_as_it_was_sent(world: World, files: list[bytes], cuts: list[int], chunked: bool) -> None:
    async def example() -> None:
        task = await world.proxy.init()
        body = images(files)
        chunks = pieces(body, cuts)
        if chunked:
            chunks = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk] + [b"0\r\n\r\n"]
        length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"

        answer = await post(world.proxy, upload_head(task, length, "connection: close"), chunks)

        assert parse(answer)[::2] == (200, b'{"success":true}')
        assert stored(world.proxy, task) == files
        await world.proxy.spool.discard(world.proxy.spool.find(task).draft.task)  # type: ignore[arg-type, union-attr]

    world.run(example())


@given(file=st.builds(content, SIZES, st.integers(0, 9), st.just([])), keep=st.integers(0, 4 << 20))
@PATIENT
def test_an_upload_that_is_cut_off_leaves_nothing(world: World, file: bytes, keep: int) -> None:
    async def example() -> None:
        task = await world.proxy.init()
        before = world.proxy.leftovers()
        body = images([file])
        _, writer = await asyncio.open_connection("127.0.0.1", world.proxy.port)
        writer.write(upload_head(task, f"content-length: {len(body)}") + body[: keep % len(body)])
        await writer.drain()
        writer.close()

        await until(lambda: world.proxy.leftovers() == before)
        await world.proxy.spool.discard(world.proxy.spool.find(task).draft.task)  # type: ignore[arg-type, union-attr]

    world.run(example())


def test_what_follows_an_upload_on_its_connection_is_answered(world: World) -> None:
    async def example() -> None:
        task = await world.proxy.init()
        body = images([NOISE])
        last = b"GET /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        upload = upload_head(task, f"content-length: {len(body)}") + body

        answer = await post(world.proxy, b"", [upload + upload + last])

        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert stored(world.proxy, task) == [NOISE]

    world.run(example())


@pytest.mark.slow
def test_a_client_that_pauses_is_waited_for(world: World) -> None:
    async def example() -> None:
        task = await world.proxy.init()
        body = images([NOISE, NOISE[5:]])
        chunks = pieces(body, [1 << 20, len(NOISE) + 300, (6 << 20) + 5])

        head = upload_head(task, f"content-length: {len(body)}", "connection: close")
        answer = await post(world.proxy, head, chunks, pause_s=1.3)

        assert parse(answer)[0] == 200
        assert stored(world.proxy, task) == [NOISE, NOISE[5:]]

    world.run(example())


@pytest.mark.slow
def test_more_uploads_at_once_than_threads_all_arrive(world: World) -> None:
    async def one(number: int) -> None:
        task = await world.proxy.init()
        file = NOISE[number:]
        body = images([file])
        head = upload_head(task, f"content-length: {len(body)}", "connection: close")
        assert parse(await post(world.proxy, head, pieces(body, [1 << 20, 2 << 20]), pause_s=0.2))[0] == 200
        assert stored(world.proxy, task) == [file]

    async def example() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(48):
                group.create_task(one(number))

    world.run(example())


@pytest.mark.slow
def test_clients_that_trickle_hold_no_threads(world: World) -> None:
    files = images([NOISE])
    more = threading.Event()

    async def one(task: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", world.proxy.port)
        writer.write(upload_head(task, f"content-length: {len(files)}", "connection: close"))
        writer.write(files[: 300 * 1024])
        sent = 300 * 1024
        while not more.is_set():
            writer.write(files[sent : sent + 1])
            sent += 1
            await asyncio.sleep(0.4)
        writer.write(files[sent:])
        answer = await reader.read()
        writer.close()
        return answer

    async def example() -> None:
        tasks = [await world.proxy.init() for _ in range(40)]
        threads = world.proxy.spool._splice_threads
        async with asyncio.TaskGroup() as group:
            trickling = [group.create_task(one(task)) for task in tasks]
            await until(lambda: not threads.free, what="all threads to be taken")
            await until(lambda: threads._free_count == 32, timeout_s=15, what="the threads to be free again")
            more.set()

        assert {parse(each.result())[0] for each in trickling} == {200}
        assert all(stored(world.proxy, task) == [NOISE] for task in tasks)

    world.run(example())


# --- downloads -----------------------------------------------------------------------------------------------------

LINES = (
    "content-type: application/zip",
    "content-disposition: attachment; filename=all.zip",
    "etag: x",
    "accept-ranges: bytes",
)
FRAMINGS = ("length", "chunked", "close")


def answer_in(framing: str, lines: list[str], chunks: list[bytes]) -> list[bytes]:
    """Write an answer in one of the ways in which its end can be told."""
    size = sum(map(len, chunks))
    how = {"length": f"content-length: {size}", "chunked": "transfer-encoding: chunked", "close": "connection: close"}
    head = "\r\n".join(["HTTP/1.1 200 OK", *lines[:2], how[framing], *lines[2:], "", ""]).encode()
    if framing == "chunked":
        chunks = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk] + [END]
    return [head, *chunks]


async def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    """Fetch once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = parse(head if b"chunked" not in head else head + b"0\r\n\r\n")[1].get("content-length")
        async with asyncio.timeout(20):
            return parse(head + (await reader.readexactly(int(length)) if length else await reader.read()))
    finally:
        writer.close()


@given(
    size=SIZES,
    seed=st.integers(0, 1 << 20),
    cuts=CUTS,
    framing=st.sampled_from(FRAMINGS),
    lines=st.permutations(LINES),
    kept=st.booleans(),
)
@PATIENT
def test_a_result_is_what_the_node_says_directly(
    world: World, size: int, seed: int, cuts: list[int], framing: str, lines: list[str], kept: bool
) -> None:
    async def example() -> None:
        whole = content(size, seed, [])
        world.node.say(ASSET, *answer_in(framing, lines, pieces(whole, cuts)))
        world.node.keep_open = kept and framing == "length"

        direct = await get(world.node.port, ASSET)
        relayed = await get(world.proxy.port, PUBLIC_ASSET)

        assert relayed[::2] == direct[::2] == (200, whole)
        assert {
            name: relayed[1][name] for name in ("content-type", "content-disposition", "etag", "accept-ranges")
        } == {name: direct[1][name] for name in ("content-type", "content-disposition", "etag", "accept-ranges")}

    world.run(example())


@given(size=SIZES, keep=st.integers(0, 4 << 20), framing=st.sampled_from(("length", "chunked")))
@PATIENT
def test_a_node_that_breaks_off_anywhere_makes_no_whole_result(
    world: World, size: int, keep: int, framing: str
) -> None:
    async def example() -> None:
        whole = content(size + 1, 7, [])
        head, *rest = answer_in(framing, list(LINES), [whole])
        sent = b"".join(rest)
        kept = sent[: keep % len(sent.removesuffix(END))]
        world.node.say(ASSET, head + kept)
        world.node.keep_open = False

        request = f"GET {PUBLIC_ASSET} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        answer = await world.proxy.raw(request)

        got = answer.partition(b"\r\n\r\n")[2]
        assert not answer.endswith(b"\r\n" + END)
        assert len(got) < len(whole) or framing == "chunked"
        assert framing == "chunked" or whole.startswith(got)

    world.run(example())


@given(size=st.integers(1, 4 << 20), keep=st.integers(0, 4 << 20))
@PATIENT
def test_a_client_that_leaves_anywhere_frees_the_node(world: World, size: int, keep: int) -> None:
    async def example() -> None:
        whole = content(size, 3, [])
        world.node.say(ASSET, *answer_in("length", list(LINES), [whole])[:1], whole[:-1], 20.0)
        world.node.keep_open = True
        before = world.node.closed_count
        reader, writer = await asyncio.open_connection("127.0.0.1", world.proxy.port)
        writer.write(f"GET {PUBLIC_ASSET} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(keep % size)

        writer.transport.abort()

        await until(lambda: world.node.open_count == 0 or world.node.closed_count > before)

    world.run(example())


@pytest.mark.slow
def test_results_with_pauses_arrive_whole_and_leave_the_connection_usable(world: World) -> None:
    async def example() -> None:
        whole = content(4 << 20, 0, [])
        head, body = answer_in("length", list(LINES), [whole])
        steps = [head + body[: 1 << 20], 1.5, body[1 << 20 : (2 << 20) + 7], 1.2, body[(2 << 20) + 7 :]]
        world.node.say(ASSET, *steps)
        world.node.keep_open = True
        request = f"GET {PUBLIC_ASSET} HTTP/1.1\r\nhost: x\r\n\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", world.proxy.port)
        for _ in range(2):
            writer.write(request)
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(whole)) == whole
        writer.close()

    world.run(example())


# --- what is left behind -------------------------------------------------------------------------------------------


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    """Descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def ask_often(world: World, count: int) -> None:
    """Send so many small requests on one connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.proxy.port)
    for _ in range(count):
        writer.write(b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
    writer.close()


async def abort_transfers(world: World, task: str, count: int) -> None:
    """Begin downloads and uploads, and leave in the middle of each."""
    for number in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", world.proxy.port)
        if number % 2:
            writer.write(upload_head(task, f"content-length: {len(NOISE)}") + images([NOISE])[: 1 << 20])
            await writer.drain()
        else:
            writer.write(f"GET {PUBLIC_ASSET} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            await reader.readexactly(300_000)
        writer.transport.abort()


@pytest.mark.slow
def test_ten_thousand_requests_and_two_hundred_aborts_leave_nothing(world: World) -> None:
    async def example() -> None:
        task = await world.proxy.init()
        spooled = world.proxy.leftovers()
        world.node.say(ASSET, *answer_in("length", list(LINES), [NOISE]))

        def quiet() -> bool:
            return world.node.open_count == 0 and world.proxy.leftovers() == spooled

        await asyncio.gather(*(ask_often(world, 100) for _ in range(8)))
        await asyncio.gather(*(abort_transfers(world, task, 4) for _ in range(10)))
        await until(quiet)
        files, memory = open_files(), resident_bytes()

        await asyncio.gather(*(ask_often(world, 1250) for _ in range(8)))
        await asyncio.gather(*(abort_transfers(world, task, 20) for _ in range(10)))

        await until(quiet)
        await until(lambda: open_files() <= files)
        assert resident_bytes() - memory < 32 << 20

    world.run(example())
