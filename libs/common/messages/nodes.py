"""Nodes: what the scheduler does with its list of them, and what it tells of them."""

from typing import Final

from clusterodm.libs.common.messages.kinds import Done, Event, Request
from clusterodm.libs.common.model.nodes import NodeInfo
from clusterodm.libs.common.model.values import Frozen, MachineId, NodeId


class NodeView(Frozen, frozen=True, kw_only=True):
    """A node as operators see it: no token, with what only the scheduler's memory knows."""

    id: NodeId
    number: int
    """Its place in the list, from 1: the `<n>` of the telnet words."""
    hostname: str
    port: int
    has_token: bool = False
    locked: bool = False
    draining: bool = False
    drain_until_ms: int | None = None
    auto_spawned: bool = False
    labels: tuple[str, ...] = ()
    online: bool = False
    info: NodeInfo | None = None
    """Its last answer; None while it has never answered."""
    info_at_ms: int | None = None
    slots_used_count: int = 0
    """Tasks of this cluster on it, reservations included."""
    trouble: str = ""
    """Why it is offline, in one line."""
    lock_reason: str = ""
    """Why it is locked for good, which no operator undoes; empty: it is not."""
    pace: int = 0
    """How fast it is, in steps of a fifth: 0 is usual, or unknown; the larger, the slower."""


class AddNode(Frozen, frozen=True, kw_only=True):
    """Register a node. Refused when hostname and port are taken or not valid."""

    hostname: str
    port: int
    token: str = ""
    locked: bool = False
    labels: tuple[str, ...] = ()
    machine: MachineId | None = None
    price_per_hour: float | None = None
    """What the machine costs, where its configuration says so."""
    spot: bool = False
    """The machine may be taken away at any time."""
    interruptions_limit_count: int = 0
    """A task that has lost so many spot machines is not to be sent there; 0: any may be."""

    def __repr__(self) -> str:
        """Show everything but the token."""
        return f"AddNode({self.hostname}:{self.port})"


class NodeRef(Frozen, frozen=True, kw_only=True):
    """One registered node."""

    node: NodeId


class LockNode(NodeRef, frozen=True, kw_only=True):
    """Send no new tasks to a node."""

    reason: str = ""
    """The autoscaler's: its machine takes no more tasks, so UNLOCK_NODE is refused from now on, with this. Empty: an operator's lock."""


class ListNodes(Frozen, frozen=True, kw_only=True):
    """All nodes, in the order in which they were added."""


class NodeList(Frozen, frozen=True, kw_only=True):
    """Answer to ListNodes and UpdateNodes."""

    nodes: tuple[NodeView, ...]


class UpdateNodes(Frozen, frozen=True, kw_only=True):
    """Probe every node now; answered when all have answered or timed out (10 s at most)."""


class BestNode(Frozen, frozen=True, kw_only=True):
    """Which node would a task with so many images go to now? Advances the turn, as the original does.

    None as `images_count` takes only nodes without a limit.
    """

    images_count: int | None


class BestNodeFound(Frozen, frozen=True, kw_only=True):
    """Answer to BestNode; None when no node is able to take such a task."""

    node: NodeView | None


class DrainNode(Frozen, frozen=True, kw_only=True):
    """Send no new tasks to a node, and take it off the list when it has none. UNLOCK_NODE ends it.

    At the deadline, tasks that wait there for their turn are moved elsewhere; those that run are left to end.
    """

    node: NodeId
    deadline_s: float | None = None
    """Seconds from now; None: nothing is moved."""


class LabelNode(Frozen, frozen=True, kw_only=True):
    """A node has these labels from now on, and no others. Refused where one is no label."""

    node: NodeId
    labels: tuple[str, ...] = ()


class LoseNode(Frozen, frozen=True, kw_only=True):
    """The machine of this node goes, or is gone: its tasks get a new attempt at once, and the node is removed."""

    node: NodeId | None = None
    """None: it is not registered (any more), and tasks are told by their machine alone."""
    machine: MachineId | None = None
    """A node that has this address and belongs to another machine stays."""
    reason: str
    interrupted: bool = False
    """It is a spot machine, and its provider takes it away or has done so."""


class FindUiNode(Frozen, frozen=True, kw_only=True):
    """Which node serves the web page? Answered with NoNode when none is online."""


class UiNode(Frozen, frozen=True, kw_only=True):
    """Answer to FindUiNode."""

    node: NodeId


ADD_NODE: Final = Request("scheduler.add_node", AddNode, NodeView)
REMOVE_NODE: Final = Request("scheduler.remove_node", NodeRef, Done)
LOSE_NODE: Final = Request("scheduler.lose_node", LoseNode, Done)
LOCK_NODE: Final = Request("scheduler.lock_node", LockNode, NodeView, idempotent=True)
DRAIN_NODE: Final = Request("scheduler.drain_node", DrainNode, NodeView, idempotent=True)
UNLOCK_NODE: Final = Request("scheduler.unlock_node", NodeRef, NodeView, idempotent=True)
LABEL_NODE: Final = Request("scheduler.label_node", LabelNode, NodeView, idempotent=True)
LIST_NODES: Final = Request("scheduler.list_nodes", ListNodes, NodeList, idempotent=True, for_programs=True)
UPDATE_NODES: Final = Request("scheduler.update_nodes", UpdateNodes, NodeList, timeout_s=15.0)
BEST_NODE: Final = Request("scheduler.best_node", BestNode, BestNodeFound, idempotent=True)
FIND_UI_NODE: Final = Request("scheduler.find_ui_node", FindUiNode, UiNode, idempotent=True)


class NodeEvent(Frozen, frozen=True, kw_only=True):
    """Something happened to a node."""

    at_ms: int
    node: NodeId
    reason: str = ""


NODE_ADDED: Final = Event("node.added", NodeEvent)
NODE_REMOVED: Final = Event("node.removed", NodeEvent)
NODE_LOCKED: Final = Event("node.locked", NodeEvent)
NODE_UNLOCKED: Final = Event("node.unlocked", NodeEvent)
NODE_LABELED: Final = Event("node.labeled", NodeEvent)
"""It has other labels."""
NODE_DRAINED: Final = Event("node.drained", NodeEvent)
"""A drain has begun."""
NODE_ONLINE: Final = Event("node.came_online", NodeEvent)
NODE_OFFLINE: Final = Event("node.went_offline", NodeEvent)
