"""The whole cluster at a glance, and what has not been committed yet: for operators, who watch it."""

from typing import Final

import msgspec

from clusterodm.libs.common.messages.health import HealthReport, SettingInForce
from clusterodm.libs.common.messages.kinds import Request
from clusterodm.libs.common.model.values import Frozen, InstanceId, Owner, TaskId


class GetOverview(Frozen, frozen=True, kw_only=True):
    """Ask how the cluster is at this moment."""


class ClusterOverview(Frozen, frozen=True, kw_only=True):
    """Answer to GetOverview. What is counted `since` begins anew with each leader."""

    at_ms: int
    epoch: int = 0
    """The term of the scheduler that says so."""
    since_ms: int = 0
    """When it began."""
    states: dict[str, int] = msgspec.field(default_factory=dict)
    """How many tasks there are in each state; states without any are left out."""
    oldest_wait_s: float = 0.0
    """How long the first in the queue has waited."""
    ended: dict[str, int] = msgspec.field(default_factory=dict)
    """How many tasks have ended since, by their state."""
    ended_images_count: int = 0
    """Images of those that were completed."""
    nodes_count: int = 0
    nodes_online_count: int = 0
    slots_count: int = 0
    """Of nodes that are online."""
    slots_used_count: int = 0
    forwarding_bytes: int = 0
    """Of the tasks that are being sent to nodes."""
    forwarding_sent_bytes: int = 0
    """So much of it the nodes have."""
    upload_owner_away_count: int = 0
    """Waiting tasks whose files lie with a proxy that does not answer."""
    on_offline_nodes_count: int = 0
    """Tasks on nodes that do not answer."""
    longest_run_task: TaskId | None = None
    """The task that has been running for the longest time."""
    longest_run_s: float = 0.0


GET_OVERVIEW: Final = Request(
    "scheduler.get_overview", GetOverview, ClusterOverview, idempotent=True, for_programs=True
)


class UploadProgress(Frozen, frozen=True, kw_only=True):
    """An upload that has not been committed yet: written when it has changed, every few seconds at most."""

    task: TaskId
    instance: InstanceId
    """The proxy that takes it."""
    name: str
    owner: Owner = Owner("")
    created_at_ms: int
    files_count: int = 0
    """Those that are complete, since that proxy was started."""
    arrived_bytes: int = 0
    """What has come since that proxy was started, unfinished files included."""
    rate_bytes_per_s: float = 0.0
    receiving: bool = False
    """A request of its client is open."""
    at_ms: int = 0
    """When that was so."""


class SpoolReport(Frozen, frozen=True, kw_only=True):
    """The disk under a proxy's spool, and what it does with it; written every few seconds."""

    instance: InstanceId
    host: str = ""
    version: str = ""
    free_bytes: int = 0
    total_bytes: int = 0
    uploads_count: int = 0
    """Those that are not committed."""
    tasks_count: int = 0
    """Tasks whose files are here."""
    rate_bytes_per_s: float = 0.0
    """What clients are sending."""
    received_bytes: int | None = None
    """What they have sent of files since the proxy was started; it only grows. None: one of an earlier version, which did not say it."""
    at_ms: int = 0
    settings: tuple[SettingInForce, ...] = ()
    """Those of the proxy."""
    health: HealthReport | None = None
    """How the proxy is; None: one of an earlier version, which did not say it."""


class Sample(Frozen, frozen=True, kw_only=True):
    """What operators' plots show of one moment."""

    at_ms: int
    values: dict[str, float] = msgspec.field(default_factory=dict)
    """By name: nodes_online, slots, slots_used, waiting, oldest_wait_s, running, forwarding, uploading, ..."""
