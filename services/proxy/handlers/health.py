"""Whether this proxy is to be asked, and what it lacks: `/healthz`, for load balancers and people.

    mirrors    the tasks and nodes have been loaded: without them no poll can be answered
    stopping   it was told to stop: nothing new should come here
    bus        NATS is there; without it polls are answered from memory and open uploads go on, commits and inits wait a
               while and are then refused with 503
    disk       there is room for uploads; without it only those are refused

The first two make it 503. The others do not: every proxy lacks NATS at the same moment, and a balancer that took them all out
would turn a delay into failed tasks.
"""

from libs.common.ports import Bus
from services.proxy.ports import Cluster, Spool


class Health:
    """What one proxy lacks."""

    def __init__(self, bus: Bus, cluster: Cluster, spool: Spool) -> None:
        self._bus = bus
        self._cluster = cluster
        self._spool = spool
        self.stopping = False

    @property
    def serves(self) -> bool:
        """Whether requests should come here."""
        return self._cluster.ready and not self.stopping

    def report(self) -> dict[str, bool]:
        """Say what is there and what is missing."""
        parts = {
            "bus": self._bus.connected,
            "mirrors": self._cluster.ready,
            "disk": self._spool.has_room(),
            "stopping": self.stopping,
        }
        whole = parts["bus"] and parts["mirrors"] and parts["disk"] and not self.stopping
        return {"ok": whole, **parts}
