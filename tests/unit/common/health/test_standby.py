"""A process that waits to lead is heard of, as long as it waits."""

from clusterodm.libs.common.health.health import Health, report_standby
from clusterodm.libs.common.messages.health import STANDBY_REPORTED, StandbyReported
from clusterodm.libs.common.model.values import InstanceId
from clusterodm.libs.common.testing.memory_bus import MemoryBus, MemoryTerm
from clusterodm.libs.common.version import VERSION

STANDBY = InstanceId("host-1")


async def test_who_waits_to_lead_says_so_and_who_leads_does_not():
    bus, health, term = MemoryBus(), Health("scheduler", lambda: {"bus": True}, may_lead=True), MemoryTerm(epoch=7)
    heard: list[StandbyReported] = []

    async def hear(reported: StandbyReported) -> None:
        heard.append(reported)

    async with bus.subscribe(STANDBY_REPORTED, hear):
        await report_standby(bus, health, STANDBY)
        with health.leading(term):
            await report_standby(bus, health, STANDBY)
            assert len(heard) == 1
            term.end()
            await report_standby(bus, health, STANDBY)
        bus.connected = False
        await report_standby(bus, health, STANDBY)
    first, second = heard
    assert (first.instance, first.health.service, first.health.version) == (STANDBY, "scheduler", VERSION)
    assert second.health.epoch is None
    assert first.health.turn_ms is not None
    bus.connected = True
    assert (await bus.stored_events(0, 10)).events == (), "nobody reads it later"


async def test_it_waits_since_its_last_term_ended():
    health = Health("scheduler", dict, may_lead=True)
    started_ms = health.waits_since_ms = 1
    with health.leading(MemoryTerm(epoch=7)):
        assert health.waits_since_ms == started_ms
    assert health.waits_since_ms > started_ms
