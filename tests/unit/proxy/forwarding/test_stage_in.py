"""forwarding/handlers/stage_in.py and staging.py: files that go to a node before the commit, with a scheduler and nodes played by the test."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clusterodm.libs.common.errors import BusFailed, NodeFailed
from clusterodm.libs.common.messages.tasks import StagedFiles
from clusterodm.libs.common.model.nodes import Node, OptionValue
from clusterodm.libs.common.model.tasks import TaskState
from clusterodm.libs.common.model.values import NodeTaskId, TaskId
from clusterodm.services.proxy.forwarding.core.stage_in import IDLE_S
from clusterodm.services.proxy.forwarding.handlers.forwarder import Forwarder
from clusterodm.services.proxy.spool.core.upload import Draft, candidates
from tests.forwarding import NODE, OTHER_NODE, TASK, World
from tests.waiting import passed, until

FIRST = NodeTaskId("ahead-1")
SECOND = NodeTaskId("ahead-2")
ONE_REQUEST = {"a.jpg": b"1", "b.jpg": b"22"}
MORE = {"c.jpg": b"333"}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    made.scheduler.planned_node = NODE
    async with made.bus.serve("scheduler", made.scheduler.handlers):
        yield made


async def begins(world: World, task: TaskId = TASK, **fields: Any) -> None:
    await world.spool.create(Draft(task=task, name="t", created_at_ms=1, received_at_ms=world.now_ms, **fields))


async def uploads(world: World, forwarder: Forwarder, files: dict[str, bytes], task: TaskId = TASK) -> None:
    await sends(world, forwarder, list(files.items()), task)


async def sends(world: World, forwarder: Forwarder, files: Sequence[tuple[str, bytes]], task: TaskId = TASK) -> None:
    """Send one upload request, as the HTTP side takes it."""
    async with world.spool.receive(task) as receipt:
        for name, content in files:
            part = await receipt.open(name)
            part.write(content)
            part.close()
    if begins := forwarder.arrived(task, receipt.published):
        await begins


async def commits(world: World, forwarder: Forwarder, task: TaskId = TASK) -> None:
    await world.spool.commit(task, at_ms=2)
    world.scheduler.submit(task)
    await forwarder.adopt(task)


async def has(world: World, node_task: NodeTaskId, files: dict[str, bytes]) -> None:
    await until(lambda: world.nodes.uploads.get(node_task) == files, what=f"{node_task} to hold {sorted(files)}")


async def is_gone(world: World, node_task: NodeTaskId) -> None:
    await until(lambda: node_task in world.nodes.discarded, what=f"{node_task} to be removed from its node")


def noted(world: World, task: TaskId = TASK) -> StagedFiles | None:
    held = world.spool.find(task)
    assert held
    return held.ahead


# --- before the commit ---------------------------------------------------------------------------------------------


async def test_files_go_while_the_upload_runs_and_nothing_is_committed(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        await uploads(world, forwarder, MORE)
        await has(world, FIRST, ONE_REQUEST | MORE)
        assert noted(world) == StagedFiles(node=NODE.id, node_task_id=FIRST)
    assert world.nodes.begun == [FIRST]
    assert world.nodes.committed == []


async def test_the_scheduler_is_asked_again_and_again_with_the_images_so_far(world: World) -> None:
    sift = OptionValue("feature-type", "sift")
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world, options=(sift,))
        await uploads(world, forwarder, ONE_REQUEST)
        await until(lambda: len(world.scheduler.plan_requests) >= 3, what="more questions")
        await uploads(world, forwarder, {"gcp.txt": b"x", **MORE})
        await until(lambda: world.scheduler.plan_requests[-1].images_count == 3, what="a question with three images")
    first, second = world.scheduler.plan_requests[:2]
    assert {asked.options for asked in world.scheduler.plan_requests} == {(sift,)}, (
        "some options ask for a graphics card"
    )
    assert (first.node, first.images_count, second.node) == (None, 2, NODE.id)


async def test_requests_that_end_in_the_same_moment_begin_one_transfer(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        async with world.spool.receive(TASK) as receipt:
            receipt.keep("a.jpg", b"1" * 9)
        first, second = (forwarder.arrived(TASK, receipt.published) for _ in range(2))
        assert first is not None
        assert second is None
        await first
        await until(lambda: len(world.nodes.sent) == 1)


async def test_an_upload_that_is_too_small_is_left_alone(world: World) -> None:
    async with world.proxy(ahead_from_bytes=4) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await passed()
        assert world.scheduler.plan_requests == []
        await uploads(world, forwarder, MORE)
        await has(world, FIRST, ONE_REQUEST | MORE)


async def test_nothing_goes_ahead_where_that_is_switched_off_or_has_no_files(world: World) -> None:
    async with world.proxy(ahead_from_bytes=None) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await passed()
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world, zip_url="http://x/y.zip")
        await uploads(world, forwarder, MORE)
        await passed()
    assert world.scheduler.plan_requests == world.nodes.begun == []


async def test_no_more_uploads_go_ahead_at_once_than_the_limit(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        for number in range(3):
            await begins(world, TaskId(f"task-{number}"))
            await uploads(world, forwarder, ONE_REQUEST, TaskId(f"task-{number}"))
        await until(lambda: len(world.nodes.uploads) == 2, what="two that go ahead")
        await passed()
        assert len(world.nodes.begun) == 2


async def test_an_upload_waits_until_there_is_a_node_for_it(world: World) -> None:
    world.scheduler.planned_node = None
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await until(lambda: len(world.scheduler.plan_requests) >= 3, what="more questions")
        assert world.nodes.begun == []
        world.scheduler.planned_node = NODE
        await has(world, FIRST, ONE_REQUEST)


# --- why it ends ---------------------------------------------------------------------------------------------------


async def test_when_the_node_will_not_do_any_more_everything_goes_to_another(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        world.scheduler.planned_node = OTHER_NODE
        await is_gone(world, FIRST)
        await has(world, SECOND, ONE_REQUEST)
        assert noted(world) == StagedFiles(node=OTHER_NODE.id, node_task_id=SECOND)


async def test_an_upload_that_is_gone_is_removed_from_its_node(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        await world.spool.discard(TASK)
        await is_gone(world, FIRST)
        await until(lambda: "uploads=0" in repr(forwarder._stage_in), what="nothing to be remembered of it")


async def test_an_upload_that_nobody_goes_on_with_holds_no_room_and_may_go_on_later(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        world.clock.pass_s(IDLE_S + 0.001)
        await is_gone(world, FIRST)
        asked_count = len(world.scheduler.plan_requests)
        await passed()
        assert len(world.scheduler.plan_requests) == asked_count
        await uploads(world, forwarder, MORE)
        await has(world, SECOND, ONE_REQUEST | MORE)


async def test_an_init_with_other_fields_begins_afresh(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        await begins(world, options=(OptionValue("dsm", True),))
        await is_gone(world, FIRST)
        await has(world, SECOND, ONE_REQUEST)
        assert world.nodes.drafts[SECOND].options == (OptionValue("dsm", True),)


async def test_a_file_in_doubt_begins_everything_afresh(world: World) -> None:
    world.nodes.trouble("send", NodeFailed("n1 did not answer (timed out)"))
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await is_gone(world, FIRST)
        await has(world, SECOND, ONE_REQUEST)


async def test_after_some_failures_an_upload_is_left_alone_until_its_commit(world: World) -> None:
    world.nodes.trouble("begin", *[NodeFailed("n1 did not answer (timed out)")] * 3)
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await until(lambda: len(world.nodes.discarded) == 3, what="three failures")
        await uploads(world, forwarder, MORE)
        await passed()
        assert world.nodes.begun == []
        await commits(world, forwarder)
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.committed == [f"{TASK}#1"]


# --- the commit ----------------------------------------------------------------------------------------------------


async def test_an_attempt_on_the_same_node_sends_only_what_is_missing(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        async with world.spool.receive(TASK) as receipt:  # nobody says that it has arrived
            part = await receipt.open("c.jpg")
            part.write(MORE["c.jpg"])
            part.close()
        await commits(world, forwarder)
        await world.reaches(TaskState.RUNNING)
        assert noted(world) is None
    assert world.nodes.datasets == {FIRST: ONE_REQUEST | MORE}
    assert world.nodes.begun == world.nodes.committed == [FIRST]
    assert world.nodes.discarded == []


async def test_files_under_way_at_the_commit_are_sent_to_their_end_and_once(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        world.nodes.gate.clear()
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST | MORE)
        await until(lambda: world.nodes.sending_count == 2, what="two files are under way")
        await commits(world, forwarder)
        await until(lambda: world.scheduler.renewed, what="the attempt is under way")
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.datasets == {FIRST: ONE_REQUEST | MORE}
    assert len(world.nodes.sent) == 3


async def test_an_attempt_elsewhere_begins_afresh_and_what_went_ahead_is_removed(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        world.scheduler.places_on = OTHER_NODE
        await commits(world, forwarder)
        await world.reaches(TaskState.RUNNING)
        await is_gone(world, FIRST)
        await until(lambda: noted(world) is None, what="no note")
    assert world.nodes.datasets == {f"{TASK}#1": ONE_REQUEST}


async def test_a_task_that_must_wait_gives_its_room_up(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        world.scheduler.slots_count = 0
        await commits(world, forwarder)
        await is_gone(world, FIRST)
        world.scheduler.slots_count = 1
        world.scheduler.tell(TASK)
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.datasets == {f"{TASK}#1": ONE_REQUEST}


async def test_a_failure_after_the_confirmation_costs_one_attempt_and_no_file(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        world.nodes.gate.clear()
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await until(lambda: world.nodes.sending_count == 2, what="two files are under way")
        await commits(world, forwarder)
        await until(lambda: world.scheduler.renewed, what="the attempt is under way")
        world.nodes.down.add("n1")
        world.scheduler.places_on = OTHER_NODE
        world.nodes.gate.set()
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.datasets == {f"{TASK}#2": ONE_REQUEST}
    (report,) = world.scheduler.failed
    assert (report.node_refused, report.commit_uncertain) == (False, False)
    assert report.reason == "n1:3000 did not answer"


async def test_a_task_canceled_while_it_is_taken_over_leaves_nothing_on_the_node(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        world.nodes.gate.clear()
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await until(lambda: world.nodes.sending_count == 2, what="two files are under way")
        await commits(world, forwarder)
        await until(lambda: world.scheduler.renewed, what="the attempt is under way")
        world.scheduler.change(state=TaskState.CANCELED)
        await is_gone(world, FIRST)
        await world.lets_go()
    assert world.nodes.committed == []


async def test_a_commit_that_never_reached_the_scheduler_keeps_what_went_ahead(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        await world.spool.commit(TASK, at_ms=2)
        world.scheduler.planned_node = None  # the slot may be its own by now
        await passed()
        world.scheduler.submit(TASK)
        await forwarder.adopt(TASK)
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.datasets == {FIRST: ONE_REQUEST}


async def test_an_upload_that_is_committed_while_a_node_is_sought_is_sent_once(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        note = world.spool.note_staged

        async def note_and_commit(task: TaskId, ahead: StagedFiles | None) -> None:
            if ahead:
                await commits(world, forwarder)
                await world.reaches(TaskState.RUNNING)
            await note(task, ahead)

        world.spool.note_staged = note_and_commit  # type: ignore[method-assign]
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await until(lambda: world.nodes.committed, what="it runs")
        await until(lambda: "uploads=0" in repr(forwarder._stage_in), what="nothing to go ahead")
        assert noted(world) is None
    assert world.nodes.begun == world.nodes.committed == [f"{TASK}#1"]


async def test_an_answer_that_was_lost_and_comes_again_finds_what_went_ahead(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        place = world.scheduler.place
        lost = [BusFailed("no answer")]

        async def place_and_lose_the_answer(*asked: Any) -> Any:
            answer = await place(*asked)
            if lost:
                raise lost.pop()
            return answer

        world.scheduler.place = place_and_lose_the_answer  # type: ignore[method-assign]
        async with world.bus.serve("scheduler", world.scheduler.handlers):
            await commits(world, forwarder)
            await world.reaches(TaskState.RUNNING)
    assert lost == []
    assert world.nodes.datasets == {FIRST: ONE_REQUEST}


async def test_a_placement_on_what_is_lost_is_reported_and_its_id_never_used_again(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        place = world.scheduler.place

        async def place_and_lose(*asked: Any) -> Any:
            answer = await place(*asked)
            forwarder._stage_in.give_up(TASK, "a moment of confusion")
            await is_gone(world, FIRST)
            return answer

        world.scheduler.place = place_and_lose  # type: ignore[method-assign]
        async with world.bus.serve("scheduler", world.scheduler.handlers):
            await commits(world, forwarder)
            await world.reaches(TaskState.RUNNING)
    assert [report.reason for report in world.scheduler.failed] == ["what had been sent ahead is lost"]
    assert world.nodes.datasets == {f"{TASK}#2": ONE_REQUEST}
    assert world.nodes.begun == [FIRST, f"{TASK}#2"]


# --- one link ------------------------------------------------------------------------------------------------------


async def test_on_a_limited_link_nothing_more_goes_ahead_while_a_committed_task_is_sent(world: World) -> None:
    other = TaskId("task-2")
    async with world.proxy(ahead_from_bytes=1, one_link=True) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        world.nodes.gate.clear()
        await world.adopted(forwarder, other)
        await until(lambda: world.nodes.sending_count == 2, what="the committed task is sent")
        await uploads(world, forwarder, MORE)
        await passed()
        assert world.nodes.sending_count == 2
        world.nodes.gate.set()
        await has(world, FIRST, ONE_REQUEST | MORE)


# --- after a restart -----------------------------------------------------------------------------------------------


async def test_after_a_restart_what_went_ahead_is_removed_and_begun_again(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await is_gone(world, FIRST)
        await has(world, SECOND, ONE_REQUEST)
        await commits(world, forwarder)
        await world.reaches(TaskState.RUNNING)
    assert world.nodes.datasets == {SECOND: ONE_REQUEST}


async def test_after_a_restart_with_it_switched_off_what_went_ahead_is_removed(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
    async with world.proxy():
        await is_gone(world, FIRST)
        await until(lambda: noted(world) is None, what="no note")
        await passed()
    assert world.nodes.begun == [FIRST]


async def test_a_kill_between_placement_and_commit_never_commits_what_went_ahead(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        world.nodes.gate.clear()
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await until(lambda: world.nodes.sending_count == 2, what="two files are under way")
        await commits(world, forwarder)
        await until(lambda: world.scheduler.renewed, what="the attempt is under way")
        world.bus.connected = False  # as after a kill, nobody hears of it
    world.bus.connected = True
    world.nodes.gate.set()
    async with world.proxy(ahead_from_bytes=1):
        await world.reaches(TaskState.RUNNING)
        await is_gone(world, FIRST)
    assert world.nodes.datasets == {f"{TASK}#2": ONE_REQUEST}


async def test_nothing_is_removed_once_an_attempt_goes_on_with_it(world: World) -> None:
    async with world.proxy(ahead_from_bytes=1) as forwarder:
        await begins(world)
        await uploads(world, forwarder, ONE_REQUEST)
        await has(world, FIRST, ONE_REQUEST)
        await commits(world, forwarder)
        await world.reaches(TaskState.RUNNING)
    async with world.proxy(ahead_from_bytes=1):
        await until(lambda: world.scheduler.asked[TASK] >= 2, what="it is looked after")
        await passed()
    assert world.nodes.discarded == []


# --- any order -----------------------------------------------------------------------------------------------------

names = st.sampled_from(["a.jpg", "b.jpg", "b_.jpg", "gcp.txt"])
requests = st.lists(st.tuples(names, st.sampled_from([b"1", b"22", b"3"])), min_size=1, max_size=3)
steps = st.one_of(
    st.tuples(st.just("request"), requests),
    st.tuples(st.just("request"), requests),
    st.tuples(st.just("pause"), st.just(0.005)),
    st.tuples(st.just("aborted"), requests),
    st.tuples(st.just("plan_stage_in"), st.sampled_from([NODE, OTHER_NODE, None])),
    st.tuples(st.just("down"), st.sampled_from(["n1", "n2"])),
    st.tuples(st.just("up"), st.sampled_from(["n1", "n2"])),
    st.tuples(st.just("init"), st.booleans()),
    st.tuples(st.just("hold"), st.just(None)),
    st.tuples(st.just("pause"), st.sampled_from([0.0, 0.005, 0.03])),
    st.tuples(st.just("restart"), st.just(None)),
)


class Client:
    """One upload through thick and thin, and what must come of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.files: dict[str, bytes] = {}
        self.dsm = False

    async def takes(self, forwarder: Forwarder, step: tuple[str, Any]) -> None:
        """Do what a step says, or let the world do it."""
        what, how = step
        await getattr(self, what)(forwarder, how)

    async def request(self, forwarder: Forwarder, how: list[tuple[str, bytes]]) -> None:
        await sends(self.world, forwarder, how)
        for name, content in how:
            kept = next(each for each in candidates(name) if self.files.get(each, content) == content)
            self.files[kept] = content

    async def aborted(self, _forwarder: Forwarder, how: list[tuple[str, bytes]]) -> None:
        with suppress(ConnectionError):
            async with self.world.spool.receive(TASK) as receipt:
                part = await receipt.open(how[0][0])
                part.write(how[0][1])
                raise ConnectionError

    async def init(self, _forwarder: Forwarder, how: bool) -> None:
        self.dsm = how
        await begins(self.world, options=(OptionValue("dsm", how),))

    async def plan_stage_in(self, _forwarder: Forwarder, how: Node | None) -> None:
        self.world.scheduler.planned_node = how

    async def down(self, _forwarder: Forwarder, how: str) -> None:
        self.world.nodes.down.add(how)

    async def up(self, _forwarder: Forwarder, how: str) -> None:
        self.world.nodes.down.discard(how)

    async def hold(self, _forwarder: Forwarder, _how: None) -> None:
        self.world.nodes.gate.clear()

    async def pause(self, _forwarder: Forwarder, how: float) -> None:
        self.world.nodes.gate.set()
        await asyncio.sleep(how)


