"""The other proxies: the way to them, which of them holds which upload, and what they know each other by.

The way to the other proxies: one POST, its body passed on as it comes. Implements ports.Peers, over clusterodm.libs.common.http_io.

A connection carries one request and is closed: uploads are long, and so a failure is never that of an old connection. At
most one chunk is held here: the next one is taken from the client when the other proxy has taken this one. An answer that
comes before the whole body was sent (a refusal) ends the sending. Whatever goes wrong on the way to the other proxy, also that it
takes no more of the body, is UploadOwnerUnavailable: what it has of the request is then unknown, and all of these requests may be sent again.

Which proxy holds which upload is a mirror of KV `uploads`. It goes on answering while NATS is away, so uploads that other proxies hold go
on too. What it does not know may be a moment old only, so it is looked up once more.

What the proxies of one cluster know each other by is a random secret in KV `secrets`, made once by the first of them.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from urllib.parse import urlsplit

from clusterodm.libs.common.bus.mirror import Mirror
from clusterodm.libs.common.bus.retrying import retry
from clusterodm.libs.common.errors import BusFailed, Conflict, NodeFailed
from clusterodm.libs.common.http_io.client import Client
from clusterodm.libs.common.http_io.link import Link
from clusterodm.libs.common.http_io.origins import ClientRequest, Origin
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.buckets import SECRETS, SUMMARY_KEY, UPLOADS
from clusterodm.libs.common.model.cluster import ClusterSecret
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.ports import Bucket, Bus
from clusterodm.libs.common.process.lifecycle import leaves
from clusterodm.libs.common.process.loops import background
from clusterodm.libs.http1.heads import ResponseHead
from clusterodm.libs.http1.lines import Header, request_head
from clusterodm.services.proxy.errors import UploadOwnerUnavailable
from clusterodm.services.proxy.peers.ports import ForwardedRequest, PeerAnswer

CONNECT_S: Final = 3.0
STALL_S: Final = 30.0
"""The other proxy takes nothing of the body for so long."""
ANSWER_S: Final = 60.0
"""From the end of the body to the end of the answer: a commit may wait for the scheduler."""
ANSWER_LIMIT_BYTES: Final = 1 << 20
AWAY: Final = "The server that holds this upload cannot be reached at the moment, please try again."
NAME: Final = "the other proxy"
EVER_S: Final = 7 * 24 * 3600.0
"""While the body is sent, its stalls are what is limited."""

LENGTH_BYTES: Final = 32


class PeerClient:
    """Talks to the other proxies."""

    def __init__(self, stall_s: float = STALL_S) -> None:
        self._client = Client(limit_count=1)
        self._stall_s = stall_s

    async def post(self, url: str, request: ForwardedRequest) -> PeerAnswer:
        """Pass a request on."""
        try:
            link = await self._client.open(origin_of(url), NAME, CONNECT_S)
            try:
                head = await self._exchange(link, url, request)
                body = await link.read(ANSWER_LIMIT_BYTES, ANSWER_S, asyncio.get_running_loop().time() + ANSWER_S)
            finally:
                link.close()
        except NodeFailed:
            raise UploadOwnerUnavailable(AWAY) from None
        return PeerAnswer(head.status, head.headers, body)

    async def _exchange(self, link: Link, url: str, request: ForwardedRequest) -> ResponseHead:
        """Send the body until it has gone, or until an answer comes."""
        link.begin(ClientRequest(head_of(url, request), repeatable=False))
        try:
            async with asyncio.TaskGroup() as group:
                sending = group.create_task(self._send(link, request), name="pass on")
                head = await link.answered(EVER_S)
                sending.cancel()
        except BaseExceptionGroup as trouble:
            raise leaves(trouble)[0] from None
        return head

    async def _send(self, link: Link, request: ForwardedRequest) -> None:
        """Send the body, then give the answer its time. A connection that ends is noticed by who waits for the answer."""
        with suppress(NodeFailed):
            async for chunk in request.body:
                await link.send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if request.chunked else chunk, self._stall_s)
            if request.chunked:
                await link.send(b"0\r\n\r\n", self._stall_s)
            await link.answered(ANSWER_S)


def origin_of(url: str) -> Origin:
    """Say where a proxy is."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    return Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls)


def head_of(url: str, request: ForwardedRequest) -> bytes:
    """Write the head of a request."""
    headers: list[Header] = [(b"host", urlsplit(url).netloc.encode()), (b"connection", b"close"), *request.headers]
    if request.chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    return request_head(b"POST", request.target, headers)


class MirroredLocations:
    """Knows where uploads are."""

    def __init__(self, bus: Bus, uploads: Bucket[Upload], us: InstanceId, mirror: Mirror[Upload]) -> None:
        self._bus = bus
        self._uploads = uploads
        self._us = us
        self._mirror = mirror

    async def elsewhere(self, task: TaskId, owner: Owner) -> Upload | None:
        """Find another proxy that holds a client's upload. Raises BusFailed."""
        known = self._mirror.get(task)
        if known is None or is_anothers(
            known, owner
        ):  # another's is looked up as one that is unknown: time must not tell
            known = await self._look_up(task)
        return None if known is None or known.instance == self._us or is_anothers(known, owner) else known

    async def _look_up(self, task: TaskId) -> Upload | None:
        if not self._bus.connected:
            raise BusFailed("nats is away")
        entry = await self._uploads.get(task)
        return entry.value if entry else None


def is_anothers(upload: Upload, owner: Owner) -> bool:
    """Whether an upload is kept from a client; where its announcement does not say, the proxy that holds it does."""
    return upload.owner is not None and not may_touch(owner, upload.owner)


@asynccontextmanager
async def known_locations(bus: Bus, us: InstanceId) -> AsyncIterator[MirroredLocations]:
    """Follow KV `uploads` while the context is open."""
    uploads = await bus.bucket(UPLOADS)
    mirror: Mirror[Upload] = Mirror(UPLOADS.name)
    async with background(lambda: mirror.watch(uploads), name=f"mirror {UPLOADS.name}"):
        yield MirroredLocations(bus, uploads, us, mirror)


class SharedSecret:
    """The secret as one proxy knows it; it outlives a store that is lost."""

    def __init__(self, bus: Bus, value: str) -> None:
        self._bus = bus
        self.value = value

    async def renew(self) -> None:
        """Write it into a store that has none, or take over what another proxy has written there. Raises BusFailed."""
        bucket = await self._bus.bucket(SECRETS)
        with suppress(Conflict):
            await bucket.create(SUMMARY_KEY, ClusterSecret(value=self.value))
        self.value = await read_or_made(bucket)


async def shared_secret(bus: Bus, wait_s: float = 0.0) -> str:
    """Read the cluster's secret, or make it, as soon as NATS can. Raises BusFailed."""
    bucket = await bus.bucket(SECRETS)
    return await retry(lambda: read_or_made(bucket), "the secret of the cluster is known", wait_s)


async def read_or_made(bucket: Bucket[ClusterSecret]) -> str:
    """Read the secret, or make it. Raises BusFailed."""
    try:
        if not await bucket.get(SUMMARY_KEY):
            await bucket.create(SUMMARY_KEY, ClusterSecret(value=secrets.token_hex(LENGTH_BYTES)))
    except Conflict:
        pass
    entry = await bucket.get(SUMMARY_KEY)
    if entry is None:
        raise BusFailed("the secret of the cluster has disappeared")
    return entry.value.value
