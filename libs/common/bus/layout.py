"""Which streams there are in NATS, and who makes them: one service alone (decision 123).

Who may change a stream's settings can let it copy from any other and publish anew what it copies. So no other service has a right to
make, change, empty or remove one; each waits until what it needs is there. Whoever is no service (the operator's words, tools) makes
what it opens.
"""

from typing import Any, Final

from clusterodm.libs.common.messages.buckets import (
    BOOT_LOGS,
    CLUSTER,
    ENDED,
    MACHINE_SPANS,
    MACHINES,
    NODES,
    OBSERVATIONS,
    OPTIONS,
    PROGRESS,
    PROXIES,
    SAMPLES,
    SECRETS,
    SPOOLS,
    SUMMARY,
    TASKS,
    TENANTS,
    TOMBSTONES,
    UPLOADS,
    USAGE,
)
from clusterodm.libs.common.messages.demand import DEMAND_CHANGED, SUPPLY_CHANGED
from clusterodm.libs.common.messages.kinds import BucketName, Snapshot
from clusterodm.libs.common.model.values import Frozen

KEEPER: Final = "scheduler"
"""The service that makes all streams, compares them with the settings, and makes them anew when NATS has lost them."""
SERVICES: Final = frozenset(("proxy", "scheduler", "autoscaler", "admin"))
PRIVATE: Final = tuple(
    BucketName(name, Frozen, writer="autoscaler") for name in ("autoscaler", "autoscaler-secrets", "run-times")
)
"""Buckets whose values are their writer's own affair; what they look like does not matter here."""
BUCKETS: Final[tuple[BucketName[Any], ...]] = (
    *(NODES, TASKS, ENDED, UPLOADS, PROXIES, SECRETS, CLUSTER, SUMMARY, OPTIONS, MACHINES),
    *(OBSERVATIONS, TOMBSTONES, TENANTS, USAGE, MACHINE_SPANS, PROGRESS, SPOOLS, SAMPLES, BOOT_LOGS),
    *PRIVATE,
)
"""Those first that a proxy waits for before it answers its first client."""
SNAPSHOTS: Final[tuple[Snapshot[Any], ...]] = (DEMAND_CHANGED, SUPPLY_CHANGED)


def makes_streams(service: str) -> bool:
    """Whether a process makes the streams that it opens, or waits until they are there."""
    return service == KEEPER or service not in SERVICES
