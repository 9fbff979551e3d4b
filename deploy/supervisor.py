"""Runs the processes of a cluster side by side: what deploy/supervision.py decides is done here, and what happens is told there.

One process, one thread, one `select`: signals (through a descriptor), the ends of children, what they print, their signs of life,
and questions to those that speak HTTP only. Nothing here waits for anybody. A hung or stopped child is noticed by its silence, the
end of one by SIGCHLD, whatever has killed it.
"""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from selectors import EVENT_READ, EVENT_WRITE, PollSelector
from types import FrameType
from typing import Final, Self

from clusterodm.deploy.children import Child, Recipe, fork
from clusterodm.deploy.liveness import Notifications, Probe, ProbeAnswer
from clusterodm.deploy.output import SYSTEM, Lines, Printer, reason_in
from clusterodm.deploy.restarts import RestartPolicy
from clusterodm.deploy.supervision import Action, Say, Send, Start, Supervision
from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.process.watchdog import ALIVE, READY, notify

TICK_S: Final = 1.0
"""The longest time between two looks."""
NOTHING_S: Final = 0.001
MICROSECONDS: Final = 1_000_000
KEEPER: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""How systemd, if it keeps this process, wants to hear of it; nothing for our children."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process: how it is made, and how it is treated."""

    recipe: Recipe
    policy: RestartPolicy
    prepare: Callable[[], object] = lambda: None
    """Called in the supervisor before each fork: imports what is to be shared."""
    health: tuple[int, str] | None = None
    """Port of loopback and path to ask for signs of life."""
    unwell: Callable[[bytes], str] = lambda _: ""
    """Reads in an answer why the process ought to be started again; empty: all is well."""
    plain: bool = False
    """What it prints is for the user as it is."""


@dataclass(frozen=True)
class Running:
    """A process that is there now."""

    child: Child
    lines: Lines


def stopping() -> list[signal.Signals]:
    """Name the signals that stop everything; SIGHUP is left alone where whoever has started this has it ignored (nohup(1))."""
    hears_hangup = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hears_hangup else [])]


def now() -> Instant:
    """Say where the monotonic clock is."""
    return Instant(time.monotonic())


