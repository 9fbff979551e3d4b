"""Whatever is being done with NATS can be cancelled at any moment: a service that is told to stop while it starts stops."""

import asyncio

import pytest

from clusterodm.libs.common.bus.bus import NatsBus
from clusterodm.libs.common.messages.demand import DemandChanged
from clusterodm.libs.common.messages.kinds import BucketName, Request, Snapshot
from clusterodm.libs.common.messages.nodes import ListNodes, NodeList
from clusterodm.libs.common.model.nodes import Node
from clusterodm.libs.common.model.values import NodeId

pytestmark = pytest.mark.slow

LIST = Request("contract.list", ListNodes, NodeList)
DEMAND = Snapshot("contract.demand", DemandChanged, stream="CONTRACT_DEMAND")
NODES = BucketName("contract_cancelled", Node, writer="test")
MOMENTS_COUNT = 120
MOMENT_S = 0.0001


async def everything(bus: NatsBus, *, opened: asyncio.Event) -> None:
    """What a service opens at its start; then it does nothing."""

    async def answer(_asked: ListNodes) -> NodeList:
        return NodeList(nodes=())

    async def hear(_told: DemandChanged) -> None:
        return

    bucket = await bus.bucket(NODES)
    await bucket.put("n", Node(id=NodeId("n"), hostname="n", port=1))
    await bucket.load()
    async with bus.watch_snapshot(DEMAND, durable="contract", handler=hear), bus.serve("contract", {LIST: answer}):
        opened.set()
        await asyncio.Event().wait()


async def test_no_cancellation_is_missed_at_any_moment_of_a_start(nats_bus: NatsBus):
    opened = asyncio.Event()
    missed = []
    for moment in range(MOMENTS_COUNT):
        running = asyncio.get_running_loop().create_task(everything(nats_bus, opened=opened))
        await asyncio.sleep(moment * MOMENT_S)
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=15)
        if not done:
            missed.append(moment)
            running.cancel()
            await asyncio.wait({running}, timeout=5)
    assert missed == []
    assert opened.is_set()
