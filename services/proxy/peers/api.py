"""Requests that belong to another proxy's upload: they are found here, before anything else looks at them.

A request that is passed on is marked with the secret of the cluster. Marked requests are answered where they arrive, so
nothing goes round in circles; a mark with a wrong secret has that effect too, and no other. With the right one the address
under which the client reached the cluster comes along (it goes into the options of split-merge runs).

With the right mark another proxy may also ask what is here of a task (`POST /proxy/holding`), whoever's it is.
"""

import hmac
from collections.abc import Callable
from typing import Final

import msgspec

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.model.values import TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.untrusted import Malformed, decode_json
from clusterodm.libs.http1.lines import Header, find
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.errors import UploadOwnerUnavailable
from clusterodm.services.proxy.exchange.nodeodm_api import UUID, UUID_AT_END, status_of, words_of
from clusterodm.services.proxy.exchange.request import RequestContext, text
from clusterodm.services.proxy.peers.handlers import MARK, RequestForwarding
from clusterodm.services.proxy.peers.ports import (
    AskHolding,
    ForwardedRequest,
    HoldingAnswer,
    PeerAnswer,
    Peers,
    UploadLocations,
)
from clusterodm.services.proxy.spool.core.upload import holding
from clusterodm.services.proxy.spool.ports import Spool

INIT: Final = "/task/new/init"
UPLOAD: Final = "/task/new/upload"
COMMIT: Final = "/task/new/commit"
ADDRESS: Final = b"clusterodm-address"
ALONG: Final = frozenset((b"accept", b"content-length", b"content-type", b"set-uuid", b"user-agent"))
BACK: Final = frozenset((b"retry-after",))
QUESTION_LIMIT_BYTES: Final = 4096
FORBIDDEN: Final = 403
NOT_OURS: Final = "This is asked by proxies of the cluster."


class PeerRoutes:
    """Passes requests on to the proxy that holds their upload."""

    def __init__(
        self,
        forwarding: RequestForwarding,
        spool: Spool,
        secret: Callable[[], str],
        stall_s: float,
        public_address: str,
    ) -> None:
        self._forwarding = forwarding
        self._spool = spool
        self._secret = secret
        self._stall_s = stall_s
        self._public_address = public_address

    async def took(self, exchange: RequestContext) -> bool:
        """Answer a request that belongs elsewhere; False when it is to be answered here."""
        if exchange.header(MARK) is not None:
            if self._is_peer(exchange):
                exchange.given_origin = text(exchange.header(ADDRESS)) or ""
            return False
        task = task_of(exchange)
        if task is None:
            return False
        try:
            return await self._forward(exchange, task)
        except (BusFailed, UploadOwnerUnavailable) as error:
            await exchange.drain_after(error)
            await exchange.refuse(words_of(error), status_of(error))
            return True

    async def holding(self, exchange: RequestContext) -> None:
        """Say to another proxy what is here of a task."""
        question = await exchange.body(QUESTION_LIMIT_BYTES, self._stall_s) if self._is_peer(exchange) else None
        if question is None:
            await exchange.drain()
            await exchange.refuse(NOT_OURS, FORBIDDEN)
            return
        try:
            asked = decode_json(question, AskHolding)
        except Malformed as error:
            await exchange.refuse(str(error))
            return
        answer = HoldingAnswer(
            instance=self._spool.instance, holding=holding(self._spool.find(asked.task), asked.owner)
        )
        await exchange.json(msgspec.json.encode(answer))

    def _is_peer(self, exchange: RequestContext) -> bool:
        return hmac.compare_digest(exchange.header(MARK) or b"", self._secret().encode())

    async def _forward(self, exchange: RequestContext, task: TaskId) -> bool:
        is_commit = exchange.path.startswith(COMMIT)
        location = await self._forwarding.locate(task, exchange.owner)
        if location is None:
            return False
        if is_commit and self._forwarding.knows_committed(task, exchange.owner):
            await exchange.json({"uuid": task})
            return True
        try:
            await reply(exchange, await self._forwarding.forward(location, self._forwarded(exchange)))
        except UploadOwnerUnavailable:
            if not (is_commit and await self._committed(task, exchange)):
                raise
            await exchange.json({"uuid": task})
        return True

    async def _committed(self, task: TaskId, exchange: RequestContext) -> bool:
        return await self._forwarding.is_committed(task, exchange.owner)

    def _forwarded(self, exchange: RequestContext) -> ForwardedRequest:
        raw_path: bytes = exchange.scope["raw_path"]
        query: bytes = exchange.scope["query_string"]
        headers: list[Header] = [line for line in exchange.headers if line[0] in ALONG]
        chunked = exchange.header(b"transfer-encoding") is not None
        if not chunked and find(headers, b"content-length") is None:
            headers.append((b"content-length", b"0"))
        address = (self._public_address or exchange.origin).encode("latin-1", "replace")
        headers += [(MARK, self._secret().encode()), (ADDRESS, address)]
        target = raw_path + (b"?" + query if query else b"")
        return ForwardedRequest(target, headers, exchange.chunks(self._stall_s), chunked)


def task_of(exchange: RequestContext) -> TaskId | None:
    """Say which upload a request is about; None: about none."""
    if exchange.method != "POST":
        return None
    named = None
    if exchange.path == INIT:
        named = text(exchange.header(b"set-uuid"))
    elif exchange.path.startswith((UPLOAD, COMMIT)) and (match := UUID_AT_END.fullmatch(exchange.path)):
        named = match[1]
    return TaskId(named) if named and UUID.fullmatch(named) else None


async def reply(exchange: RequestContext, answer: PeerAnswer) -> None:
    """Give the client the other proxy's answer."""
    if exchange.body_left:
        await exchange.drain()
    more = [line for line in answer.headers if line[0] in BACK]
    await exchange.json(answer.body, answer.status, close=exchange.body_left, headers=more)


def open_peers(  # noqa: PLR0913 what it works with
    bus: Bus,
    cluster: Cluster,
    spool: Spool,
    locations: UploadLocations,
    peers: Peers,
    *,
    secret: Callable[[], str],
    stall_s: float,
    public_address: str,
) -> PeerRoutes:
    """Put together how requests are passed on; `secret` is what the proxies know each other by."""
    return PeerRoutes(RequestForwarding(bus, cluster, spool, locations, peers), spool, secret, stall_s, public_address)