class Supervisor:
    """All processes of a cluster. `run()` returns the exit code when all of them have stopped."""

    def __init__(self, processes: Mapping[str, Process], lock: int, printer: Printer) -> None:
        self._processes = processes
        self._lock = lock
        self._printer = printer
        self._core = Supervision({name: process.policy for name, process in processes.items()}, now())
        self._running: dict[str, Running] = {}
        self._selector = PollSelector()
        self._notifications = Notifications()
        self._probes = {
            name: Probe(self._selector, *process.health, self._listener(name))
            for name, process in processes.items()
            if process.health
        }
        self._told_to_stop = False
        self._keeper = {name: os.environ.pop(name) for name in KEEPER if name in os.environ}
        self._told_ready = False

    def __enter__(self) -> Self:
        """Hear signals from here on."""
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        for number in stopping():
            signal.signal(number, self._on_stop)
        self._selector.register(self._wake, EVENT_READ, lambda _: self._wake.recv(4096))
        self._selector.register(self._notifications, EVENT_READ, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave signals alone again."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *stopping()):
            signal.signal(number, signal.SIG_DFL)
        for end in (self._wake, self._woken, self._notifications):
            end.close()
        self._selector.close()

    @property
    def reason(self) -> str:
        """Which process has ended all others, and what it said; empty: it was told to stop, or goes on."""
        return self._core.reason

    def step(self, timeout_s: float = TICK_S) -> None:
        """Do what is due, then wait for what happens next, at most so long."""
        if self._told_to_stop:
            self._core.stop()
        for action in self._core.tick(now()):
            self._do(action)
        self._tell_keeper()
        for name in self._running.keys() & self._probes.keys():
            self._probes[name].tick(now())
        self._watch_output()
        for key, _ in self._selector.select(self._wait_s(timeout_s)):
            key.data(now())
        self._reap()

    def run(self) -> int:
        """Go on until everything has stopped; the exit code."""
        while not self._core.over:
            self.step()
        self._printer.flush()
        return self._core.exit_code

    def _tell_keeper(self) -> None:
        """Give signs of life to whoever keeps this process, and say once that all is ready."""
        if self._keeper:
            notify(ALIVE, self._keeper)
            if self._core.ready and not self._told_ready:
                self._told_ready = True
                notify(READY, self._keeper)

    def _do(self, action: Action) -> None:
        match action:
            case Start(name):
                self._start(name)
            case Send(name, number):
                self._send(name, number)
            case Say(name, text):
                self._printer.line(SYSTEM, f"{name}: {text}".encode())

    def _start(self, name: str) -> None:
        process = self._processes[name]
        process.prepare()
        try:
            child = fork(self._watched(name), self._lock)
        except OSError as error:
            for action in self._core.not_started(name, now(), str(error)):
                self._do(action)
            return
        self._core.started(name, now())
        tell = self._printer.greeting if process.plain else lambda line: self._printer.line(name, line)
        lines = Lines(child.output, tell)
        self._running[name] = Running(child, lines)
        self._selector.register(child.output, EVENT_READ, lambda _: self._read(name))
        if probe := self._probes.get(name):
            probe.begin_anew()
        if not process.policy.job:
            self._printer.line(SYSTEM, f"{name} started (pid={child.pid})".encode())

    def _watched(self, name: str) -> Recipe:
        """Tell a process where to give its signs of life."""
        process = self._processes[name]
        recipe, silence_s = process.recipe, process.policy.silence_s
        if process.health or not self._notifications.heard:
            return recipe
        asked = {"NOTIFY_SOCKET": self._notifications.address}
        if silence_s:
            asked["WATCHDOG_USEC"] = str(round(silence_s * MICROSECONDS))
        return replace(recipe, environment={**recipe.environment, **asked})

    def _send(self, name: str, number: signal.Signals) -> None:
        """Send a signal. The process has not been waited for, so its id is still its own."""
        if name in self._running:
            os.kill(self._running[name].child.pid, number)

    def _read(self, name: str) -> None:
        running = self._running[name]
        if not running.lines.read() and running.lines.ended:
            self._selector.unregister(running.child.output)

    def _hear(self, at: Instant) -> None:
        names = {running.child.pid: name for name, running in self._running.items()}
        for said in self._notifications.read():
            if name := names.get(said.pid):
                self._core.heard(name, at, ready=said.ready)

    def _listener(self, name: str) -> Callable[[ProbeAnswer], None]:
        def answered(answer: ProbeAnswer) -> None:
            self._core.heard(name, now(), ready=answer.ok)
            if why := self._processes[name].unwell(answer.content):
                for action in self._core.unwell(name, now(), why):
                    self._do(action)

        return answered

    def _reap(self) -> None:
        """Wait for whoever has ended, and for orphans, if this is the first process of a container."""
        names = {running.child.pid: name for name, running in self._running.items()}
        while (ended := next_ended()) is not None:
            pid, code = ended
            if name := names.get(pid):
                last_words = reason_in(self._bury(name))
                for action in self._core.ended(name, code, now(), last_words):
                    self._do(action)

    def _bury(self, name: str) -> bytes:
        """Print its last words; the last line. Whoever else has the pipe by now is no business of ours."""
        running = self._running.pop(name)
        while running.lines.read():
            pass
        running.lines.tell_rest()
        if running.child.output in self._selector.get_map():
            self._selector.unregister(running.child.output)
        os.close(running.child.output)
        if probe := self._probes.get(name):
            probe.leave()
        return running.lines.last

    def _watch_output(self) -> None:
        """Wait for room in whatever is printed to, while something waits for it."""
        registered = self._printer.fileno() in self._selector.get_map()
        if self._printer.waits and not registered:
            self._selector.register(self._printer, EVENT_WRITE, lambda _: self._printer.flush())
        elif registered and not self._printer.waits:
            self._selector.unregister(self._printer)

    def _wait_s(self, timeout_s: float) -> float:
        at = now()
        times = [probe.next_at for name, probe in self._probes.items() if name in self._running]
        waits = [timeout_s, *(time - at if time is not None else 0.0 for time in times), self._core.next_s(at)]
        return max(NOTHING_S, min(waits))

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_stop = True


def next_ended() -> tuple[int, int] | None:
    """Take the next process that has ended, with its exit code (negative: the signal that killed it)."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the descriptor for signals has been written to."""
