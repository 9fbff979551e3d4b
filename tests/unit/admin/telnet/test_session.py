"""What a telnet session does with what a browser sends that some page has led here."""

import asyncio
from typing import Any, cast

import pytest

from clusterodm.libs.common.messages.nodes import UPDATE_NODES, NodeList
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.telnet.api import SessionLimits, Sessions
from clusterodm.services.admin.tenants.handlers import TenantActs

WORDS = b"NODE UPDATE\r\nNODE ADD evil.example 3000\r\n"
HOST = b"Host: localhost:8080\r\nContent-Type: text/plain\r\nContent-Length: 39\r\n\r\n"


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


async def served(bus: MemoryBus, sent: bytes) -> str:
    """What a client gets that sends something and closes its side."""
    reader, wire = asyncio.StreamReader(), Wire()
    reader.feed_data(sent)
    reader.feed_eof()
    sessions = Sessions(bus, SessionLimits(), LoginThrottle(), TenantActs(bus, None))
    await sessions.serve(reader, cast("asyncio.StreamWriter", wire))
    return wire.sent.decode().partition("QUIT to quit\r\n")[2]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"POST / HTTP/1.1\r\n" + HOST + WORDS, id="a form"),
        pytest.param(b"POST /" + b"x" * 9000 + b" HTTP/1.1\r\n" + HOST + WORDS, id="a line that is too long to be one"),
        pytest.param(b"GET /\r\n" + HOST.lower() + WORDS, id="another version"),
    ],
)
async def test_no_page_acts_through_a_browser_that_it_leads_here(bus: MemoryBus, sent: bytes):
    asked: list[object] = []

    async def heard(request: object) -> NodeList:
        asked.append(request)
        return NodeList(nodes=())

    async with bus.serve("scheduler", {UPDATE_NODES: heard}):
        assert (await served(bus, sent)).endswith("Bye!\r\n")
        assert asked == []
        assert "OK" in await served(bus, WORDS)
        assert len(asked) == 1
