"""Which node takes a task: the original's order, and what was put in front of it."""

from typing import Any

import pytest

from clusterodm.libs.common.model.values import NodeId, Owner
from clusterodm.services.scheduler.placement.core.waiting import why_not
from clusterodm.services.scheduler.registry.admissions import ANYBODY, NodeAdmission
from clusterodm.services.scheduler.registry.node_state import NodeState
from clusterodm.services.scheduler.registry.ranking import Need, best, place
from tests.scheduling import GIGABYTE, node_state


def chosen(nodes: list[NodeState], need: Need) -> str | None:
    choice = place([node for node in nodes if node.usable and node.free_count], need, nodes)
    return choice.node.id if choice else None


@pytest.mark.parametrize(
    ("nodes", "images", "expected"),
    [
        pytest.param([], 10, None, id="no nodes"),
        pytest.param([node_state("a")], 10, "a", id="the only one"),
        pytest.param([node_state("a", online=False), node_state("b")], 10, "b", id="offline never"),
        pytest.param([node_state("a", locked=True), node_state("b")], 10, "b", id="locked never"),
        pytest.param([node_state("a", draining=True), node_state("b")], 10, "b", id="draining never"),
        pytest.param([node_state("a", retired=True), node_state("b")], 10, "b", id="retired never"),
        pytest.param([node_state("a", limit=9), node_state("b")], 10, "b", id="too small never"),
        pytest.param([node_state("a", limit=9)], 10, None, id="all too small"),
        pytest.param([node_state("a", limit=10)], 10, "a", id="the limit itself fits"),
        pytest.param([node_state("a", limit=0)], 10, "a", id="limit 0 is no limit"),
        pytest.param([node_state("a"), node_state("b", limit=500)], 10, "b", id="a limit before no limit"),
        pytest.param([node_state("a", limit=500), node_state("b", limit=50)], 10, "b", id="smallest sufficient limit"),
        pytest.param([node_state("a", limit=50, slots=1), node_state("b", limit=500, slots=9)], 10, "a", id="limit before slots"),
        pytest.param([node_state("a", slots=2), node_state("b", slots=3)], 10, "b", id="most free slots"),
        pytest.param([node_state("a", slots=3, used=2), node_state("b", slots=2)], 10, "b", id="free slots, not all slots"),
        pytest.param([node_state("a", slots=3, foreign=2), node_state("b", slots=2)], 10, "b", id="tasks of others count"),
        pytest.param([node_state("a", slots=4, used=3), node_state("b", slots=2, used=1)], 10, "b", id="shortest queue"),
        pytest.param([node_state("a", turn=2), node_state("b", turn=1)], 10, "b", id="longest without a turn"),
        pytest.param([node_state("a", turn=1), node_state("b")], 10, "b", id="never had a turn"),
        pytest.param([node_state("a", used=1), node_state("b", used=1)], 10, None, id="all full"),
        pytest.param([node_state("a", limit=50, used=1), node_state("b", limit=500)], 10, "b", id="full is passed over"),
    ],
)  # fmt: skip
def test_the_order_of_the_original(nodes: list[NodeState], images: int, expected: str | None):
    assert chosen(nodes, Need(images_count=images)) == expected


@pytest.mark.parametrize(
    ("nodes", "need", "expected"),
    [
        pytest.param(
            [node_state("a"), node_state("b", slots=4)],
            Need(images_count=5, avoided=frozenset({NodeId("b")})),
            "a",
            id="another node than where it failed",
        ),
        pytest.param(
            [node_state("b")],
            Need(images_count=5, avoided=frozenset({NodeId("b")})),
            "b",
            id="where it failed, when there is no other",
        ),
        pytest.param(
            [node_state("a", memory=8 * GIGABYTE), node_state("b", memory=32 * GIGABYTE)],
            Need(images_count=5, min_memory_bytes=8 * GIGABYTE),
            "b",
            id="more memory than where it was short",
        ),
        pytest.param(
            [node_state("a", memory=8 * GIGABYTE), node_state("b", memory=32 * GIGABYTE, used=1)],
            Need(images_count=5, min_memory_bytes=8 * GIGABYTE),
            None,
            id="waits for the bigger node",
        ),
        pytest.param(
            [node_state("a", memory=8 * GIGABYTE)],
            Need(images_count=5, min_memory_bytes=8 * GIGABYTE),
            "a",
            id="no bigger node at all",
        ),
        pytest.param(
            [node_state("a", limit=50), node_state("b"), node_state("c", limit=500)],
            Need(images_count=0, images_known=False),
            "b",
            id="unknown images: no limit first",
        ),
        pytest.param(
            [node_state("a", limit=50), node_state("c", limit=500)],
            Need(images_count=0, images_known=False),
            "c",
            id="unknown images: then the largest limit",
        ),
        pytest.param(
            [node_state("a", limit=50), node_state("b")],
            Need(images_count=None),
            "b",
            id="more than any limit",
        ),
    ],
)
def test_what_was_put_in_front_of_that_order(nodes: list[NodeState], need: Need, expected: str | None):
    assert chosen(nodes, need) == expected


def test_a_free_slot_comes_before_one_that_files_are_only_sent_ahead_to():
    full, free = node_state("small", limit=10, used=1), node_state("large")
    choice = place([full, free], Need(images_count=5))
    assert choice is not None
    assert choice.node is free


