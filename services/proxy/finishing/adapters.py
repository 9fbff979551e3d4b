"""Telling a client's own server that its task has ended. Implements ports.Webhook.

The address is the client's, so it is not trusted: its name is looked up once, what it resolves to is judged (exchange/destinations), and the
connection goes to exactly that address, so that a name which means something else a moment later gains nothing. `Host` and the
name in the certificate stay the client's. No redirect is followed, no proxy of the environment is asked, and of the answer nothing but its head
is read. It may hold a secret: no more of it than host and address appears in an error.

The name server behind such a name may be the client's, too, and take its time. So these lookups have threads of their own (`Resolver`),
few, that nobody waits for when the proxy stops: a name that hangs delays no lookup of a node, and no other work that is done in threads.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from clusterodm.libs.common.errors import NodeFailed, NodeUnreachable, Refused
from clusterodm.libs.common.http_io.client import connect
from clusterodm.libs.common.http_io.link import Link
from clusterodm.libs.common.http_io.origins import ClientRequest, Origin, in_words
from clusterodm.libs.common.process.lifecycle import threaded
from clusterodm.libs.http1.lines import Header, request_head
from clusterodm.services.proxy.errors import WebhookFailed, WebhookRefused
from clusterodm.services.proxy.exchange.destinations import Destination, Network, destination, why_not

THREADS_COUNT: Final = 4
ADDRESSES_COUNT: Final = 4
"""More of one name are not tried."""

TIMEOUT_S: Final = 10.0
OK: Final = range(200, 300)

LookUp = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port become IP addresses; raises NodeUnreachable."""


class Resolver:
    """Finds the addresses of a name."""

    def __init__(self) -> None:
        self._threads_free = asyncio.Semaphore(THREADS_COUNT)

    async def addresses(self, host: str, port: int) -> list[str]:
        """Find IP addresses, the preferred one first. Raises NodeUnreachable."""
        await self._threads_free.acquire()
        loop = asyncio.get_running_loop()

        def look_up() -> list[str]:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            finally:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    loop.call_soon_threadsafe(self._threads_free.release)
            return list(dict.fromkeys(str(each[4][0]) for each in found))[:ADDRESSES_COUNT]

        try:
            return await threaded(look_up, "resolver")
        except (OSError, UnicodeError) as error:
            raise NodeUnreachable(f"{host} cannot be reached ({in_words(error)})") from None


def is_own(address: str) -> bool:
    """Whether an address is one of this computer's: others cannot be bound to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


class HttpWebhook:
    """Posts JSON over http and https."""

    def __init__(
        self,
        allowed: Sequence[Network] = (),
        timeout_s: float = TIMEOUT_S,
        *,
        look_up: LookUp | None = None,
        is_ours: Callable[[str], bool] = is_own,
        make_tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._look_up = look_up or Resolver().addresses
        self._is_ours = is_ours
        self._make_tls = make_tls
        self._context: ssl.SSLContext | None = None

    async def post(self, url: str, body: bytes) -> None:
        """POST once."""
        try:
            to = destination(url)
        except Refused as error:
            raise WebhookRefused(error.message) from None
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await self._status(to, body)
        except TimeoutError:
            raise WebhookFailed(f"{to.host} timed out") from None
        except NodeFailed as error:
            raise WebhookFailed(error.message) from None
        if status not in OK:
            raise WebhookFailed(f"{to.host} answered with status {status}{redirects(status)}")

    async def _status(self, to: Destination, body: bytes) -> int:
        """Ask, and read the head of the answer. Raises NodeFailed, WebhookRefused."""
        link = await self._connected(to, self._permitted(to, await self._look_up(to.host, to.port)))
        try:
            link.begin(ClientRequest(head_of(to, body) + body, repeatable=False))
            return (await link.answered(self._timeout_s)).status
        finally:
            link.close()

    def _permitted(self, to: Destination, addresses: Sequence[str]) -> list[str]:
        """Leave out addresses to which no client may send us. Raises WebhookRefused when none is left."""
        reasons = {address: self._why_not(address) for address in addresses}
        permitted = [address for address, reason in reasons.items() if not reason]
        if not permitted:
            first, reason = next(iter(reasons.items()), ("", "nothing"))
            raise WebhookRefused(
                f"{to.host} is not called: {reason}; if clients may have it called: --webhook-allow {first} (or its network)"
            )
        return permitted

    def _why_not(self, text: str) -> str:
        address = ipaddress.ip_address(text)
        if reason := why_not(address, self._allowed):
            return reason
        named = any(address in network for network in self._allowed if network.version == address.version)
        return f"{text} is an address of this computer" if not named and self._is_ours(text) else ""

    async def _connected(self, to: Destination, addresses: Sequence[str]) -> Link:
        """Connect to the first of some addresses that takes it. Raises NodeUnreachable."""
        tls = self._tls() if to.tls else None
        *others, last = addresses
        for address in others:
            try:
                return await self._connect(to, address, tls, self._timeout_s / len(addresses))
            except NodeFailed:
                continue
        return await self._connect(to, last, tls, self._timeout_s)

    async def _connect(self, to: Destination, address: str, tls: ssl.SSLContext | None, limit_s: float) -> Link:
        origin = Origin(address, to.port, to.tls)
        return await connect(origin, to.host, limit_s, tls, server_hostname=to.host if to.tls else None)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = self._make_tls()
        return self._context


def head_of(to: Destination, body: bytes) -> bytes:
    """Write the head of the request."""
    headers: list[Header] = [
        (b"host", to.authority.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"user-agent", b"ClusterODM"),
        (b"accept", b"*/*"),
        (b"connection", b"close"),
    ]
    if to.authorization:
        headers.append((b"authorization", to.authorization.encode()))
    return request_head(b"POST", to.target.encode(), headers)


def redirects(status: int) -> str:
    """Say more about a redirect."""
    return ", a redirect, which is not followed" if status in range(300, 400) else ""
