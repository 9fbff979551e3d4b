"""Runs an ASGI application on a listening socket as part of this process: uvicorn without its own ways with signals and logs.

For pages of operators and health; the connections are those of clusterodm.libs.common.http_io.server, as at the proxy's ports, so the same limits hold.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, cast

import uvicorn

from clusterodm.libs.common.http_io.scope import App
from clusterodm.libs.common.http_io.server import Connection
from clusterodm.libs.common.http_io.sharing import Connections
from clusterodm.libs.common.process.lifecycle import mention_unexpected_end
from clusterodm.libs.common.process.moments import wait_for_turn
from clusterodm.libs.http1.server import ServerLimits

CONNECTIONS_COUNT: Final = 200
SILENT_PER_ADDRESS_COUNT: Final = 32
"""Connections of one address that have not said yet what they want: more than a browser opens, and a reverse proxy says it at once."""
STOP_S: Final = 5
DATE_S: Final = 1.0
HEAD_S: Final = 15.0
KEEP_ALIVE_S: Final = 120.0
"""Longer than whoever stands in front keeps a connection: nginx and most load balancers 60, nginx for browsers 75."""


class Server(uvicorn.Server):
    """A server whose process is run by clusterodm.libs.common.process.lifecycle. It wakes once a second, for the date, and not ten times."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield

    def leave(self) -> None:
        """Stop serving; requests in flight have their time."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Keep the date until it is told to leave."""
        while not await self.on_tick(0):
            await wait_for_turn(self._leaving, DATE_S)


@asynccontextmanager
async def web_server(
    app: App, listener: socket.socket, name: str = "admin web", keep_alive_s: float = KEEP_ALIVE_S
) -> AsyncIterator[None]:
    """Serve while the context is open; requests in flight get `STOP_S` to finish."""
    limits = ServerLimits(head_s=HEAD_S, keep_alive_s=keep_alive_s)
    shared = Connections(limits, CONNECTIONS_COUNT, silent_per_address_count=SILENT_PER_ADDRESS_COUNT)
    server = Server(
        uvicorn.Config(
            app,
            http=cast("type[asyncio.Protocol]", partial(Connection, shared=shared, app=app)),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=STOP_S,
        )
    )
    serving = asyncio.get_running_loop().create_task(server.serve([listener]), name=name)
    try:
        yield
    finally:
        if serving.done():
            mention_unexpected_end(serving)
        server.leave()
        await serving
        listener.close()
