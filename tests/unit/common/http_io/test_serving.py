"""The ports of operators and of health, over real connections."""

import asyncio
import contextlib
import time

from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.health.vitals import health_served
from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.scope import Message, Scope
from clusterodm.libs.common.http_io.serving import KEEP_ALIVE_S, web_server
from clusterodm.services.admin.settings import AdminSettings

USUAL_OF_NEIGHBOURS_S = 75
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def nothing(scope: Scope, receive: object, send: object) -> None:
    """Answer with nothing."""
    del scope, receive
    assert callable(send)
    start: Message = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]}
    await send(start)
    await send({"type": "http.response.body", "body": b""})


async def test_a_connection_is_kept_as_long_as_is_said() -> None:
    with listen("127.0.0.1", 0, "--port") as listener:
        async with web_server(nothing, listener, keep_alive_s=1.0):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
            for _ in range(2):
                writer.write(GET)
                await reader.readuntil(b"\r\n\r\n")
            answered_s = time.monotonic()
            assert await asyncio.wait_for(reader.read(), timeout=20) == b""
            writer.close()

    assert time.monotonic() - answered_s > 0.9


def test_it_is_kept_for_longer_than_neighbours_keep_theirs_unless_said_otherwise() -> None:
    assert KEEP_ALIVE_S > USUAL_OF_NEIGHBOURS_S
    assert AdminSettings().admin_web_keep_alive_timeout_s > USUAL_OF_NEIGHBOURS_S
    assert AdminSettings(admin_web_keep_alive_timeout_s=5).admin_web_keep_alive_timeout_s == 5
    assert AdminSettings().metrics_keep_alive_timeout_s > USUAL_OF_NEIGHBOURS_S


LARGE_BYTES = 12 << 20
SILENT_COUNT = 24
"""Twelve megabytes for each of them are far more than all may leave unread, the kernel's buffers left aside."""


async def large(scope: Scope, receive: object, send: object) -> None:
    """Answer with more than any buffer holds."""
    del receive, send
    await scope["extensions"][REQUEST_CYCLE].answer(200, [], bytes(LARGE_BYTES))


async def size_of_answer(reader: asyncio.StreamReader) -> int:
    """Read an answer until it ends or is cut; how much of its body has come."""
    read_bytes = 0
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        while read_bytes < LARGE_BYTES and (piece := await reader.read(1 << 20)):
            read_bytes += len(piece)
    return read_bytes


async def test_of_many_who_do_not_read_some_are_closed_and_who_reads_gets_all() -> None:
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0, "--port"))
        await stack.enter_async_context(web_server(large, listener))

        async def ask() -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(listener), limit=1024)
            stack.callback(writer.close)
            writer.write(GET)
            return reader

        silent = [await ask() for _ in range(SILENT_COUNT)]
        async with asyncio.timeout(60):
            assert await size_of_answer(await ask()) == LARGE_BYTES
            sizes = [await size_of_answer(reader) for reader in silent]
    cut_count = sum(size < LARGE_BYTES for size in sizes)
    assert 0 < cut_count < SILENT_COUNT


async def test_ports_for_health_keep_connections_as_long_as_is_said() -> None:
    with listen("127.0.0.1", 0, "--health-port") as listener:
        async with health_served(Health("admin", dict), listener, keep_alive_s=0.3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"\r\n\r\n{" in await asyncio.wait_for(reader.read(), timeout=20), "it is closed behind the answer"
            writer.close()
