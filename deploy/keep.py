"""Keep one process of `clusterodm up` alive.

honcho ends everything when one process ends; a crash of one service must not end the cluster. So in the process that
honcho forks for each service there is a keeper (deploy/processes.py), and the keeper runs the service:

    the service is killed, or fails after it has run a while    started again, after a pause that doubles
    it ends with exit code 2: its settings are wrong            final: the keeper ends with 2, and so the cluster
    it ends by itself right at its very first start             final too: trying again would not help
    it ends with exit code 78 at its very first start           final too, however long it has taken
    nats-server met a full disk, and there is room again        SIGTERM, then started again: it writes nothing before
    the keeper gets SIGTERM                                     passed on once; after the grace SIGKILL
    `clusterodm up` itself is killed                            as with SIGTERM

The last is seen by the guard: a file that `up` holds locked as long as it lives (a POSIX lock, which the kernel drops with
its process and no child inherits). The service is in a process group of its own, because honcho signals whole groups and
a second SIGTERM would cut its graceful stop short; on Linux it gets SIGTERM when its keeper is killed.

nats-server is outside honcho and has a keeper of its own:
`keep.py [--guard=FILE] [--grace=S] [--health=PORT --store=FOLDER] NAME COMMAND...`. Hence only
small parts of the standard library here, run without site-packages: it starts in milliseconds and has 6 MB.
"""

