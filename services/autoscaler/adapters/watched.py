"""docker-machine with the provider's own API beside it.

docker-machine's list is a directory on this computer. A creation that dies between the provider's answer and the note of
it leaves a machine that docker-machine will never know; the provider's API does. So what is listed is both, and what is
destroyed is gone only when both say so. Where the API does not take our keys (a token for docker-machine alone), that is
said once in the log and docker-machine's word counts.
"""

from collections.abc import Sequence
from typing import Final

import structlog

from libs.common.errors import ProviderFailed, Trouble
from libs.common.model import MachineId
from services.autoscaler.core.orders import Found
from services.autoscaler.ports import Provider

log = structlog.get_logger()

NO_USE: Final = {Trouble.UNAUTHORISED, Trouble.REFUSED}


class Watched:
    """A Provider: one does the work, another looks after it."""

    def __init__(self, worker: Provider, watcher: Provider) -> None:
        self._worker = worker
        self._watcher = watcher
        self.check = worker.check
        self.create = worker.create
        self.set_up = worker.set_up
        self.command = worker.command

    def __repr__(self) -> str:
        """Show both."""
        return f"Watched({self._worker!r} by {self._watcher!r})"

    async def inspect(self, name: MachineId) -> Found | None:
        """Give what either of them knows."""
        return await self._worker.inspect(name) or await self._watcher.inspect(name)

    async def list(self, prefix: str) -> Sequence[Found]:
        """Give what either of them knows."""
        known = {found.name: found for found in await self._worker.list(prefix)}
        try:
            seen = await self._watcher.list(prefix)
        except ProviderFailed as error:
            log.warning("provider's own list not seen", reason=error.message)
            seen = ()
        return [*known.values(), *(found for found in seen if found.name not in known)]

    async def destroy(self, name: MachineId, ref: str) -> None:
        """Destroy it with both."""
        await self._worker.destroy(name, ref)
        try:
            await self._watcher.destroy(name, "")
        except ProviderFailed as error:
            if error.trouble not in NO_USE:
                raise
            log.warning("provider's own list not seen", reason=error.message)
