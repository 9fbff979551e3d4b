"""One definition per service gives its flags, environment, JSON file and help.

A service declares a subclass of `CommonSettings`, whose instances are frozen; `load()` builds it. The order is flag, environment
(`CLUSTERODM_<NAME>`), file (`--config`), default. The file is the original's: its keys are the flags' names
("admin-cli-port"), an empty string means "not set", and keys of the other services are ignored with a line on stderr.
Mistakes are `SettingsError`s, one line each; `parse()` prints them and ends the program with exit code 2.

Secrets have the type `Secret`: they never show in a repr, a log or `--help`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NoReturn, TypeVar

from clusterodm.libs.common.exit_codes import EXIT_USAGE
from clusterodm.libs.common.settings.addresses import nats_servers
from clusterodm.libs.common.settings.collectors import collector, collector_of_environment
from clusterodm.libs.common.settings.fields import LONGEST_STOP_S, Field, Settings, SettingsError, different_ports, flag
from clusterodm.libs.common.settings.flags import Help, flags_given
from clusterodm.libs.common.settings.grammar import NEGATION, hint
from clusterodm.libs.common.untrusted import read_json

ORIGINAL_KEYS: Final = frozenset(
    [
        "port",
        "secure-port",
        "admin-cli-port",
        "admin-web-port",
        "admin-pass",
        "log-level",
        "cloud-provider",
        "upload-max-speed",
        "downloads-from-s3",
        "splitmerge",
        "no-splitmerge",
        "public-address",
        "access-log",
        "cluster-address",
        "flood-limit",
        "stale-uploads-timeout",
        "token",
        "debug",
        "ssl-key",
        "ssl-cert",
        "asr",
        "config",
    ]
)
"""What may stand in a configuration file of ClusterODM and ClusterODX."""

OTHER_NAMES: Final = {
    "node_grace": "node_grace_s",
    "cluster_address": "public_address",
    "admin_cli_pass": "admin_pass",
    "cluster": "splitmerge",
    "asr_config": "asr",
}
"""Other names of settings, as flag, in the environment and in a file; all but the first are those of early versions of the original."""
UNRECOGNIZED: Final = "unrecognized arguments: "

SWITCH_WORDS: Final = ("true", "false")
ENVIRONMENT_PREFIX: Final = "CLUSTERODM_"
SERVICE_LINK: Final = "tcp://"
"""What Kubernetes puts into the environment for each Service of a namespace (`<NAME>_PORT=tcp://address:port`)."""


class CommonSettings(Settings):
    """What every service has."""

    group: ClassVar[str] = "This process"
    every_key_counts: ClassVar[bool] = False
    """Whether a file's unknown key is an error: so for `up`, which knows all; a single service only mentions it."""

    config: str = Field("", private=True, description="JSON file with settings; its keys are the names of the flags")
    nats_url: str = Field(
        "nats://127.0.0.1:4222", check=nats_servers, description="NATS server, or several separated by commas"
    )
    nats_wait_s: float = Field(30.0, gt=0, description="how long to wait for NATS at the start, seconds")
    nats_replicas_count: int = Field(1, ge=1, le=5, description="copies of every record in a NATS cluster (odd)")
    data_dir: Path = Field(Path("data"), description="directory for everything that is kept on disk")
    log_level: Literal["silly", "debug", "verbose", "info", "warn", "error"] = Field(
        "info", description="least severe level that is logged; silly and verbose are the original's names for debug"
    )
    log_format: Literal["text", "json"] = Field("text", description="text for people, or one JSON object per line")
    log_json: bool = Field(False, description="another word for --log-format json")
    debug: bool = Field(False, description="log more, and drop caches that get in the way of debugging")
    stop_timeout_s: float = Field(
        20.0,
        ge=0,
        le=LONGEST_STOP_S,
        description="how long requests in flight may take after SIGTERM, seconds, a day at most",
    )

    @property
    def logs_json(self) -> bool:
        """Whether lines of the log are JSON."""
        return self.log_json or self.log_format == "json"


