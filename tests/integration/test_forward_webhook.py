"""adapters/webhook.py against a real HTTP server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.proxy.adapters.webhook import HttpWebhook
from services.proxy.ports import WebhookFailed
from tests.waiting import until


@asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answer every request the same; None: never. Yields its address and what it has read."""
    seen: list[bytes] = []

    serving: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(writer)
        try:
            await take(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            serving.discard(writer)

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        seen.append(head + await reader.readexactly(length))
        if answer is None:
            await reader.read()
        else:
            writer.write(answer)
            await writer.drain()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", seen
        await until(lambda: not serving, what="all connections are closed")


def response(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close", *headers, "", ""]).encode()


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
async def test_the_message_is_a_post_of_json(status: str) -> None:
    async with server(response(status)) as (url, seen), HttpWebhook() as webhook:
        await webhook.post(f"{url}/hook?key=1", b'{"uuid":"x"}')
    (request,) = seen
    assert request.startswith(b"POST /hook?key=1 HTTP/1.1\r\n")
    assert b"application/json" in request
    assert request.endswith(b'\r\n\r\n{"uuid":"x"}')


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(response("500 Oops"), "127.0.0.1 answered with status 500", id="server error"),
        pytest.param(response("302 Found", "Location: http://127.0.0.1:1/"), "status 302", id="redirect"),
        pytest.param(b"garbage\r\n\r\n", "127.0.0.1 did not answer", id="no HTTP"),
        pytest.param(b"", "127.0.0.1 did not answer", id="nothing"),
        pytest.param(None, "127.0.0.1 timed out|127.0.0.1 did not answer", id="silence"),
    ],
)
async def test_anything_but_success_is_a_failure_that_names_the_host_only(answer: bytes | None, reason: str) -> None:
    async with server(answer) as (url, _), HttpWebhook(timeout_s=0.3) as webhook:
        with pytest.raises(WebhookFailed, match=reason) as failed:
            await webhook.post(f"{url}/hook?key=s3cret", b"{}")
    assert "s3cret" not in failed.value.message
    assert "hook" not in failed.value.message


@pytest.mark.parametrize(
    "url",
    ["ftp://x/y", "file:///etc/passwd", "javascript:alert(1)", "x", "http://", "http://[::1", "http://x:99999999/", ""],
)
async def test_what_is_no_web_address_is_a_failure(url: str) -> None:
    async with HttpWebhook(timeout_s=0.3) as webhook:
        with pytest.raises(WebhookFailed):
            await webhook.post(url, b"{}")


async def test_a_server_that_is_not_there_is_a_failure() -> None:
    async with server(b"") as (url, _):
        pass
    async with HttpWebhook(timeout_s=1) as webhook:
        with pytest.raises(WebhookFailed, match="did not answer"):
            await webhook.post(url, b"{}")
