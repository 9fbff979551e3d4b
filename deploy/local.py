"""`clusterodm up`: a whole cluster on one computer.

    check (deploy/checks.py) -> lock the data directory -> hold the ports -> nats-server -> services, simulated nodes, the greeting

One process, the supervisor (deploy/supervisor.py), keeps all others alive. It imports what the services share while nats-server
starts, and forks each service (deploy/children.py): nothing is imported twice, and what they share is in memory once. nats-server
comes up before the services and goes down after them, so that they can finish what they do. The greeting (deploy/greet.py) is a job
among them: it registers nodes, says that all is ready, and ends. Settings reach the services by their environment: no token is
ever on a command line.
"""

import gc
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from clusterodm.deploy import checks, datadir, demo, instances, nats
from clusterodm.deploy.children import Recipe
from clusterodm.deploy.output import SYSTEM, as_object, to_stdout
from clusterodm.deploy.plan import GreetingPlan, reachable
from clusterodm.deploy.restarts import RestartPolicy
from clusterodm.deploy.settings import PROG, UpSettings, environment, read
from clusterodm.deploy.supervisor import Process, Supervisor, stopping
from clusterodm.libs.common.amounts import amount
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.exit_codes import EXIT_FAILED, EXIT_USAGE
from clusterodm.libs.common.process.files import EXPOSED, exposed_files
from clusterodm.libs.common.settings.settings import ENVIRONMENT_PREFIX

MARGIN_S: Final = 5.0
"""A service is given so much longer to stop than it takes by its settings."""
NODE_GRACE_S: Final = 5.0
NATS: Final = "nats"
NATS_URL: Final = f"{ENVIRONMENT_PREFIX}NATS_URL"
"""Of each service by itself: simulated nodes, which are strangers, are not told where NATS is."""
GREETING: Final = "greeting"
NODE_MAIN: Final = "clusterodm.libs.nodesim.main"
NODE_PARTS: Final = (
    "clusterodm.libs.nodesim.app",
    "clusterodm.libs.nodesim.gate",
    "clusterodm.libs.nodesim.node",
    "uvicorn",
    "httptools",
)
"""What a simulated node imports when it starts."""
SHARED: Final = (
    *(
        "clusterodm.libs.common.bus.bus",
        "clusterodm.libs.common.telemetry.log",
        "clusterodm.libs.common.telemetry.metrics",
        "clusterodm.libs.common.nodeodm.client",
        "clusterodm.libs.common.process.watchdog",
    ),
    "uvloop",
)
"""What several services import. What only one of them needs it imports itself, after the fork: then it is in memory once, too."""
WEB: Final = ("uvicorn", "starlette.applications")
"""What those share that answer HTTP."""
ANSWERING: Final = frozenset({"proxy", "admin"})
FIRST: Final = frozenset({"proxy", "scheduler"})
"""What clients wait for at a start."""
LETS_AHEAD_S: Final = 2.0
"""So long all others leave the processor to these, at most: one that reads a long history is not waited for."""
NODE_HEALTH_PATH: Final = "/sim/settings"
"""Answered also by a node that plays one which answers nothing."""


def main(argv: Sequence[str]) -> int:
    """Run a cluster until Ctrl-C or SIGTERM; the exit code."""
    for number in stopping():  # until the supervisor hears them: what was begun is taken back
        signal.signal(number, signal.default_int_handler)
    try:
        return up(read(argv))
    except Refused as error:
        complain(error.message)
        return EXIT_USAGE if isinstance(error, datadir.OpenToOthers) else EXIT_FAILED
    except KeyboardInterrupt:
        return 0


