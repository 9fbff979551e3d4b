"""What operators ask about nodes, and what is told of the whole cluster."""

import pytest

from clusterodm.libs.common.errors import NoNode, NotFound, Refused
from clusterodm.libs.common.messages.buckets import OPTIONS, SUMMARY, SUMMARY_KEY
from clusterodm.libs.common.messages.nodes import (
    AddNode,
    BestNode,
    FindUiNode,
    ListNodes,
    LockNode,
    NodeRef,
    UpdateNodes,
)
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeId
from clusterodm.services.scheduler.demand.core import demand_of, summary_of
from tests.scheduling import GIGABYTE, FakeNode, a_play


@pytest.mark.parametrize(
    ("hostname", "port"),
    [
        pytest.param("", 3000, id="no name"),
        pytest.param("a b", 3000, id="space"),
        pytest.param("a/b", 3000, id="slash"),
        pytest.param("a\nb", 3000, id="new line"),
        pytest.param("a\x00b", 3000, id="zero"),
        pytest.param("user@host", 3000, id="user"),
        pytest.param("host?x", 3000, id="query"),
        pytest.param(".host", 3000, id="leading dot"),
        pytest.param("-host", 3000, id="leading dash"),
        pytest.param("hüst", 3000, id="not ascii"),
        pytest.param("javascript:alert(1)", 3000, id="a script"),
        pytest.param("http://host", 3000, id="a URL"),
        pytest.param("host:3000", 3000, id="two ports"),
        pytest.param("[::1]", 3000, id="brackets"),
        pytest.param("\u202ehost", 3000, id="turned around"),
        pytest.param("x" * 254, 3000, id="too long"),
        pytest.param("host", 0, id="port 0"),
        pytest.param("host", 65536, id="port too large"),
        pytest.param("host", -1, id="negative port"),
    ],
)
async def test_what_is_no_address_is_refused(hostname: str, port: int):
    async with a_play() as play:
        with pytest.raises(Refused, match="is not a"):
            await play.scheduler.nodes.commands.add(AddNode(hostname=hostname, port=port))
        assert await play.recorded_nodes() == {}


async def test_a_node_is_registered_once():
    async with a_play(a=FakeNode()) as play:
        with pytest.raises(Refused, match="a:3000 is registered already"):
            await play.adds("a", FakeNode())


async def test_addresses_that_make_the_same_key_cannot_both_be_registered():
    async with a_play() as play:
        await play.adds("::1", FakeNode())
        with pytest.raises(Refused, match="cannot be told from"):
            await play.adds("__1", FakeNode())


@pytest.mark.parametrize(
    ("host", "other"), [("::1", "0:0:0:0:0:0:0:1"), ("fd00::20", "FD00:0:0::20"), ("node-1", "Node-1.")]
)
async def test_another_spelling_of_a_node_is_the_same_node(host: str, other: str):
    async with a_play() as play:
        await play.adds(host, FakeNode())
        with pytest.raises(Refused, match="is registered already"):
            await play.adds(other, FakeNode())


async def test_nodes_are_listed_in_the_order_of_adding_with_numbers_from_one():
    async with a_play(c=FakeNode(), a=FakeNode(), b=FakeNode()) as play:
        await play.takes_off("a")
        listed = await play.scheduler.nodes.commands.list_nodes(ListNodes())
        assert [(node.number, node.hostname) for node in listed.nodes] == [(1, "c"), (2, "b")]
        await play.starts_up()
        listed = await play.scheduler.nodes.commands.list_nodes(ListNodes())
        assert [(node.number, node.hostname) for node in listed.nodes] == [(1, "c"), (2, "b")]


async def test_a_view_shows_no_token():
    async with a_play() as play:
        view = await play.scheduler.nodes.commands.add(AddNode(hostname="a", port=3000, token="sesame"))
        assert view.has_token
        assert "sesame" not in repr(view)


async def test_locking_twice_is_a_success_and_told_once():
    async with a_play(a=FakeNode()) as play:
        await play.locks("a")
        await play.locks("a")
        assert len(play.told("node.locked")) == 1
        await play.unlocks("a")
        await play.unlocks("a")
        assert len(play.told("node.unlocked")) == 1


async def test_an_unknown_node_is_not_found():
    async with a_play() as play:
        with pytest.raises(NotFound, match="There is no node nowhere"):
            await play.scheduler.nodes.commands.remove(NodeRef(node=NodeId("nowhere")))


async def test_update_probes_every_node_before_it_answers():
    async with a_play(a=FakeNode()) as play:
        play.node("a").slots = 7
        updated = await play.scheduler.nodes.commands.update(UpdateNodes())
        info = updated.nodes[0].info
        assert info is not None
        assert info.max_parallel_tasks == 7


async def test_one_update_shows_a_node_that_is_gone_and_one_that_is_back():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        shown = []
        for up in (False, True, False, True):
            play.node("a").up = up
            updated = await play.scheduler.nodes.commands.update(UpdateNodes())
            shown.append([node.online for node in updated.nodes])
        assert shown == [[False, True], [True, True], [False, True], [True, True]]
        assert len(play.told("node.went_offline")) == 2


async def test_a_node_that_answers_is_online_in_the_list_right_after_it_was_added():
    async with a_play() as play:
        play.api.nodes["a"] = FakeNode(slots=3)
        added = await play.scheduler.nodes.commands.add(AddNode(hostname="a", port=3000))
        listed = await play.scheduler.nodes.commands.list_nodes(ListNodes())
        assert [node.online for node in (added, *listed.nodes)] == [True, True]
        assert [event.node for event in play.told("node.came_online")] == ["a-3000"]