import argparse
import contextlib
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import IO, Final, NamedTuple

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 78
"""A service could not begin with what it was given (libs/common/lifecycle.py). Later it is worth a try: it had worked."""
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0
SETTLED_S: Final = 10.0
"""Whoever has run for so long had started well."""
LOOK_S: Final = 1.0
"""How often the guard is looked at."""
PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that a process gets when its parent dies."""
CHUNK_BYTES: Final = 1 << 16
HEALTH_EVERY_S: Final = 5.0
HEALTH_TIMEOUT_S: Final = 1.0
HEALTH_REQUEST: Final = b"GET /healthz HTTP/1.0\r\n\r\n"
CANNOT_WRITE: Final = b"write error"
"""In what nats-server says of its health: a stream that could not be written is not tried again."""
ROOM_BYTES: Final = 16 << 20
"""So much must be free again before nats-server is started again."""

Tell = Callable[[bytes], None]
"""Gets a line, without its end."""


class Ending(NamedTuple):
    """How one run of the service ended: a negative `code` is the signal that killed it."""

    code: int
    ran_s: float
    first: bool

    @property
    def final(self) -> bool:
        """Whether starting it again would be of no use."""
        soon = self.ran_s < SETTLED_S or self.code == EXIT_REFUSED
        return self.code == EXIT_USAGE or (self.first and self.code >= 0 and soon)

    def __str__(self) -> str:
        """Say it in words."""
        return f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else f"exit code {self.code}"


def pause_s(previous_s: float, ran_s: float) -> float:
    """How long to wait before the next start: doubled each time, forgotten once it has run well."""
    return FIRST_PAUSE_S if ran_s >= SETTLED_S or not previous_s else min(previous_s * 2, LONGEST_PAUSE_S)


class Health:
    """Whether nats-server ought to be started again: it has given up writing although its disk has room again."""

    def __init__(self, port: int, store: str) -> None:
        self._port = port
        self._store = store
        self._look_again_s = 0.0

    def lost(self, now_s: float) -> bool:
        """Look, now and then."""
        if not self._port or now_s < self._look_again_s:
            return False
        self._look_again_s = now_s + HEALTH_EVERY_S
        return CANNOT_WRITE in said_of_health(self._port) and has_room(self._store)


def said_of_health(port: int) -> bytes:
    """Ask nats-server how it is (docs.nats.io, "Monitoring"); empty when it says nothing in time."""
    said = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), HEALTH_TIMEOUT_S) as asking:
        asking.sendall(HEALTH_REQUEST)
        while chunk := asking.recv(CHUNK_BYTES):
            said += chunk
    return said


def has_room(folder: str) -> bool:
    """Whether there is space on the disk of a folder."""
    try:
        space = os.statvfs(folder)
    except OSError:
        return False
    return space.f_bavail * space.f_frsize >= ROOM_BYTES


class Output:
    """What a service prints, line by line. Without somebody to tell, it prints where its keeper does."""

    def __init__(self, pipe: IO[bytes] | None, tell: Tell | None) -> None:
        self._pipe = pipe
        self._tell = tell
        self._rest = b""
        if pipe:
            os.set_blocking(pipe.fileno(), False)

    @property
    def waited_for(self) -> list[int]:
        """The descriptor to wait for; none when there is no more to come."""
        return [self._pipe.fileno()] if self._pipe else []

    def pass_on(self) -> bool:
        """Tell what has come; whether there may be more at once."""
        if not self._pipe or not self._tell:
            return False
        try:
            chunk = os.read(self._pipe.fileno(), CHUNK_BYTES)
        except BlockingIOError:
            return False
        if not chunk:
            self.close()
            return False
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._tell(line)
        return True

    def close(self) -> None:
        """Tell what is left. Whoever else has the pipe by now is no business of ours."""
        if self._pipe and self._tell:
            self._pipe.close()
            self._pipe = None
            if self._rest:
                self._tell(self._rest)


class Keeper:
    """One service, started again and again. `keep()` returns the exit code when it is over."""

    def __init__(  # noqa: PLR0913 what it runs, how, and whom it tells
        self,
        name: str,
        command: Sequence[str],
        grace_s: float,
        guard: str,
        *,
        environment: Mapping[str, str] | None = None,
        tell: Tell | None = None,
        health: Health | None = None,
    ) -> None:
        self._name = name
        self._command = command
        self._grace_s = grace_s
        self._guard = guard
        self._environment = environment
        self._tell = tell
        self._health = health or Health(0, "")
        self._output = Output(None, None)
        self._told_to_stop = False
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _ignore)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop)

    def keep(self) -> int:
        """Run the service until it is told to stop or its end is final."""
        wait_s, first = 0.0, True
        while not self._stopping():
            ending = self._run_once(first)
            if self._told_to_stop:
                break
            if ending.final:
                self._say(f"{ending}: not started again")
                return EXIT_USAGE if ending.code == EXIT_USAGE else EXIT_FAILED
            wait_s, first = pause_s(wait_s, ending.ran_s), False
            self._say(f"{ending}: starting it again in {wait_s:g} s")
            self._sleep_until(time.monotonic() + wait_s, self._stopping)
        return 0

    def _run_once(self, first: bool) -> Ending:
        started_s = time.monotonic()
        child = subprocess.Popen(  # noqa: S603 our own command
            self._command,
            env=self._environment,
            process_group=0,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 no threads here
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if self._tell else None,
            stderr=subprocess.STDOUT if self._tell else None,
        )
        self._output = Output(child.stdout, self._tell)
        self._sleep_until(
            None, lambda: child.poll() is not None or self._stopping() or self._is_ill(time.monotonic(), started_s)
        )
        if child.poll() is None:
            self._end(child)
        while self._output.pass_on():
            pass
        self._output.close()
        return Ending(child.wait(), time.monotonic() - started_s, first)

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        child.terminate()
        self._sleep_until(time.monotonic() + self._grace_s, lambda: child.poll() is not None)
        if child.poll() is None:
            self._say(f"not finished {self._grace_s:g} s after SIGTERM: killed")
            child.kill()

    def _sleep_until(self, deadline_s: float | None, over: Callable[[], bool]) -> None:
        """Sleep until `over()`; a signal wakes it, and the guard is looked at now and then."""
        while not over():
            left_s = LOOK_S if deadline_s is None else min(LOOK_S, deadline_s - time.monotonic())
            if left_s <= 0:
                return
            ready = select.select([self._wake, *self._output.waited_for], [], [], left_s)[0]
            if self._wake in ready:
                os.read(self._wake, 512)
            self._output.pass_on()

    def _is_ill(self, now_s: float, started_s: float) -> bool:
        if now_s - started_s < SETTLED_S or not self._health.lost(now_s):
            return False
        self._say("cannot write any more although there is room on its disk again: stopping it")
        return True

    def _stopping(self) -> bool:
        if not self._told_to_stop and self._guard and released(self._guard):
            self._say("clusterodm up is gone: stopping")
            self._told_to_stop = True
        return self._told_to_stop

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._told_to_stop = True

    def _say(self, text: str) -> None:
        line = f"{self._name}: {text}"
        if self._tell:
            self._tell(line.encode())
            return
        with contextlib.suppress(OSError):  # whoever read it may be gone
            print(line, flush=True)  # noqa: T201 a keeper's stdout is the cluster's log


def released(guard: str) -> bool:
    """Whether nobody holds the guard any more. What is found free stays locked for this keeper until it has ended.

    So a new `up` on the same data directory starts only when the last process of the old one is gone.
    """
    descriptor = os.open(guard, os.O_RDONLY)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    return True


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the wake-up descriptor has been written to."""


def _end_with_parent() -> None:
    """Between fork and exec: see to it that the child does not outlive a killed keeper (Linux only)."""
    if sys.platform == "linux":
        import ctypes  # here, in the child: a keeper stays small

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Read the command line and keep the service."""
    parser = argparse.ArgumentParser(prog="keep")
    parser.add_argument("--guard", default="")
    parser.add_argument("--grace", type=float, default=25.0)
    parser.add_argument("--health", type=int, default=0)
    parser.add_argument("--store", default="")
    parser.add_argument("name")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    words = parser.parse_args()
    health = Health(words.health, words.store)
    return Keeper(words.name, words.command, words.grace, words.guard, health=health).keep()


if __name__ == "__main__":
    raise SystemExit(main())