def up(settings: UpSettings) -> int:
    """Start everything, run until told to stop, stop everything. Raises Refused."""
    folder, spools = settings.data_dir, instances.spools(settings)
    require_usable(settings, spools)
    datadir.prepare(folder)
    with ExitStack() as opened:
        lock = opened.enter_context(datadir.locked(folder, grace_s(settings)))
        datadir.require_spools(folder, spools)  # the data directory may lie in one
        if mended_count := datadir.mended(folder):
            say(
                settings,
                f"{amount(mended_count, 'entry')} of {folder} {'was' if mended_count == 1 else 'were'} open to other users, and not any more",
            )
        for doubt in datadir.doubts(folder):
            say(settings, f"warning: {doubt}: better {datadir.NAME_ANOTHER}")
        for line in datadir.about_tokens(folder, settings.tokens):
            say(settings, line)
        for name, path in exposed_files(settings):
            if name == "--config":  # the others are told by who reads them
                say(settings, f"warning: {path} holds secrets, and {EXPOSED} {path}")
        checks.ports_free(instances.listeners(settings))
        ports = opened.enter_context(checks.HeldPorts())
        ports.hold_all(instances.listeners(settings))
        processes: dict[str, Process] = {}
        nats_url, users = settings.nats_url, dict[str, str]()
        if not nats_url:
            processes[NATS], users = nats.process(folder / "nats", ports.free_port, settings.watchdog_s)
            nats_url = users[nats.OPERATOR]
        own_ports = instances.own_ports(settings, ports.free_port)
        opened.enter_context(
            datadir.announced(folder, cluster_facts(settings, nats_url, own_ports, users.get(nats.INTEGRATION, "")))
        )
        children = environment(settings)
        processes |= services(settings, children, own_ports, lambda service: users.get(service, nats_url))
        node_ports, gone = (
            demo.ports(folder / "demo", settings.demo_nodes_count, ports.free_port) if settings.demo else ([], [])
        )
        processes |= simulated(settings, children, node_ports)
        processes[GREETING] = greeting(settings, plan(settings, nats_url, own_ports, node_ports, gone), children)
        supervisor = opened.enter_context(
            Supervisor(processes, lock, to_stdout(list(processes), as_json=settings.logs_json))
        )
        supervisor.step(0.0)  # nats-server starts while we import
        import_all(*SHARED)
        code = supervisor.run()
        if supervisor.reason:
            complain(supervisor.reason)
        return code


def complain(line: str) -> None:
    """Tell the person who started it why it ends."""
    print(f"{PROG}: {line}", file=sys.stderr)  # noqa: T201 for the person who started it


def require_usable(settings: UpSettings, spools: Sequence[Path]) -> None:
    """See what can be seen before anything is made. Raises Refused."""
    checks.files_usable(settings.read_files, settings.written_files, settings.data_dir)
    datadir.require_spools(settings.data_dir, spools)
    if not datadir.was_used(settings.data_dir):  # else, until the lock is ours, what a killed one left may have them
        checks.ports_free(instances.listeners(settings))


def say(settings: UpSettings, line: str) -> None:
    """Tell the person who started it something before there are processes."""
    said = as_object(SYSTEM, line.encode()).decode() if settings.logs_json else f"{PROG}: {line}"
    print(said, flush=True)  # noqa: T201 for the person who started it


def services(
    settings: UpSettings, children: Mapping[str, str], own_ports: Sequence[int], nats_url_of: Callable[[str], str]
) -> dict[str, Process]:
    """Make every process of a service."""
    policy = RestartPolicy(grace_s=grace_s(settings), silence_s=settings.watchdog_s)
    later = replace(policy, lets_ahead_s=LETS_AHEAD_S)
    return {
        name: Process(
            recipe=Recipe(
                title(settings, name),
                partial(serve, instance.service),
                {**instance.environment, NATS_URL: nats_url_of(instance.service)},
            ),
            policy=policy if instance.service in FIRST else later,
            prepare=partial(import_all, *shared_by(settings, instance.service)),
        )
        for name, instance in instances.listed(settings, children, own_ports).items()
    }