async def test_a_node_that_is_down_is_added_all_the_same():
    async with a_play() as play:
        play.api.nodes["a"] = FakeNode(up=False)
        added = await play.scheduler.nodes.commands.add(AddNode(hostname="a", port=3000))
        assert (added.online, added.trouble) == (False, "a:3000 cannot be reached")


async def test_best_advances_the_turn():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        found = [await play.scheduler.nodes.commands.best(BestNode(images_count=3)) for _ in range(4)]
        assert [best.node.hostname for best in found if best.node] == ["a", "b", "a", "b"]


async def test_best_for_more_than_any_limit_is_a_node_without_one():
    async with a_play(a=FakeNode(limit=9000), b=FakeNode()) as play:
        best = await play.scheduler.nodes.commands.best(BestNode(images_count=None))
        assert best.node is not None
        assert (best.node.hostname, best.node.number) == ("b", 2)
        await play.takes_off("b")
        assert (await play.scheduler.nodes.commands.best(BestNode(images_count=None))).node is None


async def test_the_page_comes_from_the_first_node_online():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.goes_down("a")
        assert (await play.scheduler.nodes.commands.find_ui(FindUiNode())).node == "b-3000"
        await play.goes_down("b")
        with pytest.raises(NoNode, match=r"^No nodes available$"):
            await play.scheduler.nodes.commands.find_ui(FindUiNode())


async def test_tasks_of_a_removed_node_are_followed_to_their_end():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        placed = await play.starts("one")
        await play.takes_off("a")
        assert (await play.scheduler.nodes.commands.list_nodes(ListNodes())).nodes == ()
        assert (await play.recorded_nodes())["a-3000"].retired
        await play.starts_up()
        await play.probes()
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert play.task("one").state is TaskState.COMPLETED
        await play.passes(1)
        assert "a-3000" in await play.recorded_nodes()
        await play.removes("one")
        await play.passes(1)
        assert await play.recorded_nodes() == {}


async def test_a_removed_node_can_be_added_again_while_its_tasks_run():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one")
        await play.starts("one")
        await play.takes_off("a")
        await play.adds("a", play.node("a"))
        assert not (await play.recorded_nodes())["a-3000"].retired
        assert play.state_of("a").ours_count == 1


async def test_a_removed_node_gets_no_tasks():
    async with a_play(a=FakeNode(slots=2)) as play:
        await play.commits("one")
        await play.starts("one")
        await play.takes_off("a")
        await play.commits("two")
        answer = await play.asks("two")
        assert getattr(answer, "reason", "") == "no node is registered"


async def test_the_summary_is_honest():
    async with a_play(a=FakeNode(slots=2, foreign=1, limit=50), b=FakeNode(memory=GIGABYTE, limit=90)) as play:
        for name in ("one", "two", "three", "four"):
            await play.commits(name)
        summary = summary_of(play.scheduler.state)
        assert (summary.nodes_count, summary.online_count) == (2, 2)
        assert (summary.task_queue_count, summary.max_parallel_tasks) == (5, 3)
        assert summary.max_images == 90
        assert summary.total_memory_bytes == 17 * GIGABYTE
        await play.goes_down("a")
        await play.goes_down("b")
        assert summary_of(play.scheduler.state).max_images == 0


async def test_no_limit_anywhere_is_no_limit_of_the_cluster():
    async with a_play(a=FakeNode(limit=50), b=FakeNode()) as play:
        assert summary_of(play.scheduler.state).max_images is None


async def test_demand_is_what_waits_without_a_slot():
    async with a_play(a=FakeNode()) as play:
        for name in ("one", "two", "three"):
            await play.commits(name, images=7)
        await play.asks("one")
        demand = demand_of(play.scheduler.state, play.now)
        assert demand.waiting_count == 2
        assert [task.images_count for task in demand.waiting] == [7, 7]
        assert demand.free_slots_count == 0


async def test_the_list_of_options_stays_when_all_nodes_are_gone():
    async with a_play(a=FakeNode()) as play:
        await play.scheduler.totals.refresh_options()
        await play.goes_down("a")
        await play.takes_off("a")
        await play.passes(7200)
        await play.scheduler.totals.refresh_options()
        entry = await (await play.bus.bucket(OPTIONS)).get(SUMMARY_KEY)
        assert entry is not None
        assert [option.name for option in entry.value.options] == ["dsm"]


async def test_totals_are_written_only_when_they_have_changed():
    async with a_play(a=FakeNode()) as play:
        bucket = await play.bus.bucket(SUMMARY)
        await play.scheduler.totals.publish()
        first = await bucket.get(SUMMARY_KEY)
        await play.scheduler.totals.publish()
        assert await bucket.get(SUMMARY_KEY) == first
        await play.commits("one")
        await play.scheduler.totals.publish()
        assert await bucket.get(SUMMARY_KEY) != first


async def test_a_node_whose_machine_takes_no_more_tasks_is_not_unlocked():
    async with a_play(a=FakeNode()) as play:
        commands, node = play.scheduler.nodes.commands, play.state_of("a").id
        await play.locks("a")
        view = await commands.lock(LockNode(node=node, reason="it has its last task"))
        assert (view.locked, view.lock_reason) == (True, "it has its last task")
        await play.locks("a")
        with pytest.raises(Refused, match="a:3000 stays locked, its machine takes no more tasks: it has its last task"):
            await commands.unlock(NodeRef(node=node))
        (listed,) = (await commands.list_nodes(ListNodes())).nodes
        assert (listed.locked, listed.lock_reason) == (True, "it has its last task")


async def test_an_operators_lock_is_undone_by_operators():
    async with a_play(a=FakeNode()) as play:
        await play.locks("a")
        await play.unlocks("a")
        assert not play.state_of("a").record.locked
