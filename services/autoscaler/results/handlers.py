"""Finds results in the bucket for whoever wants to fetch them."""

from collections.abc import Sequence
from typing import Final, Protocol

from clusterodm.libs.common.errors import NotFound, ProviderFailed, Refused
from clusterodm.libs.common.messages.machines import FindResult, ResultFound
from clusterodm.services.autoscaler.orders import S3Target
from clusterodm.services.autoscaler.results.core import key_of, may_be_public

STREAM: Final = "stream"
NOT_KEPT: Final = "results are kept nowhere: the autoscaler has no S3 bucket"


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
