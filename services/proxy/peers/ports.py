"""What passing on needs of the world: which proxy holds which upload, and the way there."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from clusterodm.libs.common.model.tasks import Upload
from clusterodm.libs.common.model.values import Frozen, InstanceId, Owner, TaskId
from clusterodm.services.proxy.spool.core.history import Holding


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """A client's request on its way to the proxy that holds the upload."""

    target: bytes
    """Path and query as the client wrote them."""
    headers: Sequence[tuple[bytes, bytes]]
    body: AsyncIterator[bytes]
    chunked: bool = False
    """The length of the body is not known beforehand."""


@dataclass(frozen=True, slots=True)
class PeerAnswer:
    """What the other proxy answered."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class AskHolding(Frozen, frozen=True, kw_only=True):
    """Asks a proxy what it has of a task."""

    task: TaskId
    owner: Owner | None = None
    """Of another owner's, nothing; None: whoever's it is."""


class HoldingAnswer(Frozen, frozen=True, kw_only=True):
    """Its answer. A proxy of an earlier version answers something else."""

    instance: InstanceId
    """Who answers."""
    holding: Holding


class Peers(Protocol):
    """The way to the other proxies."""

    async def post(self, url: str, request: ForwardedRequest) -> PeerAnswer:
        """Pass a request on as its body comes. Raises UploadOwnerUnavailable, and what reading the body raises."""


class UploadLocations(Protocol):
    """Which proxy holds which upload (KV `uploads`)."""

    async def elsewhere(self, task: TaskId, owner: Owner) -> Upload | None:
        """Find another proxy that holds a client's upload; None: none does, we do, or it is another's. Raises BusFailed when nobody can tell."""
