"""Why no node has room for a task now, in words for its user."""

from collections.abc import Sequence

from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.ranking import Need, is_other_kind, large_enough_for, suitable


def why_not(nodes: Sequence[NodeState], need: Need, confined_to: frozenset[str] = frozenset()) -> str:
    """Say why no node has room for such a task now. `confined_to`: only nodes with these labels are its owner's."""
    if not nodes:
        return "no node is registered"
    if not confined_to:
        return why_none_of(nodes, need)
    which = f"with label{'s' if len(confined_to) > 1 else ''} {' and '.join(sorted(confined_to))}"
    labeled = [node for node in nodes if confined_to <= frozenset(node.record.labels)]
    if not any(node.online for node in labeled):
        return f"waits for a node {which} ({'none is online' if labeled else 'there is none'})"
    return f"waits for a node {which}: {why_none_of(labeled, need)}"


def why_none_of(nodes: Sequence[NodeState], need: Need) -> str:
    """Say why none of these has room."""
    online = [node for node in nodes if node.online]
    unlocked = [node for node in online if node.usable]
    fitting = suitable(unlocked, need)
    if not online:
        return "no node is online"
    if not unlocked:
        return f"all {len(online)} nodes are locked" if len(online) > 1 else "the only node online is locked"
    if not fitting:
        return kept_for_others(unlocked, need) or too_large(unlocked, need)
    slots_count = sum(node.slots_count for node in fitting)
    return f"no free slot ({sum(min(node.used_count, node.slots_count) for node in fitting)} of {slots_count} busy)"


def kept_for_others(unlocked: Sequence[NodeState], need: Need) -> str:
    """Say that only nodes would take it that are reserved; empty: that is not the reason."""
    would_count = sum(1 for _ in large_enough_for(unlocked, need))
    if would_count == 1:
        return "the only node that would take it is reserved for others"
    return f"all {would_count} nodes that would take it are reserved for others" if would_count else ""


def too_large(nodes: Sequence[NodeState], need: Need) -> str:
    """Say that the task has too many images for all, or what else none of them has."""
    if need.gpu and not any(node.record.has_gpu for node in nodes):
        return "no node has a graphics card, which its options ask for"
    if need.interruptions_count and all(is_other_kind(node, need) for node in nodes):
        return "its machine was taken away, and it waits for one that stays"
    if any(node.fits(need.images_count) for node in nodes):
        return "each node that is large enough has refused it"
    largest = max(node.limit_count or 0 for node in nodes)
    return f"no node takes {need.images_count} images (largest limit {largest})"