def simulated(settings: UpSettings, children: Mapping[str, str], ports: Sequence[int]) -> dict[str, Process]:
    """Make the simulated nodes. They are strangers, so they are asked for their signs of life."""
    flags = demo.flags(settings.data_dir / "demo", ports, settings.demo_task_time_s)
    return {
        name: Process(
            recipe=Recipe(title(settings, name), partial(simulate, words), children),
            policy=RestartPolicy(grace_s=NODE_GRACE_S, silence_s=settings.watchdog_s, lets_ahead_s=LETS_AHEAD_S),
            prepare=partial(import_all, NODE_MAIN, *NODE_PARTS),
            health=(port, NODE_HEALTH_PATH),
        )
        for (name, words), port in zip(flags.items(), ports, strict=True)
    }


def greeting(settings: UpSettings, said: GreetingPlan, children: Mapping[str, str]) -> Process:
    """Make the job that greets."""
    return Process(
        recipe=Recipe(title(settings, GREETING), partial(greet, said), children),
        policy=RestartPolicy(grace_s=MARGIN_S, silence_s=settings.watchdog_s, lets_ahead_s=LETS_AHEAD_S, job=True),
        plain=True,
    )


def serve(service: str) -> int:
    """Be one of the services, in its own process."""
    code: int = import_module(module_of(service)).main([])
    return code


def simulate(words: Sequence[str]) -> int:
    """Be a simulated node, in its own process."""
    code: int = import_module(NODE_MAIN).main(words)
    return code


def greet(said: GreetingPlan) -> int:
    """Greet, in a process of its own, which ends with it."""
    code: int = import_module("clusterodm.deploy.greet").main(said)
    return code


def shared_by(settings: UpSettings, service: str) -> tuple[str, ...]:
    """Name the modules that a service shares with others, or with another process of its own."""
    own = (module_of(service),) if instances.counts(settings)[service] > 1 else ()
    return (*SHARED, *(WEB if service in ANSWERING else ()), *own)


def module_of(service: str) -> str:
    """Name the module whose `main` is a service."""
    return f"clusterodm.services.{service}.main"


def import_all(*names: str) -> None:
    """Import what a process needs, before it is forked. The collector of garbage only gets in the way: nothing is given up."""
    gc.disable()
    for name in names:
        import_module(name)
    gc.enable()


def title(settings: UpSettings, name: str) -> str:
    """Say in `ps` what a process is, and of which cluster."""
    return f"clusterodm {name} [{settings.data_dir.absolute()}]"


def grace_s(settings: UpSettings) -> float:
    """Say how long a service may take from SIGTERM to its end: it drains first, then finishes what is in flight."""
    return settings.drain_s + settings.stop_timeout_s + MARGIN_S


def cluster_facts(
    settings: UpSettings, nats_url: str, own_ports: Sequence[int], integration_url: str = ""
) -> dict[str, Any]:
    """Say where the cluster is, for cluster.json. `integration_url`: for programs of others; empty where NATS is not ours."""
    return {
        "nats_url": nats_url,
        "integration_url": integration_url,
        "port": settings.port,
        "admin_cli_port": settings.admin_cli_port,
        "admin_web_port": settings.admin_web_port,
        "tokens": settings.tokens and str(Path(settings.tokens).absolute()),
        "services": instances.counts(settings),
        "metrics_ports": instances.metrics_ports(settings),
        "proxies": [f"http://127.0.0.1:{port}" for port in own_ports],
    }


def plan(
    settings: UpSettings, nats_url: str, own_ports: Sequence[int], demo_ports: Sequence[int], gone: Sequence[int]
) -> GreetingPlan:
    """Say what the greeting has to do and to say."""
    return GreetingPlan(
        nats_url=nats_url,
        scheme="https" if settings.ssl_key and not settings.secure_port else "http",
        host=reachable(settings.bind),
        port=settings.port,
        secure_port=settings.secure_port if settings.ssl_key else 0,
        admin_host=reachable(settings.admin_address),
        admin_cli_port=settings.admin_cli_port,
        admin_web_port=settings.admin_web_port,
        with_token=bool(settings.token or settings.tokens),
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
