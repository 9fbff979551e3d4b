"""`clusterodm up`: a whole cluster on one computer.

    check (deploy/checks.py) -> lock the data directory -> nats-server -> greeter -> services and simulated nodes

nats-server comes up before the services and goes down after them, so that they can finish what they do. honcho runs the
services (deploy/instances.py) side by side, each under a keeper (deploy/keep.py); the greeter registers nodes, says that all is ready, and ends.
Settings reach the services by their environment: no token is ever on a command line.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from deploy import checks, datadir, demo, instances, nats
from deploy.plan import Plan, reachable
from deploy.processes import Command, module, run_all
from deploy.settings import PROG, UpSettings, environment, read
from libs.common.errors import Refused

EXIT_FAILED: Final = 1
MARGIN_S: Final = 5.0
"""A keeper waits so much longer for its service than the service takes by its settings."""


def main(argv: Sequence[str]) -> int:
    """Run a cluster until Ctrl-C or SIGTERM; the exit code."""
    settings = read(argv)
    try:
        return up(settings)
    except Refused as error:
        print(f"{PROG}: {error.message}", file=sys.stderr)  # noqa: T201 for the person who started it
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 0


def up(settings: UpSettings) -> int:
    """Start everything, run until told to stop, stop everything. Raises Refused."""
    folder = settings.data_dir
    datadir.prepare(folder)
    with ExitStack() as opened:
        guard = opened.enter_context(datadir.locked(folder))
        checks.ports_free(listeners(settings))
        nats_url = settings.nats_url or opened.enter_context(
            nats.running(folder / "nats", guard, environment(settings, ""))
        )
        own_ports = instances.own_ports(settings)
        opened.enter_context(datadir.announced(folder, cluster_facts(settings, nats_url, own_ports)))
        children = environment(settings, nats_url)
        commands = instances.commands(settings, children, own_ports)
        ports, gone = demo.ports(folder / "demo", settings.demo_nodes_count) if settings.demo else ([], [])
        nodes = demo.commands(folder / "demo", ports, settings.demo_task_time_s)
        commands |= {name: Command(words, children) for name, words in nodes.items()}
        plan = greeting(settings, nats_url, own_ports, ports, gone)
        opened.enter_context(greeter(plan, children))
        return run_all(commands, guard, grace_s(settings))


def grace_s(settings: UpSettings) -> float:
    """Say how long a service may take from SIGTERM to its end: it drains first, then finishes what is in flight."""
    return settings.drain_s + settings.stop_timeout_s + MARGIN_S


def listeners(settings: UpSettings) -> list[checks.Listener]:
    """Name every port that the services will listen on."""
    return [
        ("--port", settings.bind, settings.port),
        ("--secure-port", settings.bind, settings.secure_port),
        *(
            ("--metrics-port", "127.0.0.1", settings.metrics_port + place)
            for place in range(settings.proxies if settings.metrics_port else 0)
        ),
        ("--admin-cli-port", settings.admin_bind, settings.admin_cli_port),
        ("--admin-web-port", settings.admin_bind, settings.admin_web_port),
    ]


def cluster_facts(settings: UpSettings, nats_url: str, own_ports: Sequence[int]) -> dict[str, Any]:
    """Say where the cluster is, for cluster.json."""
    return {
        "nats_url": nats_url,
        "port": settings.port,
        "admin_cli_port": settings.admin_cli_port,
        "admin_web_port": settings.admin_web_port,
        "services": instances.counts(settings),
        "proxies": [f"http://127.0.0.1:{port}" for port in own_ports],
    }


def greeting(
    settings: UpSettings, nats_url: str, own_ports: Sequence[int], demo_ports: Sequence[int], gone: Sequence[int]
) -> Plan:
    """Say what the greeter has to do and to say."""
    return Plan(
        nats_url=nats_url,
        scheme="https" if settings.ssl_key and not settings.secure_port else "http",
        host=reachable(settings.bind),
        port=settings.port,
        secure_port=settings.secure_port if settings.ssl_key else 0,
        admin_host=reachable(settings.admin_bind),
        admin_cli_port=settings.admin_cli_port,
        admin_web_port=settings.admin_web_port,
        with_token=bool(settings.token),
        own_ports=list(own_ports),
        several={name: count for name, count in instances.counts(settings).items() if count > 1},
        left_behind=[str(path) for path in instances.left_behind(settings)],
        data_dir=str(settings.data_dir),
        nodes=[*settings.nodes, *demo.addresses(demo_ports)],
        simulated_count=len(demo_ports),
        gone=demo.addresses(gone),
        program=program(),
        flags="" if str(settings.data_dir) == "data" else f" --data-dir {settings.data_dir}",
    )


def program() -> str:
    """Name this program as it was called, for the lines that a user may copy."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "clusterodm" else "clusterodm"


@contextmanager
def greeter(plan: Plan, children: Mapping[str, str]) -> Iterator[None]:
    """Run the greeter beside the services. What it has to know goes to its standard input: it holds tokens."""
    with subprocess.Popen(module("deploy.greet"), env=children, stdin=subprocess.PIPE, start_new_session=True) as greet:  # noqa: S603 our own program
        if greet.stdin:
            greet.stdin.write(msgspec.json.encode(plan))
            greet.stdin.close()
        try:
            yield
        finally:
            greet.terminate()
