"""What the scheduler counts. What a scrape reads besides is in readings.py; the names are in docs/metrics.md."""

from typing import Final

from clusterodm.libs.common.telemetry.metrics import LONG_S, counter, gauge, histogram

TASKS: Final = gauge("clusterodm_tasks", "Tasks that have not ended, by state", "state")
QUEUE: Final = gauge(
    "clusterodm_queue_tasks",
    "Waiting tasks by what they wait for: capacity (no node has room), slot_free (it begins there), holder_away, owner_limit, "
    "reserved (their attempt is being written down), other (no node takes such a task, or its back-off is not over)",
    "reason",
)
QUEUE_AGE: Final = gauge(
    "clusterodm_queue_oldest_seconds", "How long ago the first of the waiting tasks was committed; 0: none waits"
)
QUEUE_SECONDS: Final = histogram(
    "clusterodm_queue_wait_seconds",
    "From a task's commit, or the end of its last attempt, to its placement, by what it got: slot (a node), machine (a rented one), "
    "retry (another attempt)",
    "reason",
    limits=LONG_S,
)
RESERVED: Final = gauge("clusterodm_slots_reserved", "Slots that are kept while an attempt is written down")
RESERVATIONS: Final = counter(
    "clusterodm_reservations_total", "Slots that were reserved: made, unclaimed (nobody asked any more)", "outcome"
)
TASK_EVENTS: Final = counter("clusterodm_task_events_total", "What happened to tasks, by the event's name", "event")
TASKS_ENDED: Final = counter(
    "clusterodm_tasks_ended_total",
    "Tasks that have ended, by how; one that is removed before its end counts as canceled",
    "state",
)
ATTEMPTS_ENDED: Final = counter(
    "clusterodm_attempts_ended_total",
    "Attempts that are over: completed, failed, canceled, lost (its node or its run is gone), moved (its node drains), refused",
    "outcome",
)
RUN_SECONDS: Final = histogram(
    "clusterodm_attempt_run_seconds", "How long attempts ran on their nodes, by outcome", "outcome", limits=LONG_S
)
TENANT_TASKS: Final = counter(
    "clusterodm_tenant_tasks_total",
    "Tasks of tenants that have ended, by how (`clusterodm tenant usage`)",
    "tenant",
    "state",
)
TENANT_IMAGES: Final = counter("clusterodm_tenant_images_total", "Images of tenants' tasks that have run", "tenant")
TENANT_BYTES: Final = counter("clusterodm_tenant_bytes_total", "Bytes of tenants' tasks that have run", "tenant")
TENANT_NODE_SECONDS: Final = counter(
    "clusterodm_tenant_node_seconds_total", "How long nodes had tenants' tasks", "tenant"
)
TENANT_COST: Final = counter(
    "clusterodm_tenant_machine_cost_total", "Tenants' shares of what rented machines cost", "tenant"
)
PROBES: Final = counter(
    "clusterodm_node_probes_total", "Probes of nodes: ok, missed (no answer, or not one of a NodeODM)", "outcome"
)
PROBE_SECONDS: Final = histogram("clusterodm_node_probe_seconds", "How long nodes took to answer a probe")
NODE_EVENTS: Final = counter("clusterodm_node_events_total", "What happened to nodes, by the event's name", "event")
NODES: Final = gauge("clusterodm_nodes", "Nodes by state: online, locked, draining, offline; each counts once", "state")
SLOTS: Final = gauge(
    "clusterodm_slots",
    "Slots of nodes that are online: ours, foreign (tasks of others), free, closed (free, on a locked node)",
    "use",
)
UPLOAD_OWNERS_AWAY: Final = gauge(
    "clusterodm_holders_away", "Proxies that hold waiting tasks, and neither ask nor send"
)
NODE_UP: Final = gauge("clusterodm_node_up", "Whether a node is online", "node")
NODE_SLOTS: Final = gauge("clusterodm_node_slots", "Slots that a node has", "node")
NODE_USED: Final = gauge("clusterodm_node_slots_used", "Slots of a node in use, whoever uses them", "node")
NODE_PACE: Final = gauge("clusterodm_node_pace", "How fast a node is: 0 as most are, the larger, the slower", "node")
NODES_LEFT_OUT: Final = gauge("clusterodm_nodes_left_out", "Nodes without series of their own: there are too many")
