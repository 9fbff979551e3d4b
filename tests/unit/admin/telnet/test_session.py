"""What a telnet session does with what comes, however much that is."""

import asyncio
from typing import Any, cast

import pytest

from clusterodm.libs.common.messages.nodes import UPDATE_NODES, NodeList
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.access.passwords import Passwords
from clusterodm.services.admin.access.roles import Role
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.telnet.api import BEFORE_LOGIN_BYTES, READ_BYTES, Sessions
from clusterodm.services.admin.telnet.core.admission import SessionLimits
from clusterodm.services.admin.tenants.handlers import TenantActs

BACKSPACE = b"\x08"
LOCKED = SessionLimits(passwords=Passwords({Role.ADMIN: "right"}))


class Wire:
    """Stands in for a StreamWriter whose client reads all at once."""

    def __init__(self) -> None:
        self.sent = b""
        self.transport = self

    def write(self, data: bytes) -> None:
        self.sent += data

    def get_extra_info(self, name: str) -> Any:
        return ("10.0.0.9", 4711) if name == "peername" else None

    async def drain(self) -> None:
        """Be empty."""

    async def wait_closed(self) -> None:
        """Be closed."""

    def close(self) -> None:
        """Close."""

    def abort(self) -> None:
        """Close at once."""


async def served(limits: SessionLimits, *pieces: bytes, bus: MemoryBus | None = None) -> str:
    """What a client gets that sends something and closes its side."""
    reader, wire, bus = asyncio.StreamReader(), Wire(), bus or MemoryBus()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    sessions = Sessions(bus, limits, LoginThrottle(), TenantActs(bus, None))
    await sessions.serve(reader, cast("asyncio.StreamWriter", wire))
    return wire.sent.decode().partition("QUIT to quit\r\n")[2]


async def test_however_much_a_client_sends_others_have_their_turn():
    turns_count = 0

    async def others() -> None:
        nonlocal turns_count
        while True:
            turns_count += 1
            await asyncio.sleep(0)

    having = asyncio.get_running_loop().create_task(others())
    assert "NODE ADD" in await served(SessionLimits(), BACKSPACE * (50 * READ_BYTES), b"HELP")
    having.cancel()
    assert turns_count > 50


async def test_before_its_login_nobody_sends_more_than_passwords_are_long():
    said = await served(LOCKED, BACKSPACE * (BEFORE_LOGIN_BYTES + 1), b"\r\nLOGIN right\r\n")
    assert said == "$> INVALID\r\n"
    enough = await served(LOCKED, BACKSPACE * (BEFORE_LOGIN_BYTES - 100), b"\r\nLOGIN right\r\nQUIT\r\n")
    assert enough == "$> LOGIN first\r\n$> OK\r\nHELP for help\r\n#> Bye!\r\n"


async def test_behind_its_login_a_client_may_send_as_much_as_it_likes():
    said = await served(LOCKED, b"LOGIN right\r\n", BACKSPACE * (10 * BEFORE_LOGIN_BYTES), b"QUIT\r\n")
    assert said == "$> OK\r\nHELP for help\r\n#> Bye!\r\n"


async def test_what_is_no_line_is_a_refusal_like_any_other():
    assert await served(LOCKED, b"\x1b[A\r\n" * 5) == "$> INVALID\r\n$> INVALID\r\n$> INVALID\r\n"


WORDS = b"NODE UPDATE\r\nNODE ADD evil.example 3000\r\n"
HOST = b"Host: localhost:8080\r\nContent-Type: text/plain\r\nContent-Length: 39\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + WORDS, id="a form"),
        pytest.param(b"POST /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + WORDS, id="a line that is too long to be one"),
        pytest.param(b"GET /\r\n" + HOST.lower() + WORDS, id="another version"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n" + WORDS, id="a handshake of TLS"),
    ],
)
async def test_no_page_acts_through_a_browser_that_it_leads_here(bus: MemoryBus, sent: bytes):
    asked: list[object] = []

    async def heard(request: object) -> NodeList:
        asked.append(request)
        return NodeList(nodes=())

    async with bus.serve("scheduler", {UPDATE_NODES: heard}):
        said = await served(SessionLimits(), sent, bus=bus)
        assert said.endswith("INVALID\r\n")
        assert asked == []
        assert "OK" in await served(SessionLimits(), WORDS, bus=bus)
        assert len(asked) == 1
