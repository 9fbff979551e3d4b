"""The summary says where everything is and what to try first."""

import pytest

from clusterodm.deploy.greet import forget, greet_in_the_end, register, summary
from clusterodm.deploy.plan import GreetingPlan, NodeAddress, reachable
from clusterodm.libs.common.errors import BusFailed, Refused
from clusterodm.libs.common.messages.kinds import Done
from clusterodm.libs.common.messages.nodes import (
    ADD_NODE,
    LIST_NODES,
    REMOVE_NODE,
    AddNode,
    ListNodes,
    NodeList,
    NodeRef,
    NodeView,
)
from clusterodm.libs.common.model.values import NodeId
from clusterodm.libs.common.testing.memory_bus import MemoryBus

PLAN = GreetingPlan(
    nats_url="nats://token@x", scheme="http", port=3000, admin_cli_port=8080, admin_web_port=10000, data_dir="data"
)


def view(hostname: str, *, online: bool = True) -> NodeView:
    return NodeView(id=NodeId(hostname), number=1, hostname=hostname, port=3000, online=online)


@pytest.mark.parametrize(
    ("changes", "nodes", "said"),
    [
        pytest.param({}, [], "none yet: clusterodm node add HOST PORT", id="no node"),
        pytest.param({}, [view("a"), view("b", online=False)], "1 of 2 online", id="one of two"),
        pytest.param({"simulated_count": 2}, [view("a"), view("b")], "they process nothing", id="simulated"),
        pytest.param({"flags": " --data-dir x"}, [], "node list --data-dir x", id="another data directory"),
        pytest.param({"with_token": True}, [view("a")], "?token=...", id="with a token"),
        pytest.param({"scheme": "https"}, [view("a")], "https://localhost:3000", id="TLS only"),
        pytest.param({"host": "192.168.1.5"}, [], "http://192.168.1.5:3000", id="one address only"),
        pytest.param({"host": "::1", "admin_host": "fe80::1"}, [], "http://[fe80::1]:10000", id="IPv6"),
        pytest.param({"secure_port": 3443}, [], "http://localhost:3000 and https://localhost:3443", id="both"),
    ],
)
def test_the_summary_fits_the_cluster(changes: dict[str, object], nodes: list[NodeView], said: str):
    plan = GreetingPlan(**{name: getattr(PLAN, name) for name in GreetingPlan.__struct_fields__} | changes)
    text = summary(plan, nodes)
    assert said in text
    assert "token@x" not in text
    assert "ClusterODM is ready." in text


@pytest.mark.parametrize(
    ("bind", "host"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("", "127.0.0.1"), ("10.1.2.3", "10.1.2.3"), ("localhost", "localhost")],
)
def test_a_service_on_every_address_is_reached_on_loopback(bind: str, host: str):
    assert reachable(bind) == host


def test_doors_that_are_off_are_not_named():
    plan = GreetingPlan(nats_url="", scheme="http", port=3000, data_dir="data")
    assert "telnet" not in summary(plan, [])


class Registry:
    """A scheduler's node registry, as far as the greeter asks it."""

    def __init__(self) -> None:
        self.known: list[NodeView] = []

    async def add(self, asked: AddNode) -> NodeView:
        if asked.hostname == "bad host" or any(node.hostname == asked.hostname for node in self.known):
            raise Refused("no")
        self.known.append(view(asked.hostname))
        return self.known[-1]

    async def list(self, _asked: ListNodes) -> NodeList:
        return NodeList(nodes=tuple(self.known))

    async def remove(self, asked: NodeRef) -> Done:
        self.known = [node for node in self.known if node.id != asked.node]
        return Done()

    def handlers(self) -> dict[object, object]:
        return {ADD_NODE: self.add, LIST_NODES: self.list, REMOVE_NODE: self.remove}


async def test_a_node_that_is_registered_already_is_no_trouble():
    bus, registry = MemoryBus(), Registry()
    async with bus.serve("scheduler", registry.handlers()):
        assert await register(bus, NodeAddress("a", 3000)) == ""
        assert await register(bus, NodeAddress("a", 3000)) == ""
        assert "bad host:3000 is not registered: no" in await register(bus, NodeAddress("bad host", 3000))


async def test_simulated_nodes_of_an_earlier_run_are_forgotten():
    bus, registry = MemoryBus(), Registry()
    registry.known = [view("a"), view("b")]
    async with bus.serve("scheduler", registry.handlers()):
        await forget(bus, [NodeAddress("b", 3000)])
    assert [node.hostname for node in registry.known] == ["a"]


async def test_a_cluster_that_does_not_answer_is_asked_until_its_nodes_are_registered(
    capsys: pytest.CaptureFixture[str],
):
    answers = iter([BusFailed("no answer"), BusFailed("no answer"), BusFailed("no leader"), "ClusterODM is ready."])

    async def greeted() -> str:
        answer = next(answers)
        if isinstance(answer, BusFailed):
            raise answer
        return answer

    assert await greet_in_the_end(greeted, again_s=0) == "ClusterODM is ready."
    assert capsys.readouterr().out.splitlines() == [
        "clusterodm up: not ready yet: no answer; trying again",
        "clusterodm up: not ready yet: no leader; trying again",
    ]


async def test_what_is_refused_is_not_asked_again():
    async def greeted() -> str:
        raise Refused("no such node")

    with pytest.raises(Refused, match="no such node"):
        await greet_in_the_end(greeted, again_s=0)
