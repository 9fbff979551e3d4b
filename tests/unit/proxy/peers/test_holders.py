"""Another proxy is asked what it has of a task."""

import msgspec
import pytest

from clusterodm.libs.common.messages.buckets import PROXIES
from clusterodm.libs.common.model.cluster import Proxy
from clusterodm.libs.common.model.values import InstanceId, Owner, TaskId
from clusterodm.libs.common.testing.clock import FakeClock
from clusterodm.libs.common.testing.memory_bus import MemoryBus
from clusterodm.services.proxy.peers.handlers import HOLDING, LEFT_ALONE_S, MARK, PeerHolders
from clusterodm.services.proxy.peers.ports import AskHolding, ForwardedRequest, HoldingAnswer, PeerAnswer
from clusterodm.services.proxy.spool.core.history import History, Holding
from tests.proxy_ports import FakePeers

US, OTHER = InstanceId("us"), InstanceId("other")
TASK = TaskId("t")
HELD = Holding(is_held=True, is_submitted=True, history=History(committed_at_ms=3))


class Asked(FakePeers):
    """Peers that remember what they were asked."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[ForwardedRequest, bytes]] = []

    async def post(self, url: str, request: ForwardedRequest) -> PeerAnswer:
        self.requests.append((request, b"".join([part async for part in request.body])))
        return await super().post(url, request)


class World:
    """Two proxies that have announced themselves."""

    def __init__(self) -> None:
        self.bus, self.peers, self.clock = MemoryBus(), Asked(), FakeClock()
        self.holders = PeerHolders(self.bus, self.peers, US, self.clock, lambda: "secret")

    async def announce(self, instance: InstanceId) -> None:
        proxy = Proxy(instance=instance, url=f"http://{instance}", host="h", spool="/s", started_at_ms=1)
        await (await self.bus.bucket(PROXIES)).put(instance, proxy)

    def answers(self, status: int, body: bytes) -> None:
        self.peers.answers["http://other"] = PeerAnswer(status, (), body)


@pytest.fixture
async def world() -> World:
    made = World()
    for instance in (US, OTHER):
        await made.announce(instance)
    return made


async def test_it_says_what_it_has(world: World):
    world.answers(200, msgspec.json.encode(HoldingAnswer(instance=OTHER, holding=HELD)))
    assert await world.holders.ask(OTHER, TASK, Owner("anne")) == HELD
    [(request, question)] = world.peers.requests
    assert (request.target, dict(request.headers)[MARK]) == (HOLDING.encode(), b"secret")
    assert msgspec.json.decode(question, type=AskHolding) == AskHolding(task=TASK, owner=Owner("anne"))
    assert await world.holders.others() == [OTHER]


@pytest.mark.parametrize(
    "said",
    [b'{"error":"Cannot handle POST /proxy/holding"}', b'{"error":"This is asked by proxies of the cluster."}', b"<"],
    ids=["an earlier version", "another secret", "no proxy at all"],
)
async def test_what_does_not_answer_the_question_counts_as_away(world: World, said: bytes):
    world.answers(200, said)
    assert await world.holders.ask(OTHER, TASK) is None


async def test_another_proxy_at_its_address_tells_that_its_spool_is_gone(world: World):
    world.answers(200, msgspec.json.encode(HoldingAnswer(instance=US, holding=HELD)))
    assert await world.holders.ask(OTHER, TASK) == Holding(is_replaced=True)


async def test_who_does_not_answer_is_left_alone_for_a_moment(world: World):
    assert await world.holders.ask(OTHER, TASK) is None
    world.answers(200, msgspec.json.encode(HoldingAnswer(instance=OTHER, holding=HELD)))
    assert await world.holders.ask(OTHER, TASK) is None
    assert len(world.peers.requests) == 1
    world.clock.pass_s(LEFT_ALONE_S)
    assert await world.holders.ask(OTHER, TASK) == HELD


async def test_while_nats_is_away_it_is_asked_where_it_was(world: World):
    world.answers(200, msgspec.json.encode(HoldingAnswer(instance=OTHER, holding=HELD)))
    await world.holders.ask(OTHER, TASK)
    world.bus.connected = False
    assert await world.holders.ask(OTHER, TASK) == HELD
    assert await world.holders.ask(InstanceId("never seen"), TASK) is None
