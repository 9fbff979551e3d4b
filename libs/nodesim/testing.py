"""`NodeSimProcess`: a simulated node as a real process on a free loopback port, for tests of everything else.

    with NodeSimProcess(task_time_s=0.2, parallel_tasks=2) as node:
        client = pyodm.Node(node.hostname, node.port)
        node.set(fail_next_count=1)          # while it runs
        node.freeze(); node.thaw()           # SIGSTOP, SIGCONT
        node.kill(); node.start()            # a crash: tasks are forgotten, the port stays
        node.restart()                       # SIGTERM and start: tasks go on
        assert node.events("task_finished")

`async with` does the same without blocking the loop while the node starts. The
node ends with the test process, even when that is killed. Data and event log
live in a temporary directory until the block is left.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import msgspec

from clusterodm.libs.nodesim.settings import ENVIRONMENT_NAME, flags

REPOSITORY: Final = Path(__file__).parents[2]
START_DEADLINE_S: Final = 20.0
STOP_DEADLINE_S: Final = 10.0
POLL_S: Final = 0.01


class NodeSimProcess:
    """One node; keyword arguments are the settings of `nodesim --help` with underscores."""

    hostname: str = "127.0.0.1"

    def __init__(self, **knobs: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nodesim-", ignore_cleanup_errors=True)
        root = Path(self._folder.name)
        self._knobs: dict[str, Any] = {
            "host": self.hostname,
            "port": 0,
            "data_dir": root / "data",
            "event_log": root / "events.jsonl",
            "port_file": root / "port",
            "exit_with_stdin": True,
        } | knobs
        self.token: str = knobs.get("token", "")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = root / "stderr.txt"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        """Start without blocking the loop."""
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *_: object) -> None:
        """End and clean up without blocking the loop."""
        await asyncio.to_thread(self.close)

    @property
    def url(self) -> str:
        """Address without a slash at the end."""
        return f"http://{self.hostname}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def data_dir(self) -> Path:
        """Where its files are."""
        return Path(self._knobs["data_dir"])

    def start(self) -> None:
        """Start, and wait until connections are taken; again on the same port after `kill` or `stop`."""
        port_file = Path(self._knobs["port_file"])
        port_file.unlink(missing_ok=True)
        # The token goes through the environment: arguments show in the list of processes.
        arguments = flags(self._knobs | {"port": self.port or self._knobs["port"], "token": None})
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "clusterodm.libs.nodesim", *arguments],
                cwd=REPOSITORY,
                env=os.environ | {ENVIRONMENT_NAME: self.token},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not port_file.exists():
            if not self.alive or time.monotonic() > deadline_s:
                raise RuntimeError(f"nodesim did not start: {self._log.read_text().strip()}")
            time.sleep(POLL_S)
        self.port = int(port_file.read_text())

    def stop(self) -> int:
        """End it with SIGTERM: tasks are written down; returns the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL: tasks and their data are lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start on the same port with the same data."""
        self.stop()
        self.start()

    def freeze(self) -> None:
        """Stop the whole process: connections are accepted by the kernel and never answered."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End it and delete its files."""
        if self.alive:
            self._end(signal.SIGTERM)
        self._folder.cleanup()

    def set(self, **changes: Any) -> dict[str, Any]:
        """Change settings while it runs; returns all that can be changed.

        Changes last over `start` and `restart`, except counts of the next few and `frozen`.
        """
        settings = self._control("/sim/settings", changes)
        self._knobs |= {name: value for name, value in changes.items() if not name.endswith(("_next_count", "frozen"))}
        return settings

    def forget(self) -> None:
        """Make it lose all tasks and data."""
        self._control("/sim/forget", {})

    def events(self, *kinds: str, task: str | None = None) -> list[dict[str, Any]]:
        """Return what happened so far, oldest first: of these kinds, of this task; all by default."""
        path = Path(self._knobs["event_log"])
        lines = path.read_bytes().splitlines() if path.exists() else []
        told = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
        return [event for event in told if (not kinds or event["event"] in kinds) and task in (None, event.get("task"))]

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("nodesim was not started")
        return self._process

    def _end(self, number: int) -> int:
        process = self._running()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
            os.kill(process.pid, signal.SIGCONT)  # a frozen process hears SIGTERM only after this
        try:
            code = process.wait(STOP_DEADLINE_S)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdin:
                process.stdin.close()
        return code

    def _control(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}{path}?token={quote(self.token)}", data=msgspec.json.encode(content), method="POST"
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=STOP_DEADLINE_S) as answer:
            decoded = msgspec.json.decode(answer.read(), type=dict[str, Any])
        if "error" in decoded:
            raise ValueError(decoded["error"])
        return decoded
