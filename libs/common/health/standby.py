"""What a process that waits to lead says of itself, so that operators see that it is there, and how it is."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from clusterodm.libs.common.bus.ids import new_id
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.health import STANDBY_REPORTED, StandbyReported
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.libs.common.ports import Bus
from clusterodm.libs.common.process.loops import background, every

REPORT_EVERY_S: Final = 5.0


@asynccontextmanager
async def reported_as_standby(bus: Bus, health: Health) -> AsyncIterator[None]:
    """Say every few seconds how this process is while it does not lead, as long as the context is open."""
    instance = InstanceId(f"{socket.gethostname()}-{new_id()[:8]}")
    name = "report as standby"
    async with background(lambda: every(REPORT_EVERY_S, lambda: report_standby(bus, health, instance), name), name):
        yield


async def report_standby(bus: Bus, health: Health, instance: InstanceId) -> None:
    """Say it once; a leader is asked instead, and while NATS is away nobody hears it."""
    leads = health.term is not None and health.term.valid
    if leads or not bus.connected:
        return
    said = StandbyReported(instance=instance, since_ms=health.waits_since_ms, health=await health.measured())
    await bus.publish(STANDBY_REPORTED, said)
