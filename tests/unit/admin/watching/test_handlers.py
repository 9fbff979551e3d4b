"""What operators watch is followed: samples survive a restart, events are read as they come, a proxy that is silent is not there."""

import asyncio
from typing import Any

import pytest

from clusterodm.libs.common.errors import BusFailed
from clusterodm.libs.common.health.health import Health
from clusterodm.libs.common.messages.buckets import SAMPLES
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH, STANDBY_REPORTED, HealthReport, StandbyReported
from clusterodm.libs.common.messages.kinds import Event, Request
from clusterodm.libs.common.messages.machines import AutoscalerStatus
from clusterodm.libs.common.messages.nodes import NODE_ADDED, NodeEvent
from clusterodm.libs.common.messages.overview import GET_OVERVIEW, ClusterOverview, GetOverview, SpoolReport
from clusterodm.libs.common.messages.placement import FINISH_REPORTED, FinishReported
from clusterodm.libs.common.model.values import InstanceId, NodeId, NodeTaskId
from clusterodm.libs.common.ports import StoredEvents
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.admin.watching.handlers import (
    SILENT_TIMEOUT_S,
    STANDBYS_COUNT,
    TIMEOUT_S,
    EventLog,
    Watched,
)
from clusterodm.services.admin.web.handlers.overview import OverviewHandler
from clusterodm.services.admin.web.handlers.reading import ClusterReader
from tests.waiting import until


async def said(_asked: GetOverview) -> ClusterOverview:
    return ClusterOverview(at_ms=1, states={"waiting": 4}, nodes_count=2)


async def test_samples_are_taken_kept_and_read_again_by_the_next_admin(bus: MemoryBus):
    clock = FakeClock()
    async with bus.serve("scheduler", {GET_OVERVIEW: said}):
        watched = Watched(bus, clock)
        async with watched.running():
            for _ in range(3):
                await watched.sample()
                clock.pass_s(30)
    assert len(await (await bus.bucket(SAMPLES)).load()) == 3
    async with Watched(bus, clock).running():
        pass
    restarted = Watched(bus, clock)
    async with restarted.running():
        series = (await restarted.history()).series(clock.wall_ms() / 1000, 3600)
    assert [value for value in series.values["waiting"] if value is not None] == [4.0, 4.0, 4.0]


async def test_a_scheduler_that_is_silent_leaves_a_gap_and_no_error(bus: MemoryBus):
    watched = Watched(bus, FakeClock())
    async with watched.running():
        await watched.sample()
        assert "waiting" not in (await watched.history()).series(FakeClock().wall_ms() / 1000 + 1, 3600).values
        assert await watched.overview() is None
        assert await watched.autoscaler() is None


async def test_events_are_read_once_each_and_hints_are_none(bus: MemoryBus):
    watched = Watched(bus, FakeClock())
    await bus.publish(NODE_ADDED, NodeEvent(at_ms=1, node=NodeId("a")))
    await bus.publish(FINISH_REPORTED, FinishReported(node_task_id=NodeTaskId("x")))
    await watched.events.read()
    await watched.events.read()
    assert [(each.name, each.payload["node"]) for each in watched.events.events] == [("node.added", "a")]
    await bus.publish(NODE_ADDED, NodeEvent(at_ms=2, node=NodeId("b")))
    await watched.events.read()
    assert [each.payload["node"] for each in watched.events.since(1)] == ["b"]


async def test_hints_of_builds_that_kept_them_are_not_shown(bus: MemoryBus):
    await bus.publish(Event(FINISH_REPORTED.name, FinishReported), FinishReported(node_task_id=NodeTaskId("x")))
    await bus.publish(NODE_ADDED, NodeEvent(at_ms=1, node=NodeId("n")))
    events = EventLog(bus)
    await events.read()
    assert [each.name for each in events.since(0)] == [NODE_ADDED.name]


async def test_a_spool_that_was_not_heard_of_for_a_minute_is_not_there(bus: MemoryBus):
    clock = FakeClock()
    watched = Watched(bus, clock)
    report = SpoolReport(instance=InstanceId("p"), at_ms=clock.wall_ms())
    watched.spools.take("p", report, 1)
    assert watched.known_spools() == [report]
    clock.pass_s(61)
    assert watched.known_spools() == []


@pytest.mark.parametrize("hours", [-2, 2])
async def test_a_spool_is_there_while_it_is_heard_of_whatever_the_clock_of_its_host_says(bus: MemoryBus, hours: int):
    clock = FakeClock()
    watched = Watched(bus, clock)
    told_ms = clock.wall_ms() + hours * 3_600_000
    for revision in (1, 2):
        clock.pass_s(50)
        watched.spools.take("p", SpoolReport(instance=InstanceId("p"), at_ms=told_ms), revision)
    assert [each.instance for each in watched.known_spools()] == ["p"]
    clock.pass_s(61)
    assert watched.known_spools() == []


