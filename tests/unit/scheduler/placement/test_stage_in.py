"""Where files of an upload go before its commit: hints that bound and expire, and what a placement makes of them."""

import msgspec
import pytest

from clusterodm.libs.common.clocks import Instant
from clusterodm.libs.common.messages.placement import (
    Placed,
    PlaceTask,
    PlanStageIn,
    StageInDeclined,
    StageInPlanned,
    StageInReply,
)
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.nodes import OptionValue
from clusterodm.libs.common.model.values import NodeId, NodeTaskId, Owner, TaskId
from clusterodm.services.scheduler.placement.core.stage_in import NoStageIn, StageIns
from clusterodm.services.scheduler.registry.nodes import NodeRegistry
from clusterodm.services.scheduler.registry.ranking import Need, place
from tests.scheduling import NOW, UPLOAD_OWNER, FakeNode, Play, a_play, node_state, settings, task_id

LEASE_S = 15.0
X = TaskId("x")
AHEAD_ID = NodeTaskId("77777777-7777-4777-8777-777777777777")


def stage_ins_over(per_node: int = 2, **nodes: dict[str, object]) -> tuple[StageIns, NodeRegistry]:
    registry = NodeRegistry()
    for name, values in nodes.items():
        state = node_state(name, **values)  # type: ignore[arg-type]
        registry._nodes[state.id] = state
        registry.open.update(state)
    return StageIns(registry, LEASE_S, per_node), registry


def planned(
    stage_ins: StageIns, task: str = "x", images: int = 5, at: str | None = None, now: Instant = NOW.instant
) -> str:
    """Say where, or why nowhere."""
    need = Need(images_count=images, task=TaskId(task))
    found = stage_ins.plan(need, NodeId(at) if at else None, now)
    return found.reason if isinstance(found, NoStageIn) else found.id


NO_SLOT = "no node has a slot for it now"


@pytest.mark.parametrize(
    ("nodes", "images", "expected"),
    [
        pytest.param({}, 5, NO_SLOT, id="no nodes"),
        pytest.param({"a": {}}, 5, "a", id="a free slot"),
        pytest.param({"a": {"used": 1}}, 5, NO_SLOT, id="no free slot"),
        pytest.param({"a": {"locked": True}}, 5, NO_SLOT, id="locked"),
        pytest.param({"a": {"draining": True}}, 5, NO_SLOT, id="draining"),
        pytest.param({"a": {"online": False}}, 5, NO_SLOT, id="offline"),
        pytest.param({"a": {"limit": 4}}, 5, NO_SLOT, id="too small"),
        pytest.param(
            {"a": {"limit": 4}, "b": {"limit": 9}, "c": {}}, 5, "b", id="the one that a placement would choose"
        ),
    ],
)
def test_files_go_where_the_task_would_go_now(nodes: dict[str, dict[str, object]], images: int, expected: str):
    stage_ins, _ = stage_ins_over(**nodes)
    assert planned(stage_ins, images=images) == expected


@pytest.mark.parametrize(
    ("change", "images", "expected"),
    [
        pytest.param({}, 5, "a", id="as before"),
        pytest.param({"turn": 9}, 5, "a", id="another would be chosen now"),
        pytest.param({"online": False}, 5, "the node takes no tasks any more", id="it went offline"),
        pytest.param({"foreign_count": 2}, 5, "the node has no free slot any more", id="it is full"),
        pytest.param({}, 51, "51 images are too many for the node (limit 50)", id="it has become too small"),
    ],
)
def test_a_stage_in_stays_where_it_is_as_long_as_that_will_do(change: dict[str, int], images: int, expected: str):
    stage_ins, registry = stage_ins_over(a={"slots": 2, "limit": 50}, b={"slots": 2, "limit": 50, "turn": 1})
    assert planned(stage_ins) == "a"
    node = registry.get(NodeId("a"))
    assert node
    for name, value in change.items():
        setattr(node, name, value)
    assert planned(stage_ins, images=images, at="a") == expected
    assert len(stage_ins) == (expected == "a")
    assert node.staged == ([X] if expected == "a" else [])


def test_a_node_that_is_gone_ends_the_stage_in():
    stage_ins, registry = stage_ins_over(a={})
    assert planned(stage_ins) == "a"
    registry.drop(NodeId("a"))
    assert planned(stage_ins, at="a") == "the node takes no tasks any more"


def test_uploads_at_once_spread_over_nodes_and_no_more_go_ahead_than_slots_are_free():
    stage_ins, _ = stage_ins_over(per_node=5, a={"slots": 2}, b={"slots": 2})
    assert [planned(stage_ins, name) for name in "uvwxy"] == ["a", "b", "a", "b", NO_SLOT]


def test_no_more_uploads_go_ahead_to_a_node_than_the_setting_says():
    stage_ins, _ = stage_ins_over(per_node=1, a={"slots": 8})
    assert [planned(stage_ins, name) for name in "uv"] == ["a", NO_SLOT]
    stage_ins, _ = stage_ins_over(per_node=0, a={"slots": 8})
    assert planned(stage_ins) == NO_SLOT


