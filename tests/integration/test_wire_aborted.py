"""Ten thousand requests, most of them cut off by their clients, or cancelled, wherever they were: nothing that they had taken is missing afterwards."""

import asyncio
import random
from collections import deque
from pathlib import Path
from typing import Any, Final

import pytest

from clusterodm.libs.common.http_io.server import Connection
from clusterodm.libs.common.http_io.sharing import Connections
from clusterodm.libs.http1.server import ServerLimits
from clusterodm.services.proxy.exchange.limits import LongBodies
from clusterodm.services.proxy.spool.adapters.entries import SpoolEntry
from clusterodm.services.proxy.spool.adapters.whole_part import KeptRoom
from tests.connections import FakeTransport, came, opened, server_state
from tests.proxies import BOUNDARY, ProxyUnderTest, multipart, running_proxy
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

REQUESTS_COUNT: Final = 10_000
AT_ONCE_COUNT: Final = 60
SEED: Final = 153
KIND: Final = f"content-type: multipart/form-data; boundary={BOUNDARY}\r\n"
INSIDE: Final = "te: trailers\r\n"
"""With this line a request goes the usual way."""
UNKNOWN: Final = "cccccccc-3333-4333-8333-333333333333"


def image(name: str, content: bytes) -> tuple[str, bytes]:
    """One part of an upload."""
    return f'name="images"; filename="{name}"', content


def photos(*files: tuple[str, bytes]) -> bytes:
    """Write a body as most clients do."""
    body = multipart([image(*file) for file in files])
    return body.replace(b"content-disposition", b"Content-Disposition")


def post(target: str, body: bytes, lines: str = KIND) -> bytes:
    """Write a request."""
    return f"POST {target} HTTP/1.1\r\nhost: x\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def chunked(target: str, body: bytes) -> bytes:
    """Write a request whose length nobody knows before its end."""
    head = f"POST {target} HTTP/1.1\r\nhost: x\r\n{KIND}transfer-encoding: chunked\r\n\r\n"
    pieces = [body[at : at + 9_000] for at in range(0, len(body), 9_000)]
    return head.encode() + b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def requests_to(task: str) -> tuple[bytes, ...]:
    """Write what clients send."""
    target = f"/task/new/upload/{task}"
    fields = [(f'name="field-{number}"', b"x" * 40) for number in range(300)]
    small = [
        post(target, photos((name, bytes(1_000) + content))) for name in ("a.jpg", "b.jpg") for content in (b"1", b"2")
    ]
    return (
        *small,
        *(request.replace(b"host: x\r\n", f"host: x\r\n{INSIDE}".encode()) for request in small),
        post(target, photos(("a.jpg", b"1"), ("b.jpg", b"2"), ("a.jpg", b"1"), ("a.jpg", b"3"))),
        post(target, photos(*((f"{number}.jpg", b"") for number in range(100)))),
        post(target, photos(*((f"{number}.jpg", b"x" * 3_000) for number in range(100)))),
        chunked(target, photos(("c.jpg", bytes(90_000)), ("d.jpg", bytes(20_000)))),
        post(target, photos(("good.jpg", b"1"), ("x" * 255, b"1"))),
        post(target, photos(("good.jpg", b"1"), ("x" * 300, b"1"))),
        post(target, photos(("cut.jpg", b"1"))[:-9]),
        post(f"/task/new/upload/{UNKNOWN}", photos(("a.jpg", bytes(80_000)))),
        post("/task/new", multipart([*fields, image("a.jpg", bytes(5_000))])),
        post("/task/cancel", b"&".join(b"%x=%x" % (number, number) for number in range(900)), "content-type: application/x-www-form-urlencoded\r\n"),
        post("/task/cancel", multipart([*fields, ('name="uuid"', UNKNOWN.encode())])),
        b"GET /info HTTP/1.1\r\nhost: x\r\n\r\n",
    )  # fmt: skip


