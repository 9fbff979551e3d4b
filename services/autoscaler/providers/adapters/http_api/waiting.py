"""Waiting for what an API does in its own time: asked again and again, through failures that pass, for so long and no longer."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.services.autoscaler.providers.ports import Sleep

Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """How often is asked, and for how long."""

    poll_s: float = 5.0
    off_s: float = 120.0
    """For a machine that was asked to shut down, before its power is cut; and after that."""
    snapshot_s: float = 3600.0
    sleep: Sleep = asyncio.sleep
    instant: Callable[[], Instant] = monotonic_s

    async def until(self, ask: Callable[[], Awaitable[Found | None]], limit_s: float) -> Found | None:
        """Ask until there is something; None: there was nothing in time. Raises ProviderFailed for what does not pass."""
        deadline_s = self.instant() + limit_s
        while True:
            try:
                found = await ask()
            except ProviderFailed as error:
                if error.trouble is not Trouble.RETRYABLE:
                    raise
                found = None
            if found is not None or self.instant() >= deadline_s:
                return found
            await self.sleep(self.poll_s)
