"""Finds results in the bucket for whoever wants to fetch them."""

from typing import Final, Protocol

from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.machines import FindResult, ResultFound
from clusterodm.services.autoscaler.config.core.configuration import Configuration
from clusterodm.services.autoscaler.results.core import key_of, may_be_public

STREAM: Final = "stream"
NOT_KEPT: Final = "results are kept nowhere: the autoscaler has no S3 bucket"


class ResultStorage(Protocol):
    """Where results are kept."""

    async def check(self) -> None:
        """Write a small file. Raises Refused when that does not work."""
        ...

    async def public_url(self, key: str) -> str | None:
        """Give the address of a file that everybody may read; None when there is none. Raises ProviderFailed."""
        ...

    async def signed_url(self, key: str, *, head: bool) -> str | None:
        """Give an address that is good for a short while; None when there is no such file. Raises ProviderFailed."""
        ...


class ResultFinder:
    """The bucket, as the other services see it."""

    def __init__(self, configuration: Configuration, storage: ResultStorage | None) -> None:
        self._storage = storage
        self._stream = configuration.downloads == STREAM
        target = configuration.node.s3
        self._ask_openly = target is not None and may_be_public(target.acl)

    async def find(self, request: FindResult) -> ResultFound:
        """Give a fresh address of a result that is there. Raises NotFound, Refused, ProviderFailed."""
        if self._storage is None:
            raise Refused(NOT_KEPT)
        key = key_of(request.node_task_id, request.asset)
        if self._ask_openly and (url := await self._storage.public_url(key)):
            return ResultFound(url=url, stream=self._stream)
        url = await self._storage.signed_url(key, head=request.head)
        if url is None:
            raise NotFound("Invalid asset")
        return ResultFound(url=url, stream=self._stream)
