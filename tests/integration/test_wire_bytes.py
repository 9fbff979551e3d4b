"""The data plane byte for byte: whatever comes in, in whatever pieces, is what arrives, by kernel or by copy."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.proxy.adapters.splice import PIPE_BYTES, SCAN_BYTES
from services.proxy.api.bodies import FILL_FROM_BYTES
from tests.proxies import BOUNDARY, MULTIPART, ProxyUnderTest, multipart, parse, running_proxy
from tests.waiting import until

Result = TypeVar("Result")

BORDERS = (0, 1, FILL_FROM_BYTES, 256_000, SCAN_BYTES, PIPE_BYTES, 3 * PIPE_BYTES)
DELIMITER = b"\r\n--" + BOUNDARY.encode()
NOISE = random.Random(0).randbytes(4 << 20).replace(DELIMITER, b"")

SIZES = st.builds(lambda border, by: max(0, border + by), st.sampled_from(BORDERS), st.integers(-80, 80))
PATIENT = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class World:
    """An event loop that outlives the examples of a test, with a proxy on it."""

    proxy: ProxyUnderTest
    run: Callable[[Coroutine[Any, Any, Result]], Result]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[ProxyUnderTest]:
    """Run what the tests need."""
    async with running_proxy(folder / "spool") as proxy:
        yield proxy


@pytest.fixture(scope="module", params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    stack = AsyncExitStack()
    with asyncio.Runner(loop_factory=request.param) as runner:
        proxy = runner.run(stack.enter_async_context(opened(tmp_path_factory.mktemp("bytes"))))
        yield World(proxy, runner.run)
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
