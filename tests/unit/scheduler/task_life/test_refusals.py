"""What is not known is not zero, and a node's limit is not the task's fault."""

import json
from typing import Any

import msgspec
import pytest

from clusterodm.libs.common.messages.demand import SupplyChanged, WaitingTask
from clusterodm.libs.common.messages.machines import TaskWaits
from clusterodm.libs.common.messages.nodes import AddNode
from clusterodm.libs.common.messages.placement import Placed
from clusterodm.libs.common.messages.tasks import ListTasks
from clusterodm.libs.common.model.tasks import StatusCode, Task, TaskState
from clusterodm.libs.common.model.values import MachineId, NodeId
from clusterodm.services.scheduler.demand.core import demand_of
from clusterodm.services.scheduler.node_client.ports import count_of
from clusterodm.services.scheduler.placement.core.supply import (
    Rental,
    Supply,
    has_prospect,
    was_refused,
    why_unplaceable,
)
from clusterodm.services.scheduler.registry.ranking import Need, place
from clusterodm.services.scheduler.task_life.attempts import NodeRefusal, refusal_in
from tests.scheduling import GIGABYTE, NOW, NOW_MS, FakeNode, Play, a_play, node_state, task_id

ZIP = {"images": None, "zip_url": "http://files.example/photos.zip"}
TOO_MANY = "8 images uploaded, but this node can only process up to 2."
FULL = "ENOSPC: no space left on device, write"


