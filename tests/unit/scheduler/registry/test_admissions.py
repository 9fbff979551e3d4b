"""Whose tasks a node takes follows from its labels and from what tenants are confined to, whichever is known first."""

import pytest

from clusterodm.libs.common.messages.tenants import TenantShare
from clusterodm.libs.common.model.nodes import Node, mistake_in_labels, objection
from clusterodm.libs.common.model.values import NodeId, Owner
from clusterodm.libs.common.testing.clock import clocks_at
from clusterodm.services.scheduler.registry.admissions import ANYBODY
from clusterodm.services.scheduler.registry.nodes import NodeRegistry

NOW = clocks_at(0).instant
DIGEST = Owner("ab" * 16)
EVERYBODY = {"anne", "bert", "carl", "", DIGEST}


def node(*labels: str, name: str = "a") -> Node:
    return Node(id=NodeId(name), hostname=name, port=1, labels=labels)


@pytest.mark.parametrize(
    ("labels", "admitted"),
    [
        pytest.param((), EVERYBODY, id="no label"),
        pytest.param(("gpu",), EVERYBODY, id="a label that reserves nothing"),
        pytest.param(("tenant=anne",), {"anne"}, id="one tenant's"),
        pytest.param(("tenant=anne", "gpu", "tenant=bert"), {"anne", "bert"}, id="two tenants'"),
        pytest.param(("tenant=dora",), {DIGEST}, id="of one whose tasks are marked with another word"),
        pytest.param((f"tenant={DIGEST}",), {DIGEST}, id="by what its tasks are marked with"),
        pytest.param(("tenant=nobody",), set(), id="of one that nobody knows"),
    ],
)
@pytest.mark.parametrize("known_first", [True, False], ids=["tenants first", "nodes first"])
def test_a_label_reserves_a_node(labels: tuple[str, ...], admitted: set[str], known_first: bool):
    registry, shares = NodeRegistry(), [TenantShare(owner=DIGEST, name="dora")]
    if known_first:
        registry.set_tenants(shares)
    state = registry.put(node(*labels), NOW)
    registry.set_tenants(shares)
    assert {owner for owner in EVERYBODY if state.admission.admits(Owner(owner))} == admitted


@pytest.mark.parametrize(
    ("labels", "admitted"),
    [
        pytest.param((), False, id="none"),
        pytest.param(("gpu",), False, id="one of two"),
        pytest.param(("gpu", "big", "fast"), True, id="all, and others"),
        pytest.param(("gpu", "big", "tenant=bert"), False, id="all, and reserved for another"),
        pytest.param(("gpu", "big", "tenant=anne"), True, id="all, and reserved for it"),
    ],
)
def test_a_tenant_is_confined_to_nodes_with_all_of_its_labels(labels: tuple[str, ...], admitted: bool):
    registry = NodeRegistry()
    state = registry.put(node(*labels), NOW)
    registry.set_tenants([TenantShare(owner=Owner("anne"), name="anne", labels=("gpu", "big"))])
    assert state.admission.admits(Owner("anne")) is admitted
    registry.set_tenants([TenantShare(owner=Owner("anne"), name="anne")])
    assert state.admission.admits(Owner("anne")) is ("tenant=bert" not in labels)


def test_only_those_who_are_not_like_everybody_are_told_apart():
    registry = NodeRegistry()
    registry.put(node("tenant=anne"), NOW)
    registry.put(node("tenant=anne", "tenant=bert", name="b"), NOW)
    registry.set_tenants([TenantShare(owner=Owner("carl"), labels=("gpu",)), TenantShare(owner=Owner("dora"))])
    assert registry.admissions.apart == {"anne", "bert", "carl"}
    registry.put(node(name="b"), NOW)
    assert registry.admissions.apart == {"anne", "carl"}
    registry.drop(NodeId("a"))
    registry.set_tenants([TenantShare(owner=Owner("carl"))])
    assert registry.admissions.apart == frozenset()
    state = registry.get(NodeId("b"))
    assert state is not None
    assert state.admission == ANYBODY


@pytest.mark.parametrize(
    ("label", "is_one"),
    [
        pytest.param("gpu", True, id="a word"),
        pytest.param("zone=eu-west/1.a", True, id="signs inside"),
        pytest.param("a" * 63, True, id="as long as may be"),
        pytest.param("a" * 64, False, id="too long"),
        pytest.param("", False, id="empty"),
        pytest.param("a b", False, id="a space"),
        pytest.param("tenant=", False, id="reserved for no name"),
        pytest.param("-gpu", False, id="a sign first"),
        pytest.param("gpü", False, id="not ASCII"),
        pytest.param("gpu\n", False, id="a line's end"),
    ],
)
def test_what_a_label_is(label: str, is_one: bool):
    assert (mistake_in_labels((label,)) == "") is is_one
    assert "at most 50" in mistake_in_labels([f"a{number}" for number in range(51)])


@pytest.mark.parametrize(
    ("labels", "tenant", "confined_to", "because"),
    [
        pytest.param((), "anne", (), "", id="nothing is said"),
        pytest.param(("gpu",), "anne", ("gpu",), "", id="what it needs"),
        pytest.param(("gpu",), "anne", ("gpu", "big", "fast"), "no labels big and fast", id="two are missing"),
        pytest.param((), "anne", ("gpu",), "no label gpu", id="one is missing"),
        pytest.param(("tenant=bert", "tenant=carl"), "anne", (), "reserved for bert and carl", id="others'"),
        pytest.param(("tenant=anne",), "", (), "reserved for anne", id="nobody in particular"),
        pytest.param(("tenant=anne",), "anne", (), "", id="its own"),
    ],
)
def test_why_tasks_may_not_go_where_labels_are(
    labels: tuple[str, ...], tenant: str, confined_to: tuple[str, ...], because: str
):
    assert objection(labels, tenant, confined_to) == because
