"""ODM's split-merge executor (opendm/remote.py) as it decides, in simulated time, against a node or a cluster that are simulated too.

One thread works on sub-models here, another sends them away, one at a time; a sub-model that is answered QUEUED is removed and goes back to the end
of the queue, and the first time that happens the number of those that run there becomes the limit for ever. A sub-model counts as running there when
it is RUNNING, has a processing time and three lines of console.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

STEP_S = 0.05
POLL_S = 3.0
"""Between two polls of PyODM."""
BUSY_S = 2.0
"""The executor's pause at its limit."""
INITIALISING_S = 0.2
"""For so long a node says RUNNING of a new task."""


@dataclass(frozen=True)
class Times:
    """How long things take."""

    count: int = 8
    local_s: float = 2.0
    remote_s: float = 2.0
    upload_s: float = 0.5
    forward_s: float = 0.2
    """From the cluster to a node."""


@dataclass
class Remote:
    """A sub-model over there."""

    name: int
    came_s: float
    beyond: bool = False
    starts_s: float = -1.0
    ends_s: float = -1.0


class Server(Protocol):
    """Where sub-models are sent."""

    here: dict[int, Remote]

    def submit(self, name: int, now_s: float) -> None:
        """Take one."""
        ...

    def advance(self, now_s: float) -> None:
        """Let time pass."""
        ...

    def says(self, name: int, now_s: float) -> tuple[str, bool]:
        """Say how one stands, and whether the executor counts it as running."""
        ...


@dataclass
class Slots:
    """What a node and a cluster have in common: slots, first come first served."""

    slots_count: int
    times: Times
    here: dict[int, Remote] = field(default_factory=dict)
    extra_s: float = 0.0

    def advance(self, now_s: float) -> None:
        """Begin what there is a slot for."""
        used = sum(each.starts_s >= 0 and each.ends_s > now_s for each in self.here.values())
        for each in self.here.values():
            if each.starts_s < 0 and used < self.slots_count:
                used += 1
                each.starts_s, each.ends_s = now_s, now_s + self.extra_s + self.times.remote_s


class Direct(Slots):
    """A NodeODM."""

    def submit(self, name: int, now_s: float) -> None:
        """Take one."""
        self.here[name] = Remote(name, now_s)

    def says(self, name: int, now_s: float) -> tuple[str, bool]:
        """Say how one stands."""
        task = self.here[name]
        if task.starts_s >= 0:
            return ("COMPLETED" if task.ends_s <= now_s else "RUNNING"), task.starts_s < now_s
        return ("RUNNING" if now_s - task.came_s < INITIALISING_S else "QUEUED"), False


class Behind(Slots):
    """A cluster, with the rule that decides which sub-models are beyond its room."""

    def __init__(
        self,
        slots_count: int,
        times: Times,
        is_beyond: Callable[[int, int], bool],
        longest_wait_s: float = float("inf"),
    ) -> None:
        super().__init__(slots_count, times, extra_s=times.forward_s)
        self._is_beyond = is_beyond
        self._longest_wait_s = longest_wait_s

    def submit(self, name: int, now_s: float) -> None:
        """Take one."""
        taken = sum(not each.beyond and (each.starts_s < 0 or each.ends_s > now_s) for each in self.here.values())
        self.here[name] = Remote(name, now_s, beyond=self._is_beyond(taken, self.slots_count))

    def says(self, name: int, now_s: float) -> tuple[str, bool]:
        """Say how one stands."""
        task = self.here[name]
        if task.starts_s >= 0 and task.ends_s <= now_s:
            return "COMPLETED", False
        waits = task.starts_s < 0 and (task.beyond or now_s - task.came_s > self._longest_wait_s)
        return ("QUEUED" if waits else "RUNNING"), True


class Executor:
    """opendm/remote.py."""

    def __init__(self, server: Server, times: Times) -> None:
        self._server = server
        self._times = times
        self._queue = deque(range(times.count))
        self._local: tuple[int, float] | None = None
        self._upload: tuple[int, float] | None = None
        self._pause_until_s = 0.0
        self._polls: dict[int, float] = {}
        self._in_flight_count = 0
        self.limit_count: int | None = None
        self.sent_count = 0
        self.finished_count = 0

    def makespan_s(self) -> float:
        """Say how long all of it takes."""
        now_s = 0.0
        while self.finished_count < self._times.count:
            self._server.advance(now_s)
            self._work_here(now_s)
            self._send(now_s)
            for name in [name for name, at_s in self._polls.items() if at_s <= now_s]:
                self._look(name, now_s)
            now_s += STEP_S
            assert now_s < 10_000
        return now_s

    def _work_here(self, now_s: float) -> None:
        if self._local is not None and self._local[1] <= now_s:
            self.finished_count += 1
            self._local = None
        if self._local is None and self._queue:
            self._local = self._queue.popleft(), now_s + self._times.local_s

    def _send(self, now_s: float) -> None:
        if self._upload is not None:
            if self._upload[1] > now_s:
                return
            name, self._upload = self._upload[0], None
            self._server.submit(name, now_s)
            self.sent_count += 1
            self._server.advance(now_s)
            self._look(name, now_s)
        if not self._queue or now_s < self._pause_until_s:
            return
        if self._local is None or (self.limit_count is not None and self._in_flight_count >= self.limit_count):
            self._queue.rotate(-1)
            self._pause_until_s = now_s + (BUSY_S if self._local else STEP_S)
            return
        self._in_flight_count += 1
        self._upload = self._queue.popleft(), now_s + self._times.upload_s

    def _look(self, name: int, now_s: float) -> None:
        status, _ = self._server.says(name, now_s)
        if status == "RUNNING":
            self._polls[name] = now_s + POLL_S
            return
        if status == "QUEUED":
            self._reach_limit(now_s)
            self._queue.append(name)
        else:
            self.finished_count += 1
        self._in_flight_count -= 1
        self._polls.pop(name, None)
        self._server.here.pop(name)

    def _reach_limit(self, now_s: float) -> None:
        if self.limit_count is None:
            said = [self._server.says(name, now_s) for name in self._polls]
            self.limit_count = max(1, sum(status == "RUNNING" and counts for status, counts in said))