# --- a node's words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        pytest.param(TOO_MANY, NodeRefusal(8), id="too many images"),
        pytest.param(
            "127.0.0.1:3001 refused: " + TOO_MANY, NodeRefusal(8), id="too many images, in a sentence of ours"
        ),
        pytest.param(FULL, NodeRefusal(), id="full disk"),
        pytest.param(
            "Could not extract .zip file, unzip exited with code 50", NodeRefusal(), id="full disk, says unzip"
        ),
        pytest.param(
            '[{"name":"dsm","error":"Invalid value x (not in enum)"}]', NodeRefusal(), id="options it has not"
        ),
        pytest.param("This engine is not supported", NodeRefusal(), id="engine"),
        pytest.param("Requires engine version 3.5 or later", NodeRefusal(), id="version"),
        pytest.param("Could not extract .zip file, unzip exited with code 9", None, id="no zip"),
        pytest.param("connect ECONNREFUSED 127.0.0.1:1", None, id="nothing there to fetch"),
        pytest.param("Cannot process dataset", None, id="a bad dataset"),
        pytest.param("Process exited with code 1", None, id="the engine fails"),
        pytest.param("Not enough memory", None, id="memory: an attempt that counts"),
        pytest.param("Need at least 1 file.", None, id="no files"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_what_another_node_might_not_say_is_told_from_what_all_would_say(words: str, refusal: NodeRefusal | None):
    assert refusal_in(words) == refusal


# --- who takes it --------------------------------------------------------------------------------------------------


UNKNOWN = Need(images_count=0, images_known=False)
BARRED = frozenset({(NodeId("a"), None)})


@pytest.mark.parametrize(
    ("nodes", "need", "expected"),
    [
        pytest.param([node_state("a", limit=2), node_state("b", limit=9)], UNKNOWN, "b", id="unknown: the largest limit"),
        pytest.param([node_state("a", limit=2), node_state("b")], UNKNOWN, "b", id="unknown: no limit"),
        pytest.param([node_state("a", limit=2)], UNKNOWN, "a", id="unknown: what there is"),
        pytest.param([node_state("a"), node_state("b")], Need(3, barred=BARRED), "b", id="not where it was refused"),
        pytest.param([node_state("a")], Need(3, barred=BARRED), None, id="there never again"),
        pytest.param(
            [node_state("a", machine=MachineId("new"))], Need(3, barred=BARRED), "a", id="another machine at its address"
        ),
        pytest.param(
            [node_state("a", memory=32 * GIGABYTE), node_state("b", memory=8 * GIGABYTE)],
            Need(3, barred=BARRED, min_memory_bytes=8 * GIGABYTE),
            "b",
            id="nor for its memory",
        ),
    ],
)  # fmt: skip
def test_a_node_is_chosen_by_what_is_known(nodes: list[Any], need: Need, expected: str | None):
    choice = place(nodes, need, nodes)
    assert (choice.node.id if choice else None) == expected


# --- a zip's way through the cluster -----------------------------------------------------------------------------------


async def is_refused(play: Play, name: str, words: str = TOO_MANY) -> Placed:
    """Let the node that a task goes to find out that it cannot take it."""
    placed = await play.starts(name)
    play.api.reach(placed.node).fails(placed.node_task_id, words)
    await play.looks()
    return placed


async def hears(play: Play, *waits: TaskWaits) -> None:
    await play.scheduler.placement.placement_loop.take_supply(SupplyChanged(at_ms=NOW_MS, epoch=1, waits=waits))


async def test_a_zip_goes_to_the_largest_node_that_is_free():
    async with a_play(a=FakeNode(limit=2), b=FakeNode(limit=100)) as play:
        await play.commits("zip", **ZIP)
        assert (await play.is_placed("zip")).node.hostname == "b"


async def test_a_zip_that_is_too_large_for_a_node_waits_for_a_larger_one_that_is_busy():
    async with a_play(a=FakeNode(limit=2), b=FakeNode(limit=100)) as play:
        await play.commits("other", images=50)
        other = await play.starts("other")
        await play.commits("zip", **ZIP)
        assert (await is_refused(play, "zip")).node.hostname == "a"

        await play.passes(300)
        assert (task := play.task("zip")).state is TaskState.WAITING
        assert not task.attempts[0].counted
        assert (await play.asks("zip")).reason == "no free slot (1 of 1 busy)"

        play.node("b").finishes(other.node_task_id)
        await play.looks()
        assert (await play.is_placed("zip")).node.hostname == "b"


async def test_refusals_do_not_use_up_the_attempts():
    small = {f"n{number}": FakeNode(limit=2 + number % 2) for number in range(6)}
    async with a_play(**small, z=FakeNode(limit=100)) as play:
        await play.locks("z")
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip", "4 images uploaded, but this node can only process up to 3.")
        await play.unlocks("z")
        assert (await play.starts("zip")).node.hostname == "z"
        assert [attempt.counted for attempt in play.task("zip").attempts] == [False, False]


async def test_the_refused_task_is_removed_from_its_node():
    async with a_play(a=FakeNode(limit=2), b=FakeNode(limit=100)) as play:
        await play.locks("b")
        await play.commits("zip", **ZIP)
        placed = await is_refused(play, "zip")
        await play.passes(1)
        assert ("remove", placed.node_task_id) in play.node("a").acts


async def test_a_task_that_no_node_takes_fails_with_one_sentence_when_nobody_rents_machines():
    async with a_play(a=FakeNode(limit=2), b=FakeNode(limit=3)) as play:
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        await play.passes(1)
        assert play.task("zip").state is TaskState.WAITING, "an autoscaler may be starting"

        await play.passes(16)
        assert (task := play.task("zip")).state is TaskState.FAILED
        assert task.error == "No node takes 8 images (the largest limit is 3), and no machine that does can be rented"


async def test_it_fails_at_once_when_the_autoscaler_says_that_there_is_no_such_machine():
    async with a_play(a=FakeNode(limit=2)) as play:
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        await hears(play, TaskWaits(task=task_id("zip"), reason="no machine size takes 8 images", never=True))
        await play.passes(1)
        assert play.task("zip").state is TaskState.FAILED


async def test_it_waits_for_a_machine_that_may_come():
    async with a_play(a=FakeNode(limit=2)) as play:
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        await hears(play, TaskWaits(task=task_id("zip"), reason="over budget"))
        await play.passes(100)
        assert play.task("zip").state is TaskState.WAITING


async def test_it_waits_for_a_larger_node_that_is_offline_or_locked():
    async with a_play(a=FakeNode(limit=2), b=FakeNode(limit=100), c=FakeNode(limit=100)) as play:
        await play.locks("c")
        await play.goes_down("b")
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        await play.passes(1000)
        assert play.task("zip").state is TaskState.WAITING
        await play.comes_back("b")
        assert (await play.is_placed("zip")).node.hostname == "b"


async def test_a_machine_for_it_is_asked_for_by_the_number_that_the_node_has_counted():
    async with a_play(a=FakeNode(limit=2)) as play:
        await play.locks("a")
        await play.commits("zip", **ZIP)
        state = play.scheduler.state
        assert [each.images_count for each in demand_of(state, play.now).waiting] == [None]

        await play.unlocks("a")
        await is_refused(play, "zip")
        assert demand_of(state, play.now).waiting == (
            WaitingTask(task=task_id("zip"), images_count=8, waiting_since_ms=play.task("zip").committed_at_ms),
        )


async def test_a_node_with_a_full_disk_does_not_get_the_task_again():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        first = await is_refused(play, "one", FULL)
        second = await is_refused(play, "one", FULL)
        assert {first.node.hostname, second.node.hostname} == {"a", "b"}
        await play.passes(1)
        await play.passes(16)
        assert play.task("one").error == f"No other node can take it, and no machine that does can be rented: {FULL}"


async def test_no_third_machine_is_rented_for_a_task_that_two_have_refused():
    async with a_play() as play:
        await play.commits("one")
        state = play.scheduler.state
        for name in ("m1", "m2"):
            await hears(play)
            assert demand_of(state, play.now).waiting_count == 1
            play.api.nodes[name] = FakeNode()
            asked = AddNode(hostname=name, port=3000, machine=MachineId(name))
            await play.scheduler.nodes.commands.add(asked)
            await play.probes()
            await is_refused(play, "one", FULL)
        assert demand_of(state, play.now).waiting_count == 0
        await play.passes(1)
        assert play.task("one").state is TaskState.FAILED


async def test_a_refusal_before_the_commit_is_one_as_well():
    async with a_play(a=FakeNode(), b=FakeNode()) as play:
        await play.commits("one")
        words = '[{"name":"dsm","error":"Invalid value x (not in enum)"}]'
        first = await play.is_placed("one")
        await play.reports_failed("one", 1, words, node_refused=True)
        second = await play.is_placed("one")
        assert first.node.id != second.node.id


async def test_a_node_that_says_no_limit_and_refuses_is_not_asked_for_ever():
    async with a_play(a=FakeNode()) as play:
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        assert not isinstance(await play.asks("zip"), Placed)


async def test_a_node_that_has_a_larger_limit_since_gets_it():
    async with a_play(a=FakeNode(limit=2), b=FakeNode(limit=3)) as play:
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        play.node("a").limit = 8
        await play.probes()
        assert (await play.is_placed("zip")).node.hostname == "a"


async def test_twenty_refusals_are_enough():
    async with a_play(**{f"n{number}": FakeNode() for number in range(21)}) as play:
        await play.commits("one")
        for _ in range(20):
            await is_refused(play, "one", FULL)
        assert (task := play.task("one")).state is TaskState.FAILED
        assert task.error == f"{FULL}; 20 nodes have refused it"


async def test_the_nodes_own_count_is_taken_as_soon_as_it_says_one():
    async with a_play(a=FakeNode()) as play:
        await play.commits("zip", **ZIP)
        placed = await play.starts("zip")
        play.node("a").says(placed.node_task_id, images_count=None)
        await play.looks()
        assert play.task("zip").images_count is None
        assert [each.images_count for each in (await listed(play))] == [None]

        play.node("a").says(placed.node_task_id, images_count=7)
        await play.looks()
        assert play.task("zip").images_count == 7
        play.node("a").finishes(placed.node_task_id)
        await play.looks()
        assert (play.task("zip").state, play.task("zip").images_count) == (TaskState.COMPLETED, 7)


@pytest.mark.parametrize(
    ("code", "processing_time_ms", "said", "count"),
    [
        pytest.param(StatusCode.RUNNING, -1, 1, None, id="it unpacks: the archive is one file"),
        pytest.param(StatusCode.QUEUED, -1, 7, 7, id="it has unpacked"),
        pytest.param(StatusCode.RUNNING, 10, 7, 7, id="it processes"),
        pytest.param(StatusCode.COMPLETED, 10, 7, 7, id="it has processed"),
        pytest.param(StatusCode.FAILED, -1, -1, None, id="it has refused"),
        pytest.param(StatusCode.FAILED, -1, 1, None, id="it has refused an archive, which is one file"),
        pytest.param(StatusCode.QUEUED, -1, 0, None, id="none"),
    ],
)
def test_a_node_has_counted_when_it_has_unpacked(
    code: StatusCode, processing_time_ms: int, said: int, count: int | None
):
    assert count_of(code, processing_time_ms, said) == count


async def test_an_archive_that_was_uploaded_hides_its_images_as_well():
    async with a_play(a=FakeNode()) as play:
        await play.commits("zip", images=None)
        placed = await play.starts("zip")
        play.node("a").says(placed.node_task_id, images_count=7)
        await play.looks()
        assert play.task("zip").images_count == 7


async def listed(play: Play) -> Any:
    return (await play.scheduler.tasks.reader.list_tasks(ListTasks())).tasks


async def test_photos_that_were_counted_here_are_not_counted_by_a_node():
    async with a_play(a=FakeNode()) as play:
        await play.commits("one", images=3)
        placed = await play.starts("one")
        play.node("a").says(placed.node_task_id, images_count=9)
        await play.looks()
        assert play.task("one").images_count == 3


async def test_a_restart_asks_all_nodes_again_but_those_that_are_too_small():
    async with a_play(a=FakeNode(), b=FakeNode(limit=2)) as play:
        await play.locks("a")
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        await play.unlocks("a")
        await is_refused(play, "zip", FULL)
        await play.passes(1)
        await play.passes(16)
        assert play.task("zip").state is TaskState.FAILED
        await play.restarts("zip")
        assert (await play.is_placed("zip")).node.hostname == "a"


async def test_what_is_known_of_refusals_survives_a_restart_of_the_scheduler():
    async with a_play(a=FakeNode(limit=2), b=FakeNode(limit=3)) as play:
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip")
        await play.starts_up()
        await play.probes()
        assert not isinstance(await play.asks("zip"), Placed)
        await play.passes(1)
        await play.passes(16)
        assert play.task("zip").state is TaskState.FAILED


# --- records of the version before -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        pytest.param({"zip_url": "http://x/y.zip", "images_count": 0}, None, id="a zip of 0 images is one of unknown size"),
        pytest.param({"zip_url": "http://x/y.zip", "images_count": 7}, 7, id="a zip that was counted"),
        pytest.param({"images_count": 0}, 0, id="no images at all"),
    ],
)  # fmt: skip
def test_records_of_the_version_before_are_read(fields: dict[str, Any], count: int | None):
    record = {"id": "t", "name": "t", "holder": "p", "created_at_ms": 1, "committed_at_ms": 2, **fields}
    task = msgspec.json.decode(json.dumps(record), type=Task)
    assert task.images_count == count
    assert msgspec.json.decode(msgspec.json.encode(task), type=Task) == task


