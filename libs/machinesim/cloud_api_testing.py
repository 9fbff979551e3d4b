"""Running a simulated cloud: in this process for tests of one adapter, as a program for tests of whole services.

async with serving("hetzner", token="secret") as api:      # api.url, api.cloud.fail("create", "capacity"), ...
with CloudApiProcess("digitalocean", nodes=True, node={"task_time_s": 1}) as api:   # api.url, api.fail(...), api.machines()
"""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import uvicorn

from clusterodm.libs.machinesim.cloud_api import SLOW_S, CloudApi, Kind
from clusterodm.libs.machinesim.cloud_api_digitalocean import DigitalOcean
from clusterodm.libs.machinesim.cloud_api_docker import Docker
from clusterodm.libs.machinesim.cloud_api_hetzner import Hetzner
from clusterodm.libs.machinesim.cloud_api_kubernetes import Kubernetes
from clusterodm.libs.machinesim.cloud_api_machines import Machines
from clusterodm.libs.machinesim.cloud_api_openstack import OpenStack
from clusterodm.libs.machinesim.cloud_api_scaleway import Scaleway
from clusterodm.libs.machinesim.cloud_api_vultr import Vultr

LOOPBACK: Final = "127.0.0.1"
TOKEN: Final = "simulated-cloud-token"  # noqa: S105 - nobody's
KINDS: Final[Mapping[str, Callable[[Machines, str], Kind]]] = {
    "digitalocean": DigitalOcean,
    "hetzner": Hetzner,
    "scaleway": Scaleway,
    "docker": Docker,
    "kubernetes": Kubernetes,
    "vultr": Vultr,
    "openstack": OpenStack,
}
REPOSITORY: Final = Path(__file__).parents[2]
START_DEADLINE_S: Final = 20.0
CALL_DEADLINE_S: Final = 10.0
POLL_S: Final = 0.02
CLOSE_S: Final = 1


class Served:
    """A simulated cloud in this process."""

    def __init__(self, url: str, cloud: CloudApi, kind: Any) -> None:
        self.url = url
        self.cloud = cloud
        self.kind = kind


class Server(uvicorn.Server):
    """Leaves the signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def made(kind: str, machines: Machines, token: str = TOKEN, slow_s: float = SLOW_S) -> tuple[CloudApi, Kind]:
    """Make a cloud of this kind. Raises ValueError."""
    if kind not in KINDS:
        raise ValueError(f"{kind}: no such cloud, expected one of {', '.join(KINDS)}")
    api = KINDS[kind](machines, token)
    return CloudApi(machines, api, slow_s), api


def listener(port: int = 0) -> socket.socket:
    """Take a port."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind((LOOPBACK, port))
    found.listen()
    return found


def server(cloud: CloudApi) -> Server:
    """Make the HTTP server."""
    return Server(
        uvicorn.Config(
            cloud.app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=CLOSE_S,
        )
    )


@contextlib.asynccontextmanager
async def serving(kind: str, token: str = TOKEN, **knobs: Any) -> AsyncIterator[Served]:
    """Serve a cloud in this process; the knobs are those of `Machines`."""
    async with serving_of(kind, Machines(**knobs), token) as served:
        yield served


@contextlib.asynccontextmanager
async def serving_of(kind: str, machines: Machines, token: str = TOKEN) -> AsyncIterator[Served]:
    """Serve a cloud with these machines in this process."""
    cloud, api = made(kind, machines, token)
    taken = listener()
    running = server(cloud)
    async with asyncio.TaskGroup() as loops:
        loops.create_task(running.serve(sockets=[taken]), name="cloud")
        try:
            yield Served(f"http://{LOOPBACK}:{taken.getsockname()[1]}", cloud, api)
        finally:
            running.should_exit = running.force_exit = True
    await asyncio.to_thread(machines.close)


class CloudApiProcess:
    """A simulated cloud as a program; it ends with the test process."""

    def __init__(self, kind: str, **knobs: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="cloud-", ignore_cleanup_errors=True)
        self._port_file = Path(self._folder.name) / "port"
        self._arguments = [kind, f"--port-file={self._port_file}", "--exit-with-stdin", *flags(knobs)]
        self._process: subprocess.Popen[bytes] | None = None
        self.token = TOKEN
        self.url = ""

    def __enter__(self) -> Self:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", "clusterodm.libs.machinesim.cloud_api_main", *self._arguments],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        deadline_s = time.monotonic() + START_DEADLINE_S
        while not self._port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError("the simulated cloud did not start")
            time.sleep(POLL_S)
        self.url = f"http://{LOOPBACK}:{int(self._port_file.read_text())}"
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and its nodes with it."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            try:
                self._process.wait(CALL_DEADLINE_S)
            except subprocess.TimeoutExpired:  # its nodes end with it
                self._process.kill()
                self._process.wait()
        self._folder.cleanup()

    def fail(self, on: str, how: str, times: int = 1) -> None:
        """Ask for a failure."""
        self._call("/sim/faults", {"on": on, "how": how, "times": times})

    def rent(self, name: str) -> None:
        """Rent a machine to somebody else."""
        self._call("/sim/machines", {"name": name})

    def leave(self, name: str) -> None:
        """Take a machine away behind everybody's back."""
        self._call("/sim/leave", {"name": name})

    def machines(self) -> list[dict[str, Any]]:
        """Show the book: every machine that ever was, and whether it is gone."""
        found: list[dict[str, Any]] = self._call("/sim/machines")["machines"]
        return found

    def here(self) -> list[str]:
        """Give the names of the machines that exist."""
        return [each["name"] for each in self.machines() if not each["gone"]]

    def _call(self, path: str, content: dict[str, Any] | None = None) -> dict[str, Any]:
        data = msgspec.json.encode(content) if content is not None else None
        request = urllib.request.Request(f"{self.url}{path}", data=data)  # noqa: S310 - loopback
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=CALL_DEADLINE_S) as answer:
            return msgspec.json.decode(answer.read(), type=dict[str, Any])


def flags(knobs: dict[str, Any]) -> list[str]:
    """Write knobs as flags of the program."""
    told = {name: json.dumps(value) if isinstance(value, dict) else value for name, value in knobs.items()}
    return [
        f"--{name.replace('_', '-')}" if value is True else f"--{name.replace('_', '-')}={value}"
        for name, value in told.items()
        if value is not False
    ]