class Clients:
    """Those of a proxy, without sockets."""

    def __init__(self, proxy: ProxyUnderTest, task: str) -> None:
        self.by_chance = random.Random(SEED)
        self.app = proxy.app
        self.shared = Connections(ServerLimits(30.0, 30.0), 2 * AT_ONCE_COUNT, proxy.app.fast)
        self.state: Any = server_state()
        self.present: dict[Connection, tuple[FakeTransport, deque[bytes]]] = {}
        self.answered_count = self.cancelled_count = self.beyond_count = 0
        self._requests = requests_to(task)

    def connects(self) -> None:
        """Let a client come, whose request arrives in pieces, or to some part only."""
        said, pieces = self.by_chance.choice(self._requests), deque[bytes]()
        if self.by_chance.random() < 0.6:
            said = said[: self.by_chance.randrange(len(said))]
        while said:
            size_bytes = self.by_chance.choice((100, 1_000, 20_000, 100_000))
            pieces.append(said[:size_bytes])
            said = said[size_bytes:]
        connection, transport = opened(shared=self.shared, app=self.app, state=self.state)
        self.present[connection] = transport, pieces

    def goes(self, connection: Connection) -> None:
        """Let a client go, or be gone."""
        transport, _ = self.present.pop(connection)
        self.answered_count += b" 200 OK" in transport.written
        transport.closed = True
        connection.connection_lost(None)

    def step(self) -> None:
        """Let something happen to a client."""
        connection = self.by_chance.choice(list(self.present))
        transport, pieces = self.present[connection]
        chance = self.by_chance.random()
        if transport.closed or chance < 0.08:
            self.goes(connection)
        elif pieces and transport.reads:
            came(connection, pieces.popleft())
        elif chance < 0.1:
            connection.expire(connection.loop.time())
        elif chance < 0.13 and self.state.tasks:
            self.cancelled_count += 1
            self.by_chance.choice(list(self.state.tasks)).cancel()


def taken(entry: SpoolEntry) -> tuple[object, ...]:
    """Say what requests have of an upload."""
    return entry.receiving_count, entry.publishing_count, entry.receipts, repr(entry.twins)


async def test_of_ten_thousand_requests_that_are_cut_off_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readers_count = Connection.SPACE.readers_count
    monkeypatch.setattr("clusterodm.services.proxy.uploads.api.FILE_BYTES", 160_000)  # one upload has all the room
    async with running_proxy(tmp_path / "spool", uploads_at_once_count=AT_ONCE_COUNT // 2, uploads_wait_s=20) as proxy:
        task = await proxy.init()
        assert (await proxy.upload(task, ("x" * 255, b"another")))[0] == 200
        clients = Clients(proxy, task)
        for _ in range(REQUESTS_COUNT):
            clients.connects()
            while len(clients.present) >= AT_ONCE_COUNT:
                clients.step()
                clients.beyond_count += "beyond" in repr(proxy.app._bounds.together)
                await asyncio.sleep(0)
        while clients.present:
            clients.goes(next(iter(clients.present)))
        await until(lambda: not clients.state.tasks and not list(proxy.root.glob("*/parts/*")))
        await until(lambda: repr(proxy.spool._lanes).count("waiting=0 working=0") == 3)

        limiter, together = proxy.app.limiter, proxy.app._bounds.together
        assert (limiter.taken_count, limiter.waiting_count, repr(together)) == (0, 0, repr(LongBodies()))
        assert (repr(proxy.spool._kept_room), repr(proxy.spool._claims)) == (repr(KeptRoom()), "Claims(0 claimed=0)")
        entries = proxy.spool._entries.values()
        assert {str(taken(entry)) for entry in entries} == {str((0, 0, set(), "TwinNames(0)"))}
        kept = {path.name: path.stat().st_size for path in (proxy.root / task / "files").iterdir()}
        (held,) = (each for each in proxy.spool.held() if each.draft.task == task)
        assert (held.stored_bytes, "good.jpg" in kept) == (sum(kept.values()), False)
        assert (clients.shared.present, clients.state.connections) == (set(), set())
        await until(lambda: Connection.SPACE.readers_count == readers_count)
    assert min(clients.answered_count, clients.cancelled_count, clients.beyond_count) > 0, "it has been all there"
    said = capsys.readouterr().out
    assert "request.failed" not in said
    assert "application.failed" not in said
