"""server/health.py: how this proxy is."""

import pytest

from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.server.health import ProxyHealth
from tests.memory_spool import MemorySpool
from tests.proxy_ports import FakeCluster


async def test_a_proxy_without_its_mirrors_is_not_to_be_asked(
    bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool
) -> None:
    health = ProxyHealth(bus, cluster, spool)
    found = health.page("/healthz")
    assert found is not None
    assert (found[0], found[1]["stopping"]) == (True, False)
    cluster.ready = False
    found = health.page("/healthz")
    assert found is not None
    assert not found[0]
    assert health.page("/elsewhere") is None


@pytest.mark.parametrize("lacks", ["bus", "disk", "mirrors"])
async def test_what_it_lacks_makes_it_less_useful(
    bus: MemoryBus, cluster: FakeCluster, spool: MemorySpool, lacks: str
) -> None:
    bus.connected, spool.room, cluster.ready = lacks != "bus", lacks != "disk", lacks != "mirrors"
    found = ProxyHealth(bus, cluster, spool).page("/readyz")
    assert found is not None
    assert not found[0]
