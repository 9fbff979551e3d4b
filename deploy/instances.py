"""Which services `clusterodm up` runs, how many of each, and what tells one proxy from another.

The first of each kind is called like its service, further ones `proxy-2` and so on. Schedulers and autoscalers need nothing
to tell them apart: one leads, the others stand by. Proxies share the ports for clients, and each has a loopback port of its
own for the others, and a spool of its own: the first one `spool`, as when it is alone, so that their number may change.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.checks import free_port
from deploy.processes import Command, module
from deploy.settings import PREFIX, UpSettings

PROXY: Final = "proxy"


def counts(settings: UpSettings) -> dict[str, int]:
    """How many of each service, in the order in which they are started: the one that takes longest comes first."""
    return {PROXY: settings.proxies, "scheduler": settings.schedulers, "admin": 1, "autoscaler": settings.autoscalers}


def own_ports(settings: UpSettings) -> list[int]:
    """Find a port for each proxy that is not alone."""
    return [free_port() for _ in range(settings.proxies)] if settings.proxies > 1 else []


def commands(settings: UpSettings, environment: Mapping[str, str], ports: Sequence[int]) -> dict[str, Command]:
    """Make the command of every service process, by its name."""
    return {
        called(service, number): Command(module("deploy.cli", service), {**environment, **own})
        for service, count in counts(settings).items()
        for number, own in zip(range(1, count + 1), differences(service, settings, ports), strict=False)
    }


def called(name: str, number: int) -> str:
    """Name one of several."""
    return name if number == 1 else f"{name}-{number}"


def differences(service: str, settings: UpSettings, ports: Sequence[int]) -> Iterator[dict[str, str]]:
    """Say what one instance after the other has for itself."""
    for number, port in enumerate(ports if service == PROXY else [], start=1):
        yield {
            f"{PREFIX}OWN_PORT": str(port),
            f"{PREFIX}PROXY_URL": "",
            f"{PREFIX}SPOOL_DIR": str(spool(settings, number).absolute()),
            f"{PREFIX}METRICS_PORT": str(settings.metrics_port + number - 1 if settings.metrics_port else 0),
        }
    while True:
        yield {}


def spool(settings: UpSettings, number: int) -> Path:
    """Name the spool of a proxy."""
    first = settings.spool_root
    return first.with_name(called(first.name, number))


def left_behind(settings: UpSettings) -> list[Path]:
    """Find spools of earlier runs with more proxies that still hold uploads: nobody sends what is in them."""
    first = settings.spool_root
    mine = {spool(settings, number) for number in range(1, settings.proxies + 1)}
    return [path for path in sorted(first.parent.glob(f"{first.name}-*")) if path not in mine and any(path.glob("*-*"))]
