"""The connection to NATS: to whom, how soon it is noticed that the other side is silent, and how long it is known to be away.

A server that dies closes its connections. One that hangs (its host is frozen, or cut off) closes none: only a ping that is not
answered shows it. Two may be unanswered, one every two seconds, so it is noticed after four to six. A server that is busy is not
taken for one that hangs: it answers pings in the order in which it reads, each answer counts for all pings before it, and what it
does for the disk or for its cluster happens elsewhere. A process that hung itself sends one ping when it goes on, whatever it has
missed. Taken for lost by mistake, the connection is a new one a moment later: watches begin anew, questions that may be asked twice
are.

Before it makes a new connection, nats-py waits for the old one to be closed; asyncio closes it when all has been written; and what was
written to a server that hangs, or is cut off, may fill the kernel's buffers: then that takes minutes. So a socket that is not closed
within a second is shut down (`shutting_down`). nats-py does not hand it out: it is found among our own by where it leads to.
"""

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Container
from pathlib import Path
from typing import Final
from urllib.parse import ParseResult

import structlog
from nats.aio.client import Client

from clusterodm.libs.common.bus.retrying import NATS_ERRORS
from clusterodm.libs.common.bus.rights import NatsDenials, OwnClient
from clusterodm.libs.common.bus.urls import inbox_of, named_in
from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusDenied, BusFailed
from clusterodm.libs.common.process.lifecycle import cancellable, monotonic_s
from clusterodm.libs.common.process.loops import beat
from clusterodm.libs.common.process.moments import sleep_together
from clusterodm.libs.common.process.sockets import duplicated
from clusterodm.libs.common.telemetry.log import hide

log = structlog.get_logger()

PING_EVERY_S: Final = 2
UNANSWERED_PINGS_COUNT: Final = 2
CONNECT_S: Final = 2
RECONNECT_EVERY_S: Final = 0.25
CLOSED_WITHIN_S: Final = 1.0
RECONNECTED_IN_S: Final = 5.0
"""So long a write waits for NATS: as long as for its answer."""
CHECK_EVERY_S: Final = 1.0
"""So often is asked whether NATS is still away: it says itself when it is back."""
LIBRARY: Final = "nats"
"""The logger above all of nats-py's."""


class Absence:
    """How long NATS is known to be away: from when that was noticed until the last try to reach it failed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._away_since: Instant | None = None
        self._tried: Instant | None = None

    def __repr__(self) -> str:
        """Show how long."""
        return f"Absence({self.lasts_s:g} s)"

    @property
    def begun(self) -> bool:
        """Whether the connection is lost, and the next one is being made."""
        return self._away_since is not None

    @property
    def lasts_s(self) -> float:
        """How long, in seconds; 0 while it is there, and before it was tried once to reach it again."""
        return 0.0 if self._away_since is None or self._tried is None else self._tried - self._away_since

    def begins(self) -> None:
        """Take note that the connection was just found to be lost."""
        self._away_since, self._tried = self._clock.instant(), None

    def goes_on(self) -> None:
        """Take note of a try that failed."""
        if self._away_since is not None:
            self._tried = self._clock.instant()

    def ends(self) -> None:
        """Take note that there is a connection again."""
        self._away_since = self._tried = None


class Reconnection:
    """Waits for NATS where it is away, so that nothing is sent that would be heard too late.

    What is sent meanwhile would lie in nats-py's buffer, and be carried out when NATS comes, however long ago whoever wanted it has given up.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._back: asyncio.Future[None] | None = None
        """Done when NATS is there again, for which somebody waits."""

    def __repr__(self) -> str:
        """Show whether somebody waits."""
        return f"Reconnection({'awaited' if self._back else 'not awaited'})"

    def happened(self) -> None:
        """Let those go on who wait."""
        if back := self._back:
            self._back = None
            back.set_result(None)

    async def wait(self, until: Instant) -> bool:
        """Wait until NATS is there, or it is so late by the monotonic clock; whether it is there."""
        while not self._client.is_connected:
            left_s = until - monotonic_s()
            if left_s <= 0 or self._client.is_closed:
                return False
            back = self._back = self._back or asyncio.get_running_loop().create_future()
            await asyncio.wait([back], timeout=min(left_s, CHECK_EVERY_S))
        return True

    async def require(self, failed: str) -> None:
        """Wait for a write's turn. Raises BusFailed where NATS stays away: nobody has heard of it then, and nobody will. `failed`: "x not written"."""
        if not await self.wait(monotonic_s() + RECONNECTED_IN_S):
            raise BusFailed(f"{failed}: NATS is away")


