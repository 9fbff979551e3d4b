"""The named loops of a service: each has a policy, is watched, and is seen in `/healthz`.

    background()   runs a loop while a context is open. One that ends or fails begins again after a pause (RESTART); one that keeps
                   failing, or may not fail at all (FATAL), ends its context, and so the process, with one clear line
    every()        a loop that does something again and again
    beat()         said by a loop that goes round: it is alive
    watched()      whose loops are reported together: those of a process, or of one of several services in a test

A loop that has nothing to do waits for an event and is never late. One that goes round by itself is late when it has not been round
for much longer than it should take: then it hangs, the process is not alive, and whoever keeps it starts it again. What NATS or
a task that went away interrupts (BusFailed, NotFound) is a line and no failure: it goes on when NATS is back.

A loop ends with its context and no other way: a cancellation that comes from elsewhere is a failure like any other, and the loop
begins again. Otherwise a loop that waits for events would be gone, and nothing would tell: it is never late.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusFailed, ClusterError, NotFound
from clusterodm.libs.common.messages.health import LoopReport
from clusterodm.libs.common.process.lifecycle import SystemClock, cancel_and_wait
from clusterodm.libs.common.process.moments import sleep_together
from clusterodm.libs.common.process.owner import Owner

log = structlog.get_logger()

Start = Callable[[], Coroutine[Any, Any, object]]
"""Begins a loop; called again each time it begins again."""

INTERRUPTED_PAUSE_S: Final = 0.5
LATE_ROUNDS_COUNT: Final = 3
LATE_AFTER_S: Final = 90.0
"""A loop that goes round every few seconds is late after three rounds and so long."""


@dataclass(frozen=True)
class LoopPolicy:
    """What happens when a loop fails. It has given up when it failed `most_failures_count` times in a row over `failing_for_s`."""

    first_pause_s: float = 0.2
    longest_pause_s: float = 10.0
    settled_s: float = 10.0
    """Whoever has run for so long had begun well."""
    failing_for_s: float = 60.0
    most_failures_count: int = 5

    def pause_s(self, failures_count: int) -> float:
        """Say how long to wait before the next begin: doubled each time."""
        return min(self.first_pause_s * 2.0 ** min(failures_count - 1, 30), self.longest_pause_s)

    def gives_up(self, failures_count: int, failing_s: float) -> bool:
        """Whether trying again is of no use any more."""
        return failures_count >= self.most_failures_count and failing_s >= self.failing_for_s


RESTART: Final = LoopPolicy()
FATAL: Final = LoopPolicy(failing_for_s=0.0, most_failures_count=1)


class CancelledByMistake(Exception):
    """Somebody has cancelled a loop whose context goes on, as a library may that mixes up whom it cancels."""


class LoopFailed(ClusterError):
    """A loop has failed for good: its process ends, and whoever keeps it starts it again."""


class Loop:
    """What is known of one loop."""

    def __init__(self, name: str, policy: LoopPolicy, clock: Clock, late_after_s: float | None) -> None:
        self.name = name
        self.late_after_s = late_after_s
        self._policy = policy
        self._clock = clock
        self._round_at = clock.instant()
        self._success_at: Instant | None = None
        self._failing_since: Instant | None = None
        self._failures_count = 0
        self._error = ""

    def began(self) -> None:
        """Note that it begins, perhaps again."""
        self._round_at = self._clock.instant()

    def succeeded(self) -> None:
        """Note that it went round well."""
        self._round_at = self._success_at = self._clock.instant()
        self._failing_since = None
        self._failures_count, self._error = 0, ""

    def interrupted(self, error: ClusterError) -> None:
        """Note that it waits for something that is away: no failure of its own."""
        if self._error != error.message:
            say = log.debug if isinstance(error, NotFound) else log.warning
            say("loop.interrupted", loop=self.name, error=error.message)
        self._round_at, self._error = self._clock.instant(), error.message

    def failed(self, error: Exception | None, ran_s: float = 0.0) -> float:
        """Note that it failed, or ended (None); the pause before it begins again, seconds. Raises LoopFailed when it is over."""
        if ran_s >= self._policy.settled_s:
            self.succeeded()
        now = self._round_at = self._clock.instant()
        self._failing_since = now if self._failing_since is None else self._failing_since
        self._failures_count += 1
        self._error = f"{type(error).__name__}: {error}" if error else "it ended by itself"
        if self._policy.gives_up(self._failures_count, now - self._failing_since):
            raise LoopFailed(
                f"the loop {self.name!r} has failed {self._failures_count} times: {self._error}"
            ) from error
        log.error("loop.failed", loop=self.name, failures=self._failures_count, error=self._error, exc_info=error)
        return self._policy.pause_s(self._failures_count)

    @property
    def late(self) -> bool:
        """Whether it hangs."""
        return self.late_after_s is not None and self._clock.instant() - self._round_at > self.late_after_s

    def report(self) -> LoopReport:
        """Say how it is."""
        age_s = None if self._success_at is None else round(self._clock.instant() - self._success_at, 1)
        return LoopReport(
            name=self.name,
            ok=not self._failures_count and not self.late,
            success_age_s=age_s,
            failures_count=self._failures_count,
            late=self.late,
            error=self._error,
        )


class Loops:
    """All loops of a service that run at present."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
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
    """Say that the loop that calls this went round well."""
    if loop := _current.get():
        loop.succeeded()


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
            await act()
            loop.succeeded()
        except (BusFailed, NotFound) as error:
            loop.interrupted(error)
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
        loop.interrupted(interruption)
        return INTERRUPTED_PAUSE_S
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
    loop = Loop(name, policy, loops.clock, late_after_s)
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
