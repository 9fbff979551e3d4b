"""How `clusterodm up` makes its processes: by fork, without starting Python anew.

What the services share is imported once, in the supervisor, and stays shared between all of them as long as nobody writes to it;
hence it is frozen for the collector of garbage before each fork. Nothing in the supervisor may have started a thread, an event loop
or a connection: a fork would take half of it along. A child takes nothing else along: descriptors, signal handlers, environment
and title are its own. Python's `random` is seeded anew by itself, everything secret comes from the system.

A program (nats-server) is forked in the same way and then executed.

Each child holds the lock of the data directory open, so that a new `up` begins only when the last of them is gone, and gets SIGTERM
when its supervisor is killed (Linux).
"""

import contextlib
import ctypes
import faulthandler
import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from clusterodm.libs.common.exit_codes import EXIT_FAILED, EXIT_NO_PROGRAM

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that a process gets when its parent dies."""
STDIN, STDOUT, STDERR = 0, 1, 2
FIRST_OTHER: Final = 3
HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
"""Signals that the supervisor has handlers for."""

Main = Callable[[], int]
"""What runs in a child; its exit code."""


@dataclass(frozen=True)
class Recipe:
    """What makes a child what it is."""

    title: str
    """What `ps` shows."""
    main: Main
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Child:
    """A process of ours, and the end of the pipe from which all that it prints can be read."""

    pid: int
    output: int


def program(words: Sequence[str]) -> Main:
    """Make the `main` of a program that is not ours."""

    def execute() -> int:
        try:
            os.execv(words[0], list(words))  # noqa: S606 no shell is wanted
        except OSError as error:
            print(f"{words[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 in the child, where its program would print
        return EXIT_NO_PROGRAM

    return execute


def fork(recipe: Recipe, lock: int) -> Child:
    """Make a child; `lock`: the descriptor that it holds open. Raises OSError."""
    output, printed = os.pipe()
    supervisor = os.getpid()
    try:
        with signals_held_back():
            gc.freeze()
            pid = os.fork()
            if not pid:
                live(recipe, lock, printed, supervisor)
    except OSError:
        os.close(output)
        raise
    finally:
        os.close(printed)
    os.set_blocking(output, False)
    return Child(pid, output)


@contextmanager
def signals_held_back() -> Iterator[None]:
    """See to it that no signal meets a child which still has its supervisor's handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def live(recipe: Recipe, lock: int, printed: int, supervisor: int) -> None:
    """Be the child, from the fork to the end. Never returns: what is on the stack above belongs to the supervisor."""
    code = EXIT_FAILED
    try:
        become(recipe, lock, printed, supervisor)
        code = recipe.main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else EXIT_FAILED if leaving.code else 0
    except BaseException:  # noqa: BLE001 the last one who can say it
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def become(recipe: Recipe, lock: int, printed: int, supervisor: int) -> None:
    """Leave everything of the supervisor behind."""
    os.setpgid(0, 0)
    end_with(supervisor)
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    connect(printed)
    close_all_but(lock)
    os.set_inheritable(lock, True)
    name_process(recipe.title)  # before the environment, behind which it makes room for itself
    os.environ.clear()
    os.environ.update(recipe.environment)
    gc.enable()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)


def connect(printed: int) -> None:
    """Read nothing, and print into the pipe."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
    os.dup2(printed, STDOUT)
    os.dup2(printed, STDERR)
    sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115 for as long as the process lives
    sys.stdout, sys.stderr = lines_to(STDOUT), lines_to(STDERR)
    faulthandler.enable(STDERR)


def close_all_but(lock: int) -> None:
    """Close what belongs to the supervisor: its listeners, the pipes of other children."""
    last = max(map(int, os.listdir("/dev/fd")), default=FIRST_OTHER)  # noqa: PTH208 names are enough
    os.closerange(FIRST_OTHER, lock)
    os.closerange(max(lock + 1, FIRST_OTHER), last + 1)


class Deaf(io.FileIO):
    """A pipe of which nobody may read any more: a service that is stopping after its supervisor was killed goes on."""

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override] # FileIO's stub takes any buffer
        """Write, or lose it."""
        try:
            return super().write(data) or 0
        except BrokenPipeError:
            return len(data)


def lines_to(descriptor: int) -> io.TextIOWrapper:
    """Make the stream that is printed to."""
    raw: io.RawIOBase = Deaf(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="backslashreplace", line_buffering=True)


def end_with(supervisor: int) -> None:
    """See to it that this process does not outlive a killed supervisor (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor:  # it was killed before it could be noticed
            os._exit(EXIT_FAILED)


def name_process(title: str) -> None:
    """Show in `ps` what this process is."""
    import setproctitle

    setproctitle.setproctitle(title)
