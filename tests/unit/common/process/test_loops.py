"""Named loops: what happens when one fails, hangs, or is ended."""

import asyncio
import contextlib

import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.errors import BusDenied, BusFailed, Unreadable
from clusterodm.libs.common.messages.health import RightRefused
from clusterodm.libs.common.process.loop import (
    DEAF_AFTER_S,
    FATAL,
    RESTART,
    STUCK_AFTER_S,
    Loop,
    LoopFailed,
    LoopPolicy,
)
from clusterodm.libs.common.process.loops import (
    LATE_AFTER_S,
    Loops,
    background,
    beat,
    every,
    listening,
    missed,
    watched,
)
from clusterodm.libs.common.process.moments import shared_s
from clusterodm.libs.common.testing.clock import FakeClock
from tests.waiting import until

HASTY_AND_PATIENT = LoopPolicy(first_pause_s=0.0, longest_pause_s=0.0)
HASTY = LoopPolicy(first_pause_s=0.0, longest_pause_s=0.0, failing_for_s=0.0, most_failures_count=3)


async def test_a_loop_survives_what_it_raises():
    calls: list[int] = []

    async def act() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("once")
        if len(calls) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await every(0.001, act, "test")
    assert len(calls) == 3


async def test_a_background_loop_ends_with_its_context():
    ended = asyncio.Event()

    async def loop() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with background(loop, "test"):
        await asyncio.sleep(0)
    assert ended.is_set()


async def test_a_cancellation_while_a_background_loop_ends_is_not_missed():
    ending = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ending.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    async def owner() -> None:
        async with background(slow_to_end, "test"):
            await asyncio.sleep(0)
        await asyncio.sleep(60)

    running = asyncio.get_running_loop().create_task(owner())
    await ending.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 5)


async def test_a_loop_that_fails_begins_again():
    begun: list[int] = []

    async def fails_once() -> None:
        begun.append(1)
        if len(begun) == 1:
            raise ValueError("once")
        await asyncio.Event().wait()

    async with background(fails_once, "test", HASTY):
        await until(lambda: len(begun) == 2)


async def test_a_loop_that_ends_by_itself_begins_again():
    begun: list[int] = []

    async def ends_once() -> None:
        begun.append(1)
        if len(begun) > 1:
            await asyncio.Event().wait()

    async with background(ends_once, "test", HASTY):
        await until(lambda: len(begun) == 2)


async def test_a_loop_that_keeps_failing_ends_its_context_with_one_clear_line():
    async def fails() -> None:
        raise ValueError("no such thing")

    with pytest.raises(LoopFailed, match="the loop 'test' has failed 3 times: ValueError: no such thing"):
        async with background(fails, "test", HASTY):
            await asyncio.Event().wait()
    assert not asyncio.current_task().cancelling()  # type: ignore[union-attr]


async def test_a_fatal_loop_may_not_fail_once():
    async def fails() -> None:
        raise ValueError("at once")

    with pytest.raises(LoopFailed, match="1 times"):
        async with background(fails, "test", FATAL):
            await asyncio.Event().wait()


async def test_a_failed_loop_ends_an_owner_that_misses_the_first_cancellation():
    async def fails() -> None:
        raise ValueError("at once")

    async def misses_one() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    with pytest.raises(LoopFailed):
        async with background(fails, "test", FATAL):
            await misses_one()


async def test_what_ends_a_process_from_outside_is_no_failure_of_a_loop():
    async def fails_when_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it was ended")

    async def owner() -> None:
        async with background(fails_when_cancelled, "test", FATAL):
            await asyncio.Event().wait()

    running = asyncio.get_running_loop().create_task(owner())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


class FakeBusSeen:
    """What a test lets a loop know of NATS."""

    def __init__(self) -> None:
        self.connected = True
        self.refused = ""
        self.lacking: tuple[RightRefused, ...] = ()

    def refused_since(self, since: Instant) -> str:
        del since
        return self.refused

    def rights_lacking(self) -> tuple[RightRefused, ...]:
        return self.lacking


