"""A page of another site, in the browser of an operator whose cluster has no password: what it sends to telnet changes nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page
from starlette.responses import HTMLResponse

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.serving import web_server
from clusterodm.services.admin.login import LoginThrottle
from clusterodm.services.admin.telnet.api import telnet_server
from clusterodm.services.admin.telnet.core.admission import SessionLimits
from tests.browsing import CHROMIUM, a_browser
from tests.fake_scheduler import FakeScheduler, node
from tests.waiting import until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium"),
]

WORDS = "NODE LOCK 1\\r\\nNODE UPDATE\\r\\n"
FETCH = """async (url) => {
  const asked = {method: "POST", mode: "no-cors", body: "WORDS", signal: AbortSignal.timeout(5000)};
  await fetch(url + PATH, asked).catch(() => null);
}"""


@pytest.fixture
async def scheduler(nats_bus: NatsBus) -> AsyncIterator[FakeScheduler]:
    fake = FakeScheduler()
    fake.nodes = [node(1)]
    async with nats_bus.serve("scheduler", fake.handlers()):
        yield fake


@pytest.fixture
async def telnet(nats_bus: NatsBus) -> AsyncIterator[int]:
    """Its port; the one session that there may be is free again when the last has ended."""
    listener = listen("127.0.0.1", 0, "--admin-cli-port")
    async with telnet_server(nats_bus, SessionLimits(sessions_count=1), LoginThrottle(), listener):
        yield port_of(listener)


@pytest.fixture
async def foreign() -> AsyncIterator[Page]:
    """A page of another site than 127.0.0.1, as browsers see it."""
    listener = listen("127.0.0.1", 0, "--port")
    async with web_server(HTMLResponse("<!doctype html><title>Another site</title>"), listener), a_browser() as browser:
        page = await browser.new_page()
        await page.goto(f"http://localhost:{port_of(listener)}/")
        yield page


ATTEMPTS = {
    "a script": FETCH.replace("PATH", '"/"'),
    "a script with a long address": FETCH.replace("PATH", '"/" + "x".repeat(6000)'),
}


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
async def test_words_for_telnet_in_the_body_of_a_request_do_nothing(
    foreign: Page, telnet: int, scheduler: FakeScheduler, attempt: str
) -> None:
    async def is_free() -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", telnet)
        try:
            return (await reader.readline()).startswith(b"Welcome")
        finally:
            writer.close()

    await foreign.evaluate(attempt.replace("WORDS", WORDS), f"http://127.0.0.1:{telnet}")
    await until(is_free, what="what the browser has sent is answered")
    assert not scheduler.nodes[0].locked
