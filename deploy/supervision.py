"""When a process of `clusterodm up` is started, told to stop, aborted and killed: the decisions, and nothing else.

Rule 1: everything that changes what becomes of a process is decided here. Rule 2: this module knows no process id, no pipe and no
clock; time is an argument. deploy/supervisor.py tells what has happened, and does what comes back, in that order.

    it is killed, or fails after it has run a while       started again, after a pause that doubles
    it ends with exit code 2: its settings are wrong      final: everything stops, with 2
    it ends by itself right at its very first start,      final too, with 1: trying again would not help
    before it was ready
    it ends with exit code 78 at its very first start     final too, however long it has taken
    it has given no sign of life for too long             SIGABRT, so that it writes where it hangs; SIGKILL soon after; started again
    it is unwell and says so (nats-server after a full    SIGTERM, and started again
    disk)
    everything is to stop                                 SIGTERM once to each; after the grace SIGKILL

The lowest tier starts first, and the next one when all of it is ready; they stop the other way round. Within a tier some let the others
begin alone: they start when those are ready, or after their head start. A *job* ends by itself: it
is started again only when something has killed it. The time in which the supervisor itself did not run (it was stopped, the
computer slept) counts for nobody.
"""

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, NamedTuple

from clusterodm.deploy.restarts import SETTLED_S, ProcessEnd, RestartPolicy, pause_s
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.exit_codes import EXIT_FAILED, EXIT_USAGE

ABORT_S: Final = 3.0
"""So long may a hung process take to write where it hangs."""
WAITING_S: Final = 30.0
"""How often it is said that everything waits for a process."""
KILLED_S: Final = 10.0
"""What SIGKILL has not ended by then waits for a device: `up` ends without it."""
LATE_S: Final = 5.0
"""Two ticks that are further apart mean that the supervisor itself did not run."""


class Start(NamedTuple):
    """Start a process."""

    name: str


class Send(NamedTuple):
    """Send a signal to a process."""

    name: str
    number: signal.Signals


class Say(NamedTuple):
    """Tell the user."""

    name: str
    text: str


Action = Start | Send | Say


class Phase(Enum):
    """Where a process is."""

    ASLEEP = auto()
    """Its tier has not begun."""
    PAUSING = auto()
    """Started again when its time has come."""
    RUNNING = auto()
    STOPPING = auto()
    """Has SIGTERM."""
    ABORTING = auto()
    """Hung; has SIGABRT."""
    KILLED = auto()
    """Has SIGKILL."""
    OVER = auto()


ALIVE: Final = frozenset({Phase.RUNNING, Phase.STOPPING, Phase.ABORTING, Phase.KILLED})


@dataclass
class Unit:
    """One process, over all its starts."""

    policy: RestartPolicy
    phase: Phase = Phase.ASLEEP
    first: bool = True
    ready: bool = False
    """It has been ready once."""
    started_at: Instant = field(default_factory=lambda: Instant(0.0))
    heard_at: Instant = field(default_factory=lambda: Instant(0.0))
    due_at: Instant = field(default_factory=lambda: Instant(0.0))
    """When it is started again, or gets its next signal, or it is said that it is not ready."""
    pause_s: float = 0.0

    def silent_s(self, now: Instant) -> float:
        """How much longer than allowed it has given no sign of life; negative: so long it may still be silent."""
        return (now - self.heard_at) - self.policy.silence_s

    def skip(self, gap_s: float) -> None:
        """Leave out a time in which nobody was looking."""
        self.heard_at += gap_s
        self.due_at += gap_s