def test_where_slots_become_fewer_the_upload_that_came_last_gives_way():
    stage_ins, registry = stage_ins_over(a={"slots": 2})
    assert [planned(stage_ins, name) for name in "uv"] == ["a", "a"]
    registry.occupy(NodeId("a"), TaskId("a committed task"))
    assert planned(stage_ins, "u", at="a") == "a"
    assert planned(stage_ins, "v", at="a") == "the node has no free slot any more"


def test_a_stage_in_expires_when_nobody_asks_again():
    stage_ins, registry = stage_ins_over(a={})
    planned(stage_ins)
    assert planned(stage_ins, at="a", now=NOW.instant + (LEASE_S - 1)) == "a"
    assert stage_ins.expire(NOW.instant + LEASE_S) == []
    assert [stage_in.task for stage_in in stage_ins.expire(NOW.instant + 2 * LEASE_S)] == [X]
    node = registry.get(NodeId("a"))
    assert node
    assert node.staged == []


def test_one_that_begins_anew_may_go_elsewhere_and_leaves_nothing_behind():
    stage_ins, registry = stage_ins_over(a={}, b={"turn": 1})
    assert planned(stage_ins) == "a"
    registry.occupy(NodeId("a"), TaskId("a committed task"))
    assert planned(stage_ins) == "b"
    assert [node.staged for node in registry] == [[], [X]]


def test_after_a_restart_of_the_scheduler_a_stage_in_stays_where_its_upload_owner_says_it_is():
    stage_ins, _ = stage_ins_over(a={}, b={"turn": -1})
    assert planned(stage_ins, at="a") == "a"


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [pytest.param(True, "card", id="asks for one"), pytest.param(False, "usual", id="asks for none")],
)
def test_files_of_a_task_that_asks_for_a_graphics_card_go_where_there_is_one(gpu: bool, expected: str):
    stage_ins, _ = stage_ins_over(card={"limit": 500, "labels": ("gpu",)}, usual={"limit": 50})
    found = stage_ins.plan(Need(images_count=5, task=X, gpu=gpu), None, NOW.instant)
    assert not isinstance(found, NoStageIn)
    assert found.id == expected


def test_a_node_that_has_lost_its_graphics_card_ends_the_aim():
    stage_ins, registry = stage_ins_over(card={"labels": ("gpu",)}, usual={})
    need = Need(images_count=5, task=X, gpu=True)
    node = stage_ins.plan(need, None, NOW.instant)
    assert not isinstance(node, NoStageIn)
    node.record = msgspec.structs.replace(node.record, labels=())
    found = stage_ins.plan(need, node.id, NOW.instant)
    assert found == NoStageIn("the node has no graphics card, which the task asks for")
    assert [each.staged for each in registry] == [[], []]
    assert stage_ins.plan(need, None, NOW.instant) == NoStageIn(NO_SLOT)


# --- what a placement makes of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param({"slots": 1}, {"slots": 9}, "a", id="before more free slots"),
        pytest.param({"turn": 5}, {}, "a", id="before a turn"),
        pytest.param({"limit": 500}, {"limit": 50}, "b", id="after a smaller limit"),
        pytest.param({"used": 1}, {}, "b", id="never a full one"),
        pytest.param({"locked": True}, {}, "b", id="never a locked one"),
    ],
)
def test_a_task_goes_where_its_files_are(a: dict[str, object], b: dict[str, object], expected: str):
    nodes = [node_state("a", **a), node_state("b", **b)]  # type: ignore[arg-type]
    nodes[0].staged.append(X)
    choice = place([node for node in nodes if node.usable and node.free_count], Need(images_count=5, task=X))
    assert choice
    assert choice.node.id == expected


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param({}, {"turn": 5}, "b", id="though it had its turn"),
        pytest.param({"slots": 2}, {}, "a", id="not when it has more free slots"),
        pytest.param({}, {"used": 1}, "a", id="not when there is no other"),
    ],
)
def test_other_tasks_leave_such_a_node_alone_where_that_costs_them_nothing(
    a: dict[str, object], b: dict[str, object], expected: str
):
    nodes = [node_state("a", **a), node_state("b", **b)]  # type: ignore[arg-type]
    nodes[0].staged.append(X)
    choice = place([node for node in nodes if node.free_count], Need(images_count=5, task=TaskId("another")))
    assert choice
    assert choice.node.id == expected


# --- the scheduler -------------------------------------------------------------------------------------------------


async def plan_of(play: Play, name: str, at: str | None = None, images: int = 3, owner: str = "") -> StageInReply:
    asked = PlanStageIn(
        task=task_id(name),
        upload_owner=UPLOAD_OWNER,
        owner=Owner(owner),
        images_count=images,
        node=NodeId(f"{at}-3000") if at else None,
    )
    return await play.scheduler.placement.stage_in.plan(asked)


async def is_planned(play: Play, name: str, **more: str) -> str:
    answer = await plan_of(play, name, **more)
    assert isinstance(answer, StageInPlanned), answer
    return answer.node.hostname


