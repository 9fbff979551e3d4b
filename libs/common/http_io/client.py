"""The client's connections: the shell around clusterodm.libs.http1.client. One client for everything that asks over HTTP without a thread.

    Client        a pool for each origin
    Pool          its connections: which is kept, which is opened, who waits for one
    Link          one TCP or TLS connection, one request at a time: back-pressure, time limits, lending its socket

One request, in order:
  1. take an idle connection (the one used last: it is the least likely to have been closed), else open one; where the origin has
     its limit already, wait in line. All of it within `connect_s`, else NodeUnreachable: nobody has seen the request.
  2. write the request and wait `head_s` for the whole head of the answer: one clock, however it drips. A kept connection that
     closes before the first byte of an answer was closed while it was idle: the request is sent once more on a new one. So only what
     may be asked twice uses kept connections (`repeatable`); everything else has one of its own.
  3. hand the body on as it comes, `silence_s` at most between two pieces. With more than HIGH_WATER_BYTES waiting the
     socket is no longer read, until the reader has caught up.
     Whoever asks hundreds at once waits for none of them: `borrow` a kept connection and be called back (libs/common/nodeodm/rounds.py).
  4. leaving the context with the answer complete gives the connection back; leaving it at any other moment (client gone,
     time is up, cancelled) closes it, so that the other side stops sending.

A connection that ends before its answer does is NodeFailed: what has been relayed so far is then not to be taken for a whole. Idle connections
are closed after IDLE_S, or what a setting says, before the other side does it (Node.js: 5 s). Tokens are in the target and nowhere else: no error names
the target.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, Self

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable
from clusterodm.libs.common.http_io.link import Heard, Link, Stale
from clusterodm.libs.common.http_io.origins import ClientRequest, Origin, Timeouts, in_words, within

IDLE_S: Final = 4.0
"""Unless a setting says otherwise."""
IDLE_CHECK_SHARE: Final = 0.125
"""How long after its time an idle connection is closed, as a share of that. It is used no more from its time on."""
POOLS_TIDIED_AT_COUNT: Final = 256
"""With so many pools, those of origins that nobody talks to any more are forgotten."""


class Pool:
    """The connections to one origin."""

    def __init__(  # noqa: PLR0913, PLR0917 what a client tells each of its pools
        self,
        origin: Origin,
        name: str,
        limit_count: int,
        idle_s: float,
        tls: Callable[[], ssl.SSLContext],
        has_idle: Callable[[], None],
    ) -> None:
        self._idle_s = idle_s
        self._has_idle = has_idle
        """Called when a connection becomes idle."""
        self._origin = origin
        self._name = name
        self._tls = tls
        self._limit_count = limit_count
        self._at_work_count = 0
        self._idle: list[Link] = []
        """The one used last at the end."""
        self._room = asyncio.Semaphore(limit_count)

    @property
    def unused(self) -> bool:
        """Whether nothing is open."""
        return not self._idle and not self._at_work_count

    async def take(self, asked: ClientRequest, timeouts: Timeouts) -> Link:
        """Lend a connection that has read the head of the answer; it is to be given back."""
        if self._room.locked():
            await within(self._room.acquire(), timeouts.connect_s, f"{self._name} has too many connections")
        else:
            await self._room.acquire()
        self._at_work_count += 1
        try:
            return await self._asked(asked, timeouts)
        except BaseException:
            self._at_work_count -= 1
            self._room.release()
            raise

    def borrow(self, asked: ClientRequest, heard: Heard) -> Link | None:
        """Ask over a connection that is kept, and be called back (Link.ask); None: there is none. To be taken back.

        It opens nothing, so the limit of connections does not count it.
        """
        while link := self._take_idle():
            try:
                link.ask(asked, heard)
            except NodeFailed:
                continue
            self._at_work_count += 1
            return link
        return None

    def give_back(self, link: Link) -> None:
        """Keep a connection for the next request, or close it."""
        self._room.release()
        self.take_back(link)

    def take_back(self, link: Link) -> None:
        """Do that with one that was borrowed."""
        self._at_work_count -= 1
        if not link.idle:
            link.close()
            return
        link.idle_since_s = link.loop.time()
        self._idle.append(link)
        self._has_idle()

    def close(self) -> None:
        """Close what is idle."""
        for link in self._idle:
            link.close()
        self._idle.clear()

    def retire(self, too_old_s: float) -> bool:
        """Close what has been idle since then or longer; whether anything is left that is idle."""
        for link in self._idle:  # all are asked every few seconds, of a thousand pools, and nearly always they stay
            if link.lost or link.idle_since_s <= too_old_s:
                break
        else:
            return bool(self._idle)
        for link in self._idle:
            if link.idle_since_s <= too_old_s:
                link.close()
        self._idle = [link for link in self._idle if not link.lost]
        return bool(self._idle)

    async def _asked(self, asked: ClientRequest, timeouts: Timeouts) -> Link:
        while asked.repeatable and (kept := self._take_idle()):
            try:
                return await self._try(kept, asked, timeouts)
            except Stale:
                continue
        return await self._try(await self._open(timeouts.connect_s), asked, timeouts)

    async def _try(self, link: Link, asked: ClientRequest, timeouts: Timeouts) -> Link:
        try:
            link.begin(asked)
            await link.answered(timeouts.head_s)
        except BaseException:
            link.close()
            raise
        return link

    def _take_idle(self) -> Link | None:
        while self._idle:
            link = self._idle.pop()
            if link.idle_since_s <= link.loop.time() - self._idle_s:
                link.close()
            elif not link.lost:
                return link
        return None

    async def _open(self, limit_s: float) -> Link:
        return await connect(self._origin, self._name, limit_s, self._tls() if self._origin.tls else None)


class PendingRequest:
    """One request under way: an async context manager, written out because this is the hottest of all paths."""

    __slots__ = ("_asked", "_link", "_pool", "_timeouts")

    def __init__(self, pool: Pool, asked: ClientRequest, timeouts: Timeouts) -> None:
        self._pool = pool
        self._asked = asked
        self._timeouts = timeouts
        self._link: Link | None = None

    async def __aenter__(self) -> Link:
        """Ask, and wait for the head of the answer."""
        self._link = await self._pool.take(self._asked, self._timeouts)
        return self._link

    async def __aexit__(self, *_: object) -> None:
        """Give the connection back, or close it when the answer is not complete."""
        if self._link is not None:
            self._pool.give_back(self._link)


class Client:
    """All pools of one kind of traffic. An async context manager."""

    def __init__(self, limit_count: int, idle_s: float = IDLE_S) -> None:
        self._limit_count = limit_count
        """Connections to one origin at the same time."""
        self._idle_s = idle_s
        self._tidied_at_count = POOLS_TIDIED_AT_COUNT
        self._pools: dict[tuple[Origin, str], Pool] = {}
        self._alarm: asyncio.TimerHandle | None = None
        """One for all that are idle: it costs nothing per request, nor per pool."""
        self._context: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        """Nothing is opened before it is needed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what is idle."""
        if self._alarm is not None:
            self._alarm.cancel()
        for pool in self._pools.values():
            pool.close()

    def ask(self, origin: Origin, name: str, asked: ClientRequest, timeouts: Timeouts) -> PendingRequest:
        """Send one request; the answer lives as long as the context. `name`: what errors call the other side."""
        return PendingRequest(self.pool(origin, name), asked, timeouts)

    async def open(self, origin: Origin, name: str, limit_s: float) -> Link:
        """Open a connection for a request whose body is sent piece by piece; to be closed by who has it. Raises NodeUnreachable."""
        return await connect(origin, name, limit_s, self._tls() if origin.tls else None)

    def pool(self, origin: Origin, name: str) -> Pool:
        """Find the connections to one origin."""
        pool = self._pools.get((origin, name))
        if pool is None:
            if len(self._pools) >= self._tidied_at_count:
                self._pools = {key: kept for key, kept in self._pools.items() if not kept.unused}
                self._tidied_at_count = max(POOLS_TIDIED_AT_COUNT, 2 * len(self._pools))
            pool = self._pools[origin, name] = Pool(
                origin, name, self._limit_count, self._idle_s, self._tls, self._has_idle
            )
        return pool

    def _has_idle(self) -> None:
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(self._idle_s * IDLE_CHECK_SHARE, self._retire)

    def _retire(self) -> None:
        """Close what has been idle for too long, and come again while anything is idle."""
        self._alarm = None
        too_old_s = asyncio.get_running_loop().time() - self._idle_s
        left = [pool.retire(too_old_s) for pool in self._pools.values()]
        if any(left):
            self._has_idle()

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


async def connect(
    origin: Origin, name: str, limit_s: float, tls: ssl.SSLContext | None, *, server_hostname: str | None = None
) -> Link:
    """Open a connection; `server_hostname`: whose certificate it must be, if not the origin's host. Raises NodeUnreachable."""
    opening = asyncio.get_running_loop().create_connection(
        lambda: Link(name), origin.host, origin.port, ssl=tls, server_hostname=server_hostname
    )
    try:
        _, link = await within(opening, limit_s, f"{name} cannot be reached (timed out)")
    except (OSError, UnicodeError) as error:
        raise NodeUnreachable(f"{name} cannot be reached ({in_words(error)})") from None
    return link
