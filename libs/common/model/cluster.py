"""What there is once in a cluster, and its proxies."""

from clusterodm.libs.common.model.values import Frozen, IncarnationId, InstanceId


class Incarnation(Frozen, frozen=True, kw_only=True):
    """Which life of the cluster this is: made once in each store, and copied beside what is kept outside of it."""

    id: IncarnationId
    made_at_ms: int


class ClusterSummary(Frozen, frozen=True, kw_only=True):
    """Honest totals over all nodes that are online, for `GET /info`."""

    nodes_count: int = 0
    online_count: int = 0
    task_queue_count: int = 0
    max_parallel_tasks: int = 0
    max_images: int | None = 0
    """None: some node has no limit. 0: no node is online."""
    total_memory_bytes: int = 0
    available_memory_bytes: int = 0
    cpu_cores_count: int = 0
    engine: str = "odm"
    engine_version: str = "?"


class Proxy(Frozen, frozen=True, kw_only=True):
    """A proxy with its spool, as it announces itself: should it not come back, this says what is missing."""

    instance: InstanceId
    url: str
    """Where the other proxies reach it."""
    host: str
    spool: str
    """The directory of its spool on that host."""
    started_at_ms: int


class ClusterSecret(Frozen, frozen=True, kw_only=True):
    """Something that only the services of one cluster know."""

    value: str

    def __repr__(self) -> str:
        """Show nothing of it."""
        return "ClusterSecret(***)"
