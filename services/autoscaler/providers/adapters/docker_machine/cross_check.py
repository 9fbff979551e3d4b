"""docker-machine with the provider's own API beside it: docker-machine does the work, the API knows what is there.

docker-machine's list is a directory on this computer. A creation that dies between the provider's answer and the note of it
leaves a machine that docker-machine will never know; the provider's API does. So what is listed is both, and a machine is
destroyed like this:

1. by the API, by its name and its id, until the API says that none is left;
2. by `docker-machine rm`, which also takes away what the driver has made besides (a key, an address);
3. where that fails although nothing is there (the real drivers crash on a machine that they have no id of): `rm -f`, which
   forgets the entry.

An API that does not answer now makes the whole call fail, to be made again: half a list would say that nothing has leaked.
Where it does not take our keys (a token for docker-machine alone), that is said once in the log and docker-machine's word counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import ProviderFailed, Trouble
from clusterodm.libs.common.model.values import MachineId
from clusterodm.libs.common.process.lifecycle import monotonic_s
from clusterodm.services.autoscaler.orders import Order, ProviderMachine, Removal, RemovalFailed
from clusterodm.services.autoscaler.providers.ports import Provider

if TYPE_CHECKING:
    from clusterodm.services.autoscaler.providers.adapters.docker_machine.client import DockerMachineProvider

log = structlog.get_logger()

NO_USE: Final = {Trouble.UNAUTHORISED, Trouble.REFUSED}


class CrossCheckedProvider:
    """A Provider: one does the work, another looks after it."""

    def __init__(
        self, worker: "DockerMachineProvider", watcher: Provider, instant: Callable[[], Instant] = monotonic_s
    ) -> None:
        self._worker = worker
        self._watcher = watcher
        self._instant = instant
        self._excused = False
        self.check = worker.check
        self.set_up = worker.set_up
        self.command = worker.command

    async def create(self, order: Order) -> ProviderMachine:
        """Create it. What a call before a crash has left at the provider and docker-machine does not know is of no use."""
        try:
            left = await self._watcher.inspect(order.name) is not None
        except ProviderFailed:
            left = False  # the next comparison sees it
        if left and not await self._worker.knows(order.name):
            raise ProviderFailed("its creation was interrupted, and docker-machine does not know it", leaves=True)
        return await self._worker.create(order)

    async def inspect(self, name: MachineId, ref: str = "") -> ProviderMachine | None:
        """Give what either of them knows; where the API is to be asked, its word counts."""
        try:
            return await self._watcher.inspect(name, ref)
        except ProviderFailed as error:
            self._excuse(error)
            return await self._worker.inspect(name, ref)

    async def list(self, prefix: str) -> Sequence[ProviderMachine]:
        """Give what either of them knows: docker-machine's entries, the API's facts, and whatever only one of them has."""
        known = {found.name: found for found in await self._worker.list(prefix)}
        try:
            seen = await self._watcher.list(prefix)
        except ProviderFailed as error:
            self._excuse(error)
            seen = []
        both = [replace(each, running=known[each.name].running) if each.name in known else each for each in seen]
        shown = {each.name for each in seen}
        return [*both, *(found for name, found in known.items() if name not in shown)]

    async def destroy(self, name: MachineId, ref: str) -> Removal:
        """Destroy it with both, the API first."""
        try:
            removal = await self._watcher.destroy(name, ref)
        except ProviderFailed as error:
            self._excuse(error)
            return await self._worker.destroy(name, ref)
        confirmed_at = self._instant()
        try:
            forgotten = await self._worker.forget(name)
        except ProviderFailed as error:  # an entry costs nothing
            raise RemovalFailed(error, self._since(removal, confirmed_at)) from None
        if forgotten and not removal:  # the API's list may have been late, and the driver have removed it only now
            return replace(removal, gone_ago_s=0.0)
        return self._since(removal, confirmed_at)

    def _since(self, removal: Removal, confirmed_at: Instant) -> Removal:
        ago_s = removal.gone_ago_s
        return replace(removal, gone_ago_s=None if ago_s is None else ago_s + (self._instant() - confirmed_at))

    async def discard(self, found: ProviderMachine) -> None:
        """Remove one thing: docker-machine knows no two of one name."""
        await self._watcher.discard(found)

    def _excuse(self, error: ProviderFailed) -> None:
        """Go on without the API where it does not take our keys. Raises the failure where it may pass."""
        if error.trouble not in NO_USE:
            raise error
        if not self._excused:
            log.warning("docker_machine.trusted_alone", reason=error.message)
        self._excused = True
