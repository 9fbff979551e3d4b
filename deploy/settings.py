"""What can be set for `clusterodm up`: everything that its services know, and a few flags of its own."""

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from clusterodm.deploy.checks import NamedFile, free_port
from clusterodm.deploy.plan import NodeAddress
from clusterodm.libs.common.errors import Refused
from clusterodm.libs.common.hosts import LARGEST_PORT, bare, is_host
from clusterodm.libs.common.secret import Secret
from clusterodm.libs.common.settings.addresses import nats_servers
from clusterodm.libs.common.settings.fields import Field, SettingsError, flag
from clusterodm.libs.common.settings.settings import ENVIRONMENT_PREFIX, parse
from clusterodm.libs.common.tenancy import TOKENS_FILE
from clusterodm.services.admin.settings import AdminSettings
from clusterodm.services.autoscaler.settings import AutoscalerSettings
from clusterodm.services.proxy.settings import SHORTCUTS, ProxySettings
from clusterodm.services.scheduler.settings import SchedulerSettings

PROG: Final = "clusterodm up"
OWN: Final = frozenset(
    [
        *(
            "demo",
            "demo_nodes_count",
            "demo_task_time_s",
            "node",
            "proxies",
            "proxy_workers",
            "schedulers",
            "autoscalers",
            "watchdog_s",
        ),
        *("config", "nats_url", "data_dir", "own_port"),
    ]
)
"""Fields that the services either do not know or get in another way."""
READ_FILES: Final = (
    *("tokens", "asr", "ssl_key", "ssl_cert"),
    *("admin_pass_file", "admin_operator_pass_file", "admin_viewer_pass_file"),
)
"""Settings that name a file which a service reads when it starts."""
WRITTEN_FILES: Final = ("access_log",)
"""Settings that name a file which a service makes, or writes on at its end."""
ADDRESS: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\[\]\s]+):(?P<port>[0-9]{1,5})(?::(?P<token>.+))?")


class Ports(NamedTuple):
    """The ports that one flag takes: as many as there are processes, the first one's and those that follow."""

    flag: str
    first: int
    """0: none."""
    processes: int = 1

    @property
    def last(self) -> int:
        """The last one's."""
        return self.first + self.processes - 1

    def __str__(self) -> str:
        if self.processes == 1:
            return f"{self.flag} is {self.first}"
        return f"{self.flag} {self.first} takes ports {self.first} to {self.last}"


class UpSettings(ProxySettings, SchedulerSettings, AutoscalerSettings, AdminSettings):
    """Flags, environment (`CLUSTERODM_...`) and file of a whole cluster on one computer."""

    group: ClassVar[str] = "The whole cluster"
    every_key_counts: ClassVar[bool] = True
    everyday: ClassVar[Sequence[str]] = (
        *("demo", "node", "port", "token", "ssl_key", "ssl_cert", "asr", "public_address", "data_dir", "config"),
        *(
            "admin_pass",
            "admin_web_port",
            "admin_cli_port",
            "admin_bind",
            "nats_url",
            "proxies",
            "log_level",
            "log_format",
        ),
        *("max_attempts", "keep_inputs", "min_free_disk", "access_log"),
    )
    examples: ClassVar[Sequence[tuple[str, str]]] = (
        ("--demo", "two simulated nodes, to look around: http://localhost:3000"),
        ("--node 192.168.1.20:3000", "a cluster of your nodes; --node once for each"),
        ("--asr asr.json", "rent machines when tasks wait"),
    )

    nats_url: str = Field(
        "",
        check=lambda url: nats_servers(url) if url else None,
        description="NATS server to use; none given: one is started for this cluster alone",
    )
    demo: bool = Field(False, description="start simulated nodes, to look around: they process nothing")
    demo_nodes_count: int = Field(2, ge=1, le=16, description="how many simulated nodes --demo starts")
    demo_task_time_s: float = Field(5.0, ge=0, description="how long a simulated node works on a task, seconds")
    proxies: int = Field(1, ge=1, le=16, description="how many proxies share the port for clients")
    proxy_workers: int | None = Field(None, ge=1, le=16, description="another word for --proxies")
    schedulers: int = Field(1, ge=1, le=16, description="how many schedulers: one leads, the others stand by")
    autoscalers: int = Field(1, ge=1, le=16, description="how many autoscalers: one leads, the others stand by")
    watchdog_s: float = Field(
        20.0,
        ge=0,
        least=1.0,
        description="how long a process may give no sign of life before it is started again, seconds (nats-server: three times as long); 0: for ever",
    )
    node: list[Secret] = Field(
        [],
        check=lambda given: [address(node.reveal()) for node in given],
        description="node to register, HOST:PORT or HOST:PORT:TOKEN; may be given several times",
    )

    def check(self) -> None:
        """Take the other word for the number of proxies, and refuse ports that would be none."""
        super().check()
        if self.proxy_workers is not None:
            if "proxies" in self.given and self.proxies != self.proxy_workers:
                raise ValueError("--proxies and --proxy-workers mean the same and say different numbers")
            vars(self)["proxies"] = self.proxy_workers
        with_health = self.schedulers + self.autoscalers
        several = [
            Ports("--metrics-port", self.metrics_port, self.proxies + with_health + 1),
            Ports("--health-port", self.health_port, with_health),
        ]
        for ports in several:
            require_room(ports)
        require_apart(
            [
                *several,
                Ports("--port", self.port),
                Ports("--secure-port", self.secure_port),
                Ports("--admin-cli-port", self.admin_cli_port),
                Ports("--admin-web-port", self.admin_web_port),
            ]
        )

    @property
    def nodes(self) -> list[NodeAddress]:
        """The nodes to register."""
        return [address(node.reveal()) for node in self.node]

    @property
    def read_files(self) -> list[NamedFile]:
        """The files that services read when they start."""
        return [(flag(name), path) for name in READ_FILES if (path := getattr(self, name))]

    @property
    def written_files(self) -> list[NamedFile]:
        """The files that services write on."""
        return [(flag(name), path) for name in WRITTEN_FILES if (path := getattr(self, name))]


