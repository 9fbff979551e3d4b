"""Nodes that are reserved for tenants by labels, and tenants that are confined to nodes with labels: played with the whole scheduler."""

import pytest

from clusterodm.libs.common.clocks import read
from clusterodm.libs.common.errors import NotFound, Refused
from clusterodm.libs.common.messages.nodes import AddNode, LabelNode, NodeEvent
from clusterodm.libs.common.messages.placement import Placed, PlanStageIn, StageInDeclined, StageInPlanned, Waiting
from clusterodm.libs.common.messages.tenants import SET_TENANTS, SetTenants, TenantShare
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeId, Owner
from clusterodm.services.scheduler.demand.core import demand_of
from tests.scheduling import UPLOAD_OWNER, FakeNode, Play, a_play, task_id

ANNE, BERT = Owner("anne"), Owner("bert")


def demanded(play: Play) -> list[str]:
    """Name the tasks for which a machine would be rented."""
    return [play.name_of(each.task) for each in demand_of(play.scheduler.state, read(play.clock)).waiting]


async def test_a_reserved_node_takes_only_its_tenants_tasks():
    async with a_play(a=FakeNode()) as play:
        await play.labels("a", "tenant=anne")
        await play.commits("berts", owner=BERT)
        await play.commits("annes", owner=ANNE)
        assert await play.asks("berts") == Waiting(
            position=1, reason="the only node that would take it is reserved for others"
        )
        assert isinstance(await play.asks("annes"), Placed)


async def test_a_tenant_takes_what_is_reserved_for_it_and_leaves_the_rest_to_others():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.labels("b", "tenant=anne")
        await play.commits("annes", owner=ANNE)
        await play.commits("berts", owner=BERT)
        assert (await play.is_placed("annes")).node.hostname == "b"
        assert (await play.is_placed("berts")).node.hostname == "a"


async def test_who_waits_is_told_in_the_console_for_which_label():
    async with a_play(a=FakeNode()) as play:
        await play.confines("anne", "gpu")
        await play.commits("annes", owner=ANNE)
        await play.passes(1)
        assert play.task("annes").waiting_because == "waits for a node with label gpu (there is none)"
        assert any("waits for a node with label gpu" in line.text for line in play.task("annes").timeline)
        await play.labels("a", "gpu", "big")
        assert isinstance(await play.asks("annes"), Placed)


async def test_one_walk_gives_each_what_is_theirs():
    async with a_play(a=FakeNode(), b=FakeNode(), c=FakeNode()) as play:
        await play.labels("a", "tenant=anne")
        await play.labels("c", "gpu")
        await play.confines("bert", "gpu")
        for name, owner in (
            ("berts 1", BERT),
            ("berts 2", BERT),
            ("annes 1", ANNE),
            ("annes 2", ANNE),
            ("annes 3", ANNE),
        ):
            await play.commits(name, owner=owner)
        answers = await play.polls("berts 1", "berts 2", "annes 1", "annes 2", "annes 3")
        placed = {name: each.node.hostname for name, each in answers.items() if isinstance(each, Placed)}
        assert placed == {"berts 1": "c", "annes 1": "a", "annes 2": "b"}


async def test_a_node_without_the_label_does_not_count_as_a_slot_for_which_no_machine_is_rented():
    async with a_play(a=FakeNode(slots=2), b=FakeNode()) as play:
        await play.confines("anne", "gpu")
        await play.labels("b", "tenant=anne")
        await play.commits("annes", owner=ANNE)
        await play.commits("berts", owner=BERT)
        assert demanded(play) == ["annes"], "a slot is free for Bert's"
        (wanted,) = demand_of(play.scheduler.state, read(play.clock)).waiting
        assert (wanted.tenant, wanted.labels) == ("anne", ("gpu",))
        await play.labels("b", "gpu")
        assert demanded(play) == []


async def test_demand_says_whose_a_task_is_as_labels_and_budgets_name_it():
    async with a_play() as play:
        marked = Owner("5f2a9c41d07e")
        share = TenantShare(owner=marked, name="survey")
        await play.commits("theirs", owner=marked)
        await play.commits("nobodys")

        def told() -> list[str]:
            return [each.tenant for each in demand_of(play.scheduler.state, read(play.clock)).waiting]

        assert told() == ["5f2a9c41d07e", ""]
        await play.scheduler.requests()[SET_TENANTS](SetTenants(tenants=(share,)))
        assert told() == ["survey", ""]


async def test_labels_and_what_tenants_are_confined_to_outlive_the_scheduler():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.labels("a", "tenant=anne")
        await play.confines("bert", "gpu")
        await play.starts_up()
        await play.probes()
        await play.commits("berts", owner=BERT)
        await play.commits("annes", owner=ANNE)
        assert (await play.recorded_nodes())["a-3000"].labels == ("tenant=anne",)
        answer = await play.asks("berts")
        assert isinstance(answer, Waiting)
        assert answer.reason == "waits for a node with label gpu (there is none)"
        assert (await play.is_placed("annes")).node.hostname == "a"


async def test_what_runs_on_a_node_stays_when_its_labels_change():
    async with a_play(a=FakeNode()) as play:
        await play.commits("berts", owner=BERT)
        await play.starts("berts")
        await play.labels("a", "tenant=anne")
        await play.looks()
        assert play.task("berts").state is TaskState.RUNNING


async def test_labels_are_told_once_for_each_change():
    async with a_play(a=FakeNode()) as play:
        for _ in range(2):
            await play.labels("a", "gpu", "gpu", "tenant=anne")
        await play.labels("a")
        told = [each for each in play.told("node.labeled") if isinstance(each, NodeEvent)]
        assert [each.reason for each in told] == ["gpu, tenant=anne", ""]


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param(("two words",), id="a space"),
        pytest.param(("tenant=",), id="nobody"),
        pytest.param(("-",), id="a sign"),
        pytest.param(tuple(f"a{number}" for number in range(51)), id="too many"),
    ],
)
async def test_what_is_no_label_is_refused_everywhere(labels: tuple[str, ...]):
    async with a_play(a=FakeNode()) as play:
        with pytest.raises(Refused, match="label"):
            await play.labels("a", *labels)
        with pytest.raises(Refused, match="label"):
            await play.scheduler.nodes.commands.add(AddNode(hostname="b", port=1, labels=labels))
        with pytest.raises(Refused, match="label"):
            await play.scheduler.requests()[SET_TENANTS](
                SetTenants(tenants=(TenantShare(owner=ANNE, name="anne", labels=labels),))
            )
        with pytest.raises(NotFound):
            await play.scheduler.nodes.commands.label(LabelNode(node=NodeId("z"), labels=("gpu",)))
        assert (await play.recorded_nodes())["a-3000"].labels == ()


async def test_no_files_go_ahead_to_a_node_of_others():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        plan = play.scheduler.placement.stage_in.plan
        asked = PlanStageIn(task=task_id("berts"), upload_owner=UPLOAD_OWNER, images_count=3, owner=BERT)
        await play.labels("b", "tenant=anne")
        found = await plan(asked)
        assert isinstance(found, StageInPlanned)
        assert found.node.hostname == "a"
        await play.labels("a", "tenant=anne")
        still = PlanStageIn(
            task=task_id("berts"), upload_owner=UPLOAD_OWNER, images_count=3, owner=BERT, node=NodeId("a-3000")
        )
        assert isinstance(await plan(still), StageInDeclined)