async def test_a_bus_that_is_away_interrupts_a_loop_and_is_no_failure_however_long():
    rounds: list[int] = []
    back = asyncio.Event()

    async def act() -> None:
        rounds.append(1)
        if not back.is_set():
            raise BusFailed("nobody answers")

    clock, bus = FakeClock(), FakeBusSeen()
    bus.connected = False
    loops = Loops(clock)
    with watched(loops), loops.depending_on(bus):
        async with background(lambda: every(0.0, act, "test"), "test", HASTY):
            await until(lambda: len(rounds) > 20)
            clock.pass_s(36_000)
            rounds.clear()
            await until(lambda: len(rounds) > 1)
            assert loops.report()[0].ok
            assert loops.report()[0].error == "nobody answers"
            back.set()
            await until(lambda: not loops.report()[0].error)


def loop_of(clock: FakeClock, bus: FakeBusSeen) -> Loop:
    return Loop("test", RESTART, clock, None, lambda: bus)


def test_what_is_not_answered_for_long_though_nats_is_there_is_told_as_a_failure_and_ends_nothing():
    clock = FakeClock()
    loop = loop_of(clock, FakeBusSeen())
    for _ in range(5):
        loop.missed(BusFailed("no answer"))
        clock.pass_s(STUCK_AFTER_S / 6)
    assert loop.report().ok, "a stream, or a service, may be about to be taken over"
    for _ in range(3600):
        loop.missed(BusFailed("no answer"))
        clock.pass_s(10)
    assert (loop.report().ok, loop.report().failures_count) == (False, 3605)
    assert loop.report().error == "no answer"
    loop.succeeded()
    assert (loop.report().ok, loop.report().failures_count) == (True, 0)


async def test_a_round_that_was_missed_is_no_success():
    rounds: list[int] = []

    async def misses() -> None:
        rounds.append(1)
        missed(BusFailed("no answer"))

    loops = Loops(FakeClock())
    with watched(loops):
        async with background(lambda: every(0.0, misses, "test"), "test"):
            await until(lambda: len(rounds) > 2)
            assert (loops.report()[0].success_age_s, loops.report()[0].error) == (None, "no answer")


def test_time_without_nats_does_not_count_as_time_without_an_answer():
    clock, bus = FakeClock(), FakeBusSeen()
    loop = loop_of(clock, bus)
    loop.missed(BusFailed("no answer"))
    bus.connected = False
    clock.pass_s(36_000)
    loop.missed(BusFailed("nats is away"))
    bus.connected = True
    loop.missed(BusFailed("no answer"))
    assert loop.report().ok


@pytest.mark.parametrize("message", ["its user has not the rights that are needed", "no answer"])
def test_a_right_that_is_refused_is_a_failure_that_ends_the_process_with_one_clear_line(message: str):
    clock, bus = FakeClock(), FakeBusSeen()
    loop = loop_of(clock, bus)
    bus.refused = "" if message != "no answer" else 'permissions violation for publish to "$kv.tasks.t"'
    error = BusFailed(message) if bus.refused else BusDenied(message)
    assert loop.missed(error) == RESTART.first_pause_s
    assert (loop.report().ok, loop.report().failures_count) == (False, 1)
    for _ in range(5):
        loop.missed(error)
    clock.pass_s(RESTART.failing_for_s)
    with pytest.raises(LoopFailed, match=f"the loop 'test' has failed 7 times: BusDenied: {message}") as failed:
        loop.missed(error)
    assert bus.refused in str(failed.value)


LACKING = (RightRefused(right="publish to $KV.tasks.>", refused_age_s=1.0, advice="have it added"),)


def test_a_loop_that_goes_round_has_failed_while_it_lacks_the_right_that_it_failed_for():
    clock, bus = FakeClock(), FakeBusSeen()
    loop = loop_of(clock, bus)
    bus.lacking = LACKING
    for _ in range(4):
        loop.missed(BusDenied("tasks/t not updated"))
        loop.goes_round()
        loop.begins_round()
        loop.ends_round()
    assert (loop.report().ok, loop.report().failures_count) == (False, 4)
    bus.lacking = ()
    assert (loop.report().ok, loop.report().failures_count) == (True, 0), "it may wait for long from here on"


@pytest.mark.parametrize("bus_failed", [BusFailed("no answer"), ValueError("a fault")])
def test_a_right_that_something_else_lacks_is_no_failure_of_a_loop_that_goes_round(bus_failed: Exception):
    bus = FakeBusSeen()
    loop = loop_of(FakeClock(), bus)
    bus.lacking = LACKING
    loop.failed(bus_failed)
    loop.goes_round()
    assert loop.report().ok


