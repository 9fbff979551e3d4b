"""Whatever clients do, and in whichever order: when they have gone nothing is kept of them, and what a plain request has taken was given back once."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from clusterodm.libs.common.http_io.cycle import REQUEST_CYCLE
from clusterodm.libs.common.http_io.scope import Receive, Scope, Send
from clusterodm.libs.common.http_io.server import Connection
from clusterodm.libs.common.http_io.sharing import Connections, Take
from clusterodm.libs.http1.heads import HeadLimits
from clusterodm.libs.http1.server import ServerLimits
from tests.connections import FakeTransport, came, opened, server_state
from tests.waiting import until

REQUESTS_COUNT: Final = 10_000
AT_ONCE_COUNT: Final = 40
SEED: Final = 153
ROOM_BYTES: Final = 60_000
UNREAD_ROOM_BYTES: Final = 300_000
LIMITS: Final = ServerLimits(head_s=5.0, keep_alive_s=5.0, head=HeadLimits(16384), linger_s=5.0)
PLAIN: Final = b"PUT /plain HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n"
LINES: Final = b"".join(b"line-%d: value\r\n" % number for number in range(60))
"""Some 10 KB in memory."""
REQUESTS: Final = (
    PLAIN + bytes(500),
    PLAIN + bytes(500) + b"GET /behind HTTP/1.1\r\nhost: x\r\n\r\n" * 300,
    PLAIN[:-2] + b"connection: close\r\n\r\n" + bytes(500) + b"more",
    b"GET /a HTTP/1.1\r\nhost: x\r\n\r\n" * 3,
    b"GET /long HTTP/1.1\r\nhost: x\r\n" + LINES + b"\r\n",
    b"POST /b HTTP/1.1\r\nhost: x\r\n" + LINES + b"content-length: 70000\r\n\r\n" + bytes(70_000),
    b"POST /c HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" + b"3e8\r\n%s\r\n" % bytes(1000) * 20 + b"0\r\n\r\n",
    b"nonsense\r\n\r\n",
)  # fmt: skip


@dataclass(eq=False)
class Plain:
    """A request that was read, and has a place until it is over."""

    size_bytes: int = len(PLAIN) + 500
    keeps: bool = True
    account: str = ""
    has_place: bool = True


@dataclass
class Places:
    """A fast path whose requests each take a place."""

    taken_count: int = 0
    read_count: int = 0
    waiting: list[tuple[Plain, Take]] = field(default_factory=list)

    def read(self, data: bytes) -> Plain | None:
        if not data.startswith(PLAIN[:-2]) or b"\r\n\r\n" not in data:
            return None
        self.taken_count += 1
        self.read_count += 1
        closes = data.startswith(PLAIN[:-2] + b"connection")
        size_bytes = data.index(b"\r\n\r\n") + 504
        return Plain(size_bytes, keeps=not closes)

    def answer(self, plain: Plain, data: bytes, take: Take) -> None:
        assert len(data) == plain.size_bytes
        self.waiting.append((plain, take))

    def forget(self, plain: Plain) -> None:
        assert plain.has_place, "it was given back before"
        plain.has_place = False
        self.taken_count -= 1

    def count(self, plain: Plain, seconds: float, sent_bytes: int) -> None:
        del seconds, sent_bytes
        assert not plain.has_place


class Flood:
    """Clients of all kinds."""

    def __init__(self, seed: int) -> None:
        self.by_chance = random.Random(seed)
        self.places = Places()
        self.shared = Connections(LIMITS, 60, [self.places], room_bytes=ROOM_BYTES, unread_room_bytes=UNREAD_ROOM_BYTES)
        self.state: Any = server_state()
        self.clients: dict[Connection, tuple[FakeTransport, deque[bytes]]] = {}
        self.cut_count = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer sooner or later, with all of the body read, some of it, or none."""
        del send
        for _ in range(self.by_chance.randrange(4)):
            if (await receive())["type"] == "http.disconnect":
                return
        for _ in range(self.by_chance.randrange(6)):
            await asyncio.sleep(0)
        await scope["extensions"][REQUEST_CYCLE].answer(200, [], b"x" * self.by_chance.choice((1, 9_000)))

    def connects(self) -> None:
        """Let a client come, with a request that arrives in pieces."""
        said, pieces = self.by_chance.choice(REQUESTS), deque[bytes]()
        while said:
            size_bytes = self.by_chance.choice((7, 200, 5_000, 40_000))
            pieces.append(said[:size_bytes])
            said = said[size_bytes:]
        connection, transport = opened(shared=self.shared, app=self.app, state=self.state)
        self.clients[connection] = transport, pieces

    def goes(self, connection: Connection) -> None:
        """Let a client go, or be gone."""
        transport, pieces = self.clients.pop(connection)
        self.cut_count += bool(pieces) or not transport.closed
        transport.closed = True
        connection.connection_lost(None)

    def step(self) -> None:
        """Let something happen to a client."""
        connection = self.by_chance.choice(list(self.clients))
        transport, pieces = self.clients[connection]
        chance = self.by_chance.random()
        if transport.closed or chance < 0.03 or not (pieces or connection.full or chance < 0.35):
            self.goes(connection)
        elif connection.full or (chance < 0.08 and transport.written):
            self.reads(connection, transport)
        elif chance < 0.12:
            connection.expire(connection.loop.time())
        elif chance < 0.125:
            connection.shutdown()
        elif chance < 0.35 and self.places.waiting:
            self.answers()
        elif pieces and transport.reads:
            came(connection, pieces.popleft())

    def reads(self, connection: Connection, transport: FakeTransport) -> None:
        """Let a client read all of its answers, or fall behind."""
        if connection.full:
            transport.unsent_bytes = 0
            connection.resume_writing()
        else:
            transport.unsent_bytes = self.by_chance.choice((20_000, 90_000))
            connection.pause_writing()

    def answers(self) -> None:
        """Let a plain request be over."""
        plain, take = self.places.waiting.pop(self.by_chance.randrange(len(self.places.waiting)))
        self.places.forget(plain)
        take(self.by_chance.choice((None, b"{}", b"x" * 9_000)))


async def test_of_ten_thousand_clients_that_go_when_they_like_nothing_is_kept() -> None:
    readers_count, flood = Connection.SPACE.readers_count, Flood(SEED)
    for _ in range(REQUESTS_COUNT):
        flood.connects()
        while len(flood.clients) >= AT_ONCE_COUNT:
            flood.step()
            if flood.by_chance.random() < 0.3:
                await asyncio.sleep(0)
    while flood.clients:
        flood.goes(next(iter(flood.clients)))
    while flood.places.waiting:
        flood.answers()
    await until(lambda: not flood.state.tasks)

    kept = {name: value for name, value in vars(flood.shared).items() if isinstance(value, dict | set) and value}
    assert kept == {}
    assert (flood.shared._room_bytes, flood.shared._unread_room_bytes) == (ROOM_BYTES, UNREAD_ROOM_BYTES)
    assert (flood.places.taken_count, flood.state.connections) == (0, set())
    assert Connection.SPACE.readers_count == readers_count
    assert flood.cut_count > REQUESTS_COUNT // 5, "most of them are cut"
    assert flood.places.read_count > REQUESTS_COUNT // 10