def require_room(ports: Ports) -> None:
    """See that so many ports follow, the first with them. Raises ValueError."""
    if ports.first and ports.last > LARGEST_PORT:
        raise ValueError(
            f"{ports.flag}: {ports.processes} processes have a port each from there on:"
            f" {LARGEST_PORT - ports.processes + 1} at most (got {ports.first})"
        )


def require_apart(given: Iterable[Ports]) -> None:
    """See that no port has two purposes. Raises ValueError."""
    for one, other in combinations([ports for ports in given if ports.first], 2):
        if one.first > other.last or other.first > one.last:
            continue
        both = f"{one.flag} and {other.flag} are both port {one.first}"
        said = f"{one} and {other}" if one.processes > 1 else both
        raise ValueError(f"{said}: choose another for one of them")


def read(argv: Sequence[str]) -> UpSettings:
    """Read the settings; a mistake is one line and exit code 2. Raises Refused."""
    settings = with_tokens(parse(UpSettings, argv, PROG, SHORTCUTS))
    while not settings.port:
        with suppress(SettingsError):  # a port that is free, and that another setting names
            settings = settings.changed(port=free_port())
    return settings


def with_tokens(settings: UpSettings) -> UpSettings:
    """Take the tokens of the data directory (`clusterodm token create` writes them there), unless it is said who checks tokens. Raises Refused."""
    file = settings.data_dir / TOKENS_FILE
    try:
        found = file.absolute().exists()  # the directory that it is started in may be gone
    except OSError as error:
        raise Refused(f"data directory {settings.data_dir}: {error.strerror}; choose another with --data-dir") from None
    if settings.tokens or settings.token or settings.cloud_provider != "local" or not found:
        return settings
    return settings.changed(tokens=str(file.absolute()))


def address(text: str) -> NodeAddress:
    """Read HOST:PORT[:TOKEN]. Raises ValueError, without the token."""
    found = ADDRESS.fullmatch(text)
    if not found or not 0 < int(found["port"]) <= LARGEST_PORT or not is_host(bare(found["host"])):
        raise ValueError(
            "a node is HOST:PORT or HOST:PORT:TOKEN, for example 192.168.1.20:3000, node-1:3000:TOKEN or [fd00::20]:3000"
        )
    return NodeAddress(bare(found["host"]), int(found["port"]), found["token"] or "")


def environment(settings: UpSettings) -> dict[str, str]:
    """Make the environment of all processes: what was set by flag, environment or file, never on a command line."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith(ENVIRONMENT_PREFIX)}
    given = {
        f"{ENVIRONMENT_PREFIX}{name.upper()}": text
        for name in settings.given - OWN
        if (text := as_text(getattr(settings, name))) is not None
    }
    return {
        **inherited,
        **given,
        f"{ENVIRONMENT_PREFIX}DATA_DIR": str(settings.data_dir.absolute()),
    }


def as_text(value: Any) -> str | None:
    """Write a value as an environment variable holds it; None: leave it out."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Path):
        return str(value.absolute())
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)
