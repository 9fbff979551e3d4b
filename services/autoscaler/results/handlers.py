"""Finds results in the bucket for whoever wants to fetch them: where they lie there, and how they may be fetched.

NodeODM puts each result under the id that the task has on the node, by its path in the project. Its own default makes
results public (`public-read`); whether that has come about is seen by asking without keys, for a bucket may forbid it.
"""

import re
from collections.abc import Sequence
from typing import Final, Protocol

from clusterodm.libs.common.errors import NotFound, ProviderFailed, Refused
from clusterodm.libs.common.messages.machines import FindResult, ResultFound
from clusterodm.libs.common.model.values import NodeTaskId
from clusterodm.services.autoscaler.orders import S3Target

STREAM: Final = "stream"
NOT_KEPT: Final = "results are kept nowhere: the autoscaler has no S3 bucket"
ALIASES: Final = {"orthophoto.tif": "odm_orthophoto/odm_orthophoto.tif"}
"""What clients call otherwise than the project does."""
PUBLIC: Final = frozenset(("", "public-read", "public-read-write"))
"""The `acl` that lets everybody read; empty is NodeODM's default."""
TASK: Final = re.compile(r"[\w-]{1,100}", re.ASCII)
LONGEST_ASSET: Final = 500


class ResultStorage(Protocol):
    """Where results are kept."""

    async def check(self) -> None:
        """Write a small file. Raises Refused when that does not work."""

    async def public_url(self, key: str) -> str | None:
        """Give the address of a file that everybody may read; None when there is none. Raises ProviderFailed."""

    async def signed_url(self, key: str, *, head: bool) -> str | None:
        """Give an address that is good for a short while; None when there is no such file. Raises ProviderFailed."""


class ResultFinder:
    """The bucket, as the other services see it."""

    def __init__(self, downloads: str, buckets: Sequence[tuple[S3Target, ResultStorage]]) -> None:
        """Take every bucket that a provider's machines write to; where there are several, each is looked into."""
        self._buckets = buckets
        self._stream = downloads == STREAM

    async def find(self, request: FindResult) -> ResultFound:
        """Give a fresh address of a result that is there. Raises NotFound, Refused, ProviderFailed."""
        if not self._buckets:
            raise Refused(NOT_KEPT)
        key, failure = key_of(request.node_task_id, request.asset), None
        for target, storage in self._buckets:
            try:
                url = await url_of(target, storage, key, head=request.head)
            except ProviderFailed as error:  # another may have it
                failure = error
                continue
            if url:
                return ResultFound(url=url, stream=self._stream)
        raise failure or NotFound("Invalid asset")


async def url_of(target: S3Target, storage: ResultStorage, key: str, *, head: bool) -> str | None:
    """Give the address of a file in one bucket; None: it is not there."""
    if may_be_public(target.acl) and (url := await storage.public_url(key)):
        return url
    return await storage.signed_url(key, head=head)


def key_of(task: NodeTaskId, asset: str) -> str:
    """Say under which key a result lies. Raises Refused for what is no result."""
    path = ALIASES.get(asset, asset)
    if not TASK.fullmatch(task) or len(path) > LONGEST_ASSET or not all(part.strip(".") for part in path.split("/")):
        raise Refused("Invalid asset")
    return f"{task}/{path}"


def may_be_public(acl: str) -> bool:
    """Whether it is worth asking without keys."""
    return acl in PUBLIC
