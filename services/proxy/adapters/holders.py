"""Which proxy holds which upload, as seen by one of them: a mirror of KV `uploads`. Implements ports.Holders.

The mirror goes on answering while NATS is away, so uploads that other proxies hold go on too. What it does not know may be
a moment old only, so it is looked up once more.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.common.errors import BusFailed
from libs.common.loops import background
from libs.common.messages import UPLOADS
from libs.common.model import InstanceId, TaskId, Upload
from libs.common.ports import Bucket, Bus
from services.proxy.adapters.cluster import Mirror


class UploadHolders:
    """Knows where uploads are."""

    def __init__(self, bus: Bus, uploads: Bucket[Upload], us: InstanceId, mirror: Mirror[Upload]) -> None:
        self._bus = bus
        self._uploads = uploads
        self._us = us
        self._mirror = mirror

    async def elsewhere(self, task: TaskId) -> Upload | None:
        """Find another proxy that holds it. Raises BusFailed."""
        known = self._mirror.get(task) or await self._look_up(task)
        return None if known is None or known.instance == self._us else known

    async def _look_up(self, task: TaskId) -> Upload | None:
        if not self._bus.connected:
            raise BusFailed("nats is away")
        entry = await self._uploads.get(task)
        return entry.value if entry else None


@asynccontextmanager
async def known_holders(bus: Bus, us: InstanceId) -> AsyncIterator[UploadHolders]:
    """Follow KV `uploads` while the context is open."""
    uploads = await bus.bucket(UPLOADS)
    mirror: Mirror[Upload] = Mirror(UPLOADS.name)
    async with background(lambda: mirror.follow(uploads), name=f"mirror {UPLOADS.name}"):
        yield UploadHolders(bus, uploads, us, mirror)
