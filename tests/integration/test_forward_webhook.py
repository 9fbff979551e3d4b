"""finishing/adapters.py against a real HTTP server, and against names that lead where no client may send us."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trustme

from clusterodm.libs.common.errors import NodeUnreachable
from clusterodm.services.proxy.errors import WebhookFailed, WebhookRefused
from clusterodm.services.proxy.exchange.destinations import networks
from clusterodm.services.proxy.finishing.adapters import HttpWebhook, LookUp, Resolver, is_own
from tests.waiting import until

LOOPBACK = networks("127.0.0.0/8,::1")


@asynccontextmanager
async def server(answer: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[str, list[bytes]]]:
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

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", seen
        await until(lambda: not serving, what="all connections are closed")


def response(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", "Connection: close", *headers, "", ""]).encode()


def names(*addresses: str) -> LookUp:
    """Be a name server that knows these addresses of every name."""

    async def look_up(host: str, port: int) -> Sequence[str]:
        del host, port
        return addresses

    return look_up


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


@pytest.mark.parametrize("status", ["200 OK", "204 No Content"])
async def test_the_message_is_a_post_of_json(status: str) -> None:
    async with server(response(status)) as (url, seen):
        await HttpWebhook(LOOPBACK).post(f"{url}/hook?key=1", b'{"uuid":"x"}')
    (request,) = seen
    assert request.startswith(b"POST /hook?key=1 HTTP/1.1\r\n")
    assert b"application/json" in request
    assert request.endswith(b'\r\n\r\n{"uuid":"x"}')


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(response("500 Oops"), "127.0.0.1 answered with status 500", id="server error"),
        pytest.param(response("302 Found", "Location: http://127.0.0.1:1/"), "302, a redirect", id="redirect"),
        pytest.param(b"garbage\r\n\r\n", "127.0.0.1 answered with something that is not HTTP", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000, "not HTTP", id="endless head"),
        pytest.param(b"", "127.0.0.1 closed the connection", id="nothing"),
        pytest.param(None, "127.0.0.1 timed out|127.0.0.1 did not answer", id="silence"),
    ],
)
async def test_anything_but_success_is_a_failure_that_names_the_host_only(answer: bytes | None, reason: str) -> None:
    async with server(answer) as (url, _):
        webhook = HttpWebhook(LOOPBACK, timeout_s=0.3 if answer is None else 5)
        with pytest.raises(WebhookFailed, match=reason) as failed:
            await webhook.post(f"{url}/hook?key=s3cret", b"{}")
    assert not isinstance(failed.value, WebhookRefused)
    assert "s3cret" not in failed.value.message
    assert "hook" not in failed.value.message


@pytest.mark.parametrize("url", ["ftp://x/y", "http://", "http://[::1", ""])
async def test_what_is_no_web_address_is_never_tried(url: str) -> None:
    with pytest.raises(WebhookRefused):
        await HttpWebhook(timeout_s=0.3).post(url, b"{}")


async def test_a_server_that_is_not_there_is_a_failure() -> None:
    async with server(b"") as (url, _):
        pass
    with pytest.raises(WebhookFailed, match="cannot be reached"):
        await HttpWebhook(LOOPBACK, timeout_s=1).post(url, b"{}")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0", "localhost", "[::ffff:127.0.0.1]", "[::1]"]
)
async def test_loopback_is_not_called_however_it_is_written(host: str) -> None:
    async with server(response("200 OK")) as (url, seen):
        with pytest.raises(WebhookRefused, match="--webhook-allow"):
            await HttpWebhook().post(f"http://{host}:{port_of(url)}/r/asr/pause", b"{}")
        await HttpWebhook(LOOPBACK).post(f"{url}/behind", b"{}")
    assert [request.split()[1] for request in seen] == [b"/behind"]


async def test_a_name_is_judged_by_what_it_resolves_to() -> None:
    webhook = HttpWebhook(look_up=names("169.254.169.254"))
    with pytest.raises(
        WebhookRefused, match=r"client\.example is not called: 169\.254\.169\.254 is a link-local address"
    ):
        await webhook.post("http://client.example/", b"{}")


async def test_an_address_of_this_computer_is_not_called_though_it_is_public() -> None:
    webhook = HttpWebhook(look_up=names("93.184.216.34"), is_ours=lambda _: True)
    with pytest.raises(WebhookRefused, match="an address of this computer"):
        await webhook.post("http://client.example/", b"{}")


async def test_the_connection_goes_to_the_address_that_was_judged_and_keeps_the_name() -> None:
    asked: list[str] = []

    async def once(host: str, port: int) -> Sequence[str]:
        del port
        asked.append(host)
        return ["127.0.0.1"]

    async with server(response("200 OK")) as (url, seen):
        webhook = HttpWebhook(LOOPBACK, look_up=once)
        await webhook.post(f"http://client.example:{port_of(url)}/", b"{}")
    assert asked == ["client.example"]
    assert f"host: client.example:{port_of(url)}\r\n".encode() in seen[0]


async def test_of_several_addresses_only_those_that_may_be_called_are() -> None:
    async with server(response("200 OK")) as (url, seen):
        webhook = HttpWebhook(networks("127.0.0.1"), look_up=names("10.0.0.1", "127.0.0.1"))
        await webhook.post(f"http://client.example:{port_of(url)}/", b"{}")
    assert len(seen) == 1


async def test_an_address_that_does_not_answer_gives_way_to_the_next() -> None:
    async with server(response("200 OK")) as (url, seen):
        webhook = HttpWebhook(LOOPBACK, look_up=names("127.0.0.9", "127.0.0.1"))
        await webhook.post(f"http://client.example:{port_of(url)}/", b"{}")
    assert len(seen) == 1


async def test_a_certificate_must_be_that_of_the_name() -> None:
    authority = trustme.CA()
    serving, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("client.example").configure_cert(serving)
    authority.configure_trust(trusting)

    async with server(response("200 OK"), serving) as (url, seen):
        webhook = HttpWebhook(LOOPBACK, look_up=names("127.0.0.1"), make_tls=lambda: trusting)
        await webhook.post(f"https://client.example:{port_of(url)}/", b"{}")
        with pytest.raises(WebhookFailed, match=r"cannot be reached \(TLS"):
            await webhook.post(f"https://other.example:{port_of(url)}/", b"{}")
    assert len(seen) == 1


async def test_a_name_that_is_none_is_not_found() -> None:
    with pytest.raises(NodeUnreachable, match=r"name not found|cannot be looked up"):
        await Resolver().addresses("nobody.invalid", 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_is_its_own_name(host: str) -> None:
    assert await Resolver().addresses(host, 80) == [host]


def test_an_address_is_our_own_when_it_can_be_bound_to() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("93.184.216.34")
    assert not is_own("2606:4700::1111")
    assert socket.has_ipv6
