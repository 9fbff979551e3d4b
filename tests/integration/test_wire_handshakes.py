"""TLS connections that do not finish their handshake are counted, given a time, and shut nobody out."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
import uvloop

from clusterodm.libs.common.http_io.handshakes import PER_ADDRESS_COUNT
from tests.proxies import ProxyUnderTest, parse, running_proxy
from tests.waiting import until

POLL = b"GET /info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
HELLO = bytes.fromhex("16030100c8010000c40303")
"""The first bytes of a ClientHello."""

Certificate = tuple[dict[str, str], ssl.SSLContext]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(folder / "key"))
    (folder / "chain").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return {"ssl_key": str(folder / "key"), "ssl_cert": str(folder / "chain")}, trusting


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The loop that services run on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


async def polls(proxy: ProxyUnderTest, trusting: ssl.SSLContext) -> int:
    """Poll over TLS; the status."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, ssl=trusting, server_hostname="localhost")
    writer.write(POLL)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    status: int = parse(answer)[0]
    return status


async def ends(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection."""
    try:
        return await asyncio.wait_for(reader.read(), 10) == b""
    except ConnectionError:
        return True


def test_who_leaves_handshakes_open_has_no_more_than_some_of_them_and_others_are_served(
    runner: asyncio.Runner, certificate: Certificate, tmp_path: Path
) -> None:
    files, trusting = certificate

    async def example() -> None:
        async with running_proxy(tmp_path / "spool", **files) as proxy:
            opened = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(2 * PER_ADDRESS_COUNT)]
            for _, writer in opened[::2]:
                writer.write(HELLO)  # half of them begin, and go no further
            ended = [asyncio.ensure_future(ends(reader)) for reader, _ in opened]  # noqa: TID251 each waits for its end

            async def has_given_way() -> bool:
                opened.append(await asyncio.open_connection("127.0.0.1", proxy.port))
                return ended[0].done()

            await until(has_given_way, what="the oldest to give way")
            assert await polls(proxy, trusting) == 200
            for _, writer in opened:
                writer.transport.abort()
            await asyncio.gather(*ended)

    runner.run(example())


def test_a_handshake_that_is_not_finished_in_time_is_cut(
    runner: asyncio.Runner, certificate: Certificate, tmp_path: Path
) -> None:
    files, trusting = certificate

    async def example() -> None:
        async with running_proxy(tmp_path / "spool", head_timeout_s=0.5, **files) as proxy:
            silent, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            begun, begun_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            begun_writer.write(HELLO)
            assert await ends(silent)
            assert await ends(begun)
            writer.close()
            begun_writer.close()
            assert await polls(proxy, trusting) == 200

    runner.run(example())


def test_handshakes_count_as_connections_and_give_way_when_all_places_are_taken(
    runner: asyncio.Runner, certificate: Certificate, tmp_path: Path
) -> None:
    files, trusting = certificate

    async def example() -> None:
        async with running_proxy(tmp_path / "spool", connections_count=3, **files) as proxy:
            opened = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(5)]
            assert [await ends(reader) for reader, _ in opened[:2]] == [True, True]
            assert await polls(proxy, trusting) == 200
            for _, writer in opened:
                writer.transport.abort()

    runner.run(example())


@pytest.mark.parametrize(
    "said", [b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 100, b"\x00" * 70_000]
)
def test_what_is_no_tls_ends_its_connection_and_nothing_else(
    runner: asyncio.Runner, certificate: Certificate, tmp_path: Path, said: bytes
) -> None:
    files, trusting = certificate

    async def example() -> None:
        async with running_proxy(tmp_path / "spool", **files) as proxy:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(said)
            try:
                answer = await asyncio.wait_for(reader.read(), 10)
            except ConnectionError:
                answer = b""
            assert len(answer) < 20, "an alert at most"
            writer.close()
            assert await polls(proxy, trusting) == 200

    runner.run(example())


def asked_in_one_flight(port: int, trusting: ssl.SSLContext, request: bytes) -> bytes:
    """Send a request in the same segment as the end of the handshake; the answer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        while not shaken(client):
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))
        client.write(request)
        connection.sendall(outgoing.read())
        answer = b""
        while not answer.endswith(b"}") and (data := connection.recv(65536)):
            incoming.write(data)
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while piece := client.read():
                    answer += piece
    return answer


def shaken(client: ssl.SSLObject) -> bool:
    """Go on with the handshake; whether it is over."""
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@pytest.mark.parametrize("length", [5, 100_000], ids=["one read", "many reads"])
def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(
    runner: asyncio.Runner, certificate: Certificate, tmp_path: Path, length: int
) -> None:
    """The loop hears of the request before it has told of the connection."""
    files, trusting = certificate
    content = b"name=" + b"x" * (length - 5)
    request = (
        b"POST /task/new/init HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        b"content-type: application/x-www-form-urlencoded\r\ncontent-length: %d\r\n\r\n%s" % (len(content), content)
    )

    async def example() -> None:
        async with running_proxy(tmp_path / "spool", **files) as proxy:
            answer = await asyncio.to_thread(asked_in_one_flight, proxy.port, trusting, request)
            assert parse(answer)[0] == 200, answer

    runner.run(example())
