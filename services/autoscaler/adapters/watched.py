"""docker-machine with the provider's own API beside it.

docker-machine's list is a directory on this computer. A creation that dies between the provider's answer and the note of
it leaves a machine that docker-machine will never know; the provider's API does. So what is listed is both, and what is
destroyed is gone only when both say so. An API that does not answer now makes the whole call fail, to be made again: half a
list would say that nothing has leaked. Where it does not take our keys (a token for docker-machine alone), that is said once
in the log and docker-machine's word counts.
"""

from collections.abc import Sequence
from dataclasses import replace
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
        self._excused = False
        self.check = worker.check
        self.create = worker.create
        self.set_up = worker.set_up
        self.command = worker.command

    def __repr__(self) -> str:
        """Show both."""
        return f"Watched({self._worker!r} by {self._watcher!r})"

    async def inspect(self, name: MachineId) -> Found | None:
        """Give what either of them knows."""
        if known := await self._worker.inspect(name):
            return known
        try:
            return await self._watcher.inspect(name)
        except ProviderFailed as error:
            self._excuse(error)
            return None

    async def list(self, prefix: str) -> Sequence[Found]:
        """Give what either of them knows; only the provider itself knows what it is about to take away."""
        known = {found.name: found for found in await self._worker.list(prefix)}
        try:
            seen = {found.name: found for found in await self._watcher.list(prefix)}
        except ProviderFailed as error:
            self._excuse(error)
            seen = {}
        leaving = {name: replace(found, leaving=seen[name].leaving) for name, found in known.items() if name in seen}
        return list((seen | known | leaving).values())

    async def destroy(self, name: MachineId, ref: str) -> None:
        """Destroy it with both."""
        await self._worker.destroy(name, ref)
        try:
            await self._watcher.destroy(name, "")
        except ProviderFailed as error:
            self._excuse(error)

    def _excuse(self, error: ProviderFailed) -> None:
        """Go on without the API where it does not take our keys. Raises the failure where it may pass."""
        if error.trouble not in NO_USE:
            raise error
        if not self._excused:
            log.warning("docker-machine's word alone counts", reason=error.message)
        self._excused = True
