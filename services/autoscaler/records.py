"""The machines' records: the one writer of them, and what is published of them.

Every record lies here in memory with the revision at which it was written; a write is a compare-and-set. When a write
conflicts (another autoscaler, or a write whose answer was lost), the record is read again and the caller has to decide
again: `Conflict` is raised. Nothing is done at a provider before its record is written. What happens to a machine is one event and
one log line each.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import structlog

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, Conflict
from clusterodm.libs.common.messages.buckets import MACHINES
from clusterodm.libs.common.messages.kinds import Event
from clusterodm.libs.common.messages.machines import (
    MACHINE_CONDEMNED,
    MACHINE_CREATED,
    MACHINE_DESTROYED,
    MACHINE_DRAINED,
    MACHINE_FAILED,
    MACHINE_LEAKED,
    MACHINE_LOST,
    MACHINE_ONLINE,
    MACHINE_REQUESTED,
    MachineEvent,
)
from clusterodm.libs.common.model.machines import Machine, MachineState
from clusterodm.libs.common.model.values import MachineId, TaskId
from clusterodm.libs.common.ports import Bucket, Bus, Entry
from clusterodm.services.autoscaler.machine_life.history import MachineHistory
from clusterodm.services.autoscaler.machine_life.life import MachineStep, after, possible
from clusterodm.services.autoscaler.metrics import (
    FAILURES,
    MACHINE_EVENTS,
    READY_SECONDS,
    REMOVAL_FAILURES,
    STEP_SECONDS,
)

log = structlog.get_logger()

EVENTS: Final = {
    MachineState.REQUESTED: MACHINE_REQUESTED,
    MachineState.SETTING_UP: MACHINE_CREATED,
    MachineState.ONLINE: MACHINE_ONLINE,
    MachineState.DRAINING: MACHINE_DRAINED,
    MachineState.DESTROYING: MACHINE_CONDEMNED,
    MachineState.GONE: MACHINE_DESTROYED,
    MachineState.FAILED: MACHINE_FAILED,
}
"""States that are worth an event; busy and idle are the tasks' events."""
CONFLICTS_COUNT: Final = 3
"""How often a step is decided anew because somebody else has written."""


class MachineStore:
    """All machines that exist, and those that have ended within the last day."""

    def __init__(self, bucket: Bucket[Machine]) -> None:
        self.history = MachineHistory()
        """All of them, folded."""
        self.unreadable: frozenset[str] = frozenset()
        """Machines with a record, written by a later version, that this one cannot read. They are left alone."""
        self._bucket = bucket
        self._entries: dict[str, Entry[Machine]] = {}
        self._alive: dict[str, Machine] = {}
        self._requests: dict[TaskId | None, int] = {}

    @classmethod
    async def open(cls, bus: Bus) -> "MachineStore":
        """Read everything."""
        store = cls(await bus.bucket(MACHINES))
        await store.reload()
        return store

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

    async def write(self, before: Machine, machine: Machine) -> None:
        """Write what was decided of a machine as it was `before`. Raises Conflict when it is not so any more (and has read it again), BusFailed."""
        known = self._entries.get(machine.id)
        if known is None or known.value != before:
            raise Conflict(f"{machine.id} has changed meanwhile")
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


class MachineEventPublisher:
    """Events and log lines of machines."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def publish(self, machine: Machine) -> None:
        """Publish the state that a machine has entered."""
        log.info(
            "machine.changed",
            machine=machine.id,
            state=str(machine.state),
            size=machine.size,
            region=machine.region,
            reason=machine.failure if machine.state is MachineState.FAILED else machine.reason,
        )
        if event := EVENTS.get(machine.state):
            await self._publish(event, machine)

    async def lost(self, machine: Machine) -> None:
        """Publish that a machine is not at the provider any more."""
        log.warning("machine.lost", machine=machine.id, reason=machine.reason)
        await self._publish(MACHINE_LOST, machine)

    async def leaked(self, machine: Machine) -> None:
        """Publish that the provider has a machine that should not be."""
        log.warning("machine.leaked", machine=machine.id, reason=machine.reason)
        await self._publish(MACHINE_LEAKED, machine)

    async def _publish(self, event: Event[MachineEvent], machine: Machine) -> None:
        MACHINE_EVENTS.inc(event.name)
        await self._bus.publish(
            event,
            MachineEvent(
                at_ms=self._clock.wall_ms(),
                machine=machine.id,
                state=machine.state,
                task=machine.for_task,
                node=machine.node,
                reason=machine.failure or machine.reason,
            ),
        )


class Transitions:
    """Changes of machines: decided by their life, written, and then published."""

    def __init__(
        self, store: MachineStore, events: MachineEventPublisher, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._store = store
        self._events = events
        self._clock = clock
        self._changed = changed

    async def add(self, machine: Machine) -> None:
        """Write a new machine, and publish it. Raises Conflict, BusFailed."""
        await self._store.create(machine)
        await self._events.publish(machine)

    async def step(self, machine: MachineId, step: MachineStep, reason: str, **facts: Any) -> bool:
        """Take a step of a machine's life if it is still possible, write it, and publish it; whether it was taken here. Raises BusFailed."""
        for _ in range(CONFLICTS_COUNT):
            known = self._store.get(machine)
            if known is None or not possible(known.state, step):
                return False
            moved = after(known, step, self._clock.wall_ms(), reason, **facts)
            try:
                await self._store.write(known, moved)
            except Conflict:
                continue
            count_step(known, moved)
            await self._events.publish(moved)
            self._changed()
            return True
        return False

    async def note(self, machine: Machine, **facts: Any) -> Machine:
        """Write what was learned without a step. Raises Conflict, BusFailed."""
        noted = msgspec.structs.replace(machine, **facts)
        if noted != machine:
            await self._store.write(machine, noted)
            if noted.removal_failure:
                REMOVAL_FAILURES.inc(noted.removal_trouble or "unknown")
        return noted

    async def observe(self, machine: Machine, seen: Machine) -> None:
        """Write something new about a machine, and publish it where that is another state. Raises Conflict, BusFailed."""
        await self._store.write(machine, seen)
        if seen.state is not machine.state:
            await self._events.publish(seen)


def count_step(before: Machine, now: Machine) -> None:
    """Count a step of a machine's life: how long the state took that it has left, and what it has failed with."""
    since_ms = before.state_at_ms or before.requested_at_ms
    STEP_SECONDS.observe(max(0, now.state_at_ms - since_ms) / 1000, str(before.state))
    if now.state is MachineState.ONLINE:
        READY_SECONDS.observe(max(0, now.state_at_ms - now.requested_at_ms) / 1000)
    if now.failure and not before.failure:
        FAILURES.inc(now.provider, now.trouble or "unknown")
