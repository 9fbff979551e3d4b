"""Asks a machine that is to become a snapshot whether it is ready (core/snapshot_boot.py says what answers)."""

from typing import Final

import httpx

from clusterodm.libs.common.errors import ProviderFailed
from clusterodm.libs.common.secret import Secret
from clusterodm.services.autoscaler.orders import ProviderMachine, masked

TIMEOUT_S: Final = 20.0
LONGEST_BYTES: Final = 4096


class HttpSnapshotProbe:
    """See handlers.snapshots.SnapshotProbe."""

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
