"""The one writer of machines.

Every record lies here in memory with the revision at which it was written; a write is a compare-and-set. When a write
conflicts (another autoscaler, or a write whose answer was lost), the record is read again and the caller has to decide
again: `Conflict` is raised. Nothing is done at a provider before its record is written.
"""

from collections.abc import Iterable

import structlog

from libs.common.errors import BusFailed, Conflict
from libs.common.messages import MACHINES
from libs.common.model import Machine, MachineId, TaskId
from libs.common.ports import Bucket, Bus, Entry
from services.autoscaler.core.history import History

log = structlog.get_logger()


class Records:
    """All machines that exist, and those that have ended within the last day."""

    def __init__(self, bucket: Bucket[Machine]) -> None:
        self.history = History()
        """All of them, folded."""
        self.unreadable: frozenset[str] = frozenset()
        """Machines with a record, written by a later version, that this one cannot read. They are left alone."""
        self._bucket = bucket
        self._entries: dict[str, Entry[Machine]] = {}
        self._alive: dict[str, Machine] = {}
        self._requests: dict[TaskId | None, int] = {}

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
        loaded = await self._bucket.load()
        self.unreadable = frozenset(loaded.unreadable)
        for key, entry in loaded.items():
            if key not in self._entries or entry.revision > self._entries[key].revision:
                self._take(entry)

    def all(self) -> list[Machine]:
        """All machines in the order in which they were requested."""
        return in_order(entry.value for entry in self._entries.values())

    def alive(self) -> list[Machine]:
        """All that have not ended, in the same order."""
        return in_order(self._alive.values())

    def latest_request_ms(self, task: TaskId | None) -> int:
        """When the last machine for a task was requested, or for the warm pool; 0: none was."""
        return self._requests.get(task, 0)

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
        self._take(Entry(machine.id, machine, revision))

    async def write(self, machine: Machine) -> None:
        """Write a machine that is known. Raises Conflict (and has read it again), BusFailed."""
        known = self._entries[machine.id]
        try:
            revision = await self._bucket.update(machine.id, machine, known.revision)
        except (Conflict, BusFailed):
            await self._refresh(machine.id)
            raise
        self._take(Entry(machine.id, machine, revision))

    async def forget(self, machine: MachineId) -> None:
        """Delete a record."""
        await self._bucket.delete(machine)
        self._drop(machine)

    async def _refresh(self, machine: MachineId) -> None:
        entry = await self._bucket.get(machine)
        if entry is None:
            self._drop(machine)
        else:
            self._take(entry)

    def _take(self, entry: Entry[Machine]) -> None:
        machine = entry.value
        self._entries[machine.id] = entry
        self.history.take(machine)
        self._requests[machine.for_task] = max(self.latest_request_ms(machine.for_task), machine.requested_at_ms)
        if machine.state.ended:
            self._alive.pop(machine.id, None)
        else:
            self._alive[machine.id] = machine

    def _drop(self, machine: MachineId) -> None:
        self._alive.pop(machine, None)
        entry = self._entries.pop(machine, None)
        if entry is None:
            return
        self.history.forget(entry.value)
        if self.latest_request_ms(entry.value.for_task) == entry.value.requested_at_ms:
            del self._requests[entry.value.for_task]


def in_order(machines: Iterable[Machine]) -> list[Machine]:
    """Sort machines as they were requested."""
    return sorted(machines, key=lambda machine: (machine.requested_at_ms, machine.id))