async def test_a_zip_that_an_older_proxy_commits_with_no_images_is_of_unknown_size():
    async with a_play(a=FakeNode()) as play:
        assert (await play.commits("zip", images=0, zip_url="http://x/y.zip")).images_count is None


# --- without prospects -----------------------------------------------------------------------------------------------


async def a_refused_task(words: str = TOO_MANY) -> Task:
    async with a_play(a=FakeNode(limit=2)) as play:
        await play.commits("zip", **ZIP)
        await is_refused(play, "zip", words)
        return play.task("zip")


@pytest.mark.parametrize(
    ("nodes", "rental", "prospect"),
    [
        pytest.param([], Rental.SILENT, False, id="nothing there"),
        pytest.param([], Rental.NEVER, False, id="no machine ever"),
        pytest.param([], Rental.POSSIBLE, True, id="a machine may come"),
        pytest.param([node_state("b", limit=8)], Rental.NEVER, True, id="a larger node"),
        pytest.param([node_state("b", limit=8, online=False, locked=True)], Rental.NEVER, True, id="a larger node some day"),
        pytest.param([node_state("b", limit=7)], Rental.NEVER, False, id="a node that is too small as well"),
    ],
)  # fmt: skip
async def test_a_refused_task_has_a_prospect_while_anybody_might_take_it(
    nodes: list[Any], rental: Rental, prospect: bool
):
    task = await a_refused_task()
    assert was_refused(task)
    assert has_prospect(task, nodes, rental) is prospect


async def test_a_node_that_has_not_answered_yet_may_be_large_enough():
    task, node = await a_refused_task(), node_state("b")
    node.info = None
    assert has_prospect(task, [node], Rental.NEVER)


async def test_why_there_is_none_is_one_sentence():
    assert why_unplaceable(await a_refused_task(FULL), []).endswith(FULL)


def test_what_the_autoscaler_says_of_machines_is_believed_while_it_is_fresh():
    known = Supply()
    assert known.rental(task_id("one"), NOW.instant) is Rental.SILENT
    never = TaskWaits(task=task_id("one"), reason="no size", never=True)
    known.take(SupplyChanged(at_ms=NOW_MS, epoch=1, waits=(never,)), NOW.instant)
    assert known.rental(task_id("one"), NOW.instant) is Rental.NEVER
    assert known.rental(task_id("two"), NOW.instant) is Rental.POSSIBLE
    assert known.rental(task_id("one"), NOW.instant + 121) is Rental.SILENT
