"""Whether this proxy is to be asked, and what it lacks: `/healthz` and `/readyz`, for load balancers and people.

    mirrors    the tasks and nodes have been loaded: without them no poll can be answered
    stopping   it was told to stop: nothing new should come here
    bus        NATS is there; without it nodes answer the polls of running tasks, other polls are held and then closed (from
               memory with a single server that is away), open transfers go on, commits and inits wait a while and are
               then refused with 503
    disk       there is room for uploads; without it only those are refused
    rights     NATS refuses it none: whoever needs what is refused waits in vain
    loops      those that go on by themselves; one that hangs makes it dead
    services   the scheduler, asked over the bus: one that is frozen is seen like one that is gone

`/healthz`, which balancers ask, is 503 while the first is missing, after it was told to stop, and when a loop hangs. Not for the
others: every proxy lacks NATS or the scheduler at the same moment, and a balancer that took them all out would turn a delay into
failed tasks. `/readyz` is 503 when anything is missing.
"""

from typing import Any

from clusterodm.libs.common.health.health import Health, NeededServices
from clusterodm.libs.common.messages.health import SCHEDULER_HEALTH
from clusterodm.libs.common.ports import Bus
from clusterodm.services.proxy.cluster.ports import Cluster
from clusterodm.services.proxy.spool.ports import Spool

SERVICE = "proxy"


class ProxyHealth(Health):
    """How one proxy is."""

    def __init__(self, bus: Bus, cluster: Cluster, spool: Spool) -> None:
        self.needed = NeededServices(bus, {"scheduler": SCHEDULER_HEALTH})
        self._cluster = cluster
        super().__init__(
            SERVICE, lambda: {"bus": bus.connected, "mirrors": cluster.ready, "disk": spool.has_room()}, self.needed
        )

    def page(self, path: str, *, errors: bool = False) -> tuple[bool, dict[str, Any]] | None:
        """Answer for an address, without the texts of errors: everybody reaches this port."""
        found = super().page(path, errors=errors)
        if found is None:
            return None
        well, said = found
        return well and self._cluster.ready, {**said, "stopping": self.stopping}
