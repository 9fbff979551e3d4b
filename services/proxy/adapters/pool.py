"""The connections to one node: which is kept, which is opened, who waits for one. Why and when: adapters/upstream.py."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from libs.common.errors import NodeUnreachable
from libs.common.model import Node
from services.proxy.adapters.connection import Connection, GoneWhileIdle
from services.proxy.ports import Call

Value = TypeVar("Value")

IDLE_S: Final = 4.0
TLS: Final = "https://"


class Pool:
    """The connections to one node."""

    def __init__(self, node: Node, limit_count: int, tls: Callable[[], ssl.SSLContext]) -> None:
        self._node = node
        self._tls = tls
        self._limit_count = limit_count
        self._at_work_count = 0
        self._idle: list[Connection] = []
        """The one used last at the end."""
        self._alarm: asyncio.TimerHandle | None = None
        """For the one that is idle the longest: one timer for all costs nothing per request."""
        self._room = asyncio.Semaphore(limit_count)

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"Pool({self._node.name} idle={len(self._idle)} at_work={self._at_work_count})"

    @property
    def unused(self) -> bool:
        """Whether nothing is open."""
        return not self._idle and not self._at_work_count

    async def take(self, request: bytes, call: Call) -> Connection:
        """Lend a connection that has read the head of the answer; it is to be given back."""
        if self._room.locked():
            await within(self._room.acquire(), call.patience.connect_s, f"{self._node.name} has too many connections")
        else:
            await self._room.acquire()
        self._at_work_count += 1
        try:
            return await self._asked(request, call)
        except BaseException:
            self._leave()
            raise

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it."""
        self._leave()
        if not connection.idle:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since_s = loop.time()
        self._idle.append(connection)
        if self._alarm is None:
            self._alarm = loop.call_later(IDLE_S, self._retire)

    def close(self) -> None:
        """Close what is idle."""
        if self._alarm is not None:
            self._alarm.cancel()
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _leave(self) -> None:
        self._at_work_count -= 1
        self._room.release()

    async def _asked(self, request: bytes, call: Call) -> Connection:
        head_only, head_s = call.method == b"HEAD", call.patience.head_s
        if kept := self._take_idle():
            try:
                await kept.ask(request, head_only=head_only, head_s=head_s)
            except GoneWhileIdle:
                pass
            else:
                return kept
        fresh = await self._open(call.patience.connect_s)
        await fresh.ask(request, head_only=head_only, head_s=head_s)
        return fresh

    def _take_idle(self) -> Connection | None:
        too_old_s = asyncio.get_running_loop().time() - IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since_s <= too_old_s:
                connection.close()
            elif not connection.lost:
                return connection
        return None

    def _retire(self) -> None:
        """Close what has been idle for too long, and come again for the next."""
        loop = asyncio.get_running_loop()
        self._alarm = None
        too_old_s = loop.time() - IDLE_S
        for connection in self._idle:
            if connection.idle_since_s <= too_old_s:
                connection.close()
        self._idle = [connection for connection in self._idle if not connection.lost]
        if self._idle:
            self._alarm = loop.call_later(self._idle[0].idle_since_s - too_old_s, self._retire)

    async def _open(self, limit_s: float) -> Connection:
        node = self._node
        opening = asyncio.get_running_loop().create_connection(
            lambda: Connection(node.name),
            node.hostname,
            node.port,
            ssl=self._tls() if node.url.startswith(TLS) else None,
        )
        try:
            _, connection = await within(opening, limit_s, f"{node.name} cannot be reached in time")
        except OSError as error:
            raise NodeUnreachable(f"{node.name} cannot be reached ({type(error).__name__})") from None
        return connection


async def within(work: Awaitable[Value], limit_s: float, complaint: str) -> Value:
    """Await something that must be done before a request can go out. Raises NodeUnreachable."""
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError:
        raise NodeUnreachable(complaint) from None
