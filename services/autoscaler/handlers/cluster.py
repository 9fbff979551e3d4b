"""What is asked of the scheduler about the nodes on machines."""

from libs.common.errors import NotFound, Refused
from libs.common.messages import (
    ADD_NODE,
    LIST_NODES,
    LOCK_NODE,
    LOSE_NODE,
    NODES,
    AddNode,
    ListNodes,
    LoseNode,
    NodeRef,
    NodeView,
)
from libs.common.model import Machine, MachineId, Node, NodeId
from libs.common.ports import Bucket, Bus
from libs.common.secret import Secret


class Cluster:
    """The scheduler, as the autoscaler sees it. Every call raises BusFailed when it is away."""

    def __init__(self, bus: Bus, nodes: Bucket[Node]) -> None:
        self._bus = bus
        self._nodes = nodes

    @classmethod
    async def open(cls, bus: Bus) -> "Cluster":
        """Open the bucket of nodes, which is only read."""
        return cls(bus, await bus.bucket(NODES))

    async def nodes(self) -> dict[NodeId, NodeView]:
        """All nodes that are registered."""
        return {view.id: view for view in (await self._bus.ask(LIST_NODES, ListNodes())).nodes}

    async def register(self, machine: Machine, token: Secret) -> NodeId:
        """Register a machine's node. Doing it again changes nothing. Raises Refused."""
        if known := await self.node_of(machine):
            return known
        asked = AddNode(hostname=machine.hostname, port=machine.port, token=token.reveal(), machine=machine.id)
        try:
            return (await self._bus.ask(ADD_NODE, asked)).id
        except Refused:
            await self._drop_predecessor(machine)
            return (await self._bus.ask(ADD_NODE, asked)).id

    async def node_of(self, machine: Machine) -> NodeId | None:
        """Find the node of a machine in the scheduler's own records."""
        nodes = (entry.value for entry in (await self._nodes.load()).values())
        return next((node.id for node in nodes if node.machine == machine.id and not node.retired), None)

    async def machines(self) -> set[MachineId]:
        """Name the machines of all nodes in the scheduler's own records."""
        return {entry.value.machine for entry in (await self._nodes.load()).values() if entry.value.machine}

    async def token_of(self, machine: Machine) -> str:
        """Give the token with which a machine's node was registered; empty when it was not."""
        nodes = (entry.value for entry in (await self._nodes.load()).values())
        return next((node.token for node in nodes if node.machine == machine.id), "")

    async def lock(self, node: NodeId) -> None:
        """Send no more tasks to a node; one that is gone needs no lock."""
        try:
            await self._bus.ask(LOCK_NODE, NodeRef(node=node))
        except NotFound:
            return

    async def take_away(self, machine: Machine, reason: str) -> None:
        """Take a machine's node off the list. Tasks that are still on it get a new attempt at once.

        Its record may not know of them yet, nor of its node: after a lost store tasks are told of by their holders.
        """
        node = machine.node or await self.node_of(machine)
        if node is None and machine.created_at_ms is None:
            return
        try:
            await self._bus.ask(LOSE_NODE, LoseNode(node=node, machine=machine.id, reason=reason))
        except NotFound:
            return

    async def _drop_predecessor(self, machine: Machine) -> None:
        """Remove the node of another machine that had this address: at a provider an address belongs to one."""
        for entry in (await self._nodes.load()).values():
            node = entry.value
            at = (node.hostname, node.port) == (machine.hostname, machine.port)
            if at and node.machine not in {None, machine.id}:
                await self._bus.ask(LOSE_NODE, LoseNode(node=node.id, reason="its address belongs to a new machine"))
