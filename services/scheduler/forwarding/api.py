"""The story of forwarding: which requests it answers, what goes on by itself, and how it is opened."""

from dataclasses import dataclass
from typing import Any

from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.messages.placement import (
    RENEW_ATTEMPT,
    REPORT_FORWARD_FAILED,
    REPORT_FORWARDED,
    REPORT_INPUTS_GONE,
)
from clusterodm.libs.common.ports import Handler
from clusterodm.libs.common.process.lifecycle import TaskLimiter
from clusterodm.libs.common.process.loops import Start
from clusterodm.services.scheduler.events import EventPublisher
from clusterodm.services.scheduler.forwarding.handlers.reports import (
    ForwardingReports,
    NodeProbes,
    Outcomes,
    ProxyPresence,
)
from clusterodm.services.scheduler.forwarding.handlers.uncertain import UncertainAttempts
from clusterodm.services.scheduler.leadership import repeated
from clusterodm.services.scheduler.node_client.ports import NodeApi
from clusterodm.services.scheduler.records.handlers.recovery import Records
from clusterodm.services.scheduler.settings import SchedulerSettings
from clusterodm.services.scheduler.task_life.attempts import AttemptPolicy


@dataclass(frozen=True)
class ForwardingStory:
    """Everything that has to do with attempts that are being sent."""

    reports: ForwardingReports
    uncertain: UncertainAttempts

    def requests(self) -> dict[Request[Any, Any], Handler]:
        """Name the handler of each request."""
        return {
            RENEW_ATTEMPT: self.reports.renew,
            REPORT_FORWARDED: self.reports.forwarded,
            REPORT_FORWARD_FAILED: self.reports.failed,
            REPORT_INPUTS_GONE: self.reports.inputs_gone,
        }

    def loops(self, limiter: TaskLimiter) -> dict[str, Start]:
        """Name everything that goes on by itself."""
        return {"check forwarding": repeated(lambda: self.uncertain.watch(limiter), "check forwarding")}


def open_forwarding(  # noqa: PLR0913, PLR0917 what the story is made of
    records: Records,
    api: NodeApi,
    events: EventPublisher,
    proxies: ProxyPresence,
    probes: NodeProbes,
    policy: AttemptPolicy,
    settings: SchedulerSettings,
) -> ForwardingStory:
    """Put the story together."""
    outcomes = Outcomes(records, policy)
    return ForwardingStory(
        reports=ForwardingReports(records, outcomes, events, proxies, probes),
        uncertain=UncertainAttempts(records, outcomes, api, events, settings),
    )
