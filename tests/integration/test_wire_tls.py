"""Over TLS nothing moves inside the kernel: everything is copied, and arrives as it was sent."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import trustme
import uvloop

from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from tests.proxies import MULTIPART, ProxyUnderTest, ScriptedNode, multipart, parse, running_proxy

TASK = TaskId("aaaaaaaa-1111-4111-8111-111111111111")
ON_NODE = NodeTaskId("bbbbbbbb-2222-4222-8222-222222222222")
IMAGE = bytes(range(251)) * 20_000
"""Five megabytes that repeat at no boundary of a buffer."""


@dataclass
class Secure:
    """What it takes to serve TLS, and to trust it."""

    key: Path
    chain: Path
    trusting: ssl.SSLContext


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Secure:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    made = Secure(folder / "key", folder / "chain", ssl.create_default_context())
    issued.private_key_pem.write_to_path(str(made.key))
    made.chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    authority.configure_trust(made.trusting)
    return made


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    with asyncio.Runner(loop_factory=factory) as runner:
        yield runner


async def ask(proxy: ProxyUnderTest, secure: Secure, request: bytes, end: bytes = b"") -> bytes:
    """Send a request that ends its connection, or whose answer ends so; the answer."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", proxy.port, ssl=secure.trusting, server_hostname="localhost"
    )
    writer.write(request)
    await writer.drain()
    answer = await (reader.readuntil(end) if end else reader.read())
    writer.close()
    return answer


def head(method: str, path: str, *lines: str) -> bytes:
    """Write the head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: x", "connection: close", *lines, "", ""]).encode()


def test_polls_uploads_and_downloads_are_whole_over_tls(runner: asyncio.Runner, secure: Secure, tmp_path: Path) -> None:
    async def example() -> None:
        certificate = {"ssl_key": str(secure.key), "ssl_cert": str(secure.chain)}
        async with running_proxy(tmp_path / "spool", **certificate) as proxy, ScriptedNode().at_work() as script:
            await proxy.ran(script.port, TASK, ON_NODE)
            script.say(
                f"/task/{ON_NODE}/download/all.zip",
                b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(IMAGE), IMAGE),
            )

            polled = parse(await ask(proxy, secure, head("GET", "/info")))
            begun = head(
                "POST", "/task/new/init", "content-type: application/x-www-form-urlencoded", "content-length: 6"
            )
            upload = msgspec.json.decode(parse(await ask(proxy, secure, begun + b"name=a"))[2])["uuid"]
            body = multipart([('name="images"; filename="a.jpg"', IMAGE)])
            kind = f"content-type: {MULTIPART['content-type']}"
            sent = head("POST", f"/task/new/upload/{upload}", kind, f"content-length: {len(body)}") + body
            stored = parse(await ask(proxy, secure, sent))
            fetched = parse(await ask(proxy, secure, head("GET", f"/task/{TASK}/download/all.zip")))
            refused = await ask(proxy, secure, b"nonsense\r\n\r\n" + IMAGE[:1_000_000], end=b"}")

            assert parse(refused)[0] == 400
            assert (polled[0], stored[0], fetched[0]) == (200, 200, 200)
            assert proxy.spool.path(upload, "a.jpg").read_bytes() == IMAGE
            assert fetched[2] == IMAGE

    runner.run(example())