async def test_a_right_that_tasks_of_a_loop_lack_for_long_ends_the_loop():
    clock, bus = FakeClock(), FakeBusSeen()
    bus.lacking = LACKING
    tries: list[int] = []

    async def write() -> None:
        tries.append(1)
        with pytest.raises(LoopFailed) if len(tries) == 5 else contextlib.nullcontext():
            missed(BusDenied("tasks/t not updated"))

    async def goes_round() -> None:
        while True:
            beat()
            async with asyncio.TaskGroup() as group:
                group.create_task(write())
            clock.pass_s(RESTART.failing_for_s / 4)

    ends = pytest.raises(LoopFailed, match="the loop 'test' has failed 5 times: BusDenied: tasks/t not updated")
    with watched(Loops(clock)) as loops, loops.depending_on(bus), ends:
        async with background(goes_round, "test"):
            await asyncio.Event().wait()


def test_a_record_that_this_version_cannot_read_is_a_failure_and_ends_nothing():
    clock = FakeClock()
    loop = loop_of(clock, FakeBusSeen())
    for _ in range(100):
        loop.missed(Unreadable("tasks/t was written by a later version"))
        clock.pass_s(60)
    assert (loop.report().ok, loop.report().failures_count) == (False, 100)


async def test_a_loop_that_waits_for_events_tells_since_when_it_waits():
    clock, work = FakeClock(), asyncio.Event()

    async def waits() -> None:
        while True:
            await work.wait()
            work.clear()
            beat()

    loops = Loops(clock)
    with watched(loops):
        async with background(waits, "test"):
            await asyncio.sleep(0)
            clock.pass_s(36_000)
            assert loops.report()[0].success_age_s == 36_000
            work.set()
            await until(lambda: loops.report()[0].success_age_s == 0)


async def test_a_loop_that_follows_something_is_as_well_as_its_last_sign_of_life():
    clock, bus = FakeClock(), FakeBusSeen()
    silent_s = [2.0]

    async def follows() -> None:
        with listening(lambda: silent_s[0]):
            await asyncio.Event().wait()

    loops = Loops(clock)
    with watched(loops), loops.depending_on(bus):
        async with background(follows, "test"):
            await until(lambda: loops.report()[0].success_age_s == 2.0)
            assert loops.report()[0].ok
            silent_s[0] = DEAF_AFTER_S + 1
            [said] = loops.report()
            assert (said.ok, said.success_age_s, said.error) == (
                False,
                DEAF_AFTER_S + 1,
                "nothing is heard of what it follows",
            )
            bus.connected = False
            assert loops.report()[0].ok, "that NATS is away is told elsewhere"


async def test_what_a_loop_reads_on_its_round_is_not_what_it_follows():
    clock = FakeClock()

    async def reads() -> None:
        with listening(lambda: 1_000.0):
            await asyncio.Event().wait()

    loops = Loops(clock)
    with watched(loops):
        async with background(lambda: every(1.0, reads, "test"), "test"):
            await asyncio.sleep(0)
            assert loops.report()[0].ok
            assert loops.report()[0].success_age_s is None, "it has not been round yet"