class MetricsSettings(CommonSettings):
    """What a service has that counts and measures."""

    group: ClassVar[str] = "Health and metrics"

    metrics_port: int = Field(
        0, ge=0, le=65535, description="port for /metrics (Prometheus), /healthz and /readyz; 0: none"
    )
    metrics_keep_alive_timeout_s: float = Field(
        120.0,
        gt=0,
        description="a connection to --metrics-port or --health-port without a request is kept for so many seconds; more than any proxy in front keeps it",
    )
    metrics_bind: str = Field(
        "127.0.0.1", description="address on which --metrics-port listens; 0.0.0.0 in a container, for who scrapes it"
    )
    otlp_endpoint: str = Field(
        "",
        check=lambda url: collector(url) if url else None,
        description="collector that traces are sent to, as http://HOST:4318 (OpenTelemetry, OTLP over HTTP); empty: none, but for"
        " OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT",
    )

    def check(self) -> None:
        """Refuse what OpenTelemetry's own variables say where it is no address: it would be found out when spans are sent."""
        super().check()
        if not self.otlp_endpoint:
            collector_of_environment()

    @property
    def traces_to(self) -> str:
        """Say where traces are sent to; empty: nowhere."""
        return collector(self.otlp_endpoint) if self.otlp_endpoint else collector_of_environment()


class HealthSettings(MetricsSettings):
    """What a service has that is asked for its health on a port of its own."""

    health_port: int = Field(0, ge=0, le=65535, description="port for /healthz, /readyz and /metrics; 0: none")
    health_bind: str = Field("127.0.0.1", description="address on which --health-port listens")

    def check(self) -> None:
        """Refuse one port for two purposes."""
        super().check()
        different_ports({"--health-port": self.health_port, "--metrics-port": self.metrics_port})


AnySettings = TypeVar("AnySettings", bound=CommonSettings)


def load(
    cls: type[AnySettings], argv: Sequence[str], prog: str, shortcuts: Mapping[str, str] | None = None
) -> AnySettings:
    """Build settings from flags, environment and file. Raises SettingsError with one line per mistake.

    `shortcuts`: setting to one-letter flag.
    """
    words = switched(cls, [proper_flag(cls, word) for word in argv])
    try:
        told = Help(prog, cls.__doc__ or "", cls.examples, cls.everyday)
        flags = flags_given(cls.settings, words, told, shortcuts or {}) if words else {}
    except SettingsError as error:
        raise SettingsError(unknown_flags(cls, str(error))) from None
    from_file = read_file(cls, flags.get("config", environment().get("CONFIG", "")))
    found = {"file": from_file, "environment": from_environment(cls), "flag": flags}
    settings = cls(**{name: value for values in found.values() for name, value in values.items()})
    vars(settings)["sources"] = {name: source for source, values in found.items() for name in values}
    return settings


def environment() -> dict[str, str]:
    """Read what is ours in the environment, without the prefix; names count in any case."""
    import os

    return {
        name.upper().removeprefix(ENVIRONMENT_PREFIX): value
        for name, value in os.environ.items()
        if name.upper().startswith(ENVIRONMENT_PREFIX)
    }


def from_environment(cls: type[Settings]) -> dict[str, Any]:
    """Read the environment into values, by proper and other names; what stands there for nobody here is none of our business."""
    words = environment()
    others = {name: words[other.upper()] for other, name in OTHER_NAMES.items() if other.upper() in words}
    known = {name: words[name.upper()] for name in cls.settings if name.upper() in words}
    linked = [name for name, word in known.items() if word.startswith(SERVICE_LINK)]
    if linked:
        name = ENVIRONMENT_PREFIX + linked[0].upper()
        raise SettingsError(
            f"{name}={known[linked[0]]} was set by Kubernetes for a Service, not by you: set enableServiceLinks: false in the pod"
        )
    return {
        name: listed(name, word) if cls.settings[name].listed else word
        for name, word in (others | known).items()
        if name in cls.settings
    }


