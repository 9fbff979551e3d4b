"""Waiting tasks filed by upload owner, owner and need: all of a lane fit the same nodes."""

import msgspec
import pytest

from clusterodm.libs.common.messages.tasks import SubmitTask
from clusterodm.libs.common.model.tasks import Task
from clusterodm.libs.common.model.values import InstanceId, Owner
from clusterodm.services.scheduler.placement.core.lanes import WaitingLanes
from clusterodm.services.scheduler.records.core import key_of
from clusterodm.services.scheduler.tasks.core.submission import submitted
from tests.scheduling import node_state, task_id


def waiting(
    name: str, images: int = 3, *, upload_owner: str = "p", owner: str = "", at_ms: int = 1, **more: object
) -> Task:
    asked = SubmitTask(
        task=task_id(name),
        name=name,
        upload_owner=InstanceId(upload_owner),
        owner=Owner(owner),
        created_at_ms=0,
        images_count=images,
        zip_url=str(more.pop("zip_url", "")),
    )
    return msgspec.structs.replace(submitted(asked, at_ms, ""), **more)


def lanes_of(*tasks: Task, limits: tuple[int, ...] = (10, 100), by_owner: bool = False) -> WaitingLanes:
    made = WaitingLanes(by_owner=by_owner)
    made.fit(limits, {})
    for task in tasks:
        made.add(task)
    return made


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        pytest.param(waiting("a", 1), waiting("b", 10), True, id="both fit the small node"),
        pytest.param(waiting("a", 10), waiting("b", 11), False, id="one is too large for it"),
        pytest.param(waiting("a", 101), waiting("b", 9_999), True, id="both fit only nodes without a limit"),
        pytest.param(waiting("a"), waiting("b", upload_owner="q"), False, id="of two holders"),
        pytest.param(waiting("a", owner="x"), waiting("b", owner="y"), True, id="owners without a limit"),
        pytest.param(waiting("a"), waiting("b", min_memory_bytes=1), False, id="one was short of memory"),
        pytest.param(waiting("a", 0), waiting("b", 0, zip_url="http://z"), False, id="one with images nobody knows"),
        pytest.param(waiting("a"), waiting("b", gpu=True), False, id="one asks for a graphics card"),
        pytest.param(waiting("a", 1, gpu=True), waiting("b", 9, gpu=True), True, id="both ask for a graphics card"),
    ],
)
def test_tasks_that_fit_the_same_nodes_are_in_one_lane(one: Task, other: Task, together: bool):
    made = lanes_of(one, other)
    assert (made.lane_of(one.id) is made.lane_of(other.id)) is together


@pytest.mark.parametrize("images", [0, 1, 9, 10, 11, 100, 101, 5_000])
@pytest.mark.parametrize("limit", [10, 100, None])
def test_a_lane_needs_what_each_of_its_tasks_needs(images: int, limit: int | None):
    task = waiting("a", images)
    lane = lanes_of(task).lane_of(task.id)
    assert lane is not None
    node = node_state("n", limit=limit)
    assert node.fits(lane.need.images_count) is node.fits(task.images_count)


def test_owners_are_told_apart_where_they_are_limited():
    made = lanes_of(waiting("a", owner="x"), waiting("b", owner="y"), by_owner=True)
    assert {lane.id.owner for lane in made} == {"x", "y"}


def test_a_lane_is_in_the_order_of_the_commits_and_goes_when_it_is_empty():
    young, old = waiting("young", at_ms=2), waiting("old", at_ms=1)
    made = lanes_of(young, old)
    assert [list(lane) for lane in made] == [[key_of(old), key_of(young)]]
    assert (len(made), made.images_count, made.upload_owners()) == (2, 6, ("p",))
    for task in (young, old, old):
        made.discard(task)
    assert (list(made), len(made), made.images_count, made.upload_owners()) == ([], 0, 0, ())


def test_tasks_are_filed_anew_when_a_node_comes_with_another_limit():
    tasks = {each.id: each for each in (waiting("a", 20), waiting("b", 90))}
    made = lanes_of(*tasks.values())
    assert len(list(made)) == 1
    made.fit((50, 100), tasks)
    assert [lane.need.images_count for lane in made] == [50, 100]


def test_a_task_that_waits_with_another_need_changes_its_lane():
    task = waiting("a")
    made = lanes_of(task)
    made.add(msgspec.structs.replace(task, min_memory_bytes=5))
    assert [lane.need.min_memory_bytes for lane in made] == [5]
    assert (len(made), made.images_count) == (1, 3)
