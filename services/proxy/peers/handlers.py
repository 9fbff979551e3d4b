"""Any proxy takes any request: what belongs to an upload that another proxy holds is passed on to it.

    upload, commit, init again (set-uuid)   to the instance that KV `uploads` names, as it comes
    everything else                         is answered here: the scheduler and the mirrors know all of it

An upload of another owner is nobody's: a request about it is answered here as one about an id that is unknown, after the same look-ups, and
whether the proxy that holds it is there does not show.

A commit is first held against what is known of committed tasks, so that it gets the same answer again also when the proxy
that took it is gone. Passed on once, a request is answered there, whatever KV `uploads` says by then.

Proxies also ask each other what they have of a task (`PeerHolders`), when the records may be older than what was done: the other proxy is found by
its announcement (KV `proxies`), as it was last seen while NATS is away. One that does not answer is left alone for a moment.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed, NotFound
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.buckets import PROXIES
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.untrusted import Malformed, decode_json
from clusterodm.libs.http1.lines import Header
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.errors import UploadOwnerUnavailable
from clusterodm.services.proxy.peers.ports import (
    AskHolding,
    ForwardedRequest,
    HoldingAnswer,
    PeerAnswer,
    Peers,
    UploadLocations,
)
from clusterodm.services.proxy.spool.core.history import Holding
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)

HOLDING: Final = "/proxy/holding"
MARK: Final = b"clusterodm-passed-on"
"""The header with the secret of the cluster."""
HOLDING_S: Final = 1.0
"""How long another proxy has to say what it has of a task."""
LEFT_ALONE_S: Final = 0.5


class RequestForwarding:
    """Forwards requests to the proxies that hold their uploads."""

    def __init__(self, bus: Bus, cluster: Cluster, spool: Spool, locations: UploadLocations, peers: Peers) -> None:
        self._bus = bus
        self._cluster = cluster
        self._spool = spool
        self._locations = locations
        self._peers = peers

    async def locate(self, task: TaskId, owner: Owner) -> Upload | None:
        """Find the other proxy that holds a client's upload; None: it is ours, nobody's or another's. Raises BusFailed."""
        held = self._spool.find(task)
        if held is not None and may_touch(owner, held.draft.owner):
            return None
        location = await self._locations.elsewhere(task, owner)
        return None if held is not None else location

    async def forward(self, location: Upload, request: ForwardedRequest) -> PeerAnswer:
        """Have the other proxy answer. Raises UploadOwnerUnavailable, and what reading the body raises."""
        try:
            answer = await self._peers.post(location.url, request)
        except UploadOwnerUnavailable:
            at_will.warning("upload_owner.went_away", task=location.task, instance=location.instance, url=location.url)
            raise
        log.debug("request.forwarded", task=location.task, instance=location.instance, status=answer.status)
        return answer

    def knows_committed(self, task: TaskId, owner: Owner) -> bool:
        """Whether the mirror has it as a committed task of this owner."""
        record = self._cluster.task(task)
        return record is not None and may_touch(owner, record.task.owner) and not record.task.removed

    async def is_committed(self, task: TaskId, owner: Owner) -> bool:
        """Ask the scheduler whether it is a committed task of this owner. Raises BusFailed."""
        try:
            await self._bus.request(GET_TASK, TaskRef(task=task, owner=owner))
        except NotFound:
            return False
        return True


class PeerHolders:
    """Asks the other proxies what they have of tasks. Implements recovery/ports.Holders."""

    def __init__(self, bus: Bus, peers: Peers, us: InstanceId, clock: Clock, secret: Callable[[], str]) -> None:
        self._bus = bus
        self._peers = peers
        self._us = us
        self._clock = clock
        self._secret = secret
        self._urls: dict[InstanceId, str] = {}
        self._silent_until: dict[InstanceId, Instant] = {}

    async def others(self) -> Sequence[InstanceId]:
        """List the other proxies that have announced themselves. Raises BusFailed."""
        announced = await (await self._bus.bucket(PROXIES)).load()
        self._urls.update((InstanceId(key), entry.value.url) for key, entry in announced.items())
        return [InstanceId(key) for key in announced if key != self._us]

    async def ask(self, proxy: InstanceId, task: TaskId, owner: Owner | None = None) -> Holding | None:
        """Ask what one has of a task; None: it does not answer, or nobody knows where it is."""
        if (until := self._silent_until.get(proxy)) is not None and self._clock.instant() < until:
            return None
        url = await self._url(proxy)
        answer = await self._ask(url, msgspec.json.encode(AskHolding(task=task, owner=owner))) if url else None
        if answer is None:
            self._silent_until[proxy] = self._clock.instant() + LEFT_ALONE_S
            return None
        self._silent_until.pop(proxy, None)
        return answer.holding if answer.instance == proxy else Holding(is_replaced=True)

    async def _url(self, proxy: InstanceId) -> str | None:
        try:
            entry = await (await self._bus.bucket(PROXIES)).get(proxy)
        except BusFailed:
            entry = None
        if entry is not None:
            self._urls[proxy] = entry.value.url
        return self._urls.get(proxy)

    async def _ask(self, url: str, question: bytes) -> HoldingAnswer | None:
        async def body() -> AsyncIterator[bytes]:
            yield question

        headers: list[Header] = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(question)),
            (MARK, self._secret().encode()),
        ]
        try:
            async with asyncio.timeout(HOLDING_S):
                answer = await self._peers.post(url, ForwardedRequest(HOLDING.encode(), headers, body()))
            return decode_json(answer.body, HoldingAnswer)
        except (UploadOwnerUnavailable, TimeoutError, Malformed) as error:
            log.debug("holding.unknown", url=url, reason=str(error) or type(error).__name__)
            return None
