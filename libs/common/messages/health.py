"""How services are: the scheduler and the autoscaler say it, whoever needs them asks. Which of them leads, and which stand by."""

from typing import Final

import msgspec

from clusterodm.libs.common.messages.kinds import Announcement, Request
from clusterodm.libs.common.model.values import Frozen, InstanceId


class LoopReport(Frozen, frozen=True, kw_only=True):
    """How a loop of a service is. Ages are seconds up to now."""

    name: str
    ok: bool
    """It has neither failed last nor is it late, and it hears of what it follows."""
    success_age_s: float | None = None
    """Since it last went round well, or heard of the bucket that it follows, or began to wait for events; None: it never has been round."""
    failures_count: int = 0
    """In a row. Rounds that were interrupted count when all have been for a minute while NATS was there."""
    late: bool = False
    """It hangs."""
    error: str = ""
    """What it last failed with, or was interrupted by."""


class RightRefused(Frozen, frozen=True, kw_only=True):
    """A right that NATS refuses to a service. It names a kind of subjects and no key, so that everybody may read it."""

    right: str
    """"publish to" or "subscribe to", and the subjects as the configuration of NATS names them."""
    refused_age_s: float
    """Since it was refused last, seconds."""
    advice: str
    """What to do."""


class ReportHealth(Frozen, frozen=True, kw_only=True):
    """How is this service? Answered by the one that leads."""


class ServiceSeen(Frozen, frozen=True, kw_only=True):
    """What one service knows of another that it needs."""

    ok: bool
    """It has answered a short while ago."""
    heard_age_s: float | None = None
    """Since its last answer; None: it has never answered."""
    error: str = ""
    """Why it did not answer the last time."""


class HealthReport(Frozen, frozen=True, kw_only=True):
    """Answer to ReportHealth, and what `/healthz` and `/readyz` say."""

    ok: bool
    """All facts hold, all loops and all services that it needs are well: it is ready."""
    alive: bool = True
    """None of its loops hangs."""
    service: str
    facts: dict[str, bool] = msgspec.field(default_factory=dict)
    """What it needs, by name, and whether it is there."""
    loops: tuple[LoopReport, ...] = ()
    services: dict[str, ServiceSeen] = msgspec.field(default_factory=dict)
    """The services that it needs."""
    rights_refused: tuple[RightRefused, ...] = ()
    """What NATS refuses to it: whoever needs that of it waits in vain."""
    version: str = ""
    """Empty: that of an earlier version, which did not say it."""
    host: str = ""
    epoch: int | None = None
    """The term of this process as leader; None: it does not lead, or nobody does."""
    turn_ms: float | None = None
    """How long its event loop has just taken for everything that was to be done before this answer; None: it was not measured."""


class SettingInForce(Frozen, frozen=True, kw_only=True):
    """A setting of a service as it counts."""

    name: str
    """As its flag, without the dashes."""
    value: str
    """`***` for a secret that is set."""
    source: str
    """"flag", "environment", "file" or "default"."""
    description: str = ""


class ReportSettings(Frozen, frozen=True, kw_only=True):
    """Which settings count? Answered by the service that leads."""


class SettingsReport(Frozen, frozen=True, kw_only=True):
    """Answer to ReportSettings."""

    service: str
    version: str
    settings: tuple[SettingInForce, ...] = ()


SCHEDULER_SETTINGS: Final = Request("scheduler.report_settings", ReportSettings, SettingsReport, idempotent=True)
AUTOSCALER_SETTINGS: Final = Request("autoscaler.report_settings", ReportSettings, SettingsReport, idempotent=True)
SCHEDULER_HEALTH: Final = Request("scheduler.report_health", ReportHealth, HealthReport, timeout_s=2.0)
AUTOSCALER_HEALTH: Final = Request("autoscaler.report_health", ReportHealth, HealthReport, timeout_s=2.0)


class LeaderAnswers(Frozen, frozen=True, kw_only=True):
    """A leader answers the requests of its service from now on: it was elected, or its connection is back."""

    owner: str
    """The service."""
    epoch: int


LEADER_ANSWERS: Final = Announcement("hint.leader_answers", LeaderAnswers)


class StandbyReported(Frozen, frozen=True, kw_only=True):
    """A process waits to lead, and says how it is: every few seconds, since nobody can ask it; requests are the leader's to answer."""

    instance: InstanceId
    """Told from others of the same service, as long as it runs."""
    since_ms: int
    """Since when it waits: its start, or the end of its last term."""
    health: HealthReport


STANDBY_REPORTED: Final = Announcement("standby.reported", StandbyReported)
