"""The listening sockets, and uvicorn behind them.

Sockets are opened here and not by uvicorn, so that a port in use is one clear line and an exit code, and port 0 can be asked
what it became. uvicorn writes no access log, for clients' tokens are in the URLs; ours
(`--access-log`) leaves them out. uvicorn's own signal handling is left out; stopping is
leaving the context, which lets requests in flight finish for `stop_s`. What happens on a connection is clusterodm.libs.common.http_io.server's.

Several proxies of one computer may share a port (SO_REUSEPORT): the kernel gives each connection to one of them. A shared
port is only bound here and taken into service when there is somebody to answer, so that no connection waits for a proxy
that is still starting.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

import uvicorn
from uvicorn.server import ServerState

from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.hosts import LOOPBACK
from clusterodm.libs.common.http_io.handshakes import TlsServer, handshakes_of
from clusterodm.libs.common.http_io.listening import listen, port_of
from clusterodm.libs.common.http_io.server import Connection
from clusterodm.libs.common.http_io.serving import Server
from clusterodm.libs.common.http_io.sharing import Connections
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loop import FATAL
from clusterodm.libs.common.process.loops import background, every
from clusterodm.libs.common.telemetry.metrics import read_by
from clusterodm.libs.http1.heads import HeadLimits
from clusterodm.libs.http1.server import ServerLimits
from clusterodm.services.proxy.server.access_log import AccessLog
from clusterodm.services.proxy.server.fast_path import HEAD_LIMIT_BYTES
from clusterodm.services.proxy.server.readings import of_connections
from clusterodm.services.proxy.server.revocation import CHECKED_EVERY_S
from clusterodm.services.proxy.server.router import Router
from clusterodm.services.proxy.settings import ProxySettings

BACKLOG: Final = 2048
START_S: Final = 10.0
CUT_REVOKED: Final = "cut revoked requests"
CLOSING_S: Final = 2.0
"""What uvicorn needs itself to stop."""


@dataclass(frozen=True)
class ListeningPort:
    """One port."""

    listener: socket.socket
    tls: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        """Its number."""
        return port_of(self.listener)


def tls_context(key: str, certificate: str) -> ssl.SSLContext:
    """Read key and certificate. Raises Refused with a sentence for the operator."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key or None)
    except (OSError, ValueError) as error:
        raise Refused(f"cannot use --ssl-key {key or '-'} with --ssl-cert {certificate}: {error}") from None
    return context


@asynccontextmanager
async def served(
    app: Router, ports: Sequence[ListeningPort], settings: ProxySettings, access: AccessLog | None = None
) -> AsyncIterator[None]:
    """Answer on all ports while the context is open."""
    kept_to = ServerLimits(
        settings.head_timeout_s, settings.keep_alive_timeout_s, HeadLimits(settings.head_limit_bytes)
    )
    heard = access.heard if access and access.form == "plain" else None
    answered = access.answered_plainly if access and heard is None else None
    fast = app.fast if settings.head_limit_bytes >= HEAD_LIMIT_BYTES else ()
    shared = Connections(kept_to, settings.connections_count, fast, heard, answered_plainly=answered)
    handshakes = handshakes_of(kept_to)
    servers = [server_of(app, port, shared, handshakes, settings.stop_timeout_s) for port in ports]
    ended, cut_revoked = asyncio.Event(), app.long_requests.cut_revoked
    async with TaskLimiter(len(servers), grace_s=settings.stop_timeout_s + CLOSING_S) as limiter:
        for server, port in zip(servers, ports, strict=True):
            await limiter.start(until_ended(server, port, ended), name=f"http {port.port}")
        try:
            async with asyncio.timeout(START_S):
                while not all(server.started for server in servers):  # noqa: ASYNC110 uvicorn has a flag, no event
                    await asyncio.sleep(0.005)
            with read_by(lambda: of_connections(shared)):
                async with (
                    background(ended.wait, "http servers", FATAL),
                    background(lambda: every(CHECKED_EVERY_S, cut_revoked, CUT_REVOKED), CUT_REVOKED),
                ):
                    yield
        finally:
            for server in servers:
                server.leave()


async def until_ended(server: "Server", port: ListeningPort, ended: asyncio.Event) -> None:
    """Answer on one port. Its end is told, whatever it was: a listener that nobody answers would go on taking connections."""
    try:
        await server.serve(sockets=[port.listener])
    finally:
        ended.set()


def server_of(app: Router, port: ListeningPort, shared: Connections, handshakes: Connections, stop_s: float) -> Server:
    """Make the server of one port. Of TLS uvicorn knows nothing: it begins when a connection has been counted."""
    config = configured(app, shared, stop_s)
    if port.tls is None:
        return Server(config)

    def connection(state: ServerState, made: Callable[[], None]) -> Connection:
        return Connection(shared=shared, app=app, server_state=state, made=made)

    return TlsServer(config, port.tls, connection, shared=shared, handshakes=handshakes)


def configured(app: Router, shared: Connections, stop_s: float) -> uvicorn.Config:
    """Configure one uvicorn."""
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(Connection, shared=shared, app=app)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, round(stop_s)),
    )
    config.load()
    return config


@contextmanager
def listening(settings: ProxySettings) -> Iterator[list[ListeningPort]]:
    """Open the ports. Raises Refused with a sentence for the operator."""
    tls = tls_context(settings.ssl_key, settings.ssl_cert) if settings.ssl_key else None
    with ExitStack() as stack:
        plain_too = bool(settings.secure_port)
        shared = bool(settings.own_port)
        public = stack.enter_context(listen(settings.bind, settings.port, backlog=BACKLOG, shared=shared))
        ports = [ListeningPort(public, None if plain_too else tls)]
        if plain_too:
            secure = stack.enter_context(listen(settings.bind, settings.secure_port, backlog=BACKLOG, shared=shared))
            ports.append(ListeningPort(secure, tls))
        if shared:
            own = stack.enter_context(listen(LOOPBACK, settings.own_port, backlog=BACKLOG))
            ports.append(ListeningPort(own))
        yield ports


def own_url(settings: ProxySettings, ports: Sequence[ListeningPort]) -> str:
    """Say where the other proxies reach this one, if nobody has."""
    if settings.own_port:
        return f"http://{LOOPBACK}:{settings.own_port}"
    return f"{'https' if settings.tls_everywhere else 'http'}://{socket.gethostname()}:{ports[0].port}"
