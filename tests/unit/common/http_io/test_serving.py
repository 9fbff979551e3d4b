"""The ports of operators and of health, over real connections."""

import asyncio
import time

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
