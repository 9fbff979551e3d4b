"""A real nats-server per test: loopback, a free port, its store in a directory of its own; killable and restartable."""

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.waiting import PATIENT_S

LEAVES_UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""For tests that freeze a server: nats-py drops a connection that it could not finish in time, without closing it."""
NATS_SERVER = Path(sys.executable).parent / "nats-server"
UnraisableHook = Callable[["sys.UnraisableHookArgs"], object]


class Interruptions:
    """Whether a server was cut off in a test: then nats-py has left connections, which are garbage when the test's loop is closed."""

    happened = False

    @classmethod
    @contextlib.contextmanager
    def cleared_away(cls) -> Iterator[None]:
        """Collect that garbage behind a test, silently: left to chance, another test would be blamed for it."""
        try:
            yield
        finally:
            if cls.happened:
                cls._collect()

    @classmethod
    def _collect(cls) -> None:
        cls.happened = False
        told, sys.unraisablehook = sys.unraisablehook, cls._passing_over(sys.unraisablehook)
        try:
            gc.collect()
        finally:
            sys.unraisablehook = told

    @staticmethod
    def _passing_over(told: UnraisableHook) -> UnraisableHook:
        def tell(unraisable: "sys.UnraisableHookArgs") -> None:
            if not isinstance(unraisable.exc_value, ResourceWarning):
                told(unraisable)

        return tell


class NatsServer:
    """One nats-server process with JetStream."""

    def __init__(self, store: Path, port: int | None = None, *, max_file_store: str = "") -> None:
        self.port = port or free_port()
        self.store = store
        self._limit = f"max_file_store: {max_file_store}" if max_file_store else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._started_once = False

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self, sync_interval: str = "always") -> None:
        """Start it and wait until its port answers. `sync_interval`: `1s` is quick, and may lose a second when the power fails."""
        Interruptions.happened |= self._started_once
        self._started_once = True
        self.store.mkdir(parents=True, exist_ok=True)
        config = self.store / "nats.conf"
        config.write_text(
            f'listen: "127.0.0.1:{self.port}"\nmax_payload: 8388608\n'
            f'jetstream {{\nstore_dir: "{self.store}/js"\nsync_interval: {sync_interval}\n{self._limit}\n}}\n'
        )
        with (self.store / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([NATS_SERVER, "-c", config], stdout=log, stderr=log)
        deadline_s = time.monotonic() + PATIENT_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.02)
        else:
            raise AssertionError((self.store / "nats.log").read_text())
        time.sleep(0.02)
        if self._process.poll() is None:  # else somebody else answered on this port
            return
        raise AssertionError((self.store / "nats.log").read_text())

    def send(self, number: signal.Signals) -> None:
        """Send it a signal (SIGSTOP, SIGCONT, ...)."""
        assert self._process is not None
        Interruptions.happened = True
        os.kill(self._process.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; SIGKILL for a crash."""
        Interruptions.happened |= self._process is None or number != signal.SIGTERM
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(timeout=PATIENT_S)
            self._process = None
