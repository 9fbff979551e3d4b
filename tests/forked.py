"""Processes of tests that run our own code, forked from one that has imported it, as `clusterodm up` makes its services.

    with log.open("ab") as written:
        process = ForkedProcess(["scheduler", "--nats-url=..."], os.environ, written)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0

Starting Python and importing a service costs up to a second of CPU, and a run of all tests starts hundreds of services: with a
fork each costs some milliseconds. Each of the processes that pytest runs side by side has one server of forks, which is
started by its first test that needs it and ends with it.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import setproctitle

REPOSITORY: Final = Path(__file__).parents[1]
PRELOADED: Final = "tests.preloaded"
FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([PRELOADED])


class ForkedProcess:
    """The program `clusterodm` with some words, as far like subprocess.Popen as tests need."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
        self._process = FORKS.Process(
            target=carry_out, args=(list(words), dict(environment), log.name), daemon=True, name=" ".join(words[:1])
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or minus the number of the signal that has ended it; None while it runs."""
        return self.poll()

    def poll(self) -> int | None:
        """Look whether it has ended: with which code."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; its exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return code

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended: the server of forks knows that before it can be read here."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """End it with SIGTERM."""
        self.send_signal(signal.SIGTERM)


Process = ForkedProcess | subprocess.Popen[bytes]


def started(words: Sequence[str], environment: Mapping[str, str], log: IO[bytes]) -> Process:
    """Start the program: by a fork, but where something is loaded before Python is, or as it starts."""
    if "LD_PRELOAD" not in environment and environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
        return ForkedProcess(words, environment, log)
    return subprocess.Popen(
        [sys.executable, "-m", "clusterodm.deploy.cli", *words],
        cwd=REPOSITORY,
        env=dict(environment),
        stdout=log,
        stderr=log,
        stdin=subprocess.DEVNULL,
    )


def carry_out(words: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    """Be the program, in the child: with its output, its environment and its title."""
    written = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(written, 1)
    os.dup2(written, 2)
    os.close(written)
    os.chdir(REPOSITORY)
    setproctitle.setproctitle(" ".join((sys.executable, "-m", "clusterodm.deploy.cli", *words)))
    os.environ.clear()
    os.environ.update(environment)
    warnings.simplefilter("default" if environment.get("PYTHONWARNINGS") == "default" else "ignore")
    gc.unfreeze()
    gc.enable()
    from clusterodm.deploy.cli import main

    sys.exit(main(words))
