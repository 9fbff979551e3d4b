"""Results, wherever they lie: from a node (relay.py), or out of a bucket by redirect or through us.

A place that does not answer is passed over while there is another; only the last one's trouble reaches the client, never as
a success. An address with a signature opens what it names: it goes to this one client and into no log.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

import structlog

from clusterodm.libs.common.console import attempt_on_node
from clusterodm.libs.common.errors import BusFailed, ClusterError, NodeFailed, NotFound, ProviderFailed, Refused
from clusterodm.libs.common.http_io.origins import Timeouts
from clusterodm.libs.common.messages.machines import FIND_RESULT, FindResult
from clusterodm.libs.common.model.tasks import Attempt, Task
from clusterodm.libs.common.model.values import Owner, TaskId
from clusterodm.libs.common.nodeodm.client import NodeRefused
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.http1.lines import Header
from clusterodm.services.proxy.cluster import core as rented
from clusterodm.services.proxy.cluster.handlers.finding import TaskFinder
from clusterodm.services.proxy.exchange.nodeodm_api import no_route
from clusterodm.services.proxy.nodes.ports import NodeRequest, Upstream
from clusterodm.services.proxy.results.core.answers import (
    ResultPlace,
    StorageAnswer,
    address,
    for_node,
    of_result,
    places,
    seen,
    storage_and_path,
)
from clusterodm.services.proxy.results.handlers.relay import NoResult, Relay, Relayed, RelayRequest, ResultHosts

PROBE_TIMEOUTS: Final = Timeouts(connect_s=5.0, head_s=10.0, silence_s=10.0)
DOWNLOAD: Final = "download/"
INVALID_ASSET: Final = "Invalid asset"

log = structlog.get_logger()
at_will = structlog.get_logger(at_will=True)


@dataclass(frozen=True)
class ResultLocation:
    """A result lies there, and that is where the client shall fetch it."""

    url: str = field(repr=False)
    stream: bool = False
    """Whether it is to come through us; otherwise the client is sent there."""


class Results:
    """Opens results."""

    def __init__(  # noqa: PLR0913, PLR0917 everything that may have a result
        self, bus: Bus, hosts: ResultHosts, finder: TaskFinder, relay: Relay, storages: Upstream, prefix: str
    ) -> None:
        self._bus = bus
        self._hosts = hosts
        self._finder = finder
        self._relay = relay
        self._storages = storages
        self._prefix = prefix

    @asynccontextmanager
    async def download(
        self, task_id: TaskId, owner: Owner, wanted: RelayRequest
    ) -> AsyncIterator[Relayed | ResultLocation]:
        """Open `download/<asset>` of a task. Raises NotFound, NoResult, NodeRefused, NodeFailed, BusFailed."""
        action = unquote_to_bytes(wanted.path).decode(errors="replace")
        task = await self._finder.find_result(task_id, owner, action)
        found = await self._find_in_bucket(task, action.removeprefix(DOWNLOAD), wanted)
        if found is None:
            async with self._relay.download(task, wanted) as relayed:
                yield relayed
        elif found.stream:
            async with self._streamed(found.url, wanted) as relayed:
                yield relayed
        else:
            yield found

    async def _find_in_bucket(self, task: Task, asset: str, wanted: RelayRequest) -> ResultLocation | None:
        """Find it in a bucket; None: the node is to be asked."""
        attempt = attempt_on_node(task)
        node_known = attempt is not None and await self._node_stays(attempt)
        order = places(task, self._prefix, node_known=node_known)
        if attempt is None or not order or order[0] is ResultPlace.NODE:
            return None
        try:
            if order[0] is ResultPlace.MACHINE:
                return await self._of_machine(attempt, asset, wanted)
            return await self._under_prefix(attempt, asset)
        except ClusterError as error:
            if not node_known:
                raise cannot(error, task, asset) from None
            at_will.info("result.not_found", task=task.id, asset=asset, reason=error.message)
            return None

    async def _node_stays(self, attempt: Attempt) -> bool:
        """Whether its node can be asked: that of a machine goes with it, and another may get its address."""
        machine = await self._hosts.machine(attempt.machine) if attempt.machine else None
        if attempt.machine and (machine is None or not rented.wanted(machine)):
            return False
        return await self._hosts.node(attempt.node) is not None

    async def _of_machine(self, attempt: Attempt, asset: str, wanted: RelayRequest) -> ResultLocation:
        asked = FindResult(node_task_id=attempt.node_task_id, asset=asset, head=wanted.method == b"HEAD")
        found = await self._bus.request(FIND_RESULT, asked)
        return ResultLocation(found.url, found.stream)

    async def _under_prefix(self, attempt: Attempt, asset: str) -> ResultLocation:
        url = address(self._prefix, attempt, asset)
        storage, path = storage_and_path(url)
        async with self._storages.ask(storage, NodeRequest(b"HEAD", path, PROBE_TIMEOUTS)) as reply:
            require(reply.status)
        return ResultLocation(url)

    @asynccontextmanager
    async def _streamed(self, url: str, wanted: RelayRequest) -> AsyncIterator[Relayed]:
        storage, path = storage_and_path(url)
        call = NodeRequest(wanted.method, path, self._relay.timeouts, headers=for_node(wanted.headers))
        async with self._storages.ask(storage, call) as reply:
            require(reply.status, call.headers, reply.headers)
            yield Relayed(reply.status, of_result(reply.status, reply.headers), reply.chunks(), reply)


def require(status: int, asked: Sequence[Header] = (), told: Sequence[Header] = ()) -> None:
    """Raise NoResult, NodeRefused for what is no result."""
    match seen(status, asked, told):
        case StorageAnswer.MISSING:
            raise NoResult(INVALID_ASSET)
        case StorageAnswer.TROUBLE:
            raise NodeRefused(f"The storage of results answered with status {status}")


def cannot(error: ClusterError, task: Task, asset: str) -> ClusterError:
    """Say it in the words and by the blame that clients of downloads know."""
    match error:
        case NotFound():
            return NoResult(error.message)
        case Refused():
            return NoResult(no_route(task.id, f"{DOWNLOAD}{asset}"))
        case ProviderFailed():
            return NodeRefused("The storage of results cannot be reached at the moment, please try again.")
        case NodeFailed() | BusFailed():
            return error
        case _:
            return NodeFailed(error.message)
