"""What the story of forwarding needs of the others."""

from typing import Protocol

from libs.common.model import InstanceId
from services.scheduler.registry.node_state import NodeState


class ProxyPresence(Protocol):
    """Which proxies are there."""

    def heard(self, holder: InstanceId) -> None:
        """Note that a holder is there."""
        ...


class NodeProbes(Protocol):
    """How nodes are."""

    def soon(self, node: NodeState) -> None:
        """Ask this node next."""
        ...
