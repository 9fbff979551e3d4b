"""Runs an ASGI application on a listening socket as part of this process: uvicorn without its own ways with signals and logs.

Not for the proxy's ports, which have a protocol of their own.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, Final

import uvicorn

from libs.common.lifecycle import mention_unexpected_end

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""

CONNECTIONS_COUNT: Final = 200
STOP_S: Final = 5


class Server(uvicorn.Server):
    """A server whose process is run by libs.common.lifecycle."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the process."""
        yield


@asynccontextmanager
async def web_server(app: App, listener: socket.socket, name: str = "admin web") -> AsyncIterator[None]:
    """Serve while the context is open; requests in flight get `STOP_S` to finish."""
    server = Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            limit_concurrency=CONNECTIONS_COUNT,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=STOP_S,
        )
    )
    serving = asyncio.get_running_loop().create_task(server.serve([listener]), name=name)
    try:
        yield
    finally:
        if serving.done():
            mention_unexpected_end(serving)
        server.should_exit = True
        await serving
        listener.close()
