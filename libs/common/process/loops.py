"""The named loops of a service: each has a policy, is watched, and is seen in `/healthz`.

    background()   runs a loop while a context is open. One that ends or fails begins again after a pause (RESTART); one that keeps
                   failing, or may not fail at all (FATAL), ends its context, and so the process, with one clear line
    every()        a loop that does something again and again
    beat()         said by a loop that goes round: it is alive
    missed()       said by one whose round came to nothing, for want of something else
    listening()    says what a loop follows: it is as well as the last sign of life of that
    watched()      whose loops are reported together: those of a process, or of one of several services in a test

A loop that has nothing to do waits for an event and is never late. One that goes round by itself is late when it has not been round
for much longer than it should take: then it hangs, the process is not alive, and whoever keeps it starts it again. What NATS or
a task that went away interrupts (BusFailed, NotFound) is a line and no failure: it goes on when NATS is back. What NATS refuses is one, and
so is what is not answered for a minute although NATS is there; `loop` says which.

A loop ends with its context and no other way: a cancellation that comes from elsewhere is a failure like any other, and the loop
begins again. Otherwise a loop that waits for events would be gone, and nothing would tell: it is never late.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final

from clusterodm.libs.common.clocks import Clock
from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound
from clusterodm.libs.common.messages.health import LoopReport
from clusterodm.libs.common.process.lifecycle import SystemClock, cancel_and_wait
from clusterodm.libs.common.process.loop import (
    RESTART,
    BusSeen,
    CancelledByMistake,
    Loop,
    LoopFailed,
    LoopPolicy,
    NoBus,
)
from clusterodm.libs.common.process.moments import sleep_together
from clusterodm.libs.common.process.owner import Owner

Start = Callable[[], Coroutine[Any, Any, object]]
"""Begins a loop; called again each time it begins again."""

INTERRUPTED_PAUSE_S: Final = 0.5
LATE_ROUNDS_COUNT: Final = 3
LATE_AFTER_S: Final = 90.0
"""A loop that goes round every few seconds is late after three rounds and so long."""


class Loops:
    """All loops of a service that run at present."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.bus: BusSeen = NoBus()
        """What their rounds depend on."""
        self._running: list[Loop] = []

    @property
    def alive(self) -> bool:
        """Whether none of them hangs."""
        return not any(loop.late for loop in self._running)

    def report(self) -> list[LoopReport]:
        """Say how each of them is."""
        return [loop.report() for loop in self._running]

    @contextmanager
    def running(self, loop: Loop) -> Iterator[None]:
        """Count a loop among them while the context is open."""
        self._running.append(loop)
        try:
            yield
        finally:
            self._running.remove(loop)

    @contextmanager
    def depending_on(self, bus: BusSeen) -> Iterator[None]:
        """Have their interruptions judged by what is known of a bus while the context is open."""
        before, self.bus = self.bus, bus
        try:
            yield
        finally:
            self.bus = before


_loops: ContextVar[Loops] = ContextVar("loops")
_current: ContextVar[Loop | None] = ContextVar("loop", default=None)
_of_process: Final = Loops(SystemClock())


def running_loops() -> Loops:
    """Find the loops of this service."""
    return _loops.get(_of_process)


@contextmanager
def watched(loops: Loops) -> Iterator[Loops]:
    """Count all loops that begin in this context among `loops`."""
    token = _loops.set(loops)
    try:
        yield loops
    finally:
        _loops.reset(token)


def beat() -> None:
    """Say that the loop that calls this goes round. Raises LoopFailed."""
    if loop := _current.get():
        loop.goes_round()


def missed(error: ClusterError) -> float:
    """Say that this round of the loop that calls this came to nothing; the least pause before the next, seconds. Raises LoopFailed."""
    loop = _current.get()
    return loop.missed(error) if loop else 0.0


@contextmanager
def listening(silent_s: Callable[[], float]) -> Iterator[None]:
    """Have the loop that calls this follow something while the context is open. `silent_s`: since its last sign of life, seconds."""
    if loop := _current.get():
        with loop.listening(silent_s):
            yield
    else:
        yield


async def every(interval_s: float, act: Callable[[], Awaitable[object]], name: str, jitter: float = 0.1) -> None:
    """Call `act` for ever, `interval_s` apart give or take `jitter` (a fraction). It goes on whatever that raises.

    Raises LoopFailed when it fails for too long.
    """
    loop = _current.get() or Loop(name, RESTART, running_loops().clock, None)
    if loop.late_after_s is None:
        loop.late_after_s = LATE_ROUNDS_COUNT * interval_s + LATE_AFTER_S
    while True:
        pause_s = interval_s * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311 no secret
        try:
            loop.begins_round()
            await act()
            loop.ends_round()
        except (BusFailed, NotFound) as error:
            pause_s = max(pause_s, loop.missed(error))
        except LoopFailed:
            raise
        except Exception as error:  # noqa: BLE001 it is logged, and counted
            pause_s = max(pause_s, loop.failed(error))
        await sleep_together(pause_s)


async def kept(start: Start, loop: Loop, ending: Callable[[], bool]) -> None:
    """Run a loop until it is cancelled while `ending()`, beginning it again whenever it ends before. Raises LoopFailed."""
    _current.set(loop)
    clock = running_loops().clock
    pause_s: float | None = None
    while True:
        began = clock.instant()
        try:
            if pause_s is not None:
                await asyncio.sleep(pause_s)  # of no length, too: others have their turn
                began = clock.instant()
            pause_s = await ran(start, loop)
        except asyncio.CancelledError:
            if ending():
                raise
            disregard_cancellation()
            mistake = CancelledByMistake("it was cancelled, and its context goes on")
            pause_s = loop.failed(mistake, clock.instant() - began)


async def ran(start: Start, loop: Loop) -> float:
    """Run a loop until it ends; how long to pause before it begins again, seconds. Raises LoopFailed."""
    loop.began()
    clock, error = running_loops().clock, None
    began = clock.instant()
    try:
        await start()
    except (BusFailed, NotFound) as interruption:
        return max(INTERRUPTED_PAUSE_S, loop.missed(interruption, clock.instant() - began))
    except LoopFailed:
        raise
    except Exception as failure:  # noqa: BLE001 it is logged, and counted
        error = failure
    return loop.failed(error, clock.instant() - began)


def disregard_cancellation() -> None:
    """Let the current task go on as if nobody had cancelled it."""
    task = asyncio.current_task()
    while task and task.cancelling():
        task.uncancel()


@asynccontextmanager
async def background(
    start: Start, name: str, policy: LoopPolicy = RESTART, late_after_s: float | None = None
) -> AsyncIterator[None]:
    """Run a loop while the context is open. Raises LoopFailed in the context when it has failed for good.

    `late_after_s`: the loop says `beat()`, and hangs when it has not for so long; None: it may wait for ever.
    """
    loops = running_loops()
    loop = Loop(name, policy, loops.clock, late_after_s, lambda: loops.bus)
    with loops.running(loop):
        owner = Owner()
        running = asyncio.get_running_loop().create_task(kept(start, loop, owner.ending), name=name)
        owner.owns(running)
        try:
            yield
        finally:
            owner.leave()
            await cancel_and_wait(running)
            owner.require()
