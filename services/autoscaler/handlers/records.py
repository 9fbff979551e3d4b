"""The one writer of machines.

Every record lies here in memory with the revision at which it was written; a write is a compare-and-set. When a write
conflicts (another autoscaler, or a write whose answer was lost), the record is read again and the caller has to decide
again: `Conflict` is raised. Nothing is done at a provider before its record is written.
"""

from collections.abc import Iterable

import structlog

from libs.common.errors import BusFailed, Conflict
from libs.common.messages import MACHINES
from libs.common.model import Machine, MachineId
from libs.common.ports import Bucket, Bus, Entry

log = structlog.get_logger()


class Records:
    """All machines that exist, and those that have ended within the last day."""

    def __init__(self, bucket: Bucket[Machine]) -> None:
        self._bucket = bucket
        self._entries: dict[str, Entry[Machine]] = {}

    def __repr__(self) -> str:
        """Show how many there are."""
        return f"Records({len(self._entries)})"

    @classmethod
    async def open(cls, bus: Bus) -> "Records":
        """Read everything."""
        records = cls(await bus.bucket(MACHINES))
        await records.reload()
        return records

    async def reload(self) -> None:
        """Read everything again: what somebody else has written counts, when it is newer."""
        for key, entry in (await self._bucket.load()).items():
            if key not in self._entries or entry.revision > self._entries[key].revision:
                self._entries[key] = entry

    def all(self) -> list[Machine]:
        """All machines in the order in which they were requested."""
        found = (entry.value for entry in self._entries.values())
        return sorted(found, key=lambda machine: (machine.requested_at_ms, machine.id))

    def alive(self) -> Iterable[Machine]:
        """All that have not ended."""
        return (machine for machine in self.all() if not machine.state.ended)

    def get(self, machine: MachineId) -> Machine | None:
        """Find one."""
        entry = self._entries.get(machine)
        return entry.value if entry else None

    async def create(self, machine: Machine) -> None:
        """Write a new machine. Raises Conflict (and has read the one that is there), BusFailed."""
        try:
            revision = await self._bucket.create(machine.id, machine)
        except (Conflict, BusFailed):
            await self._refresh(machine.id)
            raise
        self._entries[machine.id] = Entry(machine.id, machine, revision)

    async def write(self, machine: Machine) -> None:
        """Write a machine that is known. Raises Conflict (and has read it again), BusFailed."""
        known = self._entries[machine.id]
        try:
            revision = await self._bucket.update(machine.id, machine, known.revision)
        except (Conflict, BusFailed):
            await self._refresh(machine.id)
            raise
        self._entries[machine.id] = Entry(machine.id, machine, revision)

    async def forget(self, machine: MachineId) -> None:
        """Delete a record."""
        await self._bucket.delete(machine)
        self._entries.pop(machine, None)

    async def _refresh(self, machine: MachineId) -> None:
        entry = await self._bucket.get(machine)
        if entry is None:
            self._entries.pop(machine, None)
        else:
            self._entries[machine] = entry