@dataclass(frozen=True)
class End:
    """How an upload ends."""

    place_on: Node
    before_s: float
    """How long the world has before the commit."""
    dies: tuple[str, ...]
    """Nodes that die just afterwards."""
    turns_count: int = 100
    """For so many turns of the event loop: they may be back before the next file is sent."""


async def plays(*, ahead: bool, script: list[tuple[str, Any]], end: End) -> None:
    """Play an upload to its end; the node must have exactly what the client sent."""
    world = World()
    world.scheduler.planned_node = NODE
    client = Client(world)
    acts = [("init", False), *script, ("request", [("z.jpg", b"last")])]
    async with world.bus.serve("scheduler", world.scheduler.handlers):
        while acts:
            async with world.proxy(ahead_from_bytes=1 if ahead else None) as forwarder:
                while acts and acts[0][0] != "restart":
                    await client.takes(forwarder, acts.pop(0))
                if acts:
                    acts.pop(0)
                    continue
                await ends(world, forwarder, end)
    (committed,) = world.nodes.committed
    assert world.nodes.datasets == {committed: client.files}
    assert world.nodes.drafts[committed].options == (OptionValue("dsm", client.dsm),)


async def ends(world: World, forwarder: Forwarder, end: End) -> None:
    """Commit; nodes may die in the middle of it."""
    world.scheduler.places_on = end.place_on
    await asyncio.sleep(end.before_s)
    await commits(world, forwarder)
    await asyncio.sleep(end.before_s)
    world.nodes.down.update(end.dies)
    world.nodes.gate.set()
    for _ in range(end.turns_count):
        await asyncio.sleep(0)
    world.nodes.down.clear()
    await world.reaches(TaskState.RUNNING)


