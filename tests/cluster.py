"""A whole cluster of real processes for tests: nats-server, the four services, and whatever nodes the test brings.

    async with Cluster(tmp_path, token="t") as cluster:
        await cluster.add_node(node)
        pyodm.Node("127.0.0.1", cluster.port, token="t")
        cluster.kill("scheduler"); cluster.start("scheduler")

Everything listens on free loopback ports, keeps its files under the given directory, and ends with the block. The logs of
all services lie in `<directory>/logs`; they are shown when a service does not start.
"""

import asyncio
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from clusterodm.libs.common.bus.bus import NatsBus, connect
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    LIST_NODES,
    REMOVE_NODE,
    AddNode,
    ListNodes,
    NodeRef,
    NodeView,
)
from clusterodm.libs.nodesim.testing import NodeSimProcess
from tests.forked import Process, started
from tests.nats import NatsServer
from tests.ports import free_port
from tests.waiting import until

SERVICES = ("scheduler", "autoscaler", "proxy", "admin")
BRISK = {
    "CLUSTERODM_PROBE_EVERY_S": "0.5",
    "CLUSTERODM_LOG_LEVEL": "debug",
    "PYTHONWARNINGS": "default",
}
"""Tests look at a node more often than an operator would want to pay for."""


class Cluster:
    """The processes of one cluster."""

    def __init__(self, folder: Path, *, token: str = "", services: tuple[str, ...] = SERVICES, **settings: Any) -> None:
        self.folder = folder
        self.token = token
        self.services = services
        self.port, self.telnet_port, self.web_port = free_port(), free_port(), free_port()
        self.nats = NatsServer(folder / "nats")
        self.bus: NatsBus
        self.overrides: dict[str, dict[str, str]] = {}
        """Environment of a single process, by the name that it is started with."""
        self._settings = settings
        self._processes: dict[str, Process] = {}
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """The one address, without token."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def spool(self) -> Path:
        """Where the proxy keeps received files."""
        return self.folder / "data" / "spool"

    @property
    def environment(self) -> dict[str, str]:
        """What every service is started with."""
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("CLUSTERODM_")},
            **BRISK,
            "CLUSTERODM_NATS_URL": self.nats.url,
            "CLUSTERODM_DATA_DIR": str(self.folder / "data"),
            "CLUSTERODM_PORT": str(self.port),
            "CLUSTERODM_BIND": "127.0.0.1",
            "CLUSTERODM_ADMIN_BIND": "127.0.0.1",
            "CLUSTERODM_ADMIN_CLI_PORT": str(self.telnet_port),
            "CLUSTERODM_ADMIN_WEB_PORT": str(self.web_port),
            **({"CLUSTERODM_TOKEN": self.token} if self.token else {}),
            **{f"CLUSTERODM_{name.upper()}": str(value) for name, value in self._settings.items()},
        }

    async def __aenter__(self) -> Self:
        """Start everything and wait until the address answers."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        try:
            await self._open()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def _open(self) -> None:
        await asyncio.to_thread(self.nats.start)
        self.start_all()
        self.bus = await self._stack.enter_async_context(connect(self.nats.url, "test"))
        await self.ready()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything, whatever goes wrong on the way."""
        try:
            await self._stack.aclose()
        finally:
            await asyncio.to_thread(self._end_all)

    async def ready(self) -> None:
        """Wait until the address answers from a running scheduler."""
        await until(self._answers, timeout_s=60, what="the cluster to answer")

    def start(self, name: str) -> None:
        """Start a service; `scheduler#2` is a second scheduler."""
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            environment = self.environment | self.overrides.get(name, {})
            self._processes[name] = started([name.partition("#")[0]], environment, log)

    def start_all(self) -> None:
        """Start one of each service that does not run."""
        for service in self.services:
            if service not in self._processes:
                self.start(service)

    def kill_all(self) -> None:
        """End every service and nats-server with SIGKILL, as nearly at once as can be."""
        for process in self._processes.values():
            process.kill()
        self.nats.stop(signal.SIGKILL)
        for process in self._processes.values():
            process.wait(timeout=30)
        self._processes.clear()

    async def revive(self) -> None:
        """Start everything anew, whatever state a test has left it in."""
        await asyncio.to_thread(self.kill_all)
        await asyncio.to_thread(self.nats.start)
        self.start_all()
        await self.ready()

    def stop(self, service: str) -> int:
        """End a service with SIGTERM; its exit code."""
        return self._end(service, signal.SIGTERM)

    def kill(self, service: str) -> None:
        """End a service with SIGKILL."""
        self._end(service, signal.SIGKILL)

    def send(self, service: str, number: signal.Signals) -> None:
        """Send a service a signal."""
        self._processes[service].send_signal(number)

    def ended(self, service: str) -> int | None:
        """With which code a service has ended by itself; None while it runs."""
        code = self._processes[service].poll()
        if code is not None:
            del self._processes[service]
        return code

    def pid(self, service: str) -> int:
        """Process id of a service."""
        return self._processes[service].pid

    def log(self, service: str) -> str:
        """Everything that a service has logged."""
        return (self.folder / "logs" / f"{service}.log").read_text(errors="replace")

    async def add_node(
        self, node: NodeSimProcess, *, online: bool = True, port: int | None = None, **more: Any
    ) -> NodeView:
        """Register a node, under another port than its own if given, and wait until it is seen online."""
        asked = AddNode(hostname=node.hostname, port=port or node.port, token=node.token, **more)
        view = await self.bus.request(ADD_NODE, asked, timeout_s=30)
        if online:
            await until(lambda: self._online(view), what=f"{node} to be online")
        return view

    @asynccontextmanager
    async def node(self, **knobs: Any) -> AsyncIterator[NodeSimProcess]:
        """Run a simulated node as part of the cluster; it is removed at the end."""
        async with NodeSimProcess(**knobs) as node:
            view = await self.add_node(node)
            try:
                yield node
            finally:
                await self.bus.request(REMOVE_NODE, NodeRef(node=view.id))

    async def nodes(self) -> tuple[NodeView, ...]:
        """All nodes as operators see them."""
        return (await self.bus.request(LIST_NODES, ListNodes())).nodes

    async def _online(self, node: NodeView) -> bool:
        return any(known.online for known in await self.nodes() if known.id == node.id)

    async def _answers(self) -> bool:
        for service, process in self._processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{service} ended with {process.returncode}:\n{self.log(service)}")
        return await asyncio.to_thread(answers, f"{self.url}/healthz")

    def _end(self, service: str, number: signal.Signals) -> int:
        process = self._processes[service]
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        code = process.wait(timeout=30)
        del self._processes[service]
        return code

    def _end_all(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)
        deadline_s = time.monotonic() + 15
        for process in self._processes.values():
            try:
                process.wait(timeout=max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.nats.stop()


def answers(url: str, content: bytes = b"") -> bool:
    """Whether a GET is answered with 200 and holds something."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == 200 and content in answer.read())
    except (OSError, urllib.error.URLError):
        return False
