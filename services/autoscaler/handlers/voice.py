"""Tells what happens to machines: one event and one log line each."""

from typing import Final

import structlog

from libs.common.clocks import Clock
from libs.common.messages import (
    MACHINE_CONDEMNED,
    MACHINE_CREATED,
    MACHINE_DESTROYED,
    MACHINE_DRAINED,
    MACHINE_FAILED,
    MACHINE_LEAKED,
    MACHINE_LOST,
    MACHINE_ONLINE,
    MACHINE_REQUESTED,
    Event,
    MachineEvent,
)
from libs.common.model import Machine, MachineState
from libs.common.ports import Bus

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


class Voice:
    """Events and log lines of machines."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    async def tell(self, machine: Machine) -> None:
        """Tell the state that a machine has entered."""
        log.info(
            "machine",
            machine=machine.id,
            state=str(machine.state),
            size=machine.size,
            region=machine.region,
            reason=machine.failure if machine.state is MachineState.FAILED else machine.reason,
        )
        if event := EVENTS.get(machine.state):
            await self._event(event, machine)

    async def lost(self, machine: Machine) -> None:
        """Tell that a machine is not at the provider any more."""
        log.warning("machine is lost", machine=machine.id, reason=machine.reason)
        await self._event(MACHINE_LOST, machine)

    async def leaked(self, machine: Machine) -> None:
        """Tell that the provider has a machine that should not be."""
        log.warning("machine leaked", machine=machine.id, reason=machine.reason)
        await self._event(MACHINE_LEAKED, machine)

    async def _event(self, event: Event[MachineEvent], machine: Machine) -> None:
        await self._bus.tell(
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