def a_standby(instance: str, since_ms: int, service: str = "scheduler") -> StandbyReported:
    health = HealthReport(ok=True, service=service, version="3.0.0", host="b", epoch=None, turn_ms=0.5)
    return StandbyReported(instance=InstanceId(instance), since_ms=since_ms, health=health)


async def test_standbys_are_known_as_long_as_they_are_heard_of(bus: MemoryBus):
    clock = FakeClock()
    watched = Watched(bus, clock)
    async with watched.running():
        await bus.publish(STANDBY_REPORTED, a_standby("younger", 20))
        await bus.publish(STANDBY_REPORTED, a_standby("older", 10))
        await bus.publish(STANDBY_REPORTED, a_standby("other", 10, "autoscaler"))
        clock.pass_s(10)
        await bus.publish(STANDBY_REPORTED, a_standby("younger", 20))
        known = [(each.reported.instance, each.age_s) for each in watched.standbys.known("scheduler")]
        assert known == [("older", 10.0), ("younger", 0.0)]
        clock.pass_s(6)
        assert [each.reported.instance for each in watched.standbys.known("scheduler")] == ["younger"]


async def test_no_more_standbys_are_remembered_than_there_can_be(bus: MemoryBus):
    watched = Watched(bus, FakeClock())
    for number in range(STANDBYS_COUNT + 5):
        await watched.standbys.hear(a_standby(f"s{number}", number))
    assert len(watched.standbys.known("scheduler")) == STANDBYS_COUNT


async def test_the_page_shows_a_standby_beside_the_one_that_leads(bus: MemoryBus):
    watched = Watched(bus, FakeClock())
    health = Health("scheduler", dict, may_lead=True)
    overviews = OverviewHandler(bus, ClusterReader(bus, watched), FakeClock(), None, ())
    async with watched.running(), bus.serve("scheduler", {SCHEDULER_HEALTH: health.answer}):
        await bus.publish(STANDBY_REPORTED, a_standby("b-1", 20))
        leader, standby, autoscaler = (await overviews.services()).items
    assert (leader.name, leader.standby, autoscaler.name) == ("scheduler", False, "autoscaler")
    assert (standby.name, standby.instance, standby.standby, standby.since_ms) == ("scheduler", "b-1", True, 20)
    assert (standby.version, standby.host, standby.turn_ms, standby.lag_ms) == ("3.0.0", "b", 0.5, 0.0)


class TimeoutBus(MemoryBus):
    """Notes how long each answer is waited for; there is one while `answers`."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = False
        self.waited_s: list[float | None] = []

    async def request(self, request: Request[Any, Any], message: Any, timeout_s: float | None = None) -> Any:
        del request, message
        self.waited_s.append(timeout_s)
        if not self.answers:
            raise BusFailed("nobody answers")
        return AutoscalerStatus(enabled=True, reason="")


async def test_pages_do_not_wait_for_an_autoscaler_that_has_not_answered_but_samples_do():
    bus = TimeoutBus()
    watched = Watched(bus, FakeClock())
    assert await watched.autoscaler() is None
    assert await watched.autoscaler() is None
    assert await watched.autoscaler(waits=True) is None
    bus.answers = True
    assert await watched.autoscaler() is not None
    assert await watched.autoscaler() is not None
    assert bus.waited_s == [TIMEOUT_S, SILENT_TIMEOUT_S, TIMEOUT_S, SILENT_TIMEOUT_S, TIMEOUT_S]


class SlowBus(MemoryBus):
    """One whose stream of events is read when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.readings_count = 0
        self.is_silent = False
        self.turns = asyncio.Semaphore(0)

    async def stored_events(self, after: int, most_count: int) -> StoredEvents:
        self.readings_count += 1
        await self.turns.acquire()
        if self.is_silent:
            raise BusFailed("no answer")
        return await super().stored_events(after, most_count)


async def outcome(events: EventLog) -> str:
    try:
        await events.read()
    except BusFailed as error:
        return error.message
    return ""


@pytest.mark.parametrize("is_silent", [False, True])
async def test_however_many_listen_nobody_waits_for_more_than_two_readings(is_silent: bool):
    bus = SlowBus()
    bus.is_silent = is_silent
    events = Watched(bus, FakeClock()).events
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        listening = [group.create_task(outcome(events))]
        await until(lambda: bus.readings_count == 1)
        listening += [group.create_task(outcome(events)) for _ in range(50)]
        await asyncio.sleep(0)
        for _ in range(2):
            bus.turns.release()
    assert bus.readings_count == 2
    assert {each.result() for each in listening} == {"no answer" if is_silent else ""}


async def test_one_who_gives_up_leaves_its_reading_to_the_next():
    bus = SlowBus()
    events = Watched(bus, FakeClock()).events
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        first = group.create_task(outcome(events))
        await until(lambda: bus.readings_count == 1)
        first.cancel()
        second = group.create_task(outcome(events))
        bus.turns.release()
    assert (bus.readings_count, second.result()) == (2, "")
