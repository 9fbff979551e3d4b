"""The nodes and machines that have results, also those of which the mirror has not heard yet.

A node that has just been registered may have completed its first task before this proxy's mirror shows the node. So one that is not in the mirror is
looked for where it is written, and only what is not there either is gone. While that cannot be said, it is no answer (BusFailed).
"""

from clusterodm.libs.common.messages.buckets import MACHINES, NODES
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import MachineId, NodeId
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.ports import Cluster


class ResultHosts:
    """Finds them."""

    def __init__(self, bus: Bus, cluster: Cluster) -> None:
        self._bus = bus
        self._cluster = cluster

    async def node(self, node: NodeId) -> Node | None:
        """Find a node, registered or retired; None: there is none. Raises BusFailed when that cannot be said."""
        if found := self._cluster.node(node):
            return found
        entry = await (await self._bus.bucket(NODES)).get(node)
        return entry.value if entry else None

    async def machine(self, machine: MachineId) -> Machine | None:
        """Find a machine, alive or ended within the last day; None: there is none. Raises BusFailed when that cannot be said."""
        if found := self._cluster.machine(machine):
            return found
        entry = await (await self._bus.bucket(MACHINES)).get(machine)
        return entry.value if entry else None
