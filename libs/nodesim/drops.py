"""Uploads and commits that go wrong on purpose: which ones, and where.

The ways to drop a request, as in `--drop-how`:

    status        500 at once, as NodeODM's own --test_drop_uploads; nothing is stored
    status-after  everything is stored, and 500 is answered: what no NodeODM does, but what may stand in front of one
    reset-before  the connection is reset, nothing is stored
    reset-midway  half of the body is taken (nothing of one that does not say its length), then reset: a truncated file stays
    reset-after   everything is stored, the answer is lost: the outcome that a client cannot know
"""

import dataclasses
import random
import secrets
from collections.abc import AsyncIterator

from starlette.requests import Request

from clusterodm.libs.nodesim.gate import Dropped
from clusterodm.libs.nodesim.node import Node


@dataclasses.dataclass(frozen=True)
class Drop:
    """What is to happen to one request; nothing when `how` is empty."""

    how: str = ""

    @property
    def answers_500(self) -> bool:
        """True when 500 is answered and nothing else happens."""
        return self.how == "status"

    @property
    def answers_500_after(self) -> bool:
        """True when 500 is answered although all has happened."""
        return self.how == "status-after"

    def before(self) -> None:
        """Nothing has been read yet. Raises: Dropped."""
        if self.how == "reset-before":
            raise Dropped

    async def midway(self, chunks: AsyncIterator[bytes], size_bytes: int) -> AsyncIterator[bytes]:
        """Pass a body of that length on, or its first half, however it is cut into chunks. Raises: Dropped."""
        left_count = size_bytes // 2 if self.how == "reset-midway" else None
        async for chunk in chunks:
            yield chunk[:left_count]
            if left_count is not None:
                left_count -= len(chunk)
                if left_count <= 0:
                    raise Dropped

    def after(self) -> None:
        """Everything is done but the answer. Raises: Dropped."""
        if self.how.startswith("reset-"):
            raise Dropped


class Drops:
    """Chooses the requests to be dropped."""

    def __init__(self, node: Node) -> None:
        self._node = node
        seed = node.settings.drop_seed
        self._chance = random.Random(seed) if seed else secrets.SystemRandom()  # noqa: S311 no secret
        """The same requests in the same order are dropped again by the same seed."""

    def upload(self, request: Request) -> Drop:
        """Decide about an upload."""
        settings = self._node.settings
        if settings.drop_upload_next_count:
            self._node.settings = dataclasses.replace(
                settings, drop_upload_next_count=settings.drop_upload_next_count - 1
            )
            return self._told(request, "upload_dropped")
        part = settings.drop_upload_part
        return self._told(request, "upload_dropped") if self._chance.random() < part else Drop()

    def commit(self, request: Request) -> Drop:
        """Decide about a commit."""
        settings = self._node.settings
        if not settings.drop_commit_next_count:
            return Drop()
        self._node.settings = dataclasses.replace(settings, drop_commit_next_count=settings.drop_commit_next_count - 1)
        return self._told(request, "commit_dropped")

    def _told(self, request: Request, event: str) -> Drop:
        how = self._node.settings.drop_how
        self._node.events.tell(event, task=request.path_params["uuid"], how=how)
        return Drop(how)
