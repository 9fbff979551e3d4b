"""Which services `clusterodm up` runs, how many of each, and what tells one proxy from another.

The first of each kind is called like its service, further ones `proxy-2` and so on. Schedulers and autoscalers need nothing
to tell them apart: one leads, the others stand by. Proxies share the ports for clients, and each has a loopback port of its
own for the others, and a spool of its own: the first one `spool`, as when it is alone, so that their number may change.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from clusterodm.deploy.checks import Listener, free_port
from clusterodm.deploy.settings import UpSettings
from clusterodm.libs.common.settings.settings import ENVIRONMENT_PREFIX

PROXY: Final = "proxy"
UNNAMED: Final = frozenset(("", ".."))
"""What a path ends in that says a directory's place and not its name, as `.` and `/`."""


class Instance(NamedTuple):
    """One process of a service."""

    service: str
    environment: Mapping[str, str]


def counts(settings: UpSettings) -> dict[str, int]:
    """How many of each service, in the order in which they are started: first the one that clients see, then the one that it asks."""
    return {PROXY: settings.proxies, "scheduler": settings.schedulers, "autoscaler": settings.autoscalers, "admin": 1}


def own_ports(settings: UpSettings, choose: Callable[[], int] = free_port) -> list[int]:
    """Find a port for each proxy that is not alone."""
    return [choose() for _ in range(settings.proxies)] if settings.proxies > 1 else []


def listed(settings: UpSettings, environment: Mapping[str, str], ports: Sequence[int]) -> dict[str, Instance]:
    """List every service process, by its name."""
    return {
        called(service, number): Instance(service, {**environment, **own})
        for service, count in counts(settings).items()
        for number, own in zip(range(1, count + 1), differences(service, settings, ports), strict=False)
    }


def called(name: str, number: int) -> str:
    """Name one of several."""
    return name if number == 1 else f"{name}-{number}"


def differences(service: str, settings: UpSettings, ports: Sequence[int]) -> Iterator[dict[str, str]]:
    """Say what one instance after the other has for itself."""
    own = [proxy(settings, number, port) for number, port in enumerate(ports, start=1)] if service == PROXY else []
    given: tuple[dict[str, str], ...]
    for given in zip_longest(
        own,
        ({f"{ENVIRONMENT_PREFIX}HEALTH_PORT": str(port)} for port in health_ports(settings).get(service, [])),
        ({f"{ENVIRONMENT_PREFIX}METRICS_PORT": str(port)} for port in metrics_ports(settings).get(service, [])),
        fillvalue={},
    ):
        yield {name: value for part in given for name, value in part.items()}
    while True:
        yield {}


def proxy(settings: UpSettings, number: int, port: int) -> dict[str, str]:
    """Say what one of several proxies has for itself."""
    return {
        f"{ENVIRONMENT_PREFIX}OWN_PORT": str(port),
        f"{ENVIRONMENT_PREFIX}PROXY_URL": "",
        f"{ENVIRONMENT_PREFIX}SPOOL_DIR": str(spool(settings, number).absolute()),
    }


def health_ports(settings: UpSettings) -> dict[str, list[int]]:
    """Give each scheduler, then each autoscaler, a port of its own for its health, from `--health-port` on; none: there are none."""
    first = settings.health_port
    if not first:
        return {}
    then = first + settings.schedulers
    return {
        "scheduler": list(range(first, then)),
        "autoscaler": list(range(then, then + settings.autoscalers)),
    }


def metrics_ports(settings: UpSettings) -> dict[str, list[int]]:
    """Give each service process a port of its own for its metrics, from `--metrics-port` on; none: there are none."""
    if not settings.metrics_port:
        return {}
    numbers = iter(range(settings.metrics_port, settings.metrics_port + sum(counts(settings).values())))
    return {service: list(islice(numbers, count)) for service, count in counts(settings).items()}


def listeners(settings: UpSettings) -> list[Listener]:
    """Name every port that the services will listen on."""
    return [
        ("--port", settings.bind, settings.port),
        ("--secure-port", settings.bind, settings.secure_port),
        *(
            ("--metrics-port", settings.metrics_bind, port)
            for ports in metrics_ports(settings).values()
            for port in ports
        ),
        *(("--health-port", settings.health_bind, port) for ports in health_ports(settings).values() for port in ports),
        ("--admin-cli-port", settings.admin_address, settings.admin_cli_port),
        ("--admin-web-port", settings.admin_address, settings.admin_web_port),
    ]


def spool(settings: UpSettings, number: int) -> Path:
    """Name the spool of a proxy."""
    first = settings.spool_root
    if first.name in UNNAMED:
        first = first.resolve()
    return first.parent / called(first.name, number)


def spools(settings: UpSettings) -> list[Path]:
    """Name the spools of all proxies."""
    return [spool(settings, number) for number in range(1, settings.proxies + 1)]


def left_behind(settings: UpSettings) -> list[Path]:
    """Find spools of earlier runs with more proxies that still hold uploads: nobody sends what is in them."""
    first, *_ = mine = spools(settings)
    return [path for path in sorted(first.parent.glob(f"{first.name}-*")) if path not in mine and any(path.glob("*-*"))]
