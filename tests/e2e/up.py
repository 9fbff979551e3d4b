"""`clusterodm up` as a user starts it: a real process on free ports, its output, and everything that it started."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.cluster import answers
from tests.ports import free_port
from tests.waiting import until_sync

REPOSITORY = Path(__file__).parents[2]
READY_S = 40.0


class Up:
    """One `clusterodm up`. Leaving the block stops it; `processes()` are all that carry its data directory."""

    def __init__(
        self, data_dir: Path, *flags: str, root: Path = REPOSITORY, environment: Mapping[str, str] | None = None
    ) -> None:
        self.data_dir = data_dir
        self.port, self.telnet_port, self.web_port = free_port(), free_port(), free_port()
        self.root = root
        self._flags = flags
        self._environment = environment or {}
        self._output = data_dir.with_name(f"{data_dir.name}.log")
        self._began_at = 0
        """Where in its history the last start is."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait for its summary."""
        self.start()
        try:
            self.ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it, whatever the test did; no service may have wanted what its user of NATS has no right to."""
        self.close()
        if kind is None:
            log = self.data_dir / "nats" / "server.log"
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            assert [line for line in lines if "Violation" in line] == []

    def close(self) -> None:
        """Stop it if it runs; kill what is left so that no test leaves anything behind."""
        try:
            if self._process and self._process.poll() is None:
                self.stop(signal.SIGTERM)
        finally:
            for process in self.processes():
                with suppress(ProcessLookupError):  # it has just ended by itself
                    os.kill(process, signal.SIGKILL)

    @contextmanager
    def started(self) -> Iterator[Self]:
        """Start it, without waiting; leaving the block stops it."""
        self.start()
        try:
            yield self
        finally:
            self.close()

    @property
    def command(self) -> list[str]:
        """What the user types."""
        return [
            str(self.root / ".venv" / "bin" / "clusterodm") if self.root != REPOSITORY else program(),
            "up",
            f"--data-dir={self.data_dir}",
            f"--port={self.port}",
            f"--admin-cli-port={self.telnet_port}",
            f"--admin-web-port={self.web_port}",
            "--bind=127.0.0.1",
            "--admin-bind=127.0.0.1",
            "--demo-task-time-s=0.5",
            *self._flags,
        ]

    @property
    def environment(self) -> dict[str, str]:
        """The user's environment, without settings of a developer."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CLUSTERODM_")}
        return {**kept, "CLUSTERODM_PROBE_EVERY_S": "0.5", **self._environment}

    @property
    def output(self) -> str:
        """Everything that it has printed since it was started last."""
        return self.history[self._began_at :]

    @property
    def history(self) -> str:
        """Everything that it has printed since it was first started, whatever happened to it."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def start(self) -> None:
        """Start it, without waiting."""
        self._began_at = len(self.history)
        with self._output.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.root,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ready(self) -> None:
        """Wait for the summary; where it waits for NATS itself, for that as well."""
        waits = [flag.partition("=")[2] for flag in self._flags if flag.startswith("--nats-wait-s=")]
        until_sync(self._greeted, timeout_s=READY_S + sum(map(float, waits)), what="clusterodm up to be ready")

    def healthy(self) -> bool:
        """Whether the address for clients answers."""
        return answers(f"http://127.0.0.1:{self.port}/healthz")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal to it alone, as a terminal or a service manager does; its exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self.wait()

    def wait(self, timeout_s: float = 40.0) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return self._process.wait(timeout=timeout_s)

    def processes(self) -> list[int]:
        """Find all processes that work for this data directory: its lock or settings name it."""
        return [process for process in map(int, filter(str.isdigit, os.listdir("/proc"))) if self._mine(process)]  # noqa: PTH208 names are enough

    def processes_of(self, name: str) -> list[int]:
        """Find the process of a service, or of one of several, if it runs."""
        return [process for process in self.processes() if command_line(process).startswith(f"clusterodm {name} [")]

    def service(self, name: str) -> int:
        """Find the process of a service of which there is one."""
        found = self.processes_of(name)
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def nats(self) -> int:
        """Find the process of nats-server."""
        [found] = [process for process in self.processes() if "nats-server\0-c\0" in command_line(process)]
        return found

    def _mine(self, process: int) -> bool:
        if process == os.getpid():
            return False
        try:
            about = Path(f"/proc/{process}/environ").read_bytes() + Path(f"/proc/{process}/cmdline").read_bytes()
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return str(self.data_dir).encode() in about and state != "Z"

    def _greeted(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"clusterodm up ended with {self._process.returncode}:\n{self.output}")
        return "ClusterODM is ready." in self.output


def program() -> str:
    """Name the console script beside this Python."""
    return str(Path(sys.executable).with_name("clusterodm"))


def command_line(process: int) -> str:
    """Read the command line of a process, words separated by NUL."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""
