"""Three nats-servers that keep records three times: any of them may be killed, frozen and started again."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.nats import NATS_SERVER
from tests.ports import free_port

SERVERS_COUNT = 3


class NatsCluster:
    """The servers, by number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = [free_port() for _ in range(SERVERS_COUNT)]
        self._routes = [free_port() for _ in range(SERVERS_COUNT)]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return ",".join(f"nats://127.0.0.1:{port}" for port in self._ports)

    def url_of(self, number: int) -> str:
        """Where one server alone is reached."""
        return f"nats://127.0.0.1:{self._ports[number]}"

    def number_of(self, url: str) -> int:
        """Say which one is reached there."""
        return next(number for number in range(SERVERS_COUNT) if self.url_of(number) == url)

    def start(self, number: int) -> None:
        """Start one of them, without waiting for anything."""
        folder = self._folder / f"n{number}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nats.conf").write_text(self._config(folder, number))
        with (folder / "nats.log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [NATS_SERVER, "-c", folder / "nats.conf"], stdout=log, stderr=log
            )

    def start_all(self) -> None:
        """Start all that do not run, and wait until their ports answer; they have not elected anybody then."""
        for number in range(SERVERS_COUNT):
            if number not in self._processes:
                self.start(number)
        for port in self._ports:
            listening(port)

    def kill(self, number: int) -> None:
        """End one of them with SIGKILL."""
        process = self._processes.pop(number)
        process.kill()
        process.wait(timeout=10)

    def send(self, number: int, sent: signal.Signals) -> None:
        """Send one of them a signal."""
        self._processes[number].send_signal(sent)

    def end(self) -> None:
        """End all of them."""
        for number in list(self._processes):
            self.kill(number)

    def lose(self) -> None:
        """End all of them with SIGKILL, and take away what they have stored."""
        self.end()
        for number in range(SERVERS_COUNT):
            shutil.rmtree(self._folder / f"n{number}" / "js")

    def _config(self, folder: Path, number: int) -> str:
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes)
        return (
            f'server_name: n{number}\nlisten: "127.0.0.1:{self._ports[number]}"\nmax_payload: 8388608\n'
            f'jetstream {{ store_dir: "{folder}/js", sync_interval: always }}\n'
            f'cluster {{ name: c, listen: "127.0.0.1:{self._routes[number]}", routes: [{routes}] }}\n'
        )


class ServersAsOne(NatsCluster):
    """Three servers that a cluster takes for its one."""

    def start(self, number: int | None = None) -> None:
        """Start one, or all."""
        if number is None:
            self.start_all()
        else:
            super().start(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End all."""
        del number
        self.end()


@contextmanager
def nats_cluster(folder: Path) -> Iterator[NatsCluster]:
    """Run three servers while the context is open."""
    cluster = NatsCluster(folder)
    try:
        cluster.start_all()
        yield cluster
    finally:
        cluster.end()


def listening(port: int) -> None:
    """Wait until somebody listens."""
    deadline_s = time.monotonic() + 15
    while time.monotonic() < deadline_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on {port}")