def test_the_reason_travels_with_the_choice():
    choice = place([node_state("a", limit=50, slots=4, used=1)], Need(images_count=5))
    assert choice is not None
    assert choice.reason == "smallest sufficient limit (50 images), 3 of 4 slots free"


def test_best_takes_the_first_in_order_when_all_are_full():
    nodes = [node_state("a", used=1), node_state("b", limit=50, used=1)]
    choice = best(nodes, Need(images_count=5))
    assert choice is not None
    assert (choice.node.id, choice.reason) == ("b", "all nodes are full")


def test_best_finds_none_when_none_is_able():
    assert best([node_state("a", limit=5)], Need(images_count=6)) is None


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        pytest.param([], "no node is registered", id="none"),
        pytest.param([node_state("a", online=False)], "no node is online", id="offline"),
        pytest.param([node_state("a", locked=True)], "the only node online is locked", id="one locked"),
        pytest.param([node_state(name, locked=True) for name in "abc"], "all 3 nodes are locked", id="all locked"),
        pytest.param(
            [node_state("a", limit=200), node_state("b", limit=90)],
            "no node takes 500 images (largest limit 200)",
            id="too large",
        ),
        pytest.param([node_state("a", slots=4, used=4)], "no free slot (4 of 4 busy)", id="full"),
        pytest.param([node_state("a", slots=2, used=3)], "no free slot (2 of 2 busy)", id="more than full"),
        pytest.param(
            [node_state("a", slots=2, used=2), node_state("b", limit=9, slots=7)],
            "no free slot (2 of 2 busy)",
            id="slots of nodes that are too small do not count",
        ),
    ],
)
def test_why_no_node_takes_it(nodes: list[NodeState], expected: str):
    assert why_not(nodes, Need(images_count=500)) == expected


ANNE = Owner("anne")
ANNES = NodeAdmission(reserved_for=frozenset((ANNE,)))
NOT_ANNES = NodeAdmission(closed_to=frozenset((ANNE,)))


def labeled(name: str, *labels: str, admission: NodeAdmission = ANYBODY, **more: Any) -> NodeState:
    node = node_state(name, labels=labels, **more)
    node.admission = admission
    return node


@pytest.mark.parametrize(
    ("nodes", "owner", "expected"),
    [
        pytest.param([labeled("a", admission=ANNES)], "bert", None, id="reserved for others"),
        pytest.param([labeled("a", admission=ANNES), labeled("b")], "anne", "a", id="her own comes first"),
        pytest.param([labeled("a", admission=ANNES, used=1), labeled("b")], "anne", "b", id="unless it is full"),
        pytest.param([labeled("a", admission=ANNES, limit=5), labeled("b")], "anne", "b", id="or too small"),
        pytest.param([labeled("a", admission=ANNES), labeled("b")], "bert", "b", id="others have what is nobody's"),
        pytest.param([labeled("a", admission=NOT_ANNES)], "anne", None, id="confined to other nodes"),
        pytest.param([labeled("a", admission=NOT_ANNES)], "bert", "a", id="who is not confined goes anywhere"),
    ],
)
def test_whose_node_it_is_matters(nodes: list[NodeState], owner: str, expected: str | None):
    assert chosen(nodes, Need(images_count=10, owner=Owner(owner))) == expected


@pytest.mark.parametrize(
    ("nodes", "confined_to", "expected"),
    [
        pytest.param([labeled("a", admission=ANNES)], (), "the only node that would take it is reserved for others", id="one reserved"),
        pytest.param(
            [labeled("a", admission=ANNES), labeled("b", admission=ANNES)],
            (),
            "all 2 nodes that would take it are reserved for others",
            id="all reserved",
        ),
        pytest.param(
            [labeled("a", admission=ANNES), labeled("b", limit=5)],
            (),
            "the only node that would take it is reserved for others",
            id="one reserved and one too small",
        ),
        pytest.param([labeled("a")], ("gpu",), "waits for a node with label gpu (there is none)", id="no such label"),
        pytest.param(
            [labeled("a", "gpu", online=False), labeled("b")],
            ("gpu",),
            "waits for a node with label gpu (none is online)",
            id="label offline",
        ),
        pytest.param(
            [labeled("a", "gpu"), labeled("b", "big")],
            ("big", "gpu"),
            "waits for a node with labels big and gpu (there is none)",
            id="both on one node",
        ),
        pytest.param(
            [labeled("a", "gpu", used=1), labeled("b", slots=5)],
            ("gpu",),
            "waits for a node with label gpu: no free slot (1 of 1 busy)",
            id="label full",
        ),
        pytest.param(
            [labeled("a", "gpu", locked=True)],
            ("gpu",),
            "waits for a node with label gpu: the only node online is locked",
            id="label locked",
        ),
        pytest.param([], ("gpu",), "no node is registered", id="none at all"),
    ],
)  # fmt: skip
def test_why_no_node_of_ones_own_takes_it(nodes: list[NodeState], confined_to: tuple[str, ...], expected: str):
    need = Need(images_count=10, owner=Owner("bert"))
    assert why_not(nodes, need, frozenset(confined_to)) == expected
