"""What a service says of itself: alive, and ready to be of use."""

import asyncio
from typing import Any

import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.health.health import Health, NeededServices
from clusterodm.libs.common.health.vitals import answered
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH, HealthReport, ReportHealth, RightRefused
from clusterodm.libs.common.process.loop import LoopPolicy
from clusterodm.libs.common.process.loops import Loops, background, every, watched
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from tests.waiting import until


def page(health: Health, path: str) -> tuple[bool, dict[str, Any]]:
    found = health.page(path)
    assert found is not None
    return found


async def test_a_loop_that_hangs_makes_its_service_dead():
    clock, entered = FakeClock(), asyncio.Event()
    loops = Loops(clock)

    async def hangs() -> None:
        entered.set()
        await asyncio.Event().wait()

    health = Health("test", dict, loops=loops)
    with watched(loops):
        async with background(lambda: every(5.0, hangs, "probe"), "probe"):
            await entered.wait()
            assert page(health, "/healthz")[0]
            clock.pass_s(200)
            well, said = page(health, "/healthz")
            assert not well
            assert [loop["name"] for loop in said["loops"] if loop.get("late")] == ["probe"]


async def test_a_loop_that_fails_leaves_its_service_alive_and_not_ready():
    async def fails() -> None:
        raise ValueError("no such thing")

    loops = Loops(FakeClock())
    health = Health("test", dict, loops=loops)
    patient = LoopPolicy(first_pause_s=0.0, longest_pause_s=0.0)
    with watched(loops):
        async with background(fails, "probe", patient):
            await until(lambda: not page(health, "/readyz")[0])
            assert page(health, "/healthz")[0]
            assert page(health, "/readyz")[1]["loops"][0]["error"] == "ValueError: no such thing"


async def test_every_loop_says_how_long_ago_it_went_round_well():
    clock, again = FakeClock(), asyncio.Event()
    loops = Loops(clock)
    health = Health("test", dict, loops=loops)

    async def round_s() -> None:
        await again.wait()
        again.clear()

    with watched(loops):
        async with background(lambda: every(0.0, round_s, "probe"), "probe"):
            again.set()
            await until(lambda: "success_age_s" in page(health, "/healthz")[1]["loops"][0])
            clock.pass_s(3)
            assert page(health, "/healthz")[1]["loops"][0]["success_age_s"] == 3.0


def test_a_service_that_is_told_to_stop_is_asked_no_more():
    health = Health("test", dict, loops=Loops(FakeClock()))
    health.stopping = True
    assert not page(health, "/healthz")[0]


def test_a_fact_that_is_missing_is_said_and_leaves_the_service_alive():
    health = Health("test", lambda: {"bus": False}, loops=Loops(FakeClock()))
    assert page(health, "/healthz")[0]
    well, said = page(health, "/readyz")
    assert not well
    assert said["bus"] is False


class RefusingBus:
    """What NATS refuses to a service, as a test says."""

    connected = True

    def __init__(self) -> None:
        self.lacking: tuple[RightRefused, ...] = ()

    def refused_since(self, since: Instant) -> str:
        del since
        return ""

    def rights_lacking(self) -> tuple[RightRefused, ...]:
        return self.lacking


@pytest.mark.parametrize("errors", [True, False])
def test_a_right_that_nats_refuses_leaves_a_service_alive_and_not_ready_and_is_named_to_everybody(errors: bool):
    loops, bus = Loops(FakeClock()), RefusingBus()
    health = Health("test", lambda: {"bus": True}, loops=loops)
    with loops.depending_on(bus):
        bus.lacking = (RightRefused(right="publish to $KV.uploads.>", refused_age_s=3.0, advice="have it added"),)
        found = health.page("/readyz", errors=errors)
        assert found is not None
        well, said = found
        assert (well, said["bus"], said["rights"]) == (False, True, False)
        assert said["rights_refused"][0]["right"] == "publish to $KV.uploads.>"
        assert said["rights_refused"][0]["advice"] == "have it added"
        assert page(health, "/healthz")[0], "starting it again would not help"
        bus.lacking = ()
        assert page(health, "/readyz")[0]


async def test_a_service_that_hangs_is_seen_by_those_that_need_it():
    clock, bus = FakeClock(), MemoryBus()
    needed = NeededServices(bus, {"scheduler": SCHEDULER_HEALTH}, clock)
    health = Health("test", dict, needed, Loops(clock))
    assert not page(health, "/readyz")[0], "nobody has answered yet"

    async def fine(_asked: ReportHealth) -> HealthReport:
        return HealthReport(ok=True, service="scheduler")

    async with bus.serve("scheduler", {SCHEDULER_HEALTH: fine}):
        await needed.check()
    assert page(health, "/readyz")[0]
    await needed.check()  # nobody answers
    clock.pass_s(10)
    assert page(health, "/readyz")[0], "it may be about to be followed by another"
    clock.pass_s(6)
    well, said = page(health, "/readyz")
    assert not well
    assert said["services"]["scheduler"]["heard_age_s"] == 16.0
    assert said["services"]["scheduler"]["error"]
    assert page(health, "/healthz")[0], "starting this one again would not help"


async def test_a_refusal_is_an_answer_too():
    clock, bus = FakeClock(), MemoryBus()
    needed = NeededServices(bus, {"scheduler": SCHEDULER_HEALTH}, clock)

    async def refuses(_asked: ReportHealth) -> HealthReport:
        raise Refused("not now")

    async with bus.serve("scheduler", {SCHEDULER_HEALTH: refuses}):
        await needed.check()
    assert needed.seen()["scheduler"].ok


async def test_texts_of_errors_stay_inside_where_everybody_may_ask():
    clock, bus = FakeClock(), MemoryBus()
    needed = NeededServices(bus, {"scheduler": SCHEDULER_HEALTH}, clock)
    await needed.check()
    health = Health("test", dict, needed, Loops(clock))
    assert health.page("/readyz", errors=True)[1]["services"]["scheduler"]["error"]  # type: ignore[index]
    assert "error" not in health.page("/readyz", errors=False)[1]["services"]["scheduler"]  # type: ignore[index]


async def test_the_health_port_answers_with_a_status_and_knows_no_other_page():
    health = Health("test", lambda: {"bus": False}, loops=Loops(FakeClock()))
    assert (await answered(health, "/healthz"))[0] == 200
    assert (await answered(health, "/readyz"))[0] == 503
    assert (await answered(health, "/metrics"))[0] == 200
    assert (await answered(health, "/"))[0] == 404
