"""The key-value stores and the store of objects, each with the one service that writes it."""

from typing import Final

from clusterodm.libs.common.messages.boot_logs import BootLog
from clusterodm.libs.common.messages.kinds import BucketName, ObjectsName
from clusterodm.libs.common.messages.overview import Sample, SpoolReport, UploadProgress
from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.messages.usage import MachineSpans, TenantUsage
from clusterodm.libs.common.model.cluster import ClusterSecret, ClusterSummary, Incarnation, Proxy
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node, ReferenceOptions
from clusterodm.libs.common.model.tasks import Ended, Observation, Task, Tombstone, Upload

NODES: Final = BucketName("nodes", Node, writer="scheduler")
TASKS: Final = BucketName("tasks", Task, writer="scheduler")
"""The active ones, and those that ended a moment ago. What is here counts, whatever `ENDED` says of the same task."""
ENDED: Final = BucketName("ended", Ended, writer="scheduler")
"""Tasks that have ended; nobody loads all of them but the scheduler, in the background."""
OBSERVATIONS: Final = BucketName(
    "observations", Observation, writer="scheduler", durable=False, expires_s=7 * 24 * 3600.0
)
"""What nodes last said of the tasks that run there: written seldom, and lost without harm."""
CLUSTER: Final = BucketName("cluster", Incarnation, writer="service that comes first")
"""One key, `INCARNATION_KEY`, written once."""
INCARNATION_KEY: Final = "incarnation"
TOMBSTONES: Final = BucketName("tombstones", Tombstone, writer="scheduler")
"""Tasks whose records were deleted, written before that; each expires after `--tombstones-d` days."""
TENANTS: Final = BucketName("tenants", TenantShare, writer="scheduler", expires_s=30 * 24 * 3600.0)
"""What share each tenant has, by its owner; told by the proxies, again and again."""
USAGE: Final = BucketName("usage", TenantUsage, writer="scheduler")
"""What each tenant has used in each month, by owner and month: `survey.2026-11`; `_.2026-11` is of tasks without a token."""
MACHINE_SPANS: Final = BucketName("machine-spans", MachineSpans, writer="scheduler", expires_s=30 * 24 * 3600.0)
"""What is kept of tasks on machines that are shared, by machine."""
UPLOADS: Final = BucketName("uploads", Upload, writer="proxy")
PROXIES: Final = BucketName("proxies", Proxy, writer="proxy")
"""Which proxies there are, or were not long ago: by their instance ids."""
PROGRESS: Final = BucketName("progress", UploadProgress, writer="proxy", durable=False, expires_s=24 * 3600.0)
"""Uploads that are not committed, by task: how far they are."""
SPOOLS: Final = BucketName("spools", SpoolReport, writer="proxy", durable=False, expires_s=120.0)
"""The spools of the proxies that run, by instance."""
SAMPLES: Final = BucketName("samples", Sample, writer="admin", durable=False, expires_s=7 * 24 * 3600.0)
"""What plots show, by the number of the half minute since 1970: several admins write the same key."""
SUMMARY: Final = BucketName("summary", ClusterSummary, writer="scheduler")
"""One key, `SUMMARY_KEY`."""
OPTIONS: Final = BucketName("options", ReferenceOptions, writer="scheduler")
"""One key, `SUMMARY_KEY`."""
SUMMARY_KEY: Final = "cluster"
SECRETS: Final = BucketName("secrets", ClusterSecret, writer="proxy")
"""What proxies know each other by: one key, `SUMMARY_KEY`, written once by the first of them."""
CONSOLES: Final = ObjectsName("consoles", writer="scheduler")
"""The whole console of each ended task's last attempt: zlib over a JSON array of lines."""
MACHINES: Final = BucketName("machines", Machine, writer="autoscaler")
"""Machines that exist, or did within the last day."""
BOOT_LOGS: Final = BucketName("boot-logs", BootLog, writer="autoscaler", durable=False, expires_s=7 * 24 * 3600.0)
"""What machines have said while they booted, by machine; read by asking the autoscaler."""
