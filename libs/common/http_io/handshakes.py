"""TLS connections until their handshake is over: counted, per address too, and given a time, before anything of TLS is done for them.

Whoever leaves TLS to a server of the event loop hears of a connection when its handshake is over, and of one that never finishes it not at all. So
connections are accepted here. Each is looked after from that moment, like one that has not sent a request yet: it counts, it has the time of a
head, and it gives way to others. Beyond that one address has no more than some of them. Then TLS begins, and what comes out of it is
a Connection's.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

import structlog
import uvicorn
from uvicorn.server import ServerState

from clusterodm.libs.common.http_io.serving import Server
from clusterodm.libs.common.http_io.sharing import Connections
from clusterodm.libs.http1.server import ServerLimits

HANDSHAKES_COUNT: Final = 512
PER_ADDRESS_COUNT: Final = 64
"""A reverse proxy, or an office behind one address, has so many at the same moment; who has them for longer than a second loses the oldest."""
AT_ONCE_COUNT: Final = 64
"""So many are accepted before others have their turn."""
LATER_S: Final = 5.0
"""The loop's own limit is behind ours."""
NO_ROOM: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
REST_S: Final = 1.0

MakeConnection = Callable[[ServerState, Callable[[], None]], asyncio.BaseProtocol]
"""Makes what a connection becomes; it calls what it is given when it is made."""

log = structlog.get_logger()


def handshakes_of(limits: ServerLimits) -> Connections:
    """Count the handshakes of a server."""
    return Connections(limits, HANDSHAKES_COUNT, silent_per_address_count=PER_ADDRESS_COUNT)


class Handshake:
    """One connection on which TLS has not begun, or is not agreed on."""

    def __init__(self, until_s: float) -> None:
        self.loop = asyncio.get_running_loop()
        self.until_s = until_s
        self.work: asyncio.Task[None] | None = None
        """None: it is over."""

    def expire(self, now_s: float) -> None:
        """Be cut: its time is up."""
        del now_s
        self.give_way()

    def give_way(self) -> None:
        """Be cut: another has its place."""
        if self.work is not None:
            self.work.cancel()


class TlsListener:
    """Accepts connections, and makes Connections of those that speak TLS. What uvicorn closes like a server of the loop."""

    def __init__(  # noqa: PLR0913 what counts connections, and what they become
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        connection: MakeConnection,
        *,
        shared: Connections,
        handshakes: Connections,
        state: ServerState,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._context = context
        self._connection = connection
        self._all = (handshakes, shared)
        self._head_s = shared.limits.head_s
        self._state = state
        self._open: set[Handshake] = set()
        self._resting: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Listen."""
        self._listener.setblocking(False)
        self._listener.listen(backlog)
        self._loop.add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept nothing more, and cut what is not agreed on."""
        self._loop.remove_reader(self._listener.fileno())
        if self._resting is not None:
            self._resting.cancel()
        for each in list(self._open):
            each.give_way()

    async def wait_closed(self) -> None:
        """Be closed: there is nothing to wait for."""

    def _accept(self) -> None:
        for _ in range(AT_ONCE_COUNT):
            try:
                opened, peer = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._rest(error)
                return
            self._begin(opened, str(peer[0]) if peer else "-")

    def _rest(self, error: OSError) -> None:
        """Accept nothing for a moment: who waits is not gone."""
        log.warning("connections.not_accepted", reason=error.strerror)
        self._loop.remove_reader(self._listener.fileno())
        self._resting = self._loop.call_later(REST_S, self._loop.add_reader, self._listener.fileno(), self._accept)

    def _begin(self, opened: socket.socket, address: str) -> None:
        """Count it, and let TLS begin; close one too many."""
        opened.setblocking(False)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handshake = Handshake(self._loop.time() + self._head_s)
        if not all(each.admits(handshake, address) for each in self._all):
            self._over(handshake)
            opened.close()
            return
        self._open.add(handshake)
        handshake.work = work = self._loop.create_task(self._shake(handshake, opened), name="TLS handshake")
        self._state.tasks.add(work)
        work.add_done_callback(self._state.tasks.discard)

    async def _shake(self, handshake: Handshake, opened: socket.socket) -> None:
        """Have TLS agreed on; what comes of it looks after itself."""
        try:
            with contextlib.suppress(
                OSError
            ):  # no TLS, an alert, gone: whoever that was is told by the end of the connection
                await self._loop.connect_accepted_socket(
                    lambda: self._connection(self._state, lambda: self._over(handshake)),
                    opened,
                    ssl=self._context,
                    ssl_handshake_timeout=self._head_s + LATER_S,
                )
        finally:
            self._over(handshake)

    def _over(self, handshake: Handshake) -> None:
        """Count it no more: it is a Connection now, or gone."""
        handshake.work = None
        self._open.discard(handshake)
        for each in self._all:
            each.forget(handshake)


class TlsServer(Server):
    """A server of connections that speak TLS."""

    def __init__(
        self,
        config: uvicorn.Config,
        context: ssl.SSLContext,
        connection: MakeConnection,
        *,
        shared: Connections,
        handshakes: Connections,
    ) -> None:
        super().__init__(config)
        self._context = context
        self._connection = connection
        self._shared = shared
        self._handshakes = handshakes

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen by ourselves."""
        await self.lifespan.startup()
        listening = [
            TlsListener(
                each,
                self._context,
                self._connection,
                shared=self._shared,
                handshakes=self._handshakes,
                state=self.server_state,
            )
            for each in sockets or []
        ]
        for each in listening:
            each.start(self.config.backlog)
        self.servers = cast("list[Any]", listening)
        self.started = True
