"""Command lines of the processes of `clusterodm up`, and honcho, which runs them side by side and shows what they say.

honcho forks a process for each service; the keeper (deploy/keep.py) lives in that one, so a service costs one small process
besides its own. They tell honcho what happens through a pipe without threads, because a keeper forks again and again.
"""

import contextlib
import gc
import multiprocessing
import os
import queue
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any, Final, NamedTuple

import honcho.manager
from honcho.manager import Manager
from honcho.printer import Printer
from honcho.process import Process

from deploy.keep import Keeper

KEEPER: Final = Path(__file__).with_name("keep.py")
MARGIN_S: Final = 5.0
"""honcho waits so much longer for a keeper than the keeper for its service."""
STOPPED_BY_SIGNAL: Final = frozenset({130, 143})
"""What honcho returns when it was told to stop: a normal end."""
EXIT_FAILED: Final = 1


class Command(NamedTuple):
    """What to run, and its environment."""

    words: Sequence[str]
    environment: Mapping[str, str]


def module(name: str, *words: str) -> list[str]:
    """Make the command that runs one of our modules, whatever the current directory holds (-P)."""
    return [sys.executable, "-P", "-m", name, *words]


def keeper(name: str, command: Sequence[str], guard: Path, grace_s: float, *flags: str) -> list[str]:
    """Make the command that runs another one under a keeper; `flags`: more of the keeper's own."""
    return [
        sys.executable,
        "-I",
        "-S",
        str(KEEPER),
        f"--guard={guard.absolute()}",
        f"--grace={grace_s:g}",
        *flags,
        name,
        *command,
    ]


class Events:
    """What honcho's processes tell its manager: the part of a queue that honcho uses, without a thread in each writer."""

    def __init__(self, context: ForkContext) -> None:
        self._reader, self._writer = context.Pipe(duplex=False)
        self._lock = context.Lock()

    def put(self, message: Any) -> None:
        """Tell something. That nobody listens any more is no trouble."""
        with self._lock, contextlib.suppress(OSError):
            self._writer.send(message)

    def get(self, timeout: float) -> Any:
        """Wait for the next message. Raises queue.Empty."""
        if not self._reader.poll(timeout):
            raise queue.Empty
        return self._reader.recv()

    def only_tell(self) -> None:
        """Leave the reading end to the manager alone, so that writing fails when it is gone."""
        self._reader.close()


class Kept(Process):  # type: ignore[misc] # honcho ships no types
    """One of honcho's processes, with a keeper inside."""

    def __init__(
        self, cmd: str, *, name: str, commands: Mapping[str, Command], guard: Path, grace_s: float, **more: Any
    ) -> None:
        super().__init__(cmd, name, **more)
        self._command = commands[name]
        self._guard = guard
        self._grace_s = grace_s

    def run(self, events: Any = None, ignore_signals: bool = False) -> None:  # noqa: ARG002 honcho's signature
        """Be the keeper, in the process that honcho has forked. honcho ends it by its process group."""
        os.setsid()
        events.only_tell()
        self._events = events
        guard = str(self._guard.absolute())
        words, environment = self._command
        kept = Keeper(self.name, words, self._grace_s, guard, environment=environment, tell=self._send_message)
        self._send_message({"pid": os.getpid()}, type="start")
        code = EXIT_FAILED
        try:
            code = kept.keep()
        finally:
            self._send_message({"returncode": code}, type="stop")


class Together(Manager):  # type: ignore[misc] # same
    """honcho's manager, for commands under keepers."""

    def __init__(self, commands: Mapping[str, Command], guard: Path, grace_s: float) -> None:
        super().__init__(Printer(sys.stdout, time_format=""))
        self.events = Events(multiprocessing.get_context("fork"))
        self._process_ctor = partial(Kept, commands=commands, guard=guard, grace_s=grace_s)
        for name in commands:
            self.add_process(name, "")


def run_all(commands: Mapping[str, Command], guard: Path, grace_s: float) -> int:
    """Run each command under a keeper until SIGTERM, SIGINT, or until one of them is over for good; the exit code."""
    multiprocessing.set_start_method("fork", force=True)
    honcho.manager.KILL_WAIT = grace_s + MARGIN_S
    manager = Together(commands, guard, grace_s)
    gc.freeze()  # what is here by now stays shared with the keepers
    manager.loop()
    return 0 if manager.returncode in STOPPED_BY_SIGNAL else int(manager.returncode or 0)
