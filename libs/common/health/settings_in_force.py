"""Which settings of a service count, and where each comes from: for operators. Secrets are never repeated."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from clusterodm.libs.common.messages.health import ReportSettings, SettingInForce, SettingsReport
from clusterodm.libs.common.secret import HIDDEN, Secret
from clusterodm.libs.common.settings.fields import Settings, secret
from clusterodm.libs.common.telemetry.log import hide
from clusterodm.libs.common.version import VERSION

LONGEST: Final = 500
DEFAULT: Final = "default"


def settings_in_force(settings: Settings) -> tuple[SettingInForce, ...]:
    """List all settings of a service."""
    return tuple(
        SettingInForce(
            name=name.replace("_", "-"),
            value=shown(name, getattr(settings, name)),
            source=settings.sources.get(name, "given" if name in settings.given else DEFAULT),
            description=setting.description,
        )
        for name, setting in settings.settings.items()
    )


def shown(name: str, value: Any) -> str:
    """Show a value as people write it; of a secret only that it is set."""
    if value is None or value in ("", []):
        return ""
    if isinstance(value, Secret) or (secret(name) and (name != "nats_url" or "@" in str(value))):
        return HIDDEN
    return hide(str(value))[:LONGEST]


def settings_handler(service: str, settings: Settings) -> Callable[[ReportSettings], Awaitable[SettingsReport]]:
    """Make what answers over the bus."""
    report = SettingsReport(service=service, version=VERSION, settings=settings_in_force(settings))

    async def answer(_asked: ReportSettings) -> SettingsReport:
        return report

    return answer