async def placed(play: Play, name: str, ahead_on: str) -> Placed:
    ahead = StagedFiles(node=NodeId(f"{ahead_on}-3000"), node_task_id=AHEAD_ID)
    asked = PlaceTask(task=task_id(name), upload_owner=UPLOAD_OWNER, ahead=ahead)
    answer = await play.scheduler.placement.placement_loop.place(asked)
    assert isinstance(answer, Placed), answer
    return answer


async def test_a_commit_confirms_the_node_and_the_id_under_which_the_files_are_there():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        assert await is_planned(play, "one") == "a"
        await play.commits("another")
        assert (await play.is_placed("another")).node.hostname == "b"
        await play.commits("one")
        answer = await placed(play, "one", ahead_on="a")
        assert (answer.node.hostname, answer.node_task_id, answer.attempt) == ("a", AHEAD_ID, 1)
        assert msgspec.structs.replace(await placed(play, "one", ahead_on="a"), again=False) == answer


async def test_uploads_that_are_committed_in_another_order_go_where_their_files_are():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        assert [await is_planned(play, name) for name in ("one", "two")] == ["a", "b"]
        await play.commits("two")
        await play.commits("one")
        assert (await placed(play, "two", ahead_on="b")).node.hostname == "b"
        assert (await placed(play, "one", ahead_on="a")).node.hostname == "a"


async def test_a_task_that_goes_elsewhere_has_an_id_of_its_own_there():
    async with a_play(a=FakeNode(), b=FakeNode(limit=10)) as play:
        await play.commits("one", images=5)
        answer = await placed(play, "one", ahead_on="a")
        assert (answer.node.hostname, answer.node_task_id) == ("b", task_id("one"))


async def test_no_two_attempts_have_one_id():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        first = await placed(play, "one", ahead_on="a")
        await play.reports_failed("one", first.attempt)
        play.clock.pass_s(60)
        second = await placed(play, "one", ahead_on="a")
        assert first.node_task_id == AHEAD_ID
        assert second.node_task_id not in {AHEAD_ID, task_id("one")}


async def test_a_committed_task_takes_the_last_slot_from_an_upload():
    async with a_play(a=FakeNode()) as play:
        assert await is_planned(play, "one") == "a"
        await play.commits("two")
        assert isinstance(await play.asks("two"), Placed)
        assert await plan_of(play, "one", at="a") == StageInDeclined(reason="the node has no free slot any more")


async def test_nothing_goes_ahead_of_what_waits():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.commits("two")
        await play.starts("one")
        assert await plan_of(play, "three") == StageInDeclined(reason=NO_SLOT)


async def test_the_options_of_an_upload_say_whether_its_files_need_a_graphics_card():
    async with a_play(None, settings(gpu_options="feature-type=sift"), a=FakeNode(limit=50), b=FakeNode()) as play:
        await play.labels("b", "gpu")
        asked = PlanStageIn(task=task_id("one"), upload_owner=UPLOAD_OWNER, images_count=3)
        plain = await play.scheduler.placement.stage_in.plan(asked)
        sift = msgspec.structs.replace(asked, task=task_id("two"), options=(OptionValue("feature-type", "sift"),))
        found = await play.scheduler.placement.stage_in.plan(sift)
        assert isinstance(plain, StageInPlanned)
        assert isinstance(found, StageInPlanned)
        assert (plain.node.hostname, found.node.hostname) == ("a", "b")
        await play.labels("b")
        still = msgspec.structs.replace(sift, node=NodeId("b-3000"))
        assert isinstance(await play.scheduler.placement.stage_in.plan(still), StageInDeclined)


async def test_an_owner_at_the_limit_sends_nothing_ahead():
    async with a_play(None, settings(tasks_per_owner_count=1), a=FakeNode(slots=4)) as play:
        await play.commits("one", owner=Owner("o"))
        await play.asks("one")
        answer = await plan_of(play, "two", owner="o")
        assert isinstance(answer, StageInDeclined)
        assert isinstance(await plan_of(play, "three", owner="p"), StageInPlanned)


async def test_a_committed_task_needs_no_stage_in_and_one_that_has_its_place_has_none():
    async with a_play(a=FakeNode(slots=2)) as play:
        await is_planned(play, "one")
        await play.commits("one")
        assert await plan_of(play, "one", at="a") == StageInDeclined(reason="it is committed")
        assert play.state_of("a").staged == [task_id("one")]
        await placed(play, "one", ahead_on="a")
        assert play.state_of("a").staged == []


async def test_an_upload_whose_proxy_is_dead_is_forgotten():
    async with a_play(a=FakeNode()) as play:
        await is_planned(play, "one")
        play.clock.pass_s(20)
        await play.scheduler.placement.stage_in.expire()
        assert play.state_of("a").staged == []


async def test_why_a_task_waits_is_worked_out_once_for_all_of_a_kind():
    async with a_play(a=FakeNode()) as play:
        await play.starts_up()
        await play.probes()
        for name in ("one", "two", "three"):
            await play.commits(name)
            await play.asks(name)
        assert len(play.scheduler.state.reasons._known[1]) == 1
