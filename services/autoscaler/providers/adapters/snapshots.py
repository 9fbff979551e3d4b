"""What taking a snapshot waits for: what an API does in its own time, and a machine that says that it is ready (core/snapshots.py says what answers)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import httpx

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import ProviderMachine, masked
from clusterodm.services.autoscaler.providers.ports import Sleep

Found = TypeVar("Found")
TIMEOUT_S: Final = 20.0
LONGEST_BYTES: Final = 4096


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


class HttpSnapshotProbe:
    """Asks a machine that is to become a snapshot: see handlers.snapshots.SnapshotProbe."""

    def __init__(self, key: Secret, hidden: tuple[Secret, ...] = ()) -> None:
        self._key = key
        self._hidden = (key, *hidden)

    async def told(self, machine: ProviderMachine) -> str:
        """Ask it, and read no more than it may say."""
        url = f"http://{machine.address}:{machine.port}/{self._key.reveal()}"
        said = b""
        try:
            async with (
                httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as client,
                client.stream("GET", url) as answer,
            ):
                async for piece in answer.aiter_raw():
                    said += piece
                    if len(said) > LONGEST_BYTES:
                        break
        except httpx.HTTPError as error:
            raise ProviderFailed(f"{machine.name} does not say whether it is ready ({type(error).__name__})") from None
        if answer.status_code != httpx.codes.OK:
            raise ProviderFailed(
                f"{machine.name} answers with status {answer.status_code}: somebody else listens there"
            )
        return masked(said[:LONGEST_BYTES].decode(errors="replace").strip(), self._hidden)
