"""What the admin service counts; the names are in docs/metrics.md."""

from typing import Final

from clusterodm.libs.common.telemetry.metrics import counter, gauge

COMMANDS: Final = counter(
    "clusterodm_commands_total",
    "Commands of operators, over telnet and web, by what was asked and how it went",
    "command",
    "outcome",
)
LOGINS: Final = counter(
    "clusterodm_logins_total", "Passwords that were tried, by door (telnet, web) and outcome", "door", "outcome"
)
SESSIONS: Final = gauge("clusterodm_telnet_sessions", "Telnet sessions that are open")


def label_of(kind: type) -> str:
    """Name a class as a label: `ListNodesCommand` is list_nodes."""
    name = kind.__name__.removesuffix("Command")
    return "".join(f"_{each}" if each.isupper() else each for each in name).lower().removeprefix("_")
