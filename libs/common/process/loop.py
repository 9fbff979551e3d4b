"""One named loop: its policy, and what is known of it.

    succeeded    it went round well
    missed       it could not, because of something else: NATS is away, its time limit was over, a task has gone. No failure, unless it lasts
                 for a minute while NATS is there: then it is told like failures, but ends no process, as another would have the same trouble
    failed       it failed by itself, or NATS refuses what it needs: counted, and in the end it is over (`LoopPolicy`)

Some loops have what they do done by asyncio tasks of their own, and go round meanwhile. So that a loop goes round is no success while it lacks
the right that it failed for last, and that it has failed for good is raised where it goes round next.

What it missed while NATS refused a right to this process is a failure, with what was refused: to NATS' clients that is a silence like any other.
A record that this version cannot read is one that ends nothing: it is there after a restart, too.

How old its last success is, is told of every loop. One that goes round by itself succeeds when it has been round; one that follows a
bucket, whenever that gives a sign of life (`listening`); one that waits for events, when it begins to wait.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from clusterodm.libs.common.clocks import Clock, Instant
from clusterodm.libs.common.errors import BusDenied, BusFailed, ClusterError, NotFound, Unreadable
from clusterodm.libs.common.messages.health import LoopReport, RightRefused

log = structlog.get_logger()

STUCK_AFTER_S: Final = 60.0
"""What interrupts a loop for so long while NATS is there is told as a failure: a take-over of a stream or of a service is over long before."""
DEAF_AFTER_S: Final = 30.0
"""A loop that follows a bucket hears a heartbeat every few seconds, and begins anew when it misses some."""


class BusSeen(Protocol):
    """What a loop wants to know of NATS when something is not answered."""

    @property
    def connected(self) -> bool:
        """Whether NATS is there at this moment."""

    def refused_since(self, since: Instant) -> str:
        """Say what NATS has refused to this process since then; empty: nothing."""

    def rights_lacking(self) -> tuple[RightRefused, ...]:
        """Name the rights that NATS refuses to this process at present."""


class NoBus:
    """Where there is no NATS, whatever does not answer is there."""

    connected = True

    def refused_since(self, since: Instant) -> str:
        """Say nothing."""
        del since
        return ""

    def rights_lacking(self) -> tuple[RightRefused, ...]:
        """Name none."""
        return ()


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

    def __init__(
        self,
        name: str,
        policy: LoopPolicy,
        clock: Clock,
        late_after_s: float | None,
        bus: Callable[[], BusSeen] = NoBus,
    ) -> None:
        self.name = name
        self.late_after_s = late_after_s
        self._policy = policy
        self._clock = clock
        self._bus = bus
        self._began_at = self._round_at = clock.instant()
        self._success_at: Instant | None = None
        self._failing_since: Instant | None = None
        self._failures_count = 0
        self._missing_since: Instant | None = None
        """Since when every round was interrupted although NATS was there."""
        self._missed_count = 0
        self._has_missed = False
        """This round."""
        self._silent_s: Callable[[], float] | None = None
        self._error = ""
        self._denied = False
        """It failed last for want of a right: that it goes round says nothing of what it was refused, perhaps in an asyncio task of its own."""
        self._has_gone_round = False
        """Since it failed last."""
        self._over: LoopFailed | None = None

    def began(self) -> None:
        """Note that it begins, perhaps again."""
        self._began_at = self._round_at = self._clock.instant()

    def begins_round(self) -> None:
        """Note that `every` begins what it does."""
        self._has_missed = False

    def ends_round(self) -> None:
        """Note that `every` has done it: well, unless it was said to be missed. Raises LoopFailed."""
        if not self._has_missed:
            self.goes_round()

    def goes_round(self) -> None:
        """Note that it goes round: well, unless it still lacks the right that it failed for. Raises LoopFailed when that was for too long."""
        if self._over:  # told to an asyncio task of its own, which cannot end it
            raise self._over
        self._round_at, self._has_gone_round = self._clock.instant(), True
        self._recover()

    def _recover(self) -> None:
        if self._has_gone_round and not (self._denied and self._bus().rights_lacking()):
            self.succeeded()

    def succeeded(self) -> None:
        """Note that it went round well."""
        self._round_at = self._success_at = self._clock.instant()
        self._failing_since = self._missing_since = None
        self._failures_count, self._missed_count, self._error = 0, 0, ""
        self._denied = self._has_gone_round = False

    def missed(self, error: ClusterError, ran_s: float = 0.0) -> float:
        """Note that a round came to nothing, for want of something else; the least pause before the next, seconds.

        Raises LoopFailed when NATS has refused for too long what it needs.
        """
        self._has_missed = True
        refused = self._bus().refused_since(self._round_at)
        if isinstance(error, BusDenied | Unreadable):
            return self.failed(error)
        if refused and isinstance(error, BusFailed):
            return self.failed(BusDenied(f"{error.message}; NATS has refused: {refused}"))
        self._interrupted(error, ran_s)
        return 0.0

    def failed(self, error: Exception | None, ran_s: float = 0.0) -> float:
        """Note that it failed, or ended (None); the pause before it begins again, seconds. Raises LoopFailed when it is over."""
        if ran_s >= self._policy.settled_s:
            self.succeeded()
        now = self._round_at = self._clock.instant()
        self._failing_since = now if self._failing_since is None else self._failing_since
        self._failures_count += 1
        self._error = f"{type(error).__name__}: {error}" if error else "it ended by itself"
        self._denied, self._has_gone_round = isinstance(error, BusDenied), False
        over = self._policy.gives_up(self._failures_count, now - self._failing_since)
        if over and not isinstance(error, Unreadable):
            self._over = LoopFailed(f"the loop {self.name!r} has failed {self._failures_count} times: {self._error}")
            raise self._over from error
        log.error("loop.failed", loop=self.name, failures=self._failures_count, error=self._error, exc_info=error)
        return self._policy.pause_s(self._failures_count)

    @contextmanager
    def listening(self, silent_s: Callable[[], float]) -> Iterator[None]:
        """Take signs of life of what it follows for its success while the context is open. `silent_s`: since the last one, seconds."""
        self._silent_s = silent_s
        try:
            yield
        finally:
            self._silent_s = None

    @property
    def late(self) -> bool:
        """Whether it hangs."""
        return self.late_after_s is not None and self._clock.instant() - self._round_at > self.late_after_s

    def report(self) -> LoopReport:
        """Say how it is."""
        self._recover()
        failures_count = self._failures_count or (self._missed_count if self._stuck else 0)
        age_s, deaf = self._success_age_s, self._deaf
        return LoopReport(
            name=self.name,
            ok=not failures_count and not self.late and not deaf,
            success_age_s=None if age_s is None else round(age_s, 1),
            failures_count=failures_count,
            late=self.late,
            error=self._error or ("nothing is heard of what it follows" if deaf else ""),
        )

    @property
    def _success_age_s(self) -> float | None:
        if self._follows is not None:
            return self._follows()
        waits_since = None if self.late_after_s is not None else self._began_at
        since = waits_since if self._success_at is None else self._success_at
        return None if since is None else self._clock.instant() - since

    @property
    def _follows(self) -> Callable[[], float] | None:
        """Says how long nothing was heard; None: it goes round by itself, or waits for events."""
        return self._silent_s if self.late_after_s is None else None

    @property
    def _deaf(self) -> bool:
        """Whether nothing is heard of what it follows, although NATS is there."""
        return self._follows is not None and self._bus().connected and self._follows() > DEAF_AFTER_S

    @property
    def _stuck(self) -> bool:
        """Whether it was interrupted for so long, while NATS was there, that this is told as a failure."""
        since = self._missing_since
        return since is not None and self._bus().connected and self._clock.instant() - since >= STUCK_AFTER_S

    def _interrupted(self, error: ClusterError, ran_s: float) -> None:
        if self._error != error.message:
            say = log.debug if isinstance(error, NotFound) else log.warning
            say("loop.interrupted", loop=self.name, error=error.message)
        was_stuck, now = self._stuck, self._clock.instant()
        self._round_at, self._error = now, error.message
        if not self._bus().connected or ran_s >= STUCK_AFTER_S:
            self._missing_since, self._missed_count = None, 0
        if self._bus().connected:
            self._missing_since = now if self._missing_since is None else self._missing_since
            self._missed_count += 1
        if self._stuck and not was_stuck:
            log.error("loop.failed", loop=self.name, failures=self._missed_count, error=error.message)
