"""What every service says of itself."""

from clusterodm.libs.common.health import vitals
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.process.loop import RESTART, Loop
from clusterodm.libs.common.process.loops import Loops
from clusterodm.libs.common.telemetry.metrics import Gauge, Reading
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus, MemoryTerm


def said(readings: list[Reading], metric: Gauge) -> dict[tuple[str, ...], float]:
    return {reading.of: float(reading.value) for reading in readings if reading.metric is metric}


def of(health: Health, bus: MemoryBus | None = None) -> list[Reading]:
    return list(vitals.readings(bus or MemoryBus(), health))


def test_a_service_says_who_it_is_and_what_it_lacks():
    health = Health("proxy", lambda: {"bus": True, "disk": False}, loops=Loops(FakeClock()))
    readings = of(health)
    assert [labels[0] for labels in said(readings, vitals.BUILD)] == ["proxy"]
    assert said(readings, vitals.READY) == {(): 0}
    assert said(readings, vitals.ALIVE) == {(): 1}
    assert said(readings, vitals.FACT) == {("bus",): 1, ("disk",): 0, ("rights",): 1}
    assert not said(readings, vitals.LEADER), "a proxy never leads"


def test_loops_that_hang_or_fail_are_named():
    clock = FakeClock()
    loops = Loops(clock)
    hangs, fails = Loop("hangs", RESTART, clock, 10.0), Loop("fails", RESTART, clock, None)
    with loops.running(hangs), loops.running(fails):
        fails.failed(ValueError("no"))
        clock.pass_s(11)
        readings = of(Health("scheduler", dict, loops=loops))
    assert said(readings, vitals.LOOP_OK) == {("hangs",): 0, ("fails",): 0}
    assert said(readings, vitals.LOOP_FAILURES) == {("hangs",): 0, ("fails",): 1}
    assert said(readings, vitals.ALIVE) == {(): 0}


def test_two_loops_of_one_name_are_one_series():
    loops, clock = Loops(FakeClock()), FakeClock()
    fails = Loop("same", RESTART, clock, None)
    with loops.running(fails), loops.running(Loop("same", RESTART, clock, None)):
        fails.failed(ValueError("no"))
        readings = of(Health("proxy", dict, loops=loops))
    found = [reading.value for reading in readings if reading.metric is vitals.LOOP_OK]
    assert found == [False], "one series, and the worse of them"


def test_who_leads_says_so_as_long_as_its_term_lasts():
    health, term = Health("scheduler", dict, loops=Loops(FakeClock()), may_lead=True), MemoryTerm(epoch=7)
    assert said(of(health), vitals.LEADER) == {(): 0}
    with health.leading(term):
        assert said(of(health), vitals.LEADER) == {(): 1}
        assert said(of(health), vitals.EPOCH) == {(): 7}
        term.end()
        assert said(of(health), vitals.LEADER) == {(): 0}
        assert said(of(health), vitals.EPOCH) == {(): 0}
    assert said(of(health), vitals.LEADER) == {(): 0}


async def test_a_ping_that_is_lost_is_counted():
    bus = MemoryBus()
    before = sum(vitals.PING_SECONDS.of().counts)
    await vitals.ping(bus)
    assert sum(vitals.PING_SECONDS.of().counts) == before + 1
    lost = vitals.PINGS_LOST.values[()]
    bus.connected = False
    await vitals.ping(bus)
    assert vitals.PINGS_LOST.values[()] == lost, "that it is away is another metric"
