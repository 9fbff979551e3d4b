"""The way to the other proxies: one POST, its body passed on as it comes. Implements ports.Peers.

A connection carries one request and is closed: uploads are long, and so a failure is never that of an old connection. At
most one chunk is held here: the next one is taken from the client when the other proxy has taken this one. An answer that
comes before the whole body was sent (a refusal) ends the sending. Whatever goes wrong on the way to the other proxy is
HolderAway: what it has of the request is then unknown, and all of these requests may be sent again.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

from libs.common.lifecycle import leaves
from services.proxy.core.headers import Header, find
from services.proxy.ports import HolderAway, Passed, PeerAnswer

CONNECT_S: Final = 3.0
STALL_S: Final = 30.0
"""The other proxy takes nothing of the body for so long."""
ANSWER_S: Final = 60.0
"""From the end of the body to the end of the answer: a commit may wait for the scheduler."""
ANSWER_LIMIT_BYTES: Final = 1 << 20
AWAY: Final = "The server that holds this upload cannot be reached at the moment, please try again."


class PeerClient:
    """Talks to the other proxies."""

    async def post(self, url: str, passed: Passed) -> PeerAnswer:
        """Pass a request on."""
        async with connected(url) as (reader, writer):
            try:
                async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
                    sending = group.create_task(send(writer, url, passed, limit), name="pass on")
                    raw = await read_all(reader)
                    sending.cancel()
            except TimeoutError:
                raise HolderAway(AWAY) from None
            except BaseExceptionGroup as trouble:
                raise leaves(trouble)[0] from None
        return parsed(raw)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect; the connection is aborted at the end, whatever is still under way. Raises HolderAway."""
    parts = urlsplit(url)
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    port = parts.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls)
    except OSError:
        raise HolderAway(AWAY) from None
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def send(writer: asyncio.StreamWriter, url: str, passed: Passed, limit: asyncio.Timeout) -> None:
    """Send head and body, then give the answer its time. A connection that breaks is noticed by the reader."""
    with contextlib.suppress(ConnectionError):
        writer.write(head_of(url, passed))
        async for chunk in passed.body:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if passed.chunked else chunk)
            async with asyncio.timeout(STALL_S):
                await writer.drain()
        if passed.chunked:
            writer.write(b"0\r\n\r\n")
    limit.reschedule(asyncio.get_running_loop().time() + ANSWER_S)


def head_of(url: str, passed: Passed) -> bytes:
    """Write the head of a request."""
    headers: list[Header] = [(b"host", urlsplit(url).netloc.encode()), (b"connection", b"close"), *passed.headers]
    if passed.chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    lines = [b"POST " + passed.target + b" HTTP/1.1", *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", b""])


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side closes. Raises HolderAway."""
    parts: list[bytes] = []
    size_bytes = 0
    try:
        while chunk := await reader.read(1 << 16):
            parts.append(chunk)
            size_bytes += len(chunk)
            if size_bytes > ANSWER_LIMIT_BYTES:
                raise HolderAway(AWAY)
    except ConnectionError:
        raise HolderAway(AWAY) from None
    return b"".join(parts)


def parsed(raw: bytes) -> PeerAnswer:
    """Take an answer apart; proxies always say its length. Raises HolderAway for half an answer."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    length = find(headers, b"content-length")
    if length is None or length != b"%d" % len(body) or not status.startswith(b"HTTP/1.1 "):
        raise HolderAway(AWAY)
    return PeerAnswer(int(status.split()[1]), headers, body)
