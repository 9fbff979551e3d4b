"""The relay does to connections what it says: otherwise the storms around it prove nothing."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.chaos.relay import Relay


@pytest.fixture
def received() -> list[bytes]:
    """What the server got."""
    return []


@pytest.fixture
async def relay(received: list[bytes]) -> AsyncIterator[Relay]:
    """A relay to a server that echoes."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                received.append(chunk)
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            received.append(b"reset")
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Relay(server.sockets[0].getsockname()[1]) as relay:
        yield relay


async def said(relay: Relay, content: bytes, timeout_s: float = 20) -> bytes:
    """Send, close our half, and read what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(content)
            writer.write_eof()
            return await reader.read()
    finally:
        writer.transport.abort()


async def test_a_good_network_changes_nothing(relay: Relay):
    assert await said(relay, b"x" * 300_000) == b"x" * 300_000


async def test_a_cut_network_resets_connections_until_it_is_mended(relay: Relay):
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"x")
    assert await reader.read(1) == b"x"
    relay.cut()
    with pytest.raises(ConnectionResetError):
        await reader.read(1)
    with pytest.raises(ConnectionResetError):
        await said(relay, b"x")
    relay.mend()
    assert await said(relay, b"x") == b"x"


async def test_a_frozen_network_is_silent_and_loses_nothing(relay: Relay, received: list[bytes]):
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    relay.freeze()
    writer.write(b"x")
    async with asyncio.TaskGroup() as group, Relay(relay.target_port) as good:
        reading = group.create_task(reader.read(1))
        assert await said(good, b"later") == b"later"
        assert received == [b"later"]
        assert not reading.done()
        relay.thaw()
        assert await asyncio.wait_for(reading, 20) == b"x"
    writer.transport.abort()


async def test_a_connection_is_reset_after_so_many_bytes(relay: Relay, received: list[bytes]):
    relay.reset_next(1, after_bytes=50_000)
    with pytest.raises(ConnectionResetError):
        await said(relay, b"x" * 300_000)
    arrived = b"".join(chunk for chunk in received if chunk != b"reset")
    assert len(arrived) <= 50_000
    assert await said(relay, b"x") == b"x"


async def test_a_swallowed_answer_is_one_whose_request_arrived(relay: Relay, received: list[bytes]):
    relay.swallow_answers_next_count = 1
    with pytest.raises(ConnectionResetError):
        await said(relay, b"hello")
    assert b"hello" in received


async def test_a_dropped_connection_is_closed_without_a_byte(relay: Relay, received: list[bytes]):
    relay.drop_next_count = 1
    with contextlib.suppress(ConnectionResetError):  # what was sent was never read: the kernel says so
        assert await said(relay, b"hello") == b""
    assert not received


async def test_delay_and_throttle_slow_down(relay: Relay):
    relay.delay_s = 0.2
    began_s = time.monotonic()
    assert await said(relay, b"x") == b"x"
    assert time.monotonic() - began_s >= 0.4
    relay.well()
    relay.rate_bytes_per_s = 200_000
    began_s = time.monotonic()
    assert await said(relay, b"x" * 100_000) == b"x" * 100_000
    assert time.monotonic() - began_s >= 0.5