class Supervision:
    """All processes of one cluster. Each call says what to do now."""

    def __init__(self, policies: Mapping[str, RestartPolicy], now: Instant) -> None:
        self.units = {name: Unit(policy) for name, policy in policies.items()}
        self.exit_code = 0
        self.reason = ""
        """Which process has ended everything, and how; empty: it was told to stop, or goes on."""
        self._stopping = False
        self._ticked_at = now

    @property
    def over(self) -> bool:
        """Whether nothing runs any more and nothing will."""
        return self._stopping and all(unit.phase is Phase.OVER for unit in self.units.values())

    @property
    def ready(self) -> bool:
        """Whether every process has been ready once, and every job is done."""
        return all(unit.ready for unit in self.units.values())

    def next_s(self, now: Instant) -> float:
        """Say how soon something may be due."""
        return min(
            (
                unit.due_at - now
                for unit in self.units.values()
                if unit.phase is not Phase.RUNNING and unit.phase not in {Phase.ASLEEP, Phase.OVER}
            ),
            default=LATE_S,
        )

    def tick(self, now: Instant) -> Iterator[Action]:
        """Do what is due; to be called at least once a second."""
        gap_s = now - self._ticked_at
        self._ticked_at = now
        if gap_s > LATE_S:
            for unit in self.units.values():
                unit.skip(gap_s)
        if self._stopping:
            yield from self._stop_next(now)
        else:
            self._wake_next(now)
        for name, unit in self.units.items():
            yield from self._tick_unit(name, unit, now)

    def started(self, name: str, now: Instant) -> None:
        """Learn that a process has begun."""
        unit = self.units[name]
        unit.phase, unit.started_at, unit.heard_at, unit.due_at = Phase.RUNNING, now, now, now + WAITING_S

    def not_started(self, name: str, now: Instant, why: str) -> Iterator[Action]:
        """Learn that a process cannot be started at present."""
        unit = self.units[name]
        unit.pause_s = pause_s(unit.pause_s, 0.0)
        unit.phase, unit.due_at = Phase.PAUSING, now + unit.pause_s
        yield Say(name, f"cannot be started: {why}: trying again in {unit.pause_s:g} s")

    def heard(self, name: str, now: Instant, *, ready: bool = False) -> None:
        """Learn that a process is alive."""
        unit = self.units[name]
        unit.heard_at = now
        unit.ready = unit.ready or ready

    def unwell(self, name: str, now: Instant, why: str) -> Iterator[Action]:
        """Find out that a process ought to be started again, which can still stop in order."""
        if (unit := self.units[name]).phase is Phase.RUNNING and now - unit.started_at >= SETTLED_S:
            yield Say(name, f"{why}: stopping it")
            yield from self._terminate(name, unit, now)

    def ended(self, name: str, code: int, now: Instant, last_words: str = "") -> Iterator[Action]:
        """Learn that a process is gone. `last_words`: the last line that it has printed."""
        unit = self.units[name]
        phase, unit.phase = unit.phase, Phase.OVER
        ending = ProcessEnd(code, now - unit.started_at, unit.first and not unit.ready)
        unit.first = False
        if self._stopping or (unit.policy.job and code >= 0):
            unit.ready = True
            return
        if phase is Phase.RUNNING and ending.final(unit.policy):
            self.reason = f"{name}: {ending}{self._hint(unit)}{last_words and f': {last_words}'}"
            yield Say(name, f"{ending}: not started again{self._hint(unit)}")
            self.exit_code = EXIT_USAGE if code == EXIT_USAGE else EXIT_FAILED
            self.stop()
            return
        unit.pause_s = pause_s(unit.pause_s, ending.ran_s)
        unit.phase, unit.due_at = Phase.PAUSING, now + unit.pause_s
        yield Say(name, f"{ending}: starting it again in {unit.pause_s:g} s{self._hint(unit) if code > 0 else ''}")

    def stop(self) -> None:
        """Stop everything; the next tick begins with it."""
        self._stopping = True

    def _tick_unit(self, name: str, unit: Unit, now: Instant) -> Iterator[Action]:
        if unit.phase is Phase.RUNNING:
            yield from self._listen(name, unit, now)
        elif now < unit.due_at or unit.phase in {Phase.ASLEEP, Phase.OVER}:
            return
        elif unit.phase is Phase.PAUSING:
            yield Start(name)
        elif unit.phase is Phase.KILLED:
            yield Say(name, f"not even SIGKILL has ended it within {KILLED_S:g} s")
            unit.due_at = now + KILLED_S
            if self._stopping:
                unit.phase = Phase.OVER
        else:
            if unit.phase is Phase.STOPPING:
                yield Say(name, f"not finished {unit.policy.grace_s:g} s after SIGTERM: killed")
            unit.phase, unit.due_at = Phase.KILLED, now + KILLED_S
            yield Send(name, signal.SIGKILL)

    def _listen(self, name: str, unit: Unit, now: Instant) -> Iterator[Action]:
        """Abort what has hung. SIGCONT: whatever was stopped has to go on to notice."""
        if self._waited_for(unit) and now >= unit.due_at:
            yield Say(name, f"not ready yet, everything else waits for it{self._hint(unit)}")
            unit.due_at = now + WAITING_S
        if unit.policy.silence_s and unit.silent_s(now) > 0:
            yield Say(name, f"no sign of life for {unit.policy.silence_s:g} s: it hangs, stopping it")
            unit.phase, unit.due_at = Phase.ABORTING, now + ABORT_S
            yield Send(name, signal.SIGCONT)
            yield Send(name, signal.SIGABRT)

    def _terminate(self, name: str, unit: Unit, now: Instant) -> Iterator[Action]:
        unit.phase, unit.due_at = Phase.STOPPING, now + unit.policy.grace_s
        yield Send(name, signal.SIGTERM)

    def _wake_next(self, now: Instant) -> None:
        """Begin the next tier when everything below it is ready."""
        for tier in sorted({unit.policy.tier for unit in self.units.values()}):
            for _, unit in self._of(tier):
                if unit.phase is Phase.ASLEEP:
                    unit.phase, unit.due_at = Phase.PAUSING, now + unit.policy.lets_ahead_s
            self._follow_up(tier, now)
            if not all(unit.ready for _, unit in self._of(tier)):
                return

    def _follow_up(self, tier: int, now: Instant) -> None:
        """Begin with those that let others of their tier ahead, once all of those are ready."""
        if all(unit.ready for _, unit in self._of(tier) if not unit.policy.lets_ahead_s):
            for _, unit in self._of(tier):
                if unit.phase is Phase.PAUSING and unit.pause_s == 0:  # it has not been started yet
                    unit.due_at = min(unit.due_at, now)

    def _stop_next(self, now: Instant) -> Iterator[Action]:
        """End the highest tier of which something is left."""
        for tier in sorted({unit.policy.tier for unit in self.units.values()}, reverse=True):
            for name, unit in self._of(tier):
                if unit.phase is Phase.RUNNING:
                    yield from self._terminate(name, unit, now)
                elif unit.phase not in ALIVE:
                    unit.phase = Phase.OVER
            if any(unit.phase is not Phase.OVER for _, unit in self._of(tier)):
                return

    def _of(self, tier: int) -> list[tuple[str, Unit]]:
        return [(name, unit) for name, unit in self.units.items() if unit.policy.tier == tier]

    def _waited_for(self, unit: Unit) -> bool:
        return not unit.ready and any(other.phase is Phase.ASLEEP for other in self.units.values())

    @staticmethod
    def _hint(unit: Unit) -> str:
        return f"; the reason: {unit.policy.hint}" if unit.policy.hint else ""
