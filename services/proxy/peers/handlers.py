"""Any proxy takes any request: what belongs to an upload that another proxy holds is passed on to it.

    upload, commit, init again (set-uuid)   to the instance that KV `uploads` names, as it comes
    everything else                         is answered here: the scheduler and the mirrors know all of it

An upload of another owner is nobody's: a request about it is answered here as one about an id that is unknown, after the same look-ups, and
whether the proxy that holds it is there does not show.

A commit is first held against what is known of committed tasks, so that it gets the same answer again also when the proxy
that took it is gone. Passed on once, a request is answered there, whatever KV `uploads` says by then.
"""

import structlog

from clusterodm.libs.common.errors import NotFound
from clusterodm.libs.common.identity import may_touch
from clusterodm.libs.common.messages.tasks import GET_TASK, TaskRef
from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.errors import UploadOwnerUnavailable
from clusterodm.services.proxy.peers.ports import ForwardedRequest, PeerAnswer, Peers, UploadLocations
from clusterodm.services.proxy.spool.ports import Spool

log = structlog.get_logger()


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
            log.warning("upload_owner.went_away", task=location.task, instance=location.instance, url=location.url)
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
