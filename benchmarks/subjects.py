"""What is measured: our cluster, and nginx as a plain reverse proxy in front of the same node.

A subject has an address and a process tree whose CPU time counts. Both forward to one simulated node, whose own cost is
not counted.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpu_s, peak_bytes
from libs.nodesim.testing import NodeSimProcess
from tests.cluster import Cluster, answers
from tests.nats import free_port
from tests.waiting import until_sync

NGINX_CONF = """
{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off; client_max_body_size 0; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    keepalive_requests 1000000;
    upstream node {{ server 127.0.0.1:{node}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
}}
"""


@dataclass
class Subject:
    """One thing that is measured."""

    name: str
    port: int
    pid: int
    is_cluster: bool

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """CPU seconds used so far."""
        return cpu_s(self.pid)

    def peak_bytes(self) -> int:
        """Largest resident size of one of its processes so far."""
        return peak_bytes(self.pid)


@contextmanager
def nginx(folder: Path, node_port: int) -> Iterator[Subject]:
    """Run nginx in front of a node, with kept connections on both sides."""
    folder.mkdir(parents=True)
    port = free_port()
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # its workers must reach our folder
    config.write_text(NGINX_CONF.format(user=user, folder=folder, port=port, node=node_port))
    process = subprocess.Popen([program("nginx"), "-c", str(config), "-p", str(folder)], stderr=subprocess.DEVNULL)
    try:
        until_sync(lambda: answers(f"http://127.0.0.1:{port}/info"), what="nginx to answer")
        yield Subject("nginx", port, process.pid, is_cluster=False)
    finally:
        process.terminate()
        process.wait(timeout=10)


@asynccontextmanager
async def cluster(folder: Path, node: NodeSimProcess) -> AsyncIterator[tuple[Subject, Cluster]]:
    """Run our cluster with one node; the proxy's processes count."""
    async with Cluster(folder, log_level="warn", probe_every_s=5) as running:
        await running.add_node(node)
        yield Subject("clusterodm", running.port, running.pid("proxy"), is_cluster=True), running


def program(name: str) -> str:
    """Find a program. SystemExit with one line when it is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"{name} is not installed: apt-get install {name}")
    return found
