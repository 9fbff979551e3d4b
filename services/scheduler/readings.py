"""What a scrape reads of the scheduler that leads. Pure: costs what there are nodes, lanes and upload owners, whatever waits or runs."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from clusterodm.libs.common.clocks import Now
from clusterodm.libs.common.messages.demand import DemandChanged
from clusterodm.libs.common.telemetry.metrics import Reading
from clusterodm.services.scheduler.metrics import (
    NODE_PACE,
    NODE_SLOTS,
    NODE_UP,
    NODE_USED,
    NODES,
    NODES_LEFT_OUT,
    QUEUE,
    QUEUE_AGE,
    RESERVED,
    SLOTS,
    TASKS,
    UPLOAD_OWNERS_AWAY,
)
from clusterodm.services.scheduler.placement.core.cluster_state import ClusterState
from clusterodm.services.scheduler.registry.node_state import NodeState

NODES_COUNT: Final = 1000
"""So many nodes have series of their own: those that were added first."""
STATES: Final = ("online", "locked", "draining", "offline")
USES: Final = ("ours", "foreign", "free", "closed")


def readings(state: ClusterState, demand: DemandChanged | None, now: Now) -> Iterator[Reading]:
    """Say how the cluster is. `demand`: as it was last told; it is no older than a second."""
    yield from of_tasks(state)
    yield from of_queue(state, demand, now)
    nodes = state.nodes.listed()
    yield from of_nodes(nodes)
    for node in islice(nodes, NODES_COUNT):
        yield from of_node(node)
    yield Reading(NODES_LEFT_OUT, max(0, len(nodes) - NODES_COUNT))


def of_tasks(state: ClusterState) -> Iterator[Reading]:
    """Count those that have not ended."""
    index = state.index
    for name, count in (
        ("waiting", len(index.waiting)),
        ("forwarding", len(index.forwarding)),
        ("running", len(index.running)),
    ):
        yield Reading(TASKS, count, (name,))


def of_queue(state: ClusterState, demand: DemandChanged | None, now: Now) -> Iterator[Reading]:
    """Say who waits for what, and for how long."""
    waiting, reserved = len(state.index.waiting), len(state.reservations.made)
    told = demand or DemandChanged(at_ms=0)
    reasons = {
        "capacity": told.waiting_count,
        "slot_free": told.slot_free_count,
        "holder_away": told.upload_owner_away_count,
        "owner_limit": told.owner_limit_count,
        "reserved": reserved,
    }
    reasons["other"] = max(0, waiting - sum(reasons.values()))
    yield from (Reading(QUEUE, count, (reason,)) for reason, count in reasons.items())
    first = state.index.waiting.first()
    yield Reading(QUEUE_AGE, max(0.0, (now.wall_ms - first[0]) / 1000) if first else 0.0)
    yield Reading(RESERVED, reserved)
    yield Reading(UPLOAD_OWNERS_AWAY, len(state.proxies.away))


def of_nodes(nodes: Iterable[NodeState]) -> Iterator[Reading]:
    """Count nodes and slots."""
    states: Counter[str] = Counter()
    uses: Counter[str] = Counter()
    for node in nodes:
        states[state_of(node)] += 1
        if node.online:
            uses["ours"] += node.ours_count
            uses["foreign"] += node.others_count
            uses["free" if node.usable else "closed"] += node.free_count
    yield from (Reading(NODES, states[name], (name,)) for name in STATES)
    yield from (Reading(SLOTS, uses[name], (name,)) for name in USES)


def of_node(node: NodeState) -> Iterator[Reading]:
    """Say how one node is."""
    name = (node.record.name,)
    yield Reading(NODE_UP, node.online, name)
    yield Reading(NODE_SLOTS, node.slots_count, name)
    yield Reading(NODE_USED, node.used_count, name)
    yield Reading(NODE_PACE, node.pace, name)


def state_of(node: NodeState) -> str:
    """Name a node's state; the first that holds."""
    if not node.online:
        return "offline"
    return "draining" if node.record.draining else "locked" if node.record.locked else "online"