async def shutting_down(client: Client, absence: Absence) -> None:
    """Shut down the connection that was given up and does not close, for ever."""
    where: tuple[str, int] | None = None
    known: ParseResult | None = None
    while True:
        url = client.connected_url
        if url is not known and url and url.hostname and url.port:
            known, where = url, (url.hostname, url.port)
        elif not url and where and client.is_reconnecting and not absence.begun:
            log.warning("nats.write_stalled")
            with contextlib.suppress(OSError):
                found = await asyncio.get_running_loop().getaddrinfo(*where, type=socket.SOCK_STREAM)
                shut_down({(str(address[0]), int(address[1])) for *_, address in found})
        beat()
        await sleep_together(CLOSED_WITHIN_S)


def shut_down(peers: Container[tuple[str, int]]) -> None:
    """Shut down our connections to some addresses. Linux only: elsewhere nothing happens."""
    with contextlib.suppress(OSError):
        for number in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError):
                shut_down_one(int(number.name), peers)


def shut_down_one(descriptor: int, peers: Container[tuple[str, int]]) -> None:
    """Shut down what a descriptor stands for, if it is such a connection; nothing is kept of it. Raises OSError."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return  # a second descriptor of a pipe would keep whoever reads it waiting
    with duplicated(descriptor) as copy:
        if copy.family in {socket.AF_INET, socket.AF_INET6} and copy.getpeername()[:2] in peers:
            copy.shutdown(socket.SHUT_RDWR)


async def do_nothing(*_told: object) -> None:
    """Leave it at that."""


async def open_client(  # noqa: PLR0913 what NATS tells of a connection has its own callback each
    url: str,
    name: str,
    wait_s: float,
    denials: NatsDenials | None = None,
    *,
    told: Callable[[Exception], Awaitable[None]] = do_nothing,
    lost: Callable[[], Awaitable[None]] = do_nothing,
    back: Callable[[], Awaitable[None]] = do_nothing,
) -> Client:
    """Connect to the first server that answers within `wait_s` seconds; see `bus.connect`. Raises BusFailed.

    `denials` takes note of what NATS refuses. `told` is called with what NATS or a try to reach it says, `lost` and `back` when the connection is.
    """
    take_over()
    client = OwnClient(NatsDenials() if denials is None else denials)

    async def heard(error: Exception) -> None:
        if right := client.denials.heard(error):  # whoever wanted it may hear of a time-out only
            log.error("nats.right_refused", right=right)
        log.debug("nats.reported", error=repr(error))
        await told(error)

    async def disconnected() -> None:
        client.denials.disconnected()
        await lost()

    user, password = named_in(url)  # for the servers, too, that others of a cluster tell of: their URLs hold neither
    try:
        async with asyncio.timeout(wait_s):
            connecting = client.connect(
                [each.strip() for each in url.split(",")],
                name=name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_EVERY_S,  # type: ignore[arg-type] # it sleeps for so long
                connect_timeout=CONNECT_S,
                ping_interval=PING_EVERY_S,
                max_outstanding_pings=UNANSWERED_PINGS_COUNT,
                inbox_prefix=inbox_of(user),
                user=user or None,
                password=password or None,
                error_cb=heard,
                disconnected_cb=disconnected,
                reconnected_cb=back,
            )
            await cancellable(connecting)
    except NATS_ERRORS as error:
        reason = client.denials.reason
        raise (BusDenied if reason else BusFailed)(
            f"no NATS at {hide(url)}: {reason or type(error).__name__}"
        ) from None
    return client


async def close(client: Client, limit_s: float) -> None:
    """Close a connection, whatever state it is in; it has so many seconds for what is still to be written.

    nats-py writes that into the socket also when that was lost, which is an error of uvloop's.
    """
    with contextlib.suppress(RuntimeError, *NATS_ERRORS):
        await asyncio.wait_for(client.close(), timeout=limit_s)


class LibraryLines(logging.Handler):
    """Turns the library's records into lines of ours, without their tracebacks.

    Its errors that come by callbacks are told above. This is the rest: what it did not expect itself, such as an answer to a ping that nobody
    waits for any more. It then stops reading, and makes a new connection when pings are not answered.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        error = record.exc_info[1] if record.exc_info else None
        said = hide(record.getMessage())
        log.warning("nats.library_reported", said=said, error=repr(error) if error else "", module=record.name)


def take_over() -> None:
    """Take over what the library logs; once is enough, and again does nothing."""
    library = logging.getLogger(LIBRARY)
    if not any(isinstance(handler, LibraryLines) for handler in library.handlers):
        library.addHandler(LibraryLines(logging.WARNING))
        library.propagate = False