endings = st.builds(
    End,
    place_on=st.sampled_from([NODE, NODE, OTHER_NODE]),
    before_s=st.sampled_from([0.0, 0.005, 0.03]),
    dies=st.lists(st.sampled_from(["n1", "n2"]), max_size=2).map(tuple),
    turns_count=st.sampled_from([2, 3, 100]),
)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [True, False])
@settings(max_examples=100)
@given(script=st.lists(steps, max_size=12), end=endings)
@example(  # the fields change just before the commit
    script=[("request", [("a.jpg", b"1")]), ("pause", 0.03), ("init", True)], end=End(NODE, 0.0, ())
)
@example(  # the node dies with files under way, and after the attempt has been confirmed
    script=[("hold", None), ("request", [("a.jpg", b"1"), ("b.jpg", b"22")])], end=End(NODE, 0.03, ("n1",), 2)
)
@example(  # the node goes, and files have other names on the next one
    script=[
        ("request", [("a.jpg", b"1")]),
        ("pause", 0.03),
        ("plan_stage_in", OTHER_NODE),
        ("request", [("a.jpg", b"3")]),
    ],
    end=End(OTHER_NODE, 0.03, ()),
)
def test_the_dataset_on_the_node_is_the_same_with_and_without(
    ahead: bool, script: list[tuple[str, Any]], end: End
) -> None:
    asyncio.run(plays(ahead=ahead, script=script, end=end))
