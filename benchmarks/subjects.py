"""What is measured: our cluster's proxy, and the peers in front of the same node. Each has an address and processes whose cost counts."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from benchmarks.processes import cpu_s, forget_peaks, peak_bytes, tree
from benchmarks.programs import Broken, MissingProgram, output_of, program
from tests.cluster import Cluster
from tests.forked import REPOSITORY
from tests.ports import free_port
from tests.waiting import until_sync

PEERS = Path(__file__).parent / "peers"
INSTALL_LIMIT_S = 240.0
OURS = "clusterodm"


@dataclass(frozen=True)
class Subject:
    """One thing that is measured."""

    name: str
    port: int
    pid: int
    ports: dict[str, int] = field(default_factory=dict)
    """Other doors of the same program."""

    def url(self, path: str = "", door: str = "") -> str:
        """Address of a path."""
        return f"http://127.0.0.1:{self.ports[door] if door else self.port}{path}"

    def processes(self) -> list[int]:
        """All of its processes."""
        return tree(self.pid)

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        return cpu_s(self.processes())

    def forget_peak(self) -> None:
        """Look for the largest size anew."""
        forget_peaks(self.processes())

    def peak_bytes(self) -> int:
        """Largest resident size of one of its processes since then."""
        return peak_bytes(self.processes())


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def started(command: list[str], port: int, folder: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block is left. Raises Broken when it does not take connections."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            until_sync(lambda: process.poll() is not None or listens(port), what=f"{command[0]} to listen")
            if process.poll() is not None:
                log.seek(0)
                raise Broken(f"{command[0]} ended: {log.read().decode(errors='replace')[-800:]}")
            yield process
        finally:
            process.terminate()
            process.wait(timeout=15)
            if process.stdin:
                process.stdin.close()


def filled(name: str, **values: object) -> str:
    """Read a peer's configuration and fill in what is marked."""
    text = (PEERS / name).read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text


@contextmanager
def stub(
    *, addresses_count: int = 1, slots_count: int = 100, size_mb: int = 256, lines_count: int = 0
) -> Iterator[int]:
    """Run the node behind everything; its port. `lines_count`: so many new lines of console whenever it is asked."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.stub", "--port", str(port), "--size-mb", str(size_mb)]
    command += ["--addresses", str(addresses_count), "--slots", str(slots_count), "--lines", str(lines_count)]
    with started(command, port, REPOSITORY):
        yield port


@contextmanager
def nginx(folder: Path, node_port: int) -> Iterator[Subject]:
    """Run nginx. Raises MissingProgram."""
    found = program("nginx")
    folder.mkdir(parents=True)
    doors = {name: free_port() for name in ("port", "unbuffered", "store", "done")}
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # its workers must reach our folder
    config.write_text(filled("nginx.conf", user=user, folder=folder, node=node_port, **doors))
    with started([found, "-c", str(config), "-p", str(folder)], doors["port"]) as process:
        yield Subject("nginx", doors["port"], process.pid, doors)


@contextmanager
def haproxy(folder: Path, node_port: int) -> Iterator[Subject]:
    """Run HAProxy. Raises MissingProgram."""
    found = program("haproxy")
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(filled("haproxy.cfg", node=node_port, port=port))
    with started([found, "-db", "-f", str(config)], port) as process:
        yield Subject("HAProxy", port, process.pid)


@contextmanager
def node_peer(folder: Path, packages: Path, node_port: int) -> Iterator[Subject]:
    """Run the reverse proxy that is written in Node.js. Raises MissingProgram."""
    found = program("node", "nodejs npm")
    folder.mkdir(parents=True)
    port = free_port()
    with started([found, str(PEERS / "proxy.js"), str(port), str(node_port), str(folder)], port, packages) as process:
        yield Subject("Node.js", port, process.pid)


async def packages_for_node() -> Path:
    """Install what the Node.js peers need, once: into a temporary directory that stays. Raises MissingProgram."""
    npm = program("npm", "nodejs npm")
    wanted = (PEERS / "package.json").read_bytes()
    place = Path(tempfile.gettempdir()) / f"clusterodm-bench-{os.getuid()}-{sha256(wanted).hexdigest()[:12]}"
    if (place / "complete").exists():
        return place
    place.mkdir(mode=0o700, exist_ok=True)
    (place / "package.json").write_bytes(wanted)
    try:
        await output_of(npm, "install", "--no-audit", "--no-fund", "--prefix", str(place), limit_s=INSTALL_LIMIT_S)
    except Broken as error:
        raise MissingProgram(f"the packages for Node.js cannot be installed: {str(error)[-200:]}") from None
    (place / "complete").touch()
    return place


def has_libcurl(packages: Path) -> bool:
    """Whether node-libcurl could be installed too: it needs a compiler and libcurl4-openssl-dev."""
    return any(packages.glob("node_modules/node-libcurl/lib/binding/*.node"))


@asynccontextmanager
async def cluster(folder: Path, **settings: object) -> AsyncIterator[tuple[Cluster, Subject]]:
    """Run our cluster; of its processes the proxy's count."""
    given = {"log_level": "warn", "probe_every_s": 5, **settings}
    async with Cluster(folder, **given) as running:
        yield running, Subject(OURS, running.port, running.pid("proxy"))


async def remove_folder(folder: Path) -> None:
    """Delete what an upload left, so that disks stay empty."""
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