def test_a_loop_that_fails_waits_twice_as_long_each_time():
    clock = FakeClock()
    loop = Loop("test", RESTART, clock, None)
    assert [loop.failed(ValueError(), 0.1) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    loop.succeeded()
    assert loop.failed(ValueError(), 0.1) == 0.2


def test_a_loop_has_failed_for_good_when_it_failed_often_and_for_long():
    clock = FakeClock()
    loop = Loop("test", RESTART, clock, None)
    for _ in range(20):
        loop.failed(ValueError())
    clock.pass_s(60)
    with pytest.raises(LoopFailed):
        loop.failed(ValueError())


def test_a_loop_that_had_run_well_begins_its_time_limit_anew():
    clock = FakeClock()
    loop = Loop("test", RESTART, clock, None)
    for _ in range(20):
        clock.pass_s(60)
        assert loop.failed(ValueError(), ran_s=60) == 0.2


async def test_a_loop_that_hangs_is_late_and_its_service_not_alive():
    clock, entered = FakeClock(), asyncio.Event()

    async def hangs() -> None:
        entered.set()
        await asyncio.Event().wait()

    loops = Loops(clock)
    with watched(loops):
        async with background(lambda: every(5.0, hangs, "test"), "test"):
            await entered.wait()
            clock.pass_s(14 + LATE_AFTER_S)
            assert loops.alive
            clock.pass_s(2)
            assert not loops.alive
            assert loops.report()[0].late
    assert loops.alive


async def test_a_step_of_the_wall_clock_makes_no_loop_late():
    clock, entered = FakeClock(), asyncio.Event()

    async def waits() -> None:
        entered.set()
        await asyncio.Event().wait()

    loops = Loops(clock)
    with watched(loops):
        async with background(lambda: every(5.0, waits, "test"), "test"):
            await entered.wait()
            for step_s in (7200, -14_400):
                clock.step_wall_s(step_s)
                assert loops.alive


async def test_a_loop_that_waits_for_events_is_never_late():
    clock = FakeClock()
    loops = Loops(clock)
    with watched(loops):
        async with background(asyncio.Event().wait, "test"):
            clock.pass_s(100_000)
            assert loops.alive


async def test_a_loop_that_says_so_goes_round():
    clock, again = FakeClock(), asyncio.Event()

    async def goes_round() -> None:
        while True:
            beat()
            await again.wait()
            again.clear()

    loops = Loops(clock)
    with watched(loops):
        async with background(goes_round, "test", late_after_s=10):
            await until(lambda: loops.report()[0].success_age_s == 0)
            clock.pass_s(11)
            assert not loops.alive
            again.set()
            await until(lambda: loops.alive)


async def test_a_loop_that_is_cancelled_by_mistake_begins_again():
    begun: asyncio.Queue[str] = asyncio.Queue()

    async def waits() -> None:
        begun.put_nowait("again")
        await asyncio.Event().wait()

    async with background(waits, "waits for events", HASTY_AND_PATIENT):
        for _ in range(3):
            await asyncio.wait_for(begun.get(), 5)
            named("waits for events").cancel()
        await asyncio.wait_for(begun.get(), 5)


async def test_a_loop_that_is_cancelled_in_its_pause_begins_again():
    begun: asyncio.Queue[str] = asyncio.Queue()
    again = asyncio.Event()

    async def fails_once() -> None:
        begun.put_nowait("again")
        if not again.is_set():
            again.set()
            raise ValueError("once")
        await asyncio.Event().wait()

    async with background(fails_once, "fails once", LoopPolicy(first_pause_s=0.05, longest_pause_s=0.05)):
        await asyncio.wait_for(begun.get(), 5)
        await asyncio.sleep(0)
        named("fails once").cancel()
        await asyncio.wait_for(begun.get(), 5)


async def test_a_fatal_loop_that_is_cancelled_by_mistake_ends_its_context():
    async def owner() -> None:
        async with background(asyncio.Event().wait, "is fatal", FATAL):
            await asyncio.sleep(0)
            named("is fatal").cancel()
            await asyncio.sleep(60)

    with pytest.raises(LoopFailed, match="it was cancelled, and its context goes on"):
        await owner()


async def test_loops_end_when_all_tasks_are_cancelled_at_once():
    """As `asyncio.run` does at the end, in any order."""

    async def outer() -> None:
        async with background(asyncio.Event().wait, "inner"):
            await asyncio.sleep(60)

    async def owner() -> None:
        async with background(outer, "outer"):
            await asyncio.sleep(60)

    running = asyncio.get_running_loop().create_task(owner())
    for _ in range(5):
        await asyncio.sleep(0)
    tasks = [running, named("outer"), named("inner")]
    for each in reversed(tasks):
        each.cancel()
    done, _ = await asyncio.wait(tasks, timeout=5)
    assert done == set(tasks)


def named(name: str) -> asyncio.Task[object]:
    """Find the task of a loop."""
    [found] = [task for task in asyncio.all_tasks() if task.get_name() == name]
    return found


@pytest.mark.parametrize(
    ("pause_s", "now_s", "expected_s"),
    [
        pytest.param(0.45, 100.0, 0.5, id="a little longer"),
        pytest.param(0.55, 100.0, 0.5, id="a little shorter"),
        pytest.param(0.5, 100.1, 0.4, id="to the moment of the others"),
        pytest.param(0.5, 100.3, 0.7, id="to a later one, if that is nearer"),
        pytest.param(5.3, 100.1, 5.4, id="long ones too"),
        pytest.param(0.1, 100.1, 0.1, id="not short ones"),
    ],
)
def test_pauses_end_at_moments_that_loops_share(pause_s: float, now_s: float, expected_s: float):
    assert shared_s(pause_s, now_s) == pytest.approx(expected_s)
