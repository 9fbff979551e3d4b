"""A placement looks at the first nodes in order only, and chooses what it would choose if it looked at all of them."""

from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import Node, NodeInfo
from clusterodm.libs.common.model.values import NodeId, Owner, TaskId
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.registry.node_state import OurTasks
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.ranking import Need, place

NAMES = ["a", "b", "c", "d", "e"]
names = st.sampled_from(NAMES)
counts = st.integers(0, 3)
changes = st.one_of(
    st.tuples(st.just("answers"), names, counts, st.sampled_from([None, 10, 100]), counts),
    st.tuples(st.just("misses"), names),
    st.tuples(st.just("locks"), names, st.booleans()),
    st.tuples(st.just("occupies"), names, counts),
    st.tuples(st.just("releases"), names, counts),
    st.tuples(st.just("aims"), names, counts),
    st.tuples(st.just("unaims"), counts),
    st.tuples(st.just("takes a turn"), names),
    st.tuples(st.just("has a pace"), names, st.integers(-2, 2)),
    st.tuples(
        st.just("is labeled"), names, st.sampled_from([("tenant=anne",), ("tenant=anne", "tenant=bert"), ("gpu",), ()])
    ),
    st.tuples(st.just("tenants"), st.sampled_from([(), ("gpu",)])),
    st.tuples(st.just("is on a spot machine"), names, st.integers(0, 2)),
    st.tuples(st.just("goes"), names),
)
needs = st.builds(
    Need,
    images_count=st.sampled_from([1, 10, 50, 500, None]),
    avoided=st.frozensets(names.map(NodeId), max_size=3),
    task=st.sampled_from([None, TaskId("0"), TaskId("1")]),
    owner=st.sampled_from(["", "anne", "bert", "carl"]).map(Owner),
    gpu=st.booleans(),
    interruptions_count=st.integers(0, 2),
)


def happens(registry: NodeRegistry, what: str, *more: Any) -> None:
    node = registry.get(NodeId(str(more[0])))
    if what == "answers":
        node = node or registry.put(Node(id=NodeId(more[0]), hostname=more[0], port=1), 0)
        info = NodeInfo(max_parallel_tasks=more[1], max_images=more[2], task_queue_count=more[3])
        registry.hit(node, info, OurTasks(), clocks_at(0))
    elif what == "tenants":
        registry.set_tenants([TenantShare(owner=Owner("carl"), name="carl", labels=more[0])])
    elif what == "unaims":
        registry.open.unstage(TaskId(str(more[0])))
    elif node is not None:
        acts = {
            "misses": lambda: registry.miss(node, "gone", clocks_at(0).instant),
            "locks": lambda: registry.put(replace(node.record, locked=more[1]), 0),
            "is labeled": lambda: registry.put(replace(node.record, labels=more[1]), 0),
            "is on a spot machine": lambda: registry.put(replace(node.record, interruptions_limit_count=more[1]), 0),
            "occupies": lambda: registry.occupy(node.id, TaskId(f"{node.id}{more[1]}")),
            "releases": lambda: registry.release(node.id, TaskId(f"{node.id}{more[1]}")),
            "aims": lambda: (
                registry.open.unstage(TaskId(str(more[1]))),
                registry.open.stage(node, TaskId(str(more[1]))),
            ),
            "takes a turn": lambda: registry.open.take_turn(node),
            "has a pace": lambda: registry.set_pace(node, more[1]),
            "goes": lambda: registry.drop(node.id),
        }
        acts[what]()


@example(
    begins=[("answers", "b", 2, None, 0), ("answers", "a", 2, None, 0)],
    then=[("locks", "b", True), ("locks", "b", False)],
    need=Need(images_count=1, interruptions_count=1),
    ahead=0,
)
@settings(max_examples=300)
@given(
    begins=st.lists(st.tuples(st.just("answers"), names, st.just(2), st.none(), st.just(0)), min_size=2),
    then=st.lists(changes, max_size=25),
    need=needs,
    ahead=st.sampled_from([0, 1]),
)
def test_the_first_in_order_is_the_best_of_all(begins: list[Any], then: list[Any], need: Need, ahead: int):
    registry = NodeRegistry(send_ahead_count=ahead)
    for change in [*begins, *then]:
        happens(registry, *change)
    by_adding = sorted(registry.open.listed(), key=lambda node: node.number)
    choice, expected = registry.open.choose(need), place(by_adding, need)
    assert (choice.node.id if choice else None) == (expected.node.id if expected else None)
    assert registry.open.has_room is bool(by_adding)
    assert choice is None or choice.node.admission.admits(need.owner)