def listed(name: str, word: str) -> Any:
    """Read a list from the environment. Raises SettingsError, without repeating it."""
    try:
        return read_json(word)
    except ValueError:
        raise SettingsError(f"{flag(name)}: {ENVIRONMENT_PREFIX}{name.upper()} should be a JSON list") from None


def proper_flag(cls: type[CommonSettings], word: str) -> str:
    """Replace another name of a flag by its own."""
    flag, equals, value = word.partition("=")
    given = flag.removeprefix("--")
    no = NEGATION if given.startswith(NEGATION) else ""
    name = OTHER_NAMES.get(given.removeprefix(no).replace("-", "_"), "")
    if not flag.startswith("--") or name not in cls.settings:
        return word
    return f"--{no}{name.replace('_', '-')}{equals}{value}"


def switched(cls: type[CommonSettings], words: Sequence[str]) -> list[str]:
    """Write `--debug=false` and `--debug false` as `--no-debug`: the original takes all three (its parser is minimist)."""
    found: list[str] = []
    for word in words:
        name, _, value = (f"{found[-1]}={word}" if found and word in SWITCH_WORDS else word).partition("=")
        if value not in SWITCH_WORDS or not is_switch(cls, name):
            found.append(word)
            continue
        if word in SWITCH_WORDS:
            found.pop()
        found.append(name if value == "true" else f"--{NEGATION}{name.removeprefix('--')}")
    return found


def is_switch(cls: type[CommonSettings], word: str) -> bool:
    """Whether a word is a flag that is on or off."""
    setting = cls.settings.get(word.removeprefix("--").replace("-", "_")) if word.startswith("--") else None
    return setting is not None and setting.kind is bool


def unknown_flags(cls: type[CommonSettings], said: str) -> str:
    """Name the nearest known flag beside each unknown one; what was said of anything else stays as it is."""
    if not said.startswith(UNRECOGNIZED):
        return said
    known = [name.replace("_", "-") for name in cls.settings]
    words = said.removeprefix(UNRECOGNIZED).split()
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    return "\n".join(f"unknown flag {flag}{hint(flag.lstrip('-'), known, '--')}" for flag in flags) or said


def parse(
    cls: type[AnySettings], argv: Sequence[str], prog: str, shortcuts: Mapping[str, str] | None = None
) -> AnySettings:
    """Build settings as `load` does; on a mistake say it and leave with exit code 2."""
    try:
        return load(cls, argv, prog, shortcuts)
    except SettingsError as error:
        usage_error(prog, str(error))


def usage_error(prog: str, lines: str) -> NoReturn:
    """Say what is wrong with how the program was called, a line each, and leave."""
    for line in lines.splitlines():
        print(f"{prog}: {line}", file=sys.stderr)  # noqa: T201 there is no log yet
    raise SystemExit(EXIT_USAGE)


def read_file(cls: type[CommonSettings], path: str) -> dict[str, Any]:
    """Read a configuration file into field values. Raises SettingsError."""
    if not path:
        return {}
    try:
        content = read_json(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} not found or invalid: {error}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} not found or invalid: it must hold a JSON object")
    return fields_of(cls, path, content)


def fields_of(cls: type[CommonSettings], path: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the file's keys into field names; say what is not for this service."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = OTHER_NAMES.get(key.replace("-", "_"), key.replace("-", "_"))
        if name in {"no_splitmerge", "no_cluster"}:
            name, value = "splitmerge", not value  # noqa: PLW2901 the flag's negation is a key of its own in the file
        if name in cls.settings:
            if value != "" and name != "config":
                values[name] = value
        elif key not in ORIGINAL_KEYS:
            foreign_key(cls, path, key)
    return values


def foreign_key(cls: type[CommonSettings], path: str, key: str) -> None:
    """Refuse or mention a key that this program does not know."""
    known = [name.replace("_", "-") for name in cls.settings]
    if cls.every_key_counts:
        raise SettingsError(f"{path}: unknown key {key!r}{hint(key, known)}")
    print(f"{path}: key {key!r} is not for this service{hint(key, known)}", file=sys.stderr)  # noqa: T201 there is no log yet
