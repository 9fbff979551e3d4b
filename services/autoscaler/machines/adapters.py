"""Asks the node on a machine whether it is there: NodeODM's `GET /info`."""

from typing import Final

from clusterodm.libs.common.errors import NodeFailed
from clusterodm.libs.common.model.machines import Machine
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.nodeodm.client import NodeClient

TIMEOUT_S: Final = 5.0


class NodeODMProbe:
    """See handlers.node_queries.NodeProbe."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client

    async def info(self, machine: Machine, token: str) -> NodeInfo | None:
        """Ask how it is; a node that does not answer properly is not there yet."""
        node = Node(id=NodeId(machine.id), hostname=machine.hostname, port=machine.port, token=token)
        try:
            return await self._client.info(node, timeout_s=TIMEOUT_S)
        except NodeFailed:
            return None
